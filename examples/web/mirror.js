// @ts-check
// The device's mirror for a page in a browser, or any program in JavaScript: the only module here to import.
//
//     OFFLINE --attach--> CATCHING_UP --frontier at head--> LIVE
//                           |      ^
//                           v      | last part
//                          SNAPSHOT
//
// It is `whisperkit.sync.mirror` over the JSON form of the frames, under the same names in camelCase, and answers the
// same, step by step: the tests hold both to the same stories. As there, a mirror is a value and nothing here waits,
// reads a clock or stores anything. `receive` takes what came in one message of the link, with the rows of the device's
// store that `rowsFor` names, and answers what has to be done:
//
//     const frames = decode(event.data);
//     const rows = await store.load(rowsFor(mirror, frames));          // a Map, by key
//     const synced = receive(mirror, frames, rows, { now: performance.now() / 1000 });
//     await store.commit(synced, encodeMirror(synced.state));          // what it says, and the mirror: all or nothing
//     mirror = synced.state;                                           // only now
//     for (const message of encode(synced.send)) socket.send(message);
//
// If the page dies before the commit, nothing happened, and the server sends the same again. Keys are short ASCII
// texts and values are JSON, so that any store with transactions will do: in IndexedDB a span is the range
// `IDBKeyRange.bound(start, stop, false, true)`.
//
// What differs from Python: `newMirror(device)` makes a mirror; rows are JSON, not msgpack; `now` is in seconds, too,
// but `performance.now()` is not; a cursor text with numbers above 2**53 - 1, which no frame carries, is refused.
// Nothing of the Python mirror is left out.
import { MEMBERSHIPS, PROGRESSES, chatSpans, spanOf, withOwnChange, withRead } from './chats.js';
import { Phase, TRANSITIONS, deadline, hasWelcome, newMirror, seconds, seenKey, unchanged } from './state.js';
import { Turn } from './turn.js';
import { ASIDES, CHANGE, SEQ, WhisperError, conversationId, held, userOf } from './wire.js';

export {
  ASIDES, Answer, ByeCode, EntryKind, MarkKind, PROTOCOL_VERSION, PresenceState, RefusalReason, Strategy, WhisperError,
  conversationId, cursorText, decode, decodeChange, deviceId, encode, firstTag, fromBase64, nextTag, parseCursor,
  sameCursor, toBase64, userId, userOf,
} from './wire.js';
export { MAX_UNREAD, MEMBERSHIPS, PROGRESSES, badge, chatOf, chatSpans, isPulled, members, version } from './chats.js';
export {
  BEHIND_S, MAX_HELD, Phase, STALLED_S, TRANSITIONS, deadline, decodeMirror, encodeMirror, hasWelcome, mustSave,
  newMirror, seenKey,
} from './state.js';

/** @typedef {import('./wire.js').Frame} Frame */
/** @typedef {import('./chats.js').Rows} Rows */
/** @typedef {import('./chats.js').Span} Span */
/** @typedef {import('./state.js').Mirror} Mirror */
/** @typedef {import('./state.js').Synced} Synced */

// ---- the link -------------------------------------------------------------------------------------------------------

/**
 * Note that HELLO went out with `mirror.cursor`.
 *
 * @param {Mirror} mirror Offline.
 * @param {{followed?: Iterable<string>, now: number}} options `followed`: all conversations of the device whose rows
 *   are pulled (`isPulled`); `now`: seconds, on any monotonic clock, here and in all other calls.
 * @returns {Mirror}
 */
export function attach(mirror, { followed = [], now }) {
  if (mirror.phase !== Phase.OFFLINE) {
    throw new WhisperError('usage', `detach before attaching again: the mirror is ${mirror.phase}`);
  }
  const { device, cursor, opened } = mirror;
  return {
    ...newMirror(device, cursor),
    phase: Phase.CATCHING_UP,
    since: seconds(now),
    opened,
    followed: new Set([...followed].map(conversationId)),
  };
}

/** Note that the link is gone, and forget what was under way on it; harmless when offline. @param {Mirror} mirror */
export const detach = ({ device, cursor, opened, followed }) => ({ ...newMirror(device, cursor), opened, followed });

/**
 * Ask again for what should have come.
 *
 * @param {Mirror} mirror
 * @param {Rows} rows Those of `rowsFor(mirror, [])`.
 * @param {{now: number}} options
 * @returns {Synced}
 */
