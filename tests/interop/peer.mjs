// Devices of the official Signal library, driven from outside: one JSON request per line on standard input, one JSON
// answer per line on standard output, in order. Bytes are lower-case hex, an address is [name, device number].
//
//     node peer.mjs DIRECTORY      where `npm install @signalapp/libsignal-client` was run
//
// It grew out of the program that recorded tests/vectors/signal. The library is a program of its own, which the tests
// install and talk to; nothing of it is in this repository.
//
// A request names a device in `who` and an operation in `op`; an error of the library is answered as
// {err: name, code, text}. What a device keeps is a map from names to bytes, as in a database, so every
// operation works on what was saved by the last one, and `save` and `load` move a device to another process.
//
//   about                              -> {version, node}
//   init       {addr, reg}             a new device -> {ident}
//   save       {} -> {state}           load {state}: all that a device keeps
//   bundle     {otp}                   new prekeys, with or without a one-time key -> a bundle
//   process    {addr, b, now?}         begin a session with the owner of a bundle
//   enc        {addr, pt, now?}        -> {t, m}
//   encmany    {addr, pt, n}           n times the same -> {ms}; all are of type 2
//   dec        {addr, t, m}            -> {pt}
//   archive    {addr}                  put the current session aside
//   sessions   {addr, now?}            -> {current}: whether there is one to send in
//   trust      {addr, k}               take an identity key for the device's
//   skdm       {d} -> {m}              skproc {addr, m}      sender key distribution messages for a distribution id
//   rotate     {d}                     forget the own sender key
//   genc       {d, pt} -> {m}          gdec {addr, m} -> {pt}
//   gencmany   {d, pt, n} -> {ms}      n times the same
//   sign       {m} -> {s}              verify {k, m, s} -> {ok}       agree {k} -> {s}
//   number     {addr, local, remote, k} -> {digits, scannable}        a safety number of version 2
//   compare    {local, remote, k, other} -> {ok}                      with the scanned bytes of the other side
//   issue      {root, server, id, name, device, k, e164?, until} -> {cert}   a sender certificate
//   seal       {addr, pt, cert} -> {m}                                sealed sender v1, of a session
//   sealplain  {addr, m, cert, now} -> {m}                            sealed sender v1, "could not decrypt m"
//   unseal     {m, root, now, e164?} -> {name, device, pt}            either version, of a session
//   peek       {m, root, now} -> {name, device, t, m, hint, group}    either version: what is under the seal
//   sealmany   {d, pt, cert, to, hint?, group?} -> {m}                sealed sender v2, of a group
//   single     {m} -> {m}                                             what a server makes of it for the only recipient
//   fromplain  {m} -> {timestamp, device, key}                        a "could not decrypt" that was peeked at
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

const NAME = '@signalapp/libsignal-client';
const entry = createRequire(join(resolve(process.argv[2]), 'peer.cjs')).resolve(NAME);
const S = await import(pathToFileURL(entry));

const hex = (bytes) => Buffer.from(bytes).toString('hex');
const un = (text) => Uint8Array.from(Buffer.from(text, 'hex'));
const address = ([name, device]) => S.ProtocolAddress.new(name, device);
const time = (ms) => (ms === undefined ? undefined : new Date(ms));
const publicKey = (text) => S.PublicKey.deserialize(un(text));
const key = (kind, ...names) => [kind, ...names].join('/');

// ---- what a device keeps: `rows` is a Map from names to bytes -------------------------------------------------------

class Sessions extends S.SessionStore {
  constructor(rows) { super(); this.rows = rows; }
  async saveSession(remote, record) { this.rows.set(key('session', remote), record.serialize()); }
  async getSession(remote) {
    const stored = this.rows.get(key('session', remote));
    return stored ? S.SessionRecord.deserialize(stored) : null;
  }
  async getExistingSessions(remotes) { return Promise.all(remotes.map((remote) => this.getSession(remote))); }
}

