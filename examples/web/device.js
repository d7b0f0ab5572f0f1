// @ts-check
// The life of a device in a page: it connects, says who it is, keeps what comes, and connects again.
//
// Everything is a turn, one after another: a turn loads rows, asks the mirror, commits, and only then does anything
// leave. So the page may be closed at any moment, and goes on from what it has kept.
import {
  ByeCode, MEMBERSHIPS, PROTOCOL_VERSION, Phase, attach, chatOf, chatSpans, closeChat, deadline, decode, decodeMirror,
  detach, encode, encodeMirror, handleTimer, hasWelcome, isPulled, mustSave, newMirror, openChat, read, receive,
  rowsFor,
} from './mirror.js';

// A server that is there says something every half a minute: it answers each BEAT.
const BEAT_MS = 30_000;
const SILENT_MS = 75_000;
const FIRST_RETRY_MS = 250;
const MAX_RETRY_MS = 30_000;
// After these it is of no use to come again by itself.
const FINAL = new Map([
  [ByeCode.SUPERSEDED, 'another page of this device took over'],
  [ByeCode.UNAUTHORISED, 'the server does not take this device'],
  [ByeCode.PROTOCOL, 'the server did not understand this page'],
]);

const now = () => performance.now() / 1_000;
const sleep = (/** @type {number} */ ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/**
 * Where a device is kept.
 *
 * @typedef {object} Store
 * @property {() => Promise<{mirror: unknown, connectionNo: number} | null>} head What `commit` was last given.
 * @property {(spans: import('./mirror.js').Span[]) => Promise<Map<string, any>>} load The rows in some spans, by key.
 * @property {(change: Change) => Promise<void>} commit All of it or nothing; it is on the disk when this is done.
 *
 * @typedef {object} Change
 * @property {{mirror: unknown, connectionNo: number}} head
 * @property {[string, unknown][]} put Rows to write.
 * @property {string[]} delete Keys of rows to delete.
 * @property {import('./mirror.js').Synced['arrived']} arrived What is new: for the history, in this order.
 * @property {import('./mirror.js').Synced['lost']} lost What this device posted above these has to be posted again.
 */

/** A device, whose links the application's login stands for. */
export class Device {
  /**
   * @param {object} options
   * @param {string} options.device Which one.
   * @param {() => WebSocket} options.dial Opens a WebSocket to the server.
   * @param {Store} options.store
   * @param {() => void} [options.changed] Called when there is something new to see.
   */
  constructor({ device, dial, store, changed = () => {} }) {
    this.mirror = newMirror(device);
    this.dial = dial;
    this.store = store;
    this.changed = changed;
    this.connectionNo = 0;
    this.isOver = false;
    /** @type {unknown} What went wrong on the last connection. */
    this.error = null;
    /** @type {WebSocket | null} */
    this.socket = null;
    /** @type {Promise<unknown>} */
    this.turns = Promise.resolve();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.alarm = undefined;
    /** Of what the server says, or of the store: begin again from what is kept. @param {unknown} error */
    this.fail = (error) => {
      this.error = error;
      this.socket?.close();
    };
  }

  /** Whether all that the server has is here. */
  get isLive() { return this.mirror.phase === Phase.LIVE; }

  /** Stay connected until `close`, or until the server sends the device away for good, and return why; else `null`. */
  async run() {
    let wait = FIRST_RETRY_MS;
    while (!this.isOver) {
      const began = now();
      const bye = await this.oneConnection();
      const reason = FINAL.get(bye?.code);
      if (reason !== undefined) return reason;
      if (this.isOver) break;
      if (1_000 * (now() - began) > MAX_RETRY_MS) wait = FIRST_RETRY_MS;
      // Not all at once, when a server comes back that thousands were connected to.
      await sleep(Math.max(wait * (0.5 + Math.random()), 1_000 * (bye?.retryAfterS ?? 0)));
      wait = Math.min(2 * wait, MAX_RETRY_MS);
    }
    return null;
  }

  /** Be gone for good. */
  close() {
    this.isOver = true;
    this.socket?.close();
  }

  /** A conversation comes on the screen: what is pulled there is fetched. @param {string} conv */
  open(conv) {
    return this.inTurn(() => this.step(chatSpans(conv), (rows, at) => openChat(this.mirror, conv, rows, at)));
  }

  /** It is off the screen. @param {string} conv */
  leave(conv) { return this.inTurn(async () => { this.mirror = closeChat(this.mirror, conv); }); }

  /** The person has read up to here. @param {string} conv @param {number} upto */
  read(conv, upto) {
    return this.inTurn(() => this.step(chatSpans(conv), (rows, at) => read(this.mirror, conv, upto, rows, at)));
  }

  // ---- turns ----

  /** Do something when nothing else is being done. @template T @param {() => Promise<T>} work @returns {Promise<T>} */
  inTurn(work) {
    const done = this.turns.then(work);
    this.turns = done.catch(() => {}); // whoever asked for it hears of it
    return done;
  }

  /**
   * What a turn of the mirror is: load, ask, commit, and only then let anything leave.
   *
   * @param {import('./mirror.js').Span[]} spans
   * @param {(rows: Map<string, any>, at: {now: number}) => import('./mirror.js').Synced} rule
   */
  async step(spans, rule) {
    const synced = rule(await this.store.load(spans), { now: now() });
    if (mustSave(synced, this.mirror)) {
      const { put, delete: gone, arrived, lost } = synced;
      await this.store.commit({ head: this.headOf(synced.state), put, delete: gone, arrived, lost });
    }
    this.mirror = synced.state;
    this.send(synced.send);
    if (synced.reconnect) this.socket?.close();
    this.setAlarm();
    this.changed();
  }

  /** @param {import('./mirror.js').Mirror} mirror */
  headOf(mirror) { return { mirror: encodeMirror(mirror), connectionNo: this.connectionNo }; }

  // ---- a connection ----

  /**
   * Connect, and take what comes until it ends.
   *
   * @returns {Promise<import('./mirror.js').Frame | null>} The BYE that the server said.
   */
  async oneConnection() {
    const socket = this.dial();
    this.socket = socket;
    this.error = null;
    /** @type {import('./mirror.js').Frame | null} */
    let bye = null;
    let heardAt = now();
    socket.onmessage = ({ data }) => {
      heardAt = now();
      this.inTurn(() => this.take(data)).then((said) => { bye ??= said; }, this.fail);
    };
    const beating = setInterval(() => {
      if (1_000 * (now() - heardAt) > SILENT_MS) socket.close();
      else this.beat();
    }, BEAT_MS);
    await new Promise((resolve) => {
      socket.onclose = resolve;
      socket.onerror = () => socket.close(); // not every error is followed by a close of its own
    });
    clearInterval(beating);
    await this.inTurn(async () => {
      this.socket = null;
      this.mirror = detach(this.mirror);
      this.setAlarm();
      this.changed();
    });
    return bye;
  }

  /** Take a message; returns the BYE in it, or `null`. @param {unknown} data */
  async take(data) {
    // The server speaks first, CHALLENGE, and in msgpack until it has heard JSON. Its nonce would be to sign, which
    // nobody does for whom the login stands; and a BYE as early is followed by a close that says as much.
    if (this.mirror.phase === Phase.OFFLINE) await this.hello();
    if (typeof data !== 'string') return null;
    const frames = decode(data);
    await this.step(rowsFor(this.mirror, frames), (rows, at) => receive(this.mirror, frames, rows, at));
    return frames.find(({ frame }) => frame === 'BYE') ?? null;
  }

  /** Say who this is and where it stands. */
  async hello() {
    const saved = await this.store.head();
    if (saved !== null) this.mirror = { ...decodeMirror(saved.mirror), opened: this.mirror.opened };
    const rows = await this.store.load([MEMBERSHIPS]);
    const convs = [...rows.keys()].map((key) => key.slice(MEMBERSHIPS.start.length));
    const followed = convs.filter((conv) => isPulled(chatOf(conv, rows)));
    // Higher each time, also after the clock was set back: of two connections of a device the higher one stays.
    this.connectionNo = Math.max((saved?.connectionNo ?? 0) + 1, Date.now());
    await this.store.commit({ head: this.headOf(this.mirror), put: [], delete: [], arrived: [], lost: [] });
    this.mirror = attach(this.mirror, { followed, now: now() });
    const { device, cursor } = this.mirror;
    const { connectionNo } = this;
    this.send([{ frame: 'HELLO', version: PROTOCOL_VERSION, device, connectionNo, cursor, proof: null }]);
    this.setAlarm();
  }

  beat() {
    const { cursor } = this.mirror;
    if (this.mirror.phase === Phase.OFFLINE) return;
    // The last ACK may have been lost, and with it a tick that somebody waits for.
    this.send([...(hasWelcome(this.mirror) ? [{ frame: 'ACK', cursor }] : []), { frame: 'BEAT' }]);
  }

  /** On a connection that is over this does nothing: what matters is sent on the next. */
  send(/** @type {import('./mirror.js').Frame[]} */ frames) {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    for (const message of encode(frames)) this.socket.send(message);
  }

  setAlarm() {
    clearTimeout(this.alarm);
    const due = deadline(this.mirror);
    if (due === null) return;
    const ring = () => this.step(rowsFor(this.mirror, []), (rows, at) => handleTimer(this.mirror, rows, at));
    this.alarm = setTimeout(() => this.inTurn(ring).catch(this.fail), Math.max(0, 1_000 * (due - now())));
  }
}
