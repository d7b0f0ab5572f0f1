// @ts-check
// What a mirror is: a value, its states as a table, and what it answers. `mirror.js` has the rules.
import { restored, stored } from './chats.js';
import { CURSOR, DEVICE, WhisperError, deviceId, held, nullable, number, record, sameCursor } from './wire.js';

/** @typedef {import('./wire.js').Cursor} Cursor */
/** @typedef {import('./wire.js').Frame} Frame */
/** @typedef {import('./wire.js').Row} Row */
/** @typedef {import('./chats.js').Chat} Chat */

// A frontier that disagrees with the head for so long has lost something: frames that are merely late are there by
// then.
export const BEHIND_S = 5;
// Without a WELCOME or the next part of a snapshot for so long, the link is of no use.
export const STALLED_S = 30;
// Entries that wait for pulled rows: as many as the server sends without an acknowledgement.
export const MAX_HELD = 256;

export const Phase = Object.freeze({
  OFFLINE: 'offline', CATCHING_UP: 'catching up', SNAPSHOT: 'snapshot', LIVE: 'live',
});

// The whole machine: what has a place in which phase. A frame that has none is late, doubled or unasked for, and is
// dropped. Where an input leads elsewhere is said behind it.
/** @type {Readonly<Record<string, readonly string[]>>} */
export const TRANSITIONS = Object.freeze({
  [Phase.OFFLINE]: ['ATTACHED'], // CATCHING_UP
  [Phase.CATCHING_UP]: [
    'WELCOME', // SNAPSHOT unless the answer is DELTA
    'ENTRY', 'ROWS', 'HEAD', // LIVE once the frontier is at the head
    'MARK', 'TIME_PASSED',
    'DETACHED', // OFFLINE
  ],
  [Phase.SNAPSHOT]: [
    'SNAPSHOT', // CATCHING_UP with the last part
    'WELCOME', // begins again
    'TIME_PASSED',
    'DETACHED', // OFFLINE
  ],
  [Phase.LIVE]: [
    'ENTRY', 'ROWS', 'HEAD', 'MARK',
    'WELCOME', // SNAPSHOT if a PULL found a fork
    'TIME_PASSED',
    'DETACHED', // OFFLINE
  ],
});

/**
 * Where a device is: a value. Only `device` and `cursor` are saved; the rest is about the present link.
 *
 * @typedef {object} Mirror
 * @property {string} device This device.
 * @property {Cursor | null} cursor The contiguous frontier; `null` before the first snapshot.
 * @property {string} phase What it is doing, a `Phase`.
 * @property {Cursor | null} head Where the server's inbox ends, as it last said.
 * @property {number | null} since When the frontier began to disagree with the head, or the link to be silent.
 * @property {number | null} askedAt The frontier for which a PULL is under way.
 * @property {number | null} answer Why a snapshot is being taken.
 * @property {number} nextPart Which part of it comes next.
 * @property {ReadonlySet<string>} inSnapshot The conversations that were in its parts.
 * @property {ReadonlyMap<string, number>} fetching Up to where rows of conversations have been asked for.
 * @property {readonly Frame[]} held Entries in order that wait for such rows.
 * @property {ReadonlySet<string>} opened Conversations on screen: what is pulled there is fetched at once.
 * @property {ReadonlySet<string>} followed Conversations whose rows are pulled: HEAD shall name their heads.
 * @property {ReadonlySet<string>} told Those of them that the server has been told of on this link.
 */

/**
 * What became of an input. First commit, with what is made of `arrived`; then take over the rest.
 *
 * @typedef {object} Synced
 * @property {Mirror} state The next mirror.
 * @property {[string, unknown][]} put Rows to write, as pairs of key and value.
 * @property {string[]} delete Keys to delete.
 * @property {{conv: string, row: Row}[]} arrived New rows, in order.
 * @property {Frame[]} send Frames for the link, in order; the ACK of what is committed is among them.
 * @property {Map<string, Chat>} chats Conversations that changed.
 * @property {{conv: string, above: number}[]} lost Own messages above these have to be sent again.
 * @property {boolean} reconnect Whether the link is of no use: close it and connect again.
 */

// ---- what is saved --------------------------------------------------------------------------------------------------

const MIRROR = record({ format: number(1, 1), device: DEVICE, cursor: nullable(CURSOR) });
/** @type {ReadonlySet<string>} */
const NO_CONVS = new Set();

/** A mirror that is offline. @param {string} device @param {Cursor | null} [cursor] @returns {Mirror} */
export const newMirror = (device, cursor = null) => ({
  device: deviceId(device),
  cursor: cursor === null ? null : held('cursor', CURSOR, CURSOR.write(cursor)),
  phase: Phase.OFFLINE,
  head: null,
  since: null,
  askedAt: null,
  answer: null,
  nextPart: 0,
  inSnapshot: NO_CONVS,
  fetching: new Map(),
  held: [],
  opened: NO_CONVS,
  followed: NO_CONVS,
  told: NO_CONVS,
});

/** What is kept of a mirror; it goes into JSON as it is. @param {Mirror} mirror @returns {unknown} */
export const encodeMirror = ({ device, cursor }) => stored(MIRROR, { device, cursor });

/** Read what `encodeMirror` made; the mirror is offline. @param {unknown} json */
export function decodeMirror(json) {
  const { device, cursor } = restored('mirror', MIRROR, json);
  return newMirror(device, cursor);
}

/**
 * The key of the row that says a message is here. It lives as long as its row of the history; delete both together.
 *
 * The sender is part of it, or a member who repeats the id of another's message could keep that message out.
 *
 * @param {string | null} sender @param {string} messageId
 */
export const seenKey = (sender, messageId) => `i/${messageId}${sender ?? ''}`;

/** Whether there is anything to commit. @param {Synced} synced @param {Mirror} before */
export const mustSave = ({ state, put, delete: gone }, before) => (
  !sameCursor(state.cursor, before.cursor) || put.length > 0 || gone.length > 0
);

/** When to call `handleTimer` next; `null` for never. @param {Mirror} mirror @returns {number | null} */
export function deadline(mirror) {
  if (mirror.since === null) return null;
  return mirror.since + (hasWelcome(mirror) ? BEHIND_S : STALLED_S);
}

/** Whether the server has answered on this link, and there is a frontier to go on from. @param {Mirror} mirror */
export const hasWelcome = ({ phase, head, cursor }) => phase !== Phase.SNAPSHOT && head !== null && cursor !== null;

/** Nothing to do. @param {Mirror} state @returns {Synced} */
export const unchanged = (state) => ({
  state, put: [], delete: [], arrived: [], send: [], chats: new Map(), lost: [], reconnect: false,
});

/** What a caller says is the time. @param {unknown} now @returns {number} */
export function seconds(now) {
  if (typeof now === 'number' && Number.isFinite(now)) return now;
  throw new WhisperError('usage', 'now is a number of seconds, on any monotonic clock');
}
