// The whole life of a device: it connects, says who it is, takes what comes, sends what waits, and connects again.
import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Inbox } from './inbox.mjs';
import { Keys, newKeys } from './keys.mjs';
import { deviceOf, directConversation, mintId, userNamed, userOf } from './names.mjs';
import * as outbox from './outbox.mjs';
import { Store } from './store.mjs';
import { BYE, Connection, KIND, VERSION, helloMessage, registerMessage } from './wire.mjs';

const MAX_RETRY_MS = 30_000;
// Something may be lost though its connection lives: then it is said again.
const UNANSWERED_MS = 20_000;
// Who is behind the server's head for so long has lost something; what is merely late is there by then.
const BEHIND_MS = 5_000;
// After these it is of no use to come again: another process of the device is there, the name is somebody else's, or
// this program says what the server does not understand.
const FINAL = new Map([
  [BYE.SUPERSEDED, 'another process of this device took over'],
  [BYE.UNAUTHORISED, 'the server does not take this device: the name is somebody else\'s'],
  [BYE.PROTOCOL, 'the server did not understand this program'],
]);

// What is asked cannot be had now: the connection is gone, or the server says to try later.
class NotNowError extends Error {}

/**
 * A device of a user with a name.
 *
 * Events: 'live' and 'offline'; 'message', 'sent' and 'failed' with a record of the history; 'identity' with a device
 * whose key has changed; 'end' with the reason, if the server sent the device away for good.
 */
export class Chat extends EventEmitter {
  constructor({ url, name, file, trace = () => {} }) {
    super();
    this.url = url;
    this.name = name;
    this.trace = trace;
    this.store = new Store(file, () => ({
      device: deviceOf(userNamed(name), 1),
      isRegistered: false,
      connectionNo: 0,
      keys: newKeys(),
      cursor: null, // how far the inbox is here: [epoch, seq, tag], replaced as a whole
      conversations: {},
      outbox: [],
      asides: [],
      renewedAt: {},
      history: [],
    }));
    if (this.state.device !== deviceOf(userNamed(name), 1)) throw new Error(`${file} is of somebody else`);
    this.connection = null;
    this.inbox = null;
    this.isLive = false;
    this.isOver = false;
    this.waiting = new Map(); // for answers, by the id of what was asked
    this.takes = {}; // the ids of bundles that were asked for: the same again gets the same bundle
    this.lists = new Map(); // of the devices of users
    this.isPumping = false;
    this.isWanted = false; // to look again at what waits
  }

  get state() { return this.store.state; }
  get history() { return this.state.history; }

  /** Write to a user. When this is done the message is saved, and will be sent, however often the program dies. */
  async send(user, text, { replyTo = null } = {}) {
    const conv = directConversation(userOf(this.state.device), user);
    const record = await this.store.change((state) => outbox.write(state, { conv, user, text, replyTo }));
    this.pump();
    return record;
  }

  /** Say that the person has seen all of a conversation up to a number. */
  read(conv, seq) {
    if (this.isLive) this.connection.send({ frame: 'READ', conv, upto: seq });
  }

  close() {
    this.isOver = true;
    this.connection?.close();
  }

  // ---- connections ----

  /** Stay connected until `close`, or until the server sends the device away for good. */
  async run() {
    let wait = 250;
    while (!this.isOver) {
      const { bye, wasLive } = await this.oneConnection();
      if (this.isOver) return;
      if (FINAL.has(bye?.code)) {
        this.isOver = true;
        this.emit('end', FINAL.get(bye.code));
        return;
      }
      if (wasLive) wait = 250;
      // Not all at once, when a server comes back that thousands were connected to.
      await sleep(Math.max(wait * (0.5 + Math.random()), 1_000 * (bye?.retry_after_s ?? 0)));
      wait = Math.min(2 * wait, MAX_RETRY_MS);
    }
  }

  async oneConnection() {
    this.inbox = new Inbox();
    this.connection = new Connection(this.url, {
      took: (frames) => this.take(frames),
      beat: () => this.beat(),
      trace: this.trace,
    });
    const { connection } = this;
    const bye = await connection.ended;
    this.connection = null;
    this.nonce = null;
    const wasLive = this.isLive;
    this.isLive = false;
    if (wasLive && !this.isOver) this.emit('offline');
    for (const { reject } of this.waiting.values()) reject(new NotNowError('the connection is gone'));
    this.waiting.clear();
    if (connection.error) throw connection.error; // of this program or of its disk: nothing to go on with
    return { bye, wasLive };
  }

