// The official library, measured inside Node.js: no message leaves the process while the clock runs.
//
//     node --expose-gc official.mjs DIRECTORY live|stored SIZES
//
// DIRECTORY is where `npm install @signalapp/libsignal-client` was run, SIZES the fields of `Sizes` in contestant.py as
// JSON; what is done with them is in driver.py, and what comes out is what worker.py writes for the others.
//
// The library asks a store for a session and hands it back at every message. `live` keeps the object that it handed
// over, which is the fastest that it can be; `stored` keeps bytes, as an application does that survives its end.
import { diffieHellman, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, kind, sizesText] = process.argv.slice(2);
const entry = createRequire(join(resolve(folder), 'peer.cjs')).resolve('@signalapp/libsignal-client');
const S = await import(pathToFileURL(entry));
const sizes = JSON.parse(sizesText);

const DISTRIBUTION = '7d0e7c1c-2f5c-4c1d-9d5c-0a5f0d6f8a11';
const NOW = 1_800_000_000_000;
const BURST_SLICE = 10; const PING_PONG_SLICE = 3; const SET_UP_SLICE = 1; const GROUP_SLICE = 10; const RECORDS_SLICE = 50;
const AFTER_COLLECTION = 60;

// ---- what a device keeps --------------------------------------------------------------------------------------------

const packed = kind === 'stored' ? (record) => record.serialize() : (record) => record;
const unpacked = kind === 'stored' ? (type, kept) => type.deserialize(kept) : (_, kept) => kept;

class Sessions extends S.SessionStore {
  kept = new Map();
  async saveSession(remote, record) { this.kept.set(remote.toString(), packed(record)); }
  async getSession(remote) {
    const kept = this.kept.get(remote.toString());
    return kept === undefined ? null : unpacked(S.SessionRecord, kept);
  }
  async getExistingSessions(remotes) { return Promise.all(remotes.map((remote) => this.getSession(remote))); }
}

// The own key and those of the others are kept live in both cases: an application has them at hand.
class Identities extends S.IdentityKeyStore {
  kept = new Map();
  constructor(own) { super(); this.own = own; }
  async getIdentityKey() { return this.own; }
  async getLocalRegistrationId() { return 1234; }
  async getIdentity(remote) { return this.kept.get(remote.toString()) ?? null; }
  async saveIdentity(remote, key) { this.kept.set(remote.toString(), key); return 0; }
  async isTrustedIdentity(remote, key) {
    const known = this.kept.get(remote.toString());
    return known === undefined || known.equals(key);
  }
}

class PreKeys extends S.PreKeyStore {
  kept = new Map();
  async savePreKey(id, record) { this.kept.set(id, packed(record)); }
  async getPreKey(id) { return unpacked(S.PreKeyRecord, this.kept.get(id)); }
  async removePreKey(id) { this.kept.delete(id); }
}

class SignedPreKeys extends S.SignedPreKeyStore {
  kept = new Map();
  async saveSignedPreKey(id, record) { this.kept.set(id, packed(record)); }
  async getSignedPreKey(id) { return unpacked(S.SignedPreKeyRecord, this.kept.get(id)); }
}

class KyberPreKeys extends S.KyberPreKeyStore {
  kept = new Map();
  async saveKyberPreKey(id, record) { this.kept.set(id, packed(record)); }
  async getKyberPreKey(id) { return unpacked(S.KyberPreKeyRecord, this.kept.get(id)); }
  async markKyberPreKeyUsed(id) { this.kept.delete(id); }
}

class SenderKeys extends S.SenderKeyStore {
  kept = new Map();
  async saveSenderKey(sender, distribution, record) { this.kept.set(`${sender}/${distribution}`, packed(record)); }
  async getSenderKey(sender, distribution) {
    const kept = this.kept.get(`${sender}/${distribution}`);
    return kept === undefined ? null : unpacked(S.SenderKeyRecord, kept);
  }
}

class Device {
  constructor(number) {
    this.private = S.PrivateKey.generate();
    // Service ids, as the official applications have: only then are addresses bound into first messages.
    this.address = S.ProtocolAddress.new(`9d0652a3-dcc3-4d11-975f-${String(number).padStart(12, '0')}`, 1);
    this.sessions = new Sessions(); this.ids = new Identities(this.private); this.senderKeys = new SenderKeys();
    this.pre = new PreKeys(); this.signed = new SignedPreKeys(); this.kyber = new KyberPreKeys();
  }

