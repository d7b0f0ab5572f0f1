// @ts-check
// A conversation as one device sees it: who is in it, how its rows travel, what was read, what a badge shows.
//
// Two rows of the device's store, because one changes with every message and the other is large: `c/<conv>`, the
// progress, and `r/<conv>`, the membership. Chats are values: nothing here changes one, all return another.
import {
  CHANGE, DEVICE, EntryKind, MAX_MEMBERS, MAX_NUMBER, SEQ, Strategy, USER, WhisperError, array, choice, decodeChange,
  decodeItem, flag, fromBase64, number, record, userOf,
} from './wire.js';

/** @typedef {import('./wire.js').RosterChange} RosterChange */
/** @typedef {import('./wire.js').Item} Item */
/** @typedef {import('./wire.js').Row} Row */

/**
 * What changes with every message.
 *
 * @typedef {object} Progress
 * @property {number} pulledUpto Rows up to here that are not pushed have been fetched, or are not owed.
 * @property {number} head The highest seq that the device has heard of.
 * @property {number} readUpto How far this user has read, on any device.
 * @property {number[]} unread Seqs of messages of others above `readUpto`, at most the last `MAX_UNREAD`.
 */

/**
 * Who is in, as of a place in the order of the conversation.
 *
 * @typedef {object} Membership
 * @property {number} asOf Every change up to here is in `base`; one at or below it that arrives late is old.
 * @property {number} rosterSeq The last roster change in `base`: what a sender names as `ifRoster`.
 * @property {number} strategy How rows travel, a `Strategy`.
 * @property {string[]} base Members as of `asOf`.
 * @property {boolean} isWhole Whether `base` holds all of them.
 * @property {{seq: number, change: RosterChange}[]} own Changes that this device posted above `asOf`.
 */

/** @typedef {{conv: string, progress: Progress, membership: Membership | null}} Chat */
/** @typedef {{seq: number, isCounted: boolean}} Message */
/** @typedef {Map<string, any>} Rows What is stored, by key. */
/** @typedef {{start: string, stop: string}} Span The keys from `start`, included, to `stop`, excluded. */

// A badge says "999+" beyond it, and the row stays below 5 KiB.
export const MAX_UNREAD = 1_000;
// A store that was restored has lost its last rows, how many nobody knows. What was pulled from that far below its head
// is pulled again; what did not change is dropped by message id.
const FORK_REACH = 1_000;

/** @type {Membership} */
const NOBODY = { asOf: 0, rosterSeq: 0, strategy: Strategy.SMALL, base: [], isWhole: true, own: [] };

// ---- what can be seen of a chat -------------------------------------------------------------------------------------

/** Whether its rows have to be fetched. @param {Chat} chat */
export const isPulled = ({ membership }) => membership?.strategy === Strategy.MEGA;

/** How many messages wait to be read; of a pulled chat also rows that are not fetched yet. @param {Chat} chat */
export function badge(chat) {
  const { head, pulledUpto, readUpto, unread } = chat.progress;
  const unseen = isPulled(chat) ? Math.max(head - Math.max(pulledUpto, readUpto), 0) : 0;
  return Math.min(unread.length + unseen, MAX_UNREAD);
}

/** All members that are known, with this device's own changes in it. @param {Membership} membership */
export const members = ({ base, own }) => own.reduce((found, { change }) => changed(found, change), base);

/** The roster version with this device's own changes in it. @param {Membership} membership */
export const version = ({ own, rosterSeq }) => own.at(-1)?.seq ?? rosterSeq;

/** Whether roster and strategy as of a row are worked in. @param {Chat} chat @param {number} seq */
export const knows = ({ membership }, seq) => membership !== null && seq <= membership.asOf;

// ---- what changes a chat --------------------------------------------------------------------------------------------

/**
 * Work in a row that came in order. What it says about members is worked in even if it is a repeat.
 *
 * @param {Chat} chat
 * @param {Row} row Any but a message, which `withMessages` takes.
 * @param {string} device This one.
 * @returns {Chat}
 */
export function withRow(chat, row, device) {
  let { membership } = chat;
  if (row.kind === EntryKind.ROSTER) return raised(withRoster(chat, row, userOf(device)), row.convSeq);
  if (row.kind === EntryKind.MODE && membership !== null && row.shared && row.convSeq > membership.asOf) {
    const [strategy] = fromBase64(row.shared);
    if (Object.values(Strategy).some((one) => one === strategy)) membership = { ...membership, strategy };
  }
  return raised({ ...chat, membership }, row.convSeq);
}