  beat() {
    // The last ACK may have been lost, and with it a tick that somebody waits for.
    if (this.isLive) this.connection.send({ frame: 'ACK', cursor: this.state.cursor });
    if (this.inbox.head) this.connection.send({ frame: 'BEAT' });
    this.pump();
  }

  // ---- what comes ----

  /** Take the frames of one message: one change of the state, and only then the answers. */
  async take(frames) {
    const out = { send: [], events: [] };
    const before = this.state.cursor;
    await this.store.change(async (state) => {
      for (const frame of frames) await this.takeOne(state, frame, out);
      // The whole cursor, and of what this change saves: a written socket says nothing about an arrival.
      if (String(state.cursor) !== String(before)) out.send.push({ frame: 'ACK', cursor: state.cursor });
    });
    this.connection.send(...out.send);
    this.tell(out.events);
    for (const frame of frames) this.after(frame);
    if (!this.isLive && this.inbox.isLive(this.state)) { this.isLive = true; this.emit('live'); }
    this.pump();
  }

  async takeOne(state, frame, out) {
    switch (frame.frame) {
      case 'CHALLENGE':
        this.nonce = frame.nonce;
        out.send.push(state.isRegistered ? this.hello(state) : this.register(state));
        break;
      case 'REGISTERED':
        state.isRegistered = true;
        out.send.push(this.hello(state));
        break;
      case 'SENT': outbox.sent(state, frame, out); break;
      case 'REFUSED': frame.waitMs = await outbox.refused(state, frame, out); break;
      case 'PUBLISHED': state.keys.left = Math.min(frame.ec_count, frame.kyber_count); break;
      case 'ASIDE_OK': state.asides = state.asides.filter(({ id }) => id !== frame.message_id); break;
      default: await this.inbox.take(state, frame, out);
    }
  }

  tell(events) {
    for (const { event, record, device } of events) this.emit(event, record ?? device);
  }

  /** What follows once it is saved. */
  after(frame) {
    if (frame.frame === 'HEAD') this.mindTheGap();
    const id = frame.request ?? frame.message_id;
    const asked = frame.frame === 'ENTRY' ? undefined : this.waiting.get(id);
    if (asked) { this.waiting.delete(id); asked.resolve(frame); }
  }

  async mindTheGap() {
    const { cursor } = this.state;
    if (this.inbox.isLive(this.state)) return;
    await sleep(BEHIND_MS, null, { ref: false });
    if (cursor && String(this.state.cursor) === String(cursor)) this.connection?.send({ frame: 'PULL', cursor });
  }

  register(state) {
    const keys = new Keys(state.device, state.keys);
    const { registrationId } = state.keys;
    const message = registerMessage(this.nonce, state.device, keys.identityKey, registrationId, this.name);
    return {
      frame: 'REGISTER', device: state.device, identity_key: keys.identityKey, registration_id: registrationId,
      name: this.name, proof: keys.sign(message),
    };
  }

  hello(state) {
    // Higher each time, also after the clock was set back: of two connections of a device the higher one stays.
    state.connectionNo = Math.max(state.connectionNo + 1, Date.now());
    const { device, connectionNo, cursor } = state;
    const proof = new Keys(device, state.keys).sign(helloMessage(this.nonce, connectionNo, device));
    return { frame: 'HELLO', version: VERSION, device, connection_no: connectionNo, cursor, proof };
  }

  // ---- what is asked ----