  // What a server would hand out, as bytes: one signed key, and for each bundle one of each one-time kind.
  async publish(count) {
    const sign = (key) => this.private.sign(key.serialize());
    const signed = S.PrivateKey.generate(); const spk = signed.getPublicKey(); const spksig = sign(spk);
    await this.signed.saveSignedPreKey(1, S.SignedPreKeyRecord.new(1, NOW, spk, signed, spksig));
    const bundles = [];
    for (let id = 1; id <= count; id++) {
      const once = S.PrivateKey.generate(); const pk = once.getPublicKey();
      const kyber = S.KEMKeyPair.generate(); const kpk = kyber.getPublicKey(); const kpksig = sign(kpk);
      await this.pre.savePreKey(id, S.PreKeyRecord.new(id, pk, once));
      await this.kyber.saveKyberPreKey(id, S.KyberPreKeyRecord.new(id, NOW, kyber, kpksig));
      bundles.push({
        id, identity: this.private.getPublicKey().serialize(), pk: pk.serialize(),
        spk: spk.serialize(), spksig, kpk: kpk.serialize(), kpksig,
      });
    }
    return bundles;
  }

  async begin(remote, b) {
    const key = (bytes) => S.PublicKey.deserialize(bytes);
    const bundle = S.PreKeyBundle.new(
      1234, 1, b.id, key(b.pk), 1, key(b.spk), b.spksig, key(b.identity), b.id, S.KEMPublicKey.deserialize(b.kpk), b.kpksig,
    );
    await S.processPreKeyBundle(bundle, remote, this.address, this.sessions, this.ids);
  }

  async encrypt(remote, text) {
    const sealed = await S.signalEncrypt(text, remote, this.address, this.sessions, this.ids);
    return { type: sealed.type(), body: sealed.serialize() };
  }

  decrypt(remote, { type, body }) {
    if (type === 3) {
      return S.signalDecryptPreKey(
        S.PreKeySignalMessage.deserialize(body), remote, this.address, this.sessions, this.ids, this.pre, this.signed, this.kyber,
      );
    }
    return S.signalDecrypt(S.SignalMessage.deserialize(body), remote, this.address, this.sessions, this.ids);
  }
}

// ---- the clock ------------------------------------------------------------------------------------------------------

const stretches = {};
const AGREEMENTS = 25;
const privateKey = generateKeyPairSync('x25519').privateKey; const publicKey = generateKeyPairSync('x25519').publicKey;

// Microseconds for one X25519 agreement, by the library of Node.js: tells quiet moments from others.
function look() {
  const before = process.cpuUsage();
  for (let n = 0; n < AGREEMENTS; n++) diffieHellman({ privateKey, publicKey });
  return rounded(microseconds(before) / AGREEMENTS);
}

const rounded = (us) => Math.round(us * 1_000) / 1_000;

const switches = () => process.resourceUsage().involuntaryContextSwitches;

