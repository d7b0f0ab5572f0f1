// The keys of a device, on the official library: identity, prekeys, sessions.
//
// The library asks its user for a place to keep things, as classes with a few methods. Here they all read and write
// one object, {name: base64}, which is part of what the store keeps: so the sessions are saved together with
// what they opened. The library takes and gives bytes; it knows nothing of the server.
//
// The library is a program of its own under the AGPL-3.0; whoever runs or gives away this program with it has
// to keep that licence.
import { randomInt } from 'node:crypto';
import * as Signal from '@signalapp/libsignal-client';
import { base64, bytes, numberOf, userOf } from './names.mjs';

const DAY_MS = 86_400_000;
// How many one-time keys the server shall have, when it is time for more, and how soon after the last time.
const ONE_TIME_KEYS = 10;
const REFILL_BELOW = 5;
const REFILL_MS = 60_000;
// Signed keys are made anew each day. An old one is kept for as long as a first message may be under way.
const KEEP_SIGNED_MS = 30 * DAY_MS;

const address = (device) => Signal.ProtocolAddress.new(userOf(device), numberOf(device));
const named = (kind, name) => `${kind}/${name}`;

// ---- what the library wants kept ------------------------------------------------------------------------------------

class Sessions extends Signal.SessionStore {
  constructor(rows) { super(); this.rows = rows; }
  async saveSession(remote, record) { this.rows[named('session', remote)] = base64(record.serialize()); }
  async getSession(remote) {
    const row = this.rows[named('session', remote)];
    return row ? Signal.SessionRecord.deserialize(bytes(row)) : null;
  }
  async getExistingSessions(remotes) { return Promise.all(remotes.map((remote) => this.getSession(remote))); }
}

// A key that is new is trusted, and so is one that changed: the person is told, and can compare safety numbers. An
// application for people who are in danger asks first.
class Identities extends Signal.IdentityKeyStore {
  constructor(rows, registrationId, changed) {
    super();
    Object.assign(this, { rows, registrationId, changed });
  }
  async getIdentityKey() { return Signal.PrivateKey.deserialize(bytes(this.rows.identity)); }
  async getLocalRegistrationId() { return this.registrationId; }
  async isTrustedIdentity() { return true; }
  async getIdentity(remote) {
    const row = this.rows[named('peer', remote)];
    return row ? Signal.PublicKey.deserialize(bytes(row)) : null;
  }
  async saveIdentity(remote, key) {
    const before = await this.getIdentity(remote);
    this.rows[named('peer', remote)] = base64(key.serialize());
    if (!before || before.equals(key)) return Signal.IdentityChange.NewOrUnchanged;
    this.changed(`${remote.name()}.${remote.deviceId()}`);
    return Signal.IdentityChange.ReplacedExisting;
  }
}

const found = (rows, kind, id, type) => {
  const row = rows[named(kind, id)];
  if (!row) throw new Error(`there is no ${kind} key ${id} any more`);
  return type.deserialize(bytes(row));
};

class OneTime extends Signal.PreKeyStore {
  constructor(rows) { super(); this.rows = rows; }
  async savePreKey(id, record) { this.rows[named('one-time', id)] = base64(record.serialize()); }
  async getPreKey(id) { return found(this.rows, 'one-time', id, Signal.PreKeyRecord); }
  async removePreKey(id) { delete this.rows[named('one-time', id)]; }
}

class Signed extends Signal.SignedPreKeyStore {
  constructor(rows) { super(); this.rows = rows; }
  async saveSignedPreKey(id, record) { this.rows[named('signed', id)] = base64(record.serialize()); }
  async getSignedPreKey(id) { return found(this.rows, 'signed', id, Signal.SignedPreKeyRecord); }
}

