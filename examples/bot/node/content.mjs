// What is inside a ciphertext. The server never sees it, so only the clients have to agree about it: a small array in
// msgpack, [version, kind, fields ...].
import { decode as unpack, encode as pack } from '@msgpack/msgpack';
import { base64, bytes } from './names.mjs';

const VERSION = 1;
const TEXT = 1;
const REQUEST = 4;
const RESEND = 5;
const ASK_AGAIN = 6;
const BOUND = 7;

const encode = (...fields) => pack([VERSION, ...fields]);

/** A text, maybe as an answer to another message. */
export const text = (words, replyTo = null) => encode(TEXT, words, replyTo && bytes(replyTo));

/** "I could not read this message of yours: send it again, to this device alone." */
export const request = (conv, messageId) => encode(REQUEST, conv, bytes(messageId));

/** The answer to that. `content` is what was in the message. */
export const resend = (conv, messageId, content) => encode(RESEND, conv, bytes(messageId), content);

/** "What you said lately could not be read: ask again." */
export const askAgain = () => encode(ASK_AGAIN);

/**
 * A message together with the place it was written for. This is what is encrypted: without it a server could show
 * a message in another conversation, or twice.
 */
export const bind = (conv, messageId, content) => encode(BOUND, conv, bytes(messageId), content);

/** The content of what `bind` made, if it was made for this place. */
export function unbind(data, conv, messageId) {
  const [kind, ...fields] = read(data);
  if (kind !== BOUND || fields[0] !== conv || base64(fields[1]) !== messageId) {
    throw new Error('a message was written for another place than the one where it came');
  }
  return fields[2];
}

/** What came out of a ciphertext, as an object; {kind} alone if it is nothing that this program knows. */
export function decode(data) {
  const [kind, ...fields] = read(data);
  switch (kind) {
    case TEXT: return { kind: 'text', text: String(fields[0]), replyTo: fields[1] && base64(fields[1]) };
    case REQUEST: return { kind: 'request', conv: fields[0], messageId: base64(fields[1]) };
    case RESEND: return { kind: 'resend', conv: fields[0], messageId: base64(fields[1]), content: fields[2] };
    case ASK_AGAIN: return { kind: 'ask again' };
    default: return { kind }; // of a newer client: nothing to complain about
  }
}

function read(data) {
  const found = unpack(data);
  if (!Array.isArray(found) || found[0] !== VERSION) throw new Error('the content is of another version, or none');
  return found.slice(1);
}
