// @ts-check
// The wire in its JSON form: ids, cursors, and the frames between a device in a browser and its gateway.
//
// A message of the WebSocket is a frame, [code, field, field, ...], or several, [[code, ...], [code, ...], ...]. Here a
// frame is an object, {frame: 'ACK', cursor}; `decode` and `encode` translate, and hold what comes and what goes to the
// table below: what they let through has the right types, lengths and ranges. What it leaves out are the frames about
// keys and devices, which a page without end-to-end keys does not send, and is therefore never answered.
//
// Numbers are JavaScript's own: the wire stops at 2**53 - 1, and whatever is larger or has a fraction is refused, never
// rounded. Bytes stay what they are in JSON, base64 with padding, because ids and tags have to be compared and saved;
// `fromBase64` makes bytes of them. What is a map in Python is a `Map`: a room may be called `__proto__`, or `7`.
import { blake2b } from './blake2b.js';

export const PROTOCOL_VERSION = 1;
export const MAX_NUMBER = Number.MAX_SAFE_INTEGER;
export const MAX_JSON_CHARS = 3 << 19;
export const MAX_FRAMES = 1_024;
export const MAX_ROWS = 256;
export const MAX_CONVERSATIONS = 1_024;
export const MAX_MEMBERS = 6_000;
/** The conversation of asides, which are in none. */
export const ASIDES = '_';

/**
 * What went wrong, under the same `code` as in Python: `usage` (the caller's fault), `ids.malformed`, `wire.malformed`
 * and `wire.oversized` (of a peer: drop what came), `store.corrupt` (what was saved is something else).
 */
export class WhisperError extends Error {
  /** @param {string} code @param {string} message */
  constructor(code, message) {
    super(message);
    this.name = 'WhisperError';
    this.code = code;
  }
}

/** @param {string} text @returns {never} */
const refuse = (text) => { throw new WhisperError('wire.malformed', text); };

/** @param {unknown} value What to show of something that is wrong. */
const shown = (value) => JSON.stringify(typeof value === 'string' ? value.slice(0, 64) : typeof value);

// ---- enumerations: numbers that are fixed for ever ------------------------------------------------------------------

export const EntryKind = Object.freeze({ MESSAGE: 1, ROSTER: 2, MODE: 3, VOID: 4, PLACEHOLDER: 5, ASIDE: 6 });
export const Answer = Object.freeze({ DELTA: 1, SNAPSHOT: 2, FORKED: 3, AHEAD: 4 });
export const Strategy = Object.freeze({ SMALL: 1, MID: 2, MEGA: 3 });
export const MarkKind = Object.freeze({ DELIVERED: 1, READ: 2 });
export const PresenceState = Object.freeze({ ONLINE: 1, OFFLINE: 2, UNKNOWN: 3 });
export const RefusalReason = Object.freeze({
  STALE_OUTBOX: 1, SEND_FIRST: 2, ROSTER_MOVED: 3, NOT_MEMBER: 4, STALE_DEVICES: 5, TOO_LARGE: 6, TRY_LATER: 7,
  INVALID: 8, NO_SUCH_USER: 9,
});
export const ByeCode = Object.freeze({
  NORMAL: 1, RESYNC: 2, SUPERSEDED: 3, TRY_LATER: 4, UNAUTHORISED: 5, PROTOCOL: 6,
});

// ---- bytes ----------------------------------------------------------------------------------------------------------

// `atob` alone would take spaces, and padding that is missing.
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** @param {string} text @returns {Uint8Array} */
export function fromBase64(text) {
  if (typeof text !== 'string' || !BASE64.test(text)) refuse('not base64');
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}

/** @param {Uint8Array} data @returns {string} */
export function toBase64(data) {
  let chars = '';
  for (const byte of data) chars += String.fromCharCode(byte);
  return btoa(chars);
}

/** @param {string} text Base64 that was checked. */
const sizeOf = (text) => (3 * text.length) / 4 - (text.endsWith('==') ? 2 : Number(text.endsWith('=')));

// ---- ids ------------------------------------------------------------------------------------------------------------

/** @param {string} kind @param {string} expected @param {(text: string) => boolean} isOne */
const id = (kind, expected, isOne) => (/** @type {unknown} */ text) => {
  if (typeof text === 'string' && isOne(text)) return text;
  throw new WhisperError('ids.malformed', `a ${kind} id is ${expected}, got ${shown(text)}`);
};

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const DEVICE_NUMBER = /^[1-9][0-9]{0,2}$/;

/** A user: the same text, or an error. */
export const userId = id('user', 'a lower-case UUID', (text) => UUID.test(text));