/** Work in messages, in order. @param {Chat} chat @param {readonly Message[]} messages @returns {Chat} */
export function withMessages(chat, messages) {
  const { readUpto, unread } = chat.progress;
  const fresh = messages.filter(({ seq, isCounted }) => isCounted && seq > readUpto).map(({ seq }) => seq);
  const latest = Math.max(...messages.map(({ seq }) => seq));
  return raised({ ...chat, progress: { ...chat.progress, unread: [...unread, ...fresh].slice(-MAX_UNREAD) } }, latest);
}

/** @param {Chat} chat @param {number} seq @returns {Chat} */
function raised(chat, seq) {
  const { progress } = chat;
  const [pulledUpto, head] = [Math.max(progress.pulledUpto, seq), Math.max(progress.head, seq)];
  return { ...chat, progress: { ...progress, pulledUpto, head } };
}

/** Members come and go. Who comes to a group that was there gets its state in `own`. */
function withRoster(/** @type {Chat} */ chat, /** @type {Row} */ row, /** @type {string} */ user) {
  const change = readOr({ added: [], removed: [] }, () => decodeChange(row.shared ?? ''));
  if (row.own !== null && change.added.includes(user)) {
    const { own } = row;
    const item = readOr(null, () => decodeItem(own));
    if (item !== null && item.conv === chat.conv && item.seq === row.convSeq) return withItem(chat, item, false);
  }
  // The user has left: a change from before that comes late does not bring them back.
  if (chat.membership === null && !change.added.includes(user)) return chat;
  const membership = after(chat.membership ?? { ...NOBODY, isWhole: row.convSeq === 1 }, row.convSeq, change);
  const isOut = row.convSeq === membership.asOf && change.removed.includes(user);
  return { ...chat, membership: isOut ? null : membership };
}

/** Work in a change that came from the server, in order; one that is in already changes nothing. */
function after(/** @type {Membership} */ before, /** @type {number} */ seq, /** @type {RosterChange} */ change) {
  if (seq <= before.asOf) return before;
  const earlier = before.own.filter((one) => one.seq < seq).map((one) => one.change);
  const base = [...earlier, change].reduce(changed, before.base);
  const fits = base.length <= MAX_MEMBERS;
  return {
    ...before,
    asOf: seq,
    rosterSeq: seq,
    base: fits ? base : [],
    isWhole: before.isWhole && fits,
    own: before.own.filter((one) => one.seq > seq),
  };
}

/** Work in a change that this device posted, when its SENT comes. */
export function withOwnChange(
  /** @type {Chat} */ chat,
  /** @type {number} */ seq,
  /** @type {RosterChange} */ change,
  /** @type {string} */ user,
) {
  // Removed meanwhile: the change is of a group that this user is not in.
  if (chat.membership === null && !change.added.includes(user)) return chat;
  const progress = { ...chat.progress, head: Math.max(chat.progress.head, seq) };
  let membership = chat.membership ?? NOBODY;
  if (seq > membership.asOf && !membership.own.some((one) => one.seq === seq)) {
    const own = [...membership.own, { seq, change }].sort((one, other) => one.seq - other.seq);
    membership = { ...membership, own };
  }
  return { ...chat, progress, membership: change.removed.includes(user) ? null : membership };
}

/**
 * Take over the state of a snapshot: newer than what is here, or, after a fork, instead of it.
 *
 * @param {Chat} chat
 * @param {Item} item
 * @param {boolean} isFork
 * @returns {Chat}
 */
export function withItem({ conv, progress, membership }, item, isFork) {
  const isKnown = membership !== null || progress.pulledUpto > 0;
  let pulledUpto = isKnown ? progress.pulledUpto : item.seq;
  if (isFork) pulledUpto = Math.max(Math.min(pulledUpto, item.seq) - FORK_REACH, 0);
  const head = isFork ? item.seq : Math.max(progress.head, item.seq);
  let next = membership;
  if (isFork || membership === null || item.seq > membership.asOf) {
    next = {
      asOf: item.seq,
      rosterSeq: item.rosterSeq,
      strategy: item.strategy,
      base: item.members,
      isWhole: item.strategy !== Strategy.MEGA,
      own: isFork || membership === null ? [] : membership.own.filter((one) => one.seq > item.seq),
    };
  }
  return withRead({ conv, progress: { ...progress, pulledUpto, head }, membership: next }, item.readUpto);
}

