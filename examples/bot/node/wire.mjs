// The wire: frames, and the WebSocket that carries them.
//
// A message of the WebSocket is a frame, [code, field, field, ...], or several, [[code, ...], [code, ...], ...]. In
// JSON bytes are base64 with padding. There are more frames than these; a client needs only those that it uses, and
// skips what it does not know.
import { decode as unpack } from '@msgpack/msgpack';
import { base64, bytes } from './names.mjs';

export const VERSION = 1;

export const FRAMES = {
  CHALLENGE: [1, 'version', 'nonce'],
  REGISTER: [2, 'device', 'identity_key', 'registration_id', 'name', 'proof'],
  REGISTERED: [3],
  HELLO: [4, 'version', 'device', 'connection_no', 'cursor', 'proof'],
  WELCOME: [5, 'answer', 'head', 'floor'],
  BYE: [6, 'code', 'retry_after_s'],
  BEAT: [7],
  HEAD: [8, 'cursor', 'conversations'],
  ENTRY: [
    16, 'seq', 'tag', 'message_id', 'kind', 'conv', 'conv_seq', 'pull_upto', 'sender', 'at_ms', 'own', 'shared',
  ],
  ACK: [17, 'cursor'],
  PULL: [18, 'cursor'],
  SNAPSHOT: [19, 'cursor', 'part', 'is_last', 'items'],
  SEND: [
    32, 'conv', 'outbox_epoch', 'outbox_seq', 'message_id', 'kind', 'if_roster', 'devices', 'change', 'shared', 'own',
  ],
  SENT: [33, 'conv', 'outbox_epoch', 'outbox_seq', 'message_id', 'conv_seq', 'at_ms'],
  REFUSED: [34, 'conv', 'outbox_epoch', 'outbox_seq', 'message_id', 'reason', 'number', 'missing', 'extra'],
  ASIDE: [35, 'message_id', 'own'],
  ASIDE_OK: [36, 'message_id'],
  PUBLISH: [48, 'request', 'signed', 'last_resort', 'one_time', 'kyber'],
  PUBLISHED: [49, 'request', 'ec_count', 'kyber_count'],
  TAKE: [50, 'request', 'device'],
  BUNDLE: [51, 'request', 'device', 'keys'],
  DEVICES: [52, 'request', 'users'],
  DEVICE_LISTS: [53, 'request', 'lists'],
  FAILED: [57, 'request', 'reason', 'detail'],
  READ: [64, 'conv', 'upto'],
};

export const KIND = { MESSAGE: 1, ROSTER: 2, MODE: 3, VOID: 4, PLACEHOLDER: 5, ASIDE: 6 };
export const ANSWER = { DELTA: 1, SNAPSHOT: 2, FORKED: 3, AHEAD: 4 };
export const REFUSAL = {
  STALE_OUTBOX: 1, SEND_FIRST: 2, ROSTER_MOVED: 3, NOT_MEMBER: 4, STALE_DEVICES: 5, TOO_LARGE: 6, TRY_LATER: 7,
  INVALID: 8, NO_SUCH_USER: 9,
};
export const BYE = { NORMAL: 1, RESYNC: 2, SUPERSEDED: 3, TRY_LATER: 4, UNAUTHORISED: 5, PROTOCOL: 6 };

const NAMES = new Map(Object.entries(FRAMES).map(([name, [code]]) => [code, name]));

/** {frame: 'ACK', cursor} as the array that travels. */
export function encode(frame) {
  const [code, ...fields] = FRAMES[frame.frame];
  return [code, ...fields.map((field) => {
    if (!(field in frame)) throw new Error(`${frame.frame} has no ${field}`);
    return frame[field];
  })];
}