class Kyber extends Signal.KyberPreKeyStore {
  constructor(rows, lastResorts) { super(); this.rows = rows; this.lastResorts = lastResorts; }
  async saveKyberPreKey(id, record) { this.rows[named('kyber', id)] = base64(record.serialize()); }
  async getKyberPreKey(id) { return found(this.rows, 'kyber', id, Signal.KyberPreKeyRecord); }
  // One-time keys go when they were used. The last resort stays, and with it the danger that somebody sends a
  // first message a second time: what it was used with is remembered for as long as the key lives.
  async markKyberPreKeyUsed(id, signedId, baseKey) {
    const seen = this.lastResorts[id];
    if (!seen) { delete this.rows[named('kyber', id)]; return; }
    const use = `${signedId}/${base64(baseKey.serialize())}`;
    if (seen.includes(use)) throw new Error('a first message came a second time');
    seen.push(use);
  }
}

// ---- what the client wants done -------------------------------------------------------------------------------------

/** The keys of a new device: an object to be kept. */
export function newKeys() {
  return {
    registrationId: randomInt(1, 16_380), // 14 bits; it tells an installation from a later one of the same device
    nextId: 1, // of the next prekey, of whatever kind: numbers never come again
    lastResorts: {}, // Kyber keys for more than one use, by number: what they were used with
    signedAt: {}, // when signed keys and last resorts were made, by number
    left: 0, // how many one-time keys the server should still have
    publishedAt: 0,
    rows: { identity: base64(Signal.PrivateKey.generate().serialize()) },
  };
}

/** The keys of a device at work. `kept` is what `newKeys` made; it is changed. */
export class Keys {
  constructor(device, kept, { changed = () => {} } = {}) {
    this.device = device;
    this.kept = kept;
    this.stores(kept.rows, changed);
  }

  stores(rows, changed) {
    this.local = address(this.device);
    this.sessions = new Sessions(rows);
    this.identities = new Identities(rows, this.kept.registrationId, changed);
    this.oneTime = new OneTime(rows);
    this.signed = new Signed(rows);
    this.kyber = new Kyber(rows, this.kept.lastResorts);
  }

  get private() { return Signal.PrivateKey.deserialize(bytes(this.kept.rows.identity)); }
  get identityKey() { return base64(this.private.getPublicKey().serialize()); }
  sign(message) { return base64(this.private.sign(message)); }

  // ---- prekeys: what others need to write a first message while this device is away ----

  needsPrekeys() {
    const age = Date.now() - this.kept.publishedAt;
    return age > DAY_MS || (this.kept.left < REFILL_BELOW && age > REFILL_MS);
  }

  /** Make prekeys. Their private halves have to be saved before the public ones leave: the fields of PUBLISH. */
  async makePrekeys() {
    const { kept } = this;
    const now = Date.now();
    this.dropOld(now);
    const missing = Math.max(0, ONE_TIME_KEYS - kept.left);
    const signed = await this.makeSigned(now);
    const lastResort = await this.makeKyber(now);
    kept.lastResorts[lastResort[0]] = [];
    for (const [id] of [signed, lastResort]) kept.signedAt[id] = now;
    const oneTime = [];
    const kyber = [];
    for (let i = 0; i < missing; i++) {
      oneTime.push(await this.makeOneTime());
      kyber.push(await this.makeKyber(now));
    }
    return { signed, last_resort: lastResort, one_time: oneTime, kyber };
  }

  async makeSigned(now) {
    const id = this.kept.nextId++;
    const key = Signal.PrivateKey.generate();
    const publicKey = key.getPublicKey();
    const signature = this.private.sign(publicKey.serialize());
    await this.signed.saveSignedPreKey(id, Signal.SignedPreKeyRecord.new(id, now, publicKey, key, signature));
    return [id, base64(publicKey.serialize()), base64(signature)];
  }

  async makeKyber(now) {
    const id = this.kept.nextId++;
    const pair = Signal.KEMKeyPair.generate();
    const publicKey = pair.getPublicKey().serialize();
    const signature = this.private.sign(publicKey);
    await this.kyber.saveKyberPreKey(id, Signal.KyberPreKeyRecord.new(id, now, pair, signature));
    return [id, base64(publicKey), base64(signature)];
  }