class Identities extends S.IdentityKeyStore {
  constructor(rows, reg) { super(); this.rows = rows; this.reg = reg; }
  async getIdentityKey() { return S.PrivateKey.deserialize(this.rows.get('identity')); }
  async getLocalRegistrationId() { return this.reg; }
  async getIdentity(remote) {
    const stored = this.rows.get(key('peer', remote));
    return stored ? S.PublicKey.deserialize(stored) : null;
  }
  async saveIdentity(remote, found) {
    const before = await this.getIdentity(remote);
    this.rows.set(key('peer', remote), found.serialize());
    return !before || before.equals(found) ? 0 : 1;
  }
  async isTrustedIdentity(remote, found) {
    const before = await this.getIdentity(remote);
    return !before || before.equals(found);
  }
}

const load = (rows, kind, id, type) => {
  const stored = rows.get(key(kind, id));
  if (!stored) throw new Error(`no ${kind} prekey ${id}`);
  return type.deserialize(stored);
};

class PreKeys extends S.PreKeyStore {
  constructor(rows) { super(); this.rows = rows; }
  async savePreKey(id, record) { this.rows.set(key('one-time', id), record.serialize()); }
  async getPreKey(id) { return load(this.rows, 'one-time', id, S.PreKeyRecord); }
  async removePreKey(id) { this.rows.delete(key('one-time', id)); }
}

class SignedPreKeys extends S.SignedPreKeyStore {
  constructor(rows) { super(); this.rows = rows; }
  async saveSignedPreKey(id, record) { this.rows.set(key('signed', id), record.serialize()); }
  async getSignedPreKey(id) { return load(this.rows, 'signed', id, S.SignedPreKeyRecord); }
}

class KyberPreKeys extends S.KyberPreKeyStore {
  constructor(rows) { super(); this.rows = rows; }
  async saveKyberPreKey(id, record) { this.rows.set(key('kyber', id), record.serialize()); }
  async getKyberPreKey(id) { return load(this.rows, 'kyber', id, S.KyberPreKeyRecord); }
  async markKyberPreKeyUsed() {}
}

class SenderKeys extends S.SenderKeyStore {
  constructor(rows) { super(); this.rows = rows; }
  async saveSenderKey(sender, distribution, record) {
    this.rows.set(key('sender-key', sender, distribution), record.serialize());
  }
  async getSenderKey(sender, distribution) {
    const stored = this.rows.get(key('sender-key', sender, distribution));
    return stored ? S.SenderKeyRecord.deserialize(stored) : null;
  }
}

class Device {
  constructor({ addr, reg, prekeys, rows }) {
    this.name = addr[0]; this.number = addr[1]; this.address = address(addr); this.reg = reg; this.prekeys = prekeys;
    this.rows = rows;
    this.sessions = new Sessions(rows); this.ids = new Identities(rows, reg);
    this.pre = new PreKeys(rows); this.signed = new SignedPreKeys(rows); this.kyber = new KyberPreKeys(rows);
    this.senderKeys = new SenderKeys(rows);
  }
  get private() { return S.PrivateKey.deserialize(this.rows.get('identity')); }
  get public() { return this.private.getPublicKey(); }
  encrypt(remote, text, now) { return S.signalEncrypt(text, remote, this.address, this.sessions, this.ids, now); }
  decrypt(remote, type, bytes) {
    if (type === 3) {
      const message = S.PreKeySignalMessage.deserialize(bytes);
      return S.signalDecryptPreKey(message, remote, this.address, this.sessions, this.ids, this.pre, this.signed, this.kyber);
    }
    return S.signalDecrypt(S.SignalMessage.deserialize(bytes), remote, this.address, this.sessions, this.ids);
  }
}

// ---- sealed sender: what an application does with what is under a seal ----------------------------------------------

async function open(me, m, root, now) {
  const content = await S.sealedSenderDecryptToUsmc(un(m), me.ids);
  const certificate = content.senderCertificate();
  if (!certificate.validate(publicKey(root), now)) throw new Error('the sender certificate is not valid');
  return { content, sender: [certificate.senderUuid(), certificate.senderDeviceId()] };
}

const fingerprint = (me, { local, remote, k }) => S.Fingerprint.new(5200, 2, un(local), me.public, un(remote), publicKey(k));

// ---- operations -----------------------------------------------------------------------------------------------------

const devices = new Map();