/** What came in one message of the WebSocket, as a list of objects. */
export function decode(data) {
  const message = typeof data === 'string' ? JSON.parse(data) : before(data);
  const frames = Array.isArray(message[0]) ? message : [message];
  return frames.filter(([code]) => NAMES.has(code)).map(([code, ...values]) => {
    const frame = NAMES.get(code);
    return { frame, ...Object.fromEntries(FRAMES[frame].slice(1).map((field, i) => [field, values[i]])) };
  });
}

// The server speaks in the form in which it was last spoken to. What it says before that, CHALLENGE or BYE, comes in
// its own, msgpack, where bytes are bytes.
function before(data) {
  const inJson = (value) => {
    if (Array.isArray(value)) return value.map(inJson);
    return value instanceof Uint8Array ? base64(value) : value;
  };
  return inJson(unpack(new Uint8Array(data)));
}

// ---- what a device signs --------------------------------------------------------------------------------------------

const u64 = (number) => { const out = Buffer.alloc(8); out.writeBigUInt64BE(BigInt(number)); return out; };
const u32 = (number) => { const out = Buffer.alloc(4); out.writeUInt32BE(number); return out; };
const u16 = (number) => { const out = Buffer.alloc(2); out.writeUInt16BE(number); return out; };

/** For HELLO. The nonce is the server's and new each time, so a signature that was overheard is of no use. */
export function helloMessage(nonce, connectionNo, device) {
  return Buffer.concat([Buffer.from('whisperkit hello 1\0'), bytes(nonce), u64(connectionNo), Buffer.from(device)]);
}

/** For REGISTER: it proves that who registers the identity key has its private half. */
export function registerMessage(nonce, device, identityKey, registrationId, name) {
  return Buffer.concat([
    Buffer.from('whisperkit register 1\0'), bytes(nonce), bytes(identityKey), u32(registrationId), u16(device.length),
    Buffer.from(device), Buffer.from(name, 'utf8'),
  ]);
}

// ---- the WebSocket --------------------------------------------------------------------------------------------------

// A server that is there says something every half a minute: it answers each BEAT.
const BEAT_MS = 30_000;
const SILENT_MS = 75_000;

/**
 * One connection, from CHALLENGE to its end.
 *
 *   new Connection(url, {took, beat, trace})
 *
 * `took(frames)` is called for each message, one after another: the next waits until it is done. `beat()` is called
 * twice a minute. `ended` is a promise that is kept when the connection is over, with the BYE that the server said, or
 * null.
 */
export class Connection {
  constructor(url, { took, beat, trace }) {
    this.bye = null;
    this.error = null;
    this.trace = trace;
    this.socket = new WebSocket(url);
    this.socket.binaryType = 'arraybuffer';
    this.heardAt = Date.now();
    let turn = Promise.resolve();
    this.socket.onmessage = ({ data }) => {
      this.heardAt = Date.now();
      turn = turn.then(() => this.error ?? this.take(data, took)).catch((error) => this.fail(error));
    };
    const timer = setInterval(() => (Date.now() - this.heardAt > SILENT_MS ? this.close() : beat()), BEAT_MS);
    this.ended = new Promise((resolve) => {
      this.socket.onclose = () => { clearInterval(timer); turn.then(() => resolve(this.bye)); };
      this.socket.onerror = () => this.close(); // not every error is followed by a close of its own
    });
  }

  async take(data, took) {
    const frames = decode(data);
    for (const frame of frames) {
      this.trace('<', frame);
      if (frame.frame === 'BYE') this.bye = frame;
    }
    await took(frames);
  }

  /** Send frames, in one message. On a connection that is over it does nothing: what matters is sent on the next. */
  send(...frames) {
    if (!frames.length || this.socket.readyState !== WebSocket.OPEN) return;
    for (const frame of frames) this.trace('>', frame);
    const arrays = frames.map(encode);
    this.socket.send(JSON.stringify(arrays.length === 1 ? arrays[0] : arrays));
  }

  close() { this.socket.close(); }

  /** End because of an error of this program: `ended` is kept, and `error` says which. */
  fail(error) {
    this.error ??= error;
    this.close();
  }
}