  async makeOneTime() {
    const id = this.kept.nextId++;
    const key = Signal.PrivateKey.generate();
    const publicKey = key.getPublicKey();
    await this.oneTime.savePreKey(id, Signal.PreKeyRecord.new(id, publicKey, key));
    return [id, base64(publicKey.serialize())];
  }

  dropOld(now) {
    const { kept } = this;
    for (const [id, madeAt] of Object.entries(kept.signedAt)) {
      if (now - madeAt < KEEP_SIGNED_MS) continue;
      const kind = kept.lastResorts[id] ? 'kyber' : 'signed';
      delete kept.rows[named(kind, id)];
      delete kept.lastResorts[id];
      delete kept.signedAt[id];
    }
  }

  // ---- sessions ----

  async hasSession(remote) {
    const record = await this.sessions.getSession(address(remote));
    return record !== null && record.hasCurrentState(new Date());
  }

  /** Whether a device was met before. */
  async knows(remote) { return (await this.identities.getIdentity(address(remote))) !== null; }

  /** Begin a session from a bundle: the `keys` of a BUNDLE. The library checks the signatures in it. */
  async begin(remote, [registrationId, identityKey, signed, kyber, , oneTime]) {
    const publicKey = (key) => Signal.PublicKey.deserialize(bytes(key));
    const bundle = Signal.PreKeyBundle.new(
      registrationId, numberOf(remote), oneTime?.[0] ?? null, oneTime ? publicKey(oneTime[1]) : null,
      signed[0], publicKey(signed[1]), bytes(signed[2]), publicKey(identityKey),
      kyber[0], Signal.KEMPublicKey.deserialize(bytes(kyber[1])), bytes(kyber[2]),
    );
    await Signal.processPreKeyBundle(bundle, address(remote), this.local, this.sessions, this.identities);
  }

  /** Put the session with a device aside: the next message to it begins a new one. */
  async archive(remote) {
    const record = await this.sessions.getSession(address(remote));
    if (!record) return;
    record.archiveCurrentState();
    await this.sessions.saveSession(address(remote), record);
  }

  /** Encrypt for one device. What travels is the type of the ciphertext in one byte, then its body. */
  async encrypt(remote, plaintext) {
    const sealed = await Signal.signalEncrypt(
      plaintext, address(remote), this.local, this.sessions, this.identities,
    );
    return base64(Buffer.concat([Buffer.from([sealed.type()]), sealed.serialize()]));
  }

  /** Decrypt what came from a device. If it cannot be opened, the sessions are as they were. */
  async decrypt(remote, own) {
    const before = { rows: { ...this.kept.rows }, lastResorts: structuredClone(this.kept.lastResorts) };
    try {
      return await this.open(address(remote), bytes(own));
    } catch (error) {
      replace(this.kept.rows, before.rows);
      replace(this.kept.lastResorts, before.lastResorts);
      throw error;
    }
  }

  async open(remote, own) {
    const [type, body] = [own[0], own.slice(1)];
    if (type === Signal.CiphertextMessageType.Whisper) {
      const message = Signal.SignalMessage.deserialize(body);
      return Signal.signalDecrypt(message, remote, this.local, this.sessions, this.identities);
    }
    if (type !== Signal.CiphertextMessageType.PreKey) throw new Error(`a message of type ${type} has no place here`);
    const message = Signal.PreKeySignalMessage.deserialize(body);
    const oneTime = message.preKeyId();
    const isFirst = oneTime !== null && this.kept.rows[named('one-time', oneTime)] !== undefined;
    const plaintext = await Signal.signalDecryptPreKey(
      message, remote, this.local, this.sessions, this.identities, this.oneTime, this.signed, this.kyber,
    );
    if (isFirst) this.kept.left = Math.max(0, this.kept.left - 1);
    return plaintext;
  }
}

function replace(object, before) {
  for (const name of Object.keys(object)) if (!(name in before)) delete object[name];
  Object.assign(object, before);
}