/** A device, `user.number`: the same text, or an error. */
export const deviceId = id('device', 'user.number, up to 127', (text) => (
  UUID.test(text.slice(0, 36)) && text[36] === '.' && DEVICE_NUMBER.test(text.slice(37)) && +text.slice(37) <= 127
));

/** A conversation: the same text, or an error. */
export const conversationId = id('conversation', '1 to 48 of A-Z a-z 0-9 _ -', (text) => (
  /^[A-Za-z0-9_-]{1,48}$/.test(text)
));

/** The user of a device. @param {string} device */
export const userOf = (device) => device.slice(0, 36);

// ---- what a field may hold ------------------------------------------------------------------------------------------

/**
 * `read` makes a value of what JSON has, or refuses it; `write` turns it back, unchecked.
 *
 * @typedef {{read: (json: any) => any, write: (value: any) => any}} Kind
 */

/** @param {(json: any) => any} read @returns {Kind} */
const plain = (read) => ({ read, write: (value) => value });

/** @param {number} [low] @param {number} [high] */
export const number = (low = 0, high = MAX_NUMBER) => plain((json) => {
  if (!Number.isSafeInteger(json) || json < low || json > high) refuse(`not a number of ${low} to ${high}`);
  return json + 0; // there is no -0
});

export const flag = plain((json) => (typeof json === 'boolean' ? json : refuse('not true or false')));

/** @param {number} low @param {number} high */
const bytes = (low, high) => plain((json) => {
  if (typeof json !== 'string' || !BASE64.test(json)) refuse('not base64');
  if (sizeOf(json) < low || sizeOf(json) > high) refuse(`not ${low} to ${high} bytes`);
  return json.endsWith('=') ? btoa(atob(json)) : json; // bits behind the last byte: two texts would be the same bytes
});

/** @param {Record<string, number>} members */
export const choice = (members) => plain((json) => (
  Object.values(members).includes(json) ? json : refuse('not a known one')
));

/** @param {Kind} kind @returns {Kind} */
export const nullable = (kind) => ({
  read: (json) => (json === null ? null : kind.read(json)),
  write: (value) => (value === null ? null : kind.write(value)),
});

/** @param {Kind} kind @param {number} high @returns {Kind} */
export const array = (kind, high) => ({
  read(json) {
    if (!Array.isArray(json)) refuse('not an array');
    if (json.length > high) refuse(`${json.length} elements, at most ${high} are allowed`);
    return json.map(kind.read);
  },
  write: (value) => (Array.isArray(value) ? value.map(kind.write) : value),
});

/** @param {Kind} key @param {Kind} value @param {number} high @returns {Kind} */
const mapOf = (key, value, high) => ({
  read(json) {
    if (typeof json !== 'object' || json === null || Array.isArray(json)) refuse('not a map');
    const pairs = Object.entries(json);
    if (pairs.length > high) refuse(`${pairs.length} pairs, at most ${high} are allowed`);
    return new Map(pairs.map(([name, one]) => [key.read(name), value.read(one)]));
  },
  write: (found) => (found instanceof Map ? Object.fromEntries(found) : found),
});

/** An array with a fixed place for each field; an object here. @param {Record<string, Kind>} fields @returns {Kind} */
export const record = (fields) => {
  const names = Object.keys(fields);
  return {
    read(json) {
      if (!Array.isArray(json)) refuse('not an array');
      if (json.length !== names.length) refuse(`${json.length} fields came, ${names.length} belong there`);
      return Object.fromEntries(names.map((name, i) => [name, within(name, () => fields[name].read(json[i]))]));
    },
    write: (value) => names.map((name) => fields[name].write(value?.[name])),
  };
};

/** Say where it was that something is refused. @param {string} name @param {() => any} work */
function within(name, work) {
  try {
    return work();
  } catch (error) {
    throw error instanceof WhisperError ? new WhisperError('wire.malformed', `${name}: ${error.message}`) : error;
  }
}

export const SEQ = number();
export const USER = plain(userId);
export const DEVICE = plain(deviceId);
const CONV = plain(conversationId);
const MESSAGE_ID = bytes(16, 16);
const KIND = choice(EntryKind);
const TEXT_BYTES = bytes(0, 256 << 10);
const COPY = nullable(TEXT_BYTES);
const SENDER = nullable(DEVICE);
const COPIES = mapOf(DEVICE, TEXT_BYTES, 256);
const DEVICES = array(DEVICE, 1_024);
const CONVS = array(CONV, MAX_CONVERSATIONS);
const OUTBOX = { outboxEpoch: number(1), outboxSeq: number(1) };