// All threads of the process count, those that collect garbage and compile too, as they do for the others.
function microseconds(before) {
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

// Collects garbage, and waits until the threads that do it have done it: they would be billed to whatever comes next.
async function collected() {
  for (let tries = 0; tries < 200; tries++) {
    if (tries % 10 === 0) globalThis.gc();
    const before = process.cpuUsage();
    await new Promise((done) => { setTimeout(done, 5); });
    if (microseconds(before) < 500 && tries > 2) return;
  }
}

// A collection that is asked for throws compiled code away, too, which a program that just runs keeps. Two devices
// that are not measured talk until it is there again.
async function warmedUp() {
  await collected();
  for (const text of texts(AFTER_COLLECTION, 'others')) await turn(others, text);
}

// `work` makes one thing of one item and may wait; see measure.py.
async function timed(name, sliceItems, given, work) {
  const made = []; const items = []; const us = [];
  await warmedUp();
  const starts = [switches()]; const looks = [look()]; const ends = [switches()];
  for (let start = 0; start < given.length; start += sliceItems) {
    const slice = given.slice(start, start + sliceItems); const done = [];
    const before = process.cpuUsage();
    for (const each of slice) done.push(await work(each));
    us.push(rounded(microseconds(before) / slice.length));
    starts.push(switches()); looks.push(look()); ends.push(switches());
    items.push(slice.length); made.push(...done);
  }
  (stretches[name] ??= []).push({ items, us, looks, switches: us.map((_, n) => ends[n + 1] - starts[n]) });
  return made;
}

const texts = (count, mark) => Array.from({ length: count }, (_, n) => {
  const text = Buffer.alloc(sizes.text_bytes, '.'); text.write(`${mark} ${n} `);
  return new Uint8Array(text);
});

function expect(name, found, expected) {
  const same = found.length === expected.length && found.every((each, n) => Buffer.compare(each, expected[n]) === 0);
  if (!same) throw new Error(`${name}: what was decrypted is not what was encrypted`);
}

// ---- what is played -------------------------------------------------------------------------------------------------

async function meet() {
  const alice = new Device(1); const bob = new Device(2); const [hello] = texts(1, 'hello');
  const [bundle] = await bob.publish(1);
  await alice.begin(bob.address, bundle);
  expect('meet', [await bob.decrypt(alice.address, await alice.encrypt(bob.address, hello))], [hello]);
  return { writer: alice, reader: bob };
}

// One writes and one reads, by turns.
async function turn(talk, text) {
  [talk.writer, talk.reader] = [talk.reader, talk.writer];
  const message = await talk.writer.encrypt(talk.reader.address, text);
  return talk.reader.decrypt(talk.writer.address, message);
}

async function spoken(messages) {
  const talk = await meet(); const plaintexts = texts(messages, 'before'); const read = [];
  for (const text of plaintexts) read.push(await turn(talk, text));
  expect('before', read, plaintexts);
  return talk;
}

async function burst({ writer, reader }, name, count, type) {
  const plaintexts = texts(count, name);
  const sent = await timed(`${name}_encrypt`, BURST_SLICE, plaintexts, (text) => writer.encrypt(reader.address, text));
  const read = await timed(`${name}_decrypt`, BURST_SLICE, sent, (message) => reader.decrypt(writer.address, message));
  expect(name, read, plaintexts);
  if (sent.some((message) => message.type !== type)) throw new Error(`${name}: not all messages are of type ${type}`);
}

async function pingPong() {
  const talk = await meet(); const plaintexts = texts(sizes.ping_pong, 'ping-pong');
  expect('ping_pong', await timed('ping_pong', PING_PONG_SLICE, plaintexts, (text) => turn(talk, text)), plaintexts);
}

async function setUps() {
  const bob = new Device(0); const bundles = await bob.publish(sizes.set_ups); const plaintexts = texts(sizes.set_ups, 'set-up');
  const pairs = bundles.map((bundle, n) => ({ alice: new Device(n + 1), bundle, text: plaintexts[n] }));
  const sent = await timed('initiate', SET_UP_SLICE, pairs, async ({ alice, bundle, text }) => {
    await alice.begin(bob.address, bundle);
    return { alice, message: await alice.encrypt(bob.address, text) };
  });
  const read = await timed('respond', SET_UP_SLICE, sent, ({ alice, message }) => bob.decrypt(alice.address, message));
  expect('respond', read, plaintexts);
}

async function group() {
  const alice = new Device(1); const bob = new Device(2); const plaintexts = texts(sizes.short, 'group');
  const known = await S.SenderKeyDistributionMessage.create(alice.address, DISTRIBUTION, alice.senderKeys);
  await S.processSenderKeyDistributionMessage(alice.address, known, bob.senderKeys);
  const sent = await timed('group_encrypt', GROUP_SLICE, plaintexts, async (text) => {
    const sealed = await S.groupEncrypt(alice.address, DISTRIBUTION, alice.senderKeys, text);
    return sealed.serialize();
  });
  const read = await timed('group_decrypt', GROUP_SLICE, sent, (body) => S.groupDecrypt(alice.address, bob.senderKeys, body));
  expect('group', read, plaintexts);
}

// The session after each message, of whoever has just read it.
async function records() {
  const talk = await meet(); const states = [];
  for (const text of texts(sizes.ping_pong, 'records')) {
    await turn(talk, text);
    states.push(await talk.reader.sessions.getSession(talk.writer.address));
  }
  const saved = await timed('save', RECORDS_SLICE, states, (state) => state.serialize());
  const loaded = await timed('load', RECORDS_SLICE, saved, (bytes) => S.SessionRecord.deserialize(bytes));
  expect('load', loaded.map((state) => state.serialize()), saved);
  return saved.map((bytes) => bytes.length);
}

const others = await spoken(sizes.warm_up);
await burst(await spoken(sizes.warm_up), 'warm_up', sizes.warm_up, 2);
delete stretches.warm_up_encrypt; delete stretches.warm_up_decrypt;
for (const point of sizes.points) await burst(await spoken(point), 'short', sizes.short, 2);
for (const point of sizes.long_points) await burst(await spoken(point), 'long', sizes.long, 2);
let savedBytes = [];
for (let n = 0; n < sizes.repeats; n++) {
  await burst(await meet(), 'first', sizes.short, 3);
  await pingPong();
  await setUps();
  await group();
  savedBytes = await records();
}

const { version } = JSON.parse(readFileSync(join(dirname(entry), '..', 'package.json'), 'utf8'));
const versions = { '@signalapp/libsignal-client': version, 'Node.js': process.version };
process.stdout.write(JSON.stringify({ versions, stretches, saved_bytes: savedBytes }));