  /** Send something that has an answer, and wait for it: until it is here *and* saved. */
  ask(frame, id) {
    const { connection } = this;
    if (!connection) return Promise.reject(new NotNowError('there is no connection'));
    const answer = new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new NotNowError('no answer')), UNANSWERED_MS);
      const end = (settle) => (value) => { clearTimeout(timer); settle(value); };
      this.waiting.set(id, { resolve: end(resolve), reject: end(reject) });
    });
    connection.send(frame);
    return answer;
  }

  async request(name, fields, id = mintId()) {
    const answer = await this.ask({ frame: name, request: id, ...fields }, id);
    if (answer.frame === 'FAILED') throw new NotNowError(answer.detail); // mostly "try later": it is tried again
    return answer;
  }

  // ---- what waits to be sent ----

  /** Send what waits, one after another, for as long as there is a connection. Called whenever there may be some. */
  async pump() {
    this.isWanted = true;
    if (this.isPumping) return;
    this.isPumping = true;
    try {
      while (this.isWanted) {
        this.isWanted = false;
        while (this.isLive && await this.sendOne());
      }
    } catch (error) {
      if (!(error instanceof NotNowError)) throw error;
      setTimeout(() => this.pump(), 1_000).unref(); // the next connection, or the next look, goes on
    } finally {
      this.isPumping = false;
    }
  }

  /** Send one thing, if there is any. */
  async sendOne() {
    if (new Keys(this.state.device, this.state.keys).needsPrekeys()) await this.publish();
    else if (this.state.outbox.length) await this.sendItem(this.state.outbox[0]);
    else if (this.state.asides.length) await this.sendAside(this.state.asides[0]);
    else return false;
    return true;
  }

  async publish() {
    // Saved before they leave: a public half without its private one would lose its taker's message.
    const upload = await this.store.change((state) => new Keys(state.device, state.keys).makePrekeys());
    await this.request('PUBLISH', upload);
    await this.store.change((state) => { state.keys.publishedAt = Date.now(); });
  }

  async sendItem(item) {
    const frame = item.frame ? outbox.sendFrame(item) : await this.seal(item);
    if (!frame) return;
    const answer = await this.ask(frame, item.id);
    if (answer.frame === 'REFUSED') this.lists.clear();
    if (answer.waitMs) await sleep(answer.waitMs);
  }

  /** Find out what it takes to seal an item, then seal it; null if something else has to be sent before. */
  async seal(item) {
    if (item.kind === KIND.ROSTER) return this.store.change((state) => outbox.seal(state, item.id, {}));
    const members = this.state.conversations[item.conv]?.members ?? [userOf(this.state.device), item.user];
    const lists = await this.devicesOf(members);
    if (!lists.get(item.user)?.length) {
      this.lists.clear(); // they may come any moment
      const out = { events: [] };
      await this.store.change((state) => {
        outbox.fail(state, state.outbox.find(({ id }) => id === item.id), 'no such user', out);
      });
      this.tell(out.events);
      return null;
    }
    if (!this.state.conversations[item.conv]?.members) {
      await this.store.change((state) => outbox.begin(state, item));
      return null;
    }
    const devices = members.flatMap((user) => lists.get(user) ?? []).filter((one) => one !== this.state.device);
    const keyless = new Set();
    for (const device of devices) if (!(await this.ensureSession(device))) keyless.add(device);
    return this.store.change((state) => outbox.seal(state, item.id, { devices, keyless }));
  }

  /** The devices of users. A list is believed until the server says that it is stale: it compares them itself. */
  async devicesOf(users) {
    const missing = users.filter((user) => !this.lists.has(user));
    if (missing.length) {
      const { lists } = await this.request('DEVICES', { users: missing });
      for (const [user, , devices] of lists) this.lists.set(user, devices.map(([number]) => deviceOf(user, number)));
    }
    return this.lists;
  }

  /** Begin a session with a device if there is none; false if it has published no keys. */
  async ensureSession(device, { fresh = false } = {}) {
    if (!fresh && await new Keys(this.state.device, this.state.keys).hasSession(device)) return true;
    this.takes[device] ??= mintId();
    const { keys: bundle } = await this.request('TAKE', { device }, this.takes[device]);
    delete this.takes[device];
    if (bundle === null) return false;
    let isChanged = false;
    await this.store.change((state) => (
      new Keys(state.device, state.keys, { changed: () => { isChanged = true; } }).begin(device, bundle)
    ));
    if (isChanged) this.emit('identity', device);
    return true;
  }

  async sendAside({ id, to, content, fresh }) {
    const isThere = await this.ensureSession(to, { fresh });
    const own = isThere && await this.store.change((state) => {
      const aside = state.asides.find((other) => other.id === id);
      aside.fresh = false; // the new session is there; a repeat goes on in it
      return new Keys(state.device, state.keys).encrypt(to, Buffer.from(content, 'base64'));
    });
    // Nobody to answer: what it owes stays in the history as unreadable, and is asked for when it asks.
    if (!isThere) await this.store.change((state) => { state.asides.shift(); });
    else await this.ask({ frame: 'ASIDE', message_id: id, own: { [to]: own } }, id);
  }
}