/** Raise how far was read. @param {Chat} chat @param {number} upto @returns {Chat} */
export function withRead(chat, upto) {
  if (upto <= chat.progress.readUpto) return chat;
  const unread = chat.progress.unread.filter((seq) => seq > upto);
  return { ...chat, progress: { ...chat.progress, readUpto: upto, unread } };
}

/** @param {string[]} found @param {RosterChange} change */
const changed = (found, { added, removed }) => (
  [...new Set([...found, ...added])].filter((user) => !removed.includes(user))
);

/**
 * The server wrote it; a frame whose inner part cannot be read must still not stop the inbox.
 *
 * @template T
 * @param {T} otherwise
 * @param {() => T} read
 */
function readOr(otherwise, read) {
  try {
    return read();
  } catch (error) {
    if (error instanceof WhisperError) return otherwise;
    throw error;
  }
}

// ---- rows -----------------------------------------------------------------------------------------------------------

// The first field of what is stored. A later format gets another number.
const FORMAT = number(1, 1);
const PROGRESS = record({
  format: FORMAT, pulledUpto: SEQ, head: SEQ, readUpto: SEQ, unread: array(SEQ, MAX_UNREAD),
});
const MEMBERSHIP = record({
  format: FORMAT, asOf: SEQ, rosterSeq: SEQ, strategy: choice(Strategy), base: array(USER, MAX_MEMBERS), isWhole: flag,
  own: array(record({ seq: SEQ, change: CHANGE }), MAX_NUMBER),
});

/** @param {string} conv */
const progressKey = (conv) => `c/${conv}`;

/** The key of the row that says who is in. @param {string} conv */
export const membershipKey = (conv) => `r/${conv}`;

/** All rows of one kind: a `/` is followed by a `0`. */
export const PROGRESSES = Object.freeze({ start: 'c/', stop: 'c0' });
export const MEMBERSHIPS = Object.freeze({ start: 'r/', stop: 'r0' });

/** A row alone. @param {string} key @returns {Span} */
export const spanOf = (key) => ({ start: key, stop: `${key}\0` });

/** Where the two rows of a conversation are. @param {string} conv */
export const chatSpans = (conv) => [spanOf(progressKey(conv)), spanOf(membershipKey(conv))];

/** Read what `stored` made. @param {string} what @param {import('./wire.js').Kind} kind @param {unknown} json */
export function restored(what, kind, json) {
  try {
    const { format: _, ...value } = kind.read(json);
    return value;
  } catch (error) {
    throw error instanceof WhisperError ? new WhisperError('store.corrupt', `${what}: ${error.message}`) : error;
  }
}

/** What is kept of a value; it goes into JSON as it is. @param {import('./wire.js').Kind} kind @param {object} value */
export const stored = (kind, value) => kind.write({ format: 1, ...value });

/** Read a conversation out of rows; one without any is new. @param {string} conv @param {Rows} rows @returns {Chat} */
export function chatOf(conv, rows) {
  const [progress, membership] = [rows.get(progressKey(conv)), rows.get(membershipKey(conv))];
  return {
    conv,
    progress: progress === undefined
      ? { pulledUpto: 0, head: 0, readUpto: 0, unread: [] } : restored('progress', PROGRESS, progress),
    membership: membership === undefined ? null : restored('membership', MEMBERSHIP, membership),
  };
}

/**
 * What to put and to delete where a conversation changed; nothing where it did not.
 *
 * @param {Chat} before
 * @param {Chat} chat
 * @returns {{put: [string, unknown][], delete: string[]}}
 */
export function rowsOf(before, chat) {
  /** @type {[string, unknown][]} */
  const put = [];
  const add = (/** @type {string} */ key, /** @type {unknown} */ was, /** @type {unknown} */ is) => {
    if (JSON.stringify(was) !== JSON.stringify(is)) put.push([key, is]);
  };
  add(progressKey(chat.conv), stored(PROGRESS, before.progress), stored(PROGRESS, chat.progress));
  if (chat.membership === null) {
    return { put, delete: before.membership === null ? [] : [membershipKey(chat.conv)] };
  }
  const was = before.membership === null ? null : stored(MEMBERSHIP, before.membership);
  add(membershipKey(chat.conv), was, stored(MEMBERSHIP, chat.membership));
  return { put, delete: [] };
}