const general = {
  async about() {
    const { version } = JSON.parse(readFileSync(join(dirname(entry), '..', 'package.json'), 'utf8'));
    return { version, node: process.version };
  },
  async init({ who, addr, reg }) {
    const rows = new Map([['identity', S.PrivateKey.generate().serialize()]]);
    const me = new Device({ addr, reg, prekeys: 0, rows });
    devices.set(who, me);
    return { ident: hex(me.public.serialize()) };
  },
  async load({ who, state }) {
    const rows = new Map(Object.entries(state.rows).map(([name, value]) => [name, un(value)]));
    devices.set(who, new Device({ ...state, rows }));
    return {};
  },
};

const ops = {
  async save(me) {
    const rows = Object.fromEntries([...me.rows].map(([name, value]) => [name, hex(value)]));
    return { state: { addr: [me.name, me.number], reg: me.reg, prekeys: me.prekeys, rows } };
  },
  async bundle(me, { otp }) {
    const id = ++me.prekeys; const now = 1700000000000;
    const signed = S.PrivateKey.generate(); const spk = signed.getPublicKey(); const spksig = me.private.sign(spk.serialize());
    await me.signed.saveSignedPreKey(id, S.SignedPreKeyRecord.new(id, now, spk, signed, spksig));
    const kyber = S.KEMKeyPair.generate(); const kpk = kyber.getPublicKey(); const kpksig = me.private.sign(kpk.serialize());
    await me.kyber.saveKyberPreKey(id, S.KyberPreKeyRecord.new(id, now, kyber, kpksig));
    const b = {
      reg: me.reg, dev: me.number, ident: hex(me.public.serialize()),
      spkid: id, spk: hex(spk.serialize()), spksig: hex(spksig), kpkid: id, kpk: hex(kpk.serialize()), kpksig: hex(kpksig),
    };
    if (otp) {
      const once = S.PrivateKey.generate(); const pk = once.getPublicKey();
      await me.pre.savePreKey(id, S.PreKeyRecord.new(id, pk, once));
      b.pkid = id; b.pk = hex(pk.serialize());
    }
    return b;
  },
  async process(me, { addr, b, now }) {
    const bundle = S.PreKeyBundle.new(
      b.reg, b.dev, b.pkid ?? null, b.pk ? publicKey(b.pk) : null, b.spkid, publicKey(b.spk), un(b.spksig),
      publicKey(b.ident), b.kpkid, S.KEMPublicKey.deserialize(un(b.kpk)), un(b.kpksig),
    );
    await S.processPreKeyBundle(bundle, address(addr), me.address, me.sessions, me.ids, time(now));
    return {};
  },
  async enc(me, { addr, pt, now }) {
    const sealed = await me.encrypt(address(addr), un(pt), time(now));
    return { t: sealed.type(), m: hex(sealed.serialize()) };
  },
  async encmany(me, { addr, pt, n }) {
    const remote = address(addr); const text = un(pt); const ms = [];
    for (let i = 0; i < n; i++) {
      const sealed = await me.encrypt(remote, text);
      if (sealed.type() !== 2) throw new Error('the session is not answered yet');
      ms.push(hex(sealed.serialize()));
    }
    return { ms };
  },
  async dec(me, { addr, t, m }) { return { pt: hex(await me.decrypt(address(addr), t, un(m))) }; },
  async archive(me, { addr }) {
    const remote = address(addr); const record = await me.sessions.getSession(remote);
    record.archiveCurrentState(); await me.sessions.saveSession(remote, record);
    return {};
  },
  async sessions(me, { addr, now }) {
    const record = await me.sessions.getSession(address(addr));
    return { current: record !== null && record.hasCurrentState(time(now)) };
  },
  async trust(me, { addr, k }) { await me.ids.saveIdentity(address(addr), publicKey(k)); return {}; },

  async skdm(me, { d }) { return { m: hex((await S.SenderKeyDistributionMessage.create(me.address, d, me.senderKeys)).serialize()) }; },
  async skproc(me, { addr, m }) {
    await S.processSenderKeyDistributionMessage(address(addr), S.SenderKeyDistributionMessage.deserialize(un(m)), me.senderKeys);
    return {};
  },
  async rotate(me, { d }) { me.rows.delete(key('sender-key', me.address, d)); return {}; },
  async genc(me, { d, pt }) { return { m: hex((await S.groupEncrypt(me.address, d, me.senderKeys, un(pt))).serialize()) }; },
  async gencmany(me, { d, pt, n }) {
    const ms = [];
    for (let i = 0; i < n; i++) ms.push((await ops.genc(me, { d, pt })).m);
    return { ms };
  },
  async gdec(me, { addr, m }) { return { pt: hex(await S.groupDecrypt(address(addr), me.senderKeys, un(m))) }; },

  async sign(me, { m }) { return { s: hex(me.private.sign(un(m))) }; },
  async verify(me, { k, m, s }) { return { ok: publicKey(k).verify(un(m), un(s)) }; },
  async agree(me, { k }) { return { s: hex(me.private.agree(publicKey(k))) }; },
  async number(me, query) {
    const made = fingerprint(me, query);
    return { digits: made.displayableFingerprint().toString(), scannable: hex(made.scannableFingerprint().toBuffer()) };
  },
  async compare(me, query) { return { ok: fingerprint(me, query).scannableFingerprint().compare({ scannable: un(query.other), toBuffer() { return this.scannable; } }) }; },

  async issue(me, { root, server, id, name, device, k, e164, until }) {
    const serverKey = S.PrivateKey.deserialize(un(server));
    const signer = S.ServerCertificate.new(id, serverKey.getPublicKey(), S.PrivateKey.deserialize(un(root)));
    return { cert: hex(S.SenderCertificate.new(name, e164 ?? null, device, publicKey(k), until, signer, serverKey).serialize()) };
  },
  async seal(me, { addr, pt, cert }) {
    const certificate = S.SenderCertificate.deserialize(un(cert));
    return { m: hex(await S.sealedSenderEncryptMessage(un(pt), address(addr), certificate, me.sessions, me.ids)) };
  },
  async sealplain(me, { addr, m, cert, now }) {
    const error = S.DecryptionErrorMessage.forOriginal(un(m.m), m.t, now, addr[1]);
    const content = S.UnidentifiedSenderMessageContent.new(
      S.CiphertextMessage.from(S.PlaintextContent.from(error)), S.SenderCertificate.deserialize(un(cert)), 2, null,
    );
    return { m: hex(await S.sealedSenderEncrypt(content, address(addr), me.ids)) };
  },
  async unseal(me, { m, root, now, e164 }) {
    const opened = await S.sealedSenderDecryptMessage(
      un(m), publicKey(root), now, e164 ?? null, me.name, me.number, me.sessions, me.ids, me.pre, me.signed, me.kyber,
    );
    return { name: opened.senderUuid(), device: opened.deviceId(), pt: hex(opened.message()) };
  },
  async peek(me, { m, root, now }) {
    const { content, sender } = await open(me, m, root, now);
    return {
      name: sender[0], device: sender[1], t: content.msgType(), m: hex(content.contents()), hint: content.contentHint(),
      group: content.groupId() ? hex(content.groupId()) : '',
    };
  },
  async sealmany(me, { d, pt, cert, to, hint, group }) {
    const encrypted = await S.groupEncrypt(me.address, d, me.senderKeys, un(pt));
    const content = S.UnidentifiedSenderMessageContent.new(
      encrypted, S.SenderCertificate.deserialize(un(cert)), hint ?? 0, group ? un(group) : null,
    );
    const recipients = to.map(address);
    return { m: hex(await S.sealedSenderMultiRecipientEncrypt({ content, recipients, identityStore: me.ids, sessionStore: me.sessions })) };
  },
  async single(me, { m }) { return { m: hex(S.sealedSenderMultiRecipientMessageForSingleRecipient(un(m))) }; },
  async fromplain(me, { m }) {
    const content = S.PlaintextContent.deserialize(un(m)); const error = S.DecryptionErrorMessage.extractFromSerializedBody(content.body());
    return { timestamp: error.timestamp(), device: error.deviceId(), key: error.ratchetKey() ? hex(error.ratchetKey().serialize()) : '' };
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const query = JSON.parse(line); let answer;
  try {
    answer = general[query.op] ? await general[query.op](query) : await ops[query.op](devices.get(query.who), query);
  } catch (error) { answer = { err: error.name, code: error.code ?? null, text: error.message }; }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
