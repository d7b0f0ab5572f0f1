// The names of things. Whatever two sides compute apart has to be computed alike to the last bit.
//
// Bytes travel in JSON as base64, and that is how this program keeps them too: a message id is its base64 text
// wherever it is only compared or passed on. `bytes` and `base64` convert where cryptography needs the bytes.
import { createHash, randomBytes } from 'node:crypto';
import { blake2b } from '@noble/hashes/blake2.js';

export const base64 = (data) => Buffer.from(data).toString('base64');
export const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'));

// ---- users and devices ----------------------------------------------------------------------------------------------

// The namespace of users who are named: fixed for ever.
const USERS = Buffer.from('6f9b3c520d4e5a8e9d5b0c3f2e7a1b64', 'hex');

/** A user is a UUID in lower case; one with a name has the UUID of version 5 (SHA-1, RFC 9562) of that name. */
export function userNamed(name) {
  const hash = createHash('sha1').update(USERS).update(name, 'utf8').digest().subarray(0, 16);
  hash[6] = 0x50 | (hash[6] & 0x0f);
  hash[8] = 0x80 | (hash[8] & 0x3f);
  return hash.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** A device is its user and a number from 1 to 127. */
export const deviceOf = (user, number) => `${user}.${number}`;
export const userOf = (device) => device.split('.')[0];
export const numberOf = (device) => Number(device.split('.')[1]);

// ---- conversations --------------------------------------------------------------------------------------------------

// BLAKE2b has a field that keeps uses of the hash apart, 16 bytes long: shorter words are filled up with zeros.
const PERSON = Buffer.concat([Buffer.from('wk-direct'), Buffer.alloc(7)]);

/** The conversation of two users has the same id whoever of them asks: a hash of both, in the order of their texts. */
export function directConversation(one, other) {
  const both = Buffer.from([one, other].sort().join('\n'));
  return Buffer.from(blake2b(both, { dkLen: 16, personalization: PERSON })).toString('hex');
}

// ---- messages -------------------------------------------------------------------------------------------------------

/** A message is known by an id that its sender makes: a UUID of version 7, 48 bits of the clock and the rest random. */
export function mintId() {
  const id = Buffer.concat([Buffer.alloc(6), randomBytes(10)]);
  id.writeUIntBE(Date.now(), 0, 6);
  id[6] = 0x70 | (id[6] & 0x0f);
  id[8] = 0x80 | (id[8] & 0x3f);
  return base64(id);
}

/**
 * Each entry of an inbox has a tag: a hash of the tag before it and its message id. Two inboxes that end in the same
 * tag have the same entries. A number alone would not tell, because a server that was restored from a backup gives
 * numbers away a second time.
 */
export function nextTag(tag, messageId) {
  return base64(blake2b(Buffer.concat([bytes(tag), bytes(messageId)]), { dkLen: 8 }));
}