/** @typedef {{epoch: number, seq: number, tag: string}} Cursor */
export const CURSOR = record({ epoch: number(1), seq: SEQ, tag: bytes(8, 8) });

/** @typedef {{added: string[], removed: string[]}} RosterChange */
export const CHANGE = record({ added: array(USER, 1_000), removed: array(USER, 1_000) });

/**
 * @typedef {{conv: string, seq: number, rosterSeq: number, strategy: number, members: string[], readUpto: number}} Item
 */
export const ITEM = record({
  conv: CONV, seq: SEQ, rosterSeq: SEQ, strategy: choice(Strategy), members: array(USER, MAX_MEMBERS), readUpto: SEQ,
});

/**
 * @typedef {{messageId: string, kind: number, convSeq: number, sender: string | null, atMs: number,
 *   own: string | null, shared: string | null}} Row
 */
export const ROW = record({
  messageId: MESSAGE_ID, kind: KIND, convSeq: SEQ, sender: SENDER, atMs: SEQ, own: COPY, shared: COPY,
});

// ---- the table ------------------------------------------------------------------------------------------------------

const TO_SERVER = 1;
const TO_CLIENT = 2;

/** @typedef {{code: number, direction: number, fields: Kind, names: string[]}} FrameSpec */
/** @typedef {{frame: string, [field: string]: any}} Frame */

/** @param {number} code @param {number} direction @param {Record<string, Kind>} fields @returns {FrameSpec} */
const line = (code, direction, fields) => ({ code, direction, fields: record(fields), names: Object.keys(fields) });

/** @type {Readonly<Record<string, FrameSpec>>} */
export const FRAMES = Object.freeze({
  CHALLENGE: line(1, TO_CLIENT, { version: SEQ, nonce: bytes(32, 32) }),
  HELLO: line(4, TO_SERVER, {
    version: SEQ, device: DEVICE, connectionNo: SEQ, cursor: nullable(CURSOR), proof: nullable(bytes(64, 64)),
  }),
  WELCOME: line(5, TO_CLIENT, { answer: choice(Answer), head: CURSOR, floor: CURSOR }),
  BYE: line(6, TO_CLIENT, { code: choice(ByeCode), retryAfterS: nullable(number(0, 86_400)) }),
  BEAT: line(7, TO_SERVER, {}),
  HEAD: line(8, TO_CLIENT, { cursor: CURSOR, conversations: mapOf(CONV, SEQ, MAX_CONVERSATIONS) }),
  ENTRY: line(16, TO_CLIENT, {
    seq: number(1), tag: bytes(8, 8), messageId: MESSAGE_ID, kind: KIND, conv: CONV, convSeq: SEQ, pullUpto: SEQ,
    sender: SENDER, atMs: SEQ, own: COPY, shared: COPY,
  }),
  ACK: line(17, TO_SERVER, { cursor: CURSOR }),
  PULL: line(18, TO_SERVER, { cursor: CURSOR }),
  SNAPSHOT: line(19, TO_CLIENT, { cursor: CURSOR, part: SEQ, isLast: flag, items: array(ITEM, 256) }),
  FOLLOW: line(20, TO_SERVER, { convs: CONVS }),
  RANGE: line(21, TO_SERVER, { conv: CONV, after: SEQ, upto: SEQ, limit: number(1, MAX_ROWS) }),
  ROWS: line(22, TO_CLIENT, { conv: CONV, after: SEQ, upto: SEQ, rows: array(ROW, MAX_ROWS), head: SEQ }),
  SEND: line(32, TO_SERVER, {
    conv: CONV, ...OUTBOX, messageId: MESSAGE_ID, kind: KIND, ifRoster: nullable(SEQ), devices: DEVICES,
    change: nullable(CHANGE), shared: COPY, own: nullable(COPIES),
  }),
  SENT: line(33, TO_CLIENT, { conv: CONV, ...OUTBOX, messageId: MESSAGE_ID, convSeq: SEQ, atMs: SEQ }),
  REFUSED: line(34, TO_CLIENT, {
    conv: CONV, ...OUTBOX, messageId: MESSAGE_ID, reason: choice(RefusalReason), number: SEQ, missing: DEVICES,
    extra: DEVICES,
  }),
  ASIDE: line(35, TO_SERVER, { messageId: MESSAGE_ID, own: COPIES }),
  ASIDE_OK: line(36, TO_CLIENT, { messageId: MESSAGE_ID }),
  READ: line(64, TO_SERVER, { conv: CONV, upto: SEQ }),
  MARKS: line(65, TO_SERVER, { convs: CONVS }),
  MARK: line(66, TO_CLIENT, { conv: CONV, user: USER, kind: choice(MarkKind), upto: SEQ }),
  WATCH: line(67, TO_SERVER, { users: array(USER, 100) }),
  PRESENCE: line(68, TO_CLIENT, {
    user: USER, state: choice(PresenceState), lastSeenMs: nullable(SEQ), isCertain: flag,
  }),
  TYPING: line(69, TO_SERVER | TO_CLIENT, { conv: CONV, user: USER }),
});