export function handleTimer(mirror, rows, { now }) {
  const due = deadline(mirror);
  const isDue = due !== null && seconds(now) >= due && TRANSITIONS[mirror.phase].includes('TIME_PASSED');
  if (!isDue) return unchanged(mirror);
  if (!hasWelcome(mirror)) return { ...unchanged(mirror), reconnect: true };
  const turn = new Turn(mirror, rows, now);
  turn.askAgain();
  return turn.result();
}

// ---- the person -----------------------------------------------------------------------------------------------------

/**
 * Fetch what is pulled in a conversation, now and as long as it is on screen.
 *
 * @param {Mirror} mirror
 * @param {string} conv
 * @param {Rows} rows Those of `chatSpans(conv)`.
 * @param {{now: number}} options
 * @returns {Synced}
 */
export function openChat(mirror, conv, rows, { now }) {
  const turn = new Turn({ ...mirror, opened: new Set([...mirror.opened, conversationId(conv)]) }, rows, now);
  turn.fetchHead(conv);
  return turn.result();
}

/** Note that a conversation is off the screen. @param {Mirror} mirror @param {string} conv @returns {Mirror} */
export const closeChat = (mirror, conv) => (
  { ...mirror, opened: new Set([...mirror.opened].filter((other) => other !== conv)) }
);

/**
 * Note that the person has read up to here.
 *
 * @param {Mirror} mirror
 * @param {string} conv
 * @param {number} upto A seq of the conversation.
 * @param {Rows} rows Those of `chatSpans(conv)`.
 * @param {{now: number}} options
 * @returns {Synced}
 */
export function read(mirror, conv, upto, rows, { now }) {
  const turn = new Turn(mirror, rows, now);
  const before = turn.chat(conversationId(conv));
  const after = withRead(before, held('upto', SEQ, upto));
  turn.chats.set(conv, after);
  if (after !== before) turn.send.push({ frame: 'READ', conv, upto });
  return turn.result();
}

/**
 * Work in what this device posted itself, which never comes to its inbox.
 *
 * @param {Mirror} mirror
 * @param {Frame} send The SEND.
 * @param {Frame} sent The SENT that answers it.
 * @param {Rows} rows Those of `chatSpans(send.conv)`.
 * @param {{now: number}} options
 * @returns {Synced}
 */
export function posted(mirror, send, sent, rows, { now }) {
  const turn = new Turn(mirror, rows, now);
  if (send.change !== null && sent.convSeq) {
    const change = held('change', CHANGE, CHANGE.write(send.change));
    const chat = turn.chat(conversationId(send.conv));
    turn.chats.set(send.conv, withOwnChange(chat, held('convSeq', SEQ, sent.convSeq), change, userOf(mirror.device)));
  }
  return turn.result();
}

// ---- the server -----------------------------------------------------------------------------------------------------

/**
 * Which rows of the device's store `receive` needs; those that are not there are new.
 *
 * @param {Mirror} mirror
 * @param {readonly Frame[]} batch
 * @returns {Span[]}
 */
export function rowsFor(mirror, batch) {
  const convs = new Set([...mirror.fetching.keys(), ...mirror.opened]);
  /** @type {Set<string>} */
  const keys = new Set();
  for (const frame of [...mirror.held, ...batch]) {
    switch (frame.frame) {
      case 'ENTRY':
        convs.add(frame.conv);
        keys.add(seenKey(frame.sender, frame.messageId));
        break;
      case 'ROWS':
        convs.add(frame.conv);
        for (const row of frame.rows) keys.add(seenKey(row.sender, row.messageId));
        break;
      case 'SNAPSHOT': for (const { conv } of frame.items) convs.add(conv); break;
      case 'HEAD': for (const conv of frame.conversations.keys()) if (mirror.followed.has(conv)) convs.add(conv); break;
      case 'MARK': convs.add(frame.conv); break;
      default: break;
    }
  }
  convs.delete(ASIDES);
  const spans = [...[...convs].flatMap(chatSpans), ...[...keys].map(spanOf)];
  const isWhole = batch.some(({ frame, isLast }) => frame === 'SNAPSHOT' && isLast);
  return isWhole ? [...spans, PROGRESSES, MEMBERSHIPS] : spans;
}

/**
 * Take what came in one message of the link.
 *
 * @param {Mirror} mirror The mirror as it is saved.
 * @param {readonly Frame[]} batch Frames of `decode`, in order; those that are not the mirror's are left alone.
 * @param {Rows} rows The device's rows in `rowsFor(mirror, batch)`, by key.
 * @param {{now: number}} options
 * @returns {Synced}
 */
export function receive(mirror, batch, rows, { now }) {
  const turn = new Turn(mirror, rows, now);
  for (const frame of batch) turn.take(frame);
  turn.acknowledge();
  return turn.result();
}