const NAMES = new Map(Object.entries(FRAMES).map(([name, { code }]) => [code, name]));

/**
 * Read a message, one frame or several: all of them, or an error.
 *
 * @param {string} text
 * @returns {Frame[]}
 */
export function decode(text) {
  if (typeof text !== 'string') throw new WhisperError('usage', 'decode takes text: a binary message is msgpack');
  if (text.length > MAX_JSON_CHARS) {
    throw new WhisperError('wire.oversized', `a frame of ${text.length} came; the limit is ${MAX_JSON_CHARS}`);
  }
  const message = parse(text);
  if (!Array.isArray(message) || !message.length) refuse('frame: not an array, or an empty one');
  if (!Array.isArray(message[0])) return [read(message)];
  if (message.length > MAX_FRAMES) refuse(`frame: ${message.length} in one message, at most ${MAX_FRAMES} are allowed`);
  return message.map(read);
}

/** @param {string} text */
function parse(text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    refuse('frame: not JSON');
  }
  // JSON.parse rounds 9007199254740990.9 to a number that is whole. No frame has fractions in it.
  if (/\d[.eE]/.test(text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"/g, '""'))) refuse('frame: no frame has fractions in it');
  return value;
}

/** @param {unknown} elements @returns {Frame} */
function read(elements) {
  if (!Array.isArray(elements) || !elements.length) return refuse('frame: not an array, or an empty one');
  const [code, ...fields] = elements;
  const frame = NAMES.get(code);
  if (frame === undefined || !(FRAMES[frame].direction & TO_CLIENT)) {
    return refuse('frame: there is no such frame in this direction');
  }
  return { frame, ...within(frame, () => FRAMES[frame].fields.read(fields)) };
}

/**
 * Write frames into messages: mostly one, more where their size asks for it.
 *
 * @param {readonly Frame[]} frames
 * @returns {string[]}
 */
export function encode(frames) {
  /** @type {string[][]} */
  const groups = [];
  let room = 0;
  for (const part of frames.map(written)) {
    const size = part.length + 1;
    if (size > MAX_JSON_CHARS - 2) {
      throw new WhisperError('usage.too-large', `a frame of ${part.length} cannot be sent`);
    }
    if (size > room || groups[groups.length - 1].length === MAX_FRAMES) {
      groups.push([]);
      room = MAX_JSON_CHARS - 2;
    }
    groups[groups.length - 1].push(part);
    room -= size;
  }
  return groups.map((parts) => (parts.length === 1 ? parts[0] : `[${parts.join(',')}]`));
}

/** What goes out is checked as well: JSON would write a number that is too large, or `undefined`, as something else. */
function written(/** @type {Frame} */ frame) {
  const spec = Object.hasOwn(FRAMES, frame.frame) ? FRAMES[frame.frame] : null;
  if (spec === null || !(spec.direction & TO_SERVER)) {
    throw new WhisperError('usage', `${shown(frame.frame)} is no frame that a device sends`);
  }
  const fields = spec.fields.write(frame);
  held(frame.frame, spec.fields, fields);
  return JSON.stringify([spec.code, ...fields]);
}

/** Hold what the caller gave to its kind. @param {string} name @param {Kind} kind @param {unknown} json */
export function held(name, kind, json) {
  try {
    return kind.read(json);
  } catch (error) {
    throw error instanceof WhisperError ? new WhisperError('usage', `${name}: ${error.message}`) : error;
  }
}

// ---- cursors --------------------------------------------------------------------------------------------------------

/** @param {Cursor | null} one @param {Cursor | null} other */
export const sameCursor = (one, other) => (
  one?.epoch === other?.epoch && one?.seq === other?.seq && one?.tag === other?.tag
);

/** The opaque text form, 32 characters. @param {Cursor} cursor */
export function cursorText(cursor) {
  const { epoch, seq, tag } = held('cursor', CURSOR, CURSOR.write(cursor));
  const data = new Uint8Array(24);
  const view = new DataView(data.buffer);
  view.setBigUint64(0, BigInt(epoch));
  view.setBigUint64(8, BigInt(seq));
  data.set(fromBase64(tag), 16);
  return toBase64(data).replaceAll('+', '-').replaceAll('/', '_');
}

/**
 * Read the text form. In it numbers have 63 bits: one that JavaScript would round is refused.
 *
 * @param {string} text
 * @returns {Cursor}
 */
export function parseCursor(text) {
  if (typeof text === 'string' && /^[A-Za-z0-9_-]{32}$/.test(text)) {
    const data = fromBase64(text.replaceAll('-', '+').replaceAll('_', '/'));
    const view = new DataView(data.buffer);
    const [epoch, seq] = [view.getBigUint64(0), view.getBigUint64(8)];
    if (epoch >= 1n && epoch <= MAX_NUMBER && seq <= MAX_NUMBER) {
      return { epoch: Number(epoch), seq: Number(seq), tag: toBase64(data.subarray(16)) };
    }
  }
  const expected = '32 characters, with numbers up to 2**53 - 1';
  throw new WhisperError('ids.malformed', `a cursor id is ${expected}, got ${shown(text)}`);
}

/** The tag before the first entry of a device's inbox. @param {string} device */
export const firstTag = (device) => toBase64(blake2b(new TextEncoder().encode(device), 8));

/** The tag after one more entry. @param {string} tag @param {string} messageId */
export const nextTag = (tag, messageId) => (
  toBase64(blake2b(Uint8Array.of(...fromBase64(tag), ...fromBase64(messageId)), 8))
);

// ---- what ROSTER entries carry: msgpack, in either form of the wire -------------------------------------------------

/** The change in `shared`. @param {string} shared @returns {RosterChange} */
export const decodeChange = (shared) => CHANGE.read(unpack(fromBase64(shared)));

/** The state of the conversation in `own`, for those whom the entry brings in. @param {string} own @returns {Item} */
export const decodeItem = (own) => ITEM.read(unpack(fromBase64(own)));

/** @typedef {'getUint8' | 'getUint16' | 'getUint32' | 'getBigUint64'} Unsigned */
/** @typedef {'getInt8' | 'getInt16' | 'getInt32' | 'getBigInt64'} Signed */
/** @type {Readonly<Record<number, [Unsigned | Signed, number]>>} */
const NUMBERS = {
  0xcc: ['getUint8', 1], 0xcd: ['getUint16', 2], 0xce: ['getUint32', 4], 0xcf: ['getBigUint64', 8],
  0xd0: ['getInt8', 1], 0xd1: ['getInt16', 2], 0xd2: ['getInt32', 4], 0xd3: ['getBigInt64', 8],
};
/** How the sizes of texts and the counts of arrays are written. @type {Readonly<Record<number, number>>} */
const SIZES = { 0xd9: 0xcc, 0xda: 0xcd, 0xdb: 0xce, 0xdc: 0xcd, 0xdd: 0xce };
const MAX_DEPTH = 2;
// An id; anything longer is none.
const MAX_TEXT = 48;

/** As much of msgpack as is in them: arrays of ids and numbers. @param {Uint8Array} data @returns {any} */
function unpack(data) {
  const view = new DataView(data.buffer);
  let at = 0;
  const take = (/** @type {number} */ size) => {
    at += size;
    if (at > data.length) refuse('ROSTER: not all there');
    return at - size;
  };
  const numeral = (/** @type {number} */ head) => {
    const [get, size] = NUMBERS[head];
    return Number(view[get](take(size))); // above 2**53 it is rounded to something that is refused, too
  };
  const text = (/** @type {number} */ size) => {
    if (size > MAX_TEXT) refuse('ROSTER: no id is so long');
    const from = take(size);
    return String.fromCharCode(...data.subarray(from, from + size));
  };
  const list = (/** @type {number} */ count, /** @type {number} */ depth) => {
    if (depth > MAX_DEPTH) refuse('ROSTER: too deep');
    /** @type {any[]} */
    const found = [];
    while (found.length < count) found.push(value(depth));
    return found;
  };
  /** @returns {any} */
  const value = (/** @type {number} */ depth) => {
    const head = view.getUint8(take(1));
    if (head < 0x80) return head;
    if (head >> 4 === 0x9) return list(head & 0x0f, depth + 1);
    if (head >> 5 === 0b101) return text(head & 0x1f);
    if (head in NUMBERS) return numeral(head);
    if (!(head in SIZES)) refuse('ROSTER: neither a number nor a text nor an array');
    const size = numeral(SIZES[head]);
    return head < 0xdc ? text(size) : list(size, depth + 1);
  };
  const found = value(0);
  if (at < data.length) refuse('ROSTER: there is something behind it');
  return found;
}
