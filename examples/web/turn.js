// @ts-check
// A mirror at work on one input: what `receive` does with each frame.
import {
  MEMBERSHIPS, chatOf, isPulled, knows, membershipKey, rowsOf, withItem, withMessages, withRead, withRow,
} from './chats.js';
import { MAX_HELD, Phase, TRANSITIONS, hasWelcome, seconds, seenKey, unchanged } from './state.js';
import {
  Answer, EntryKind, MAX_CONVERSATIONS, MAX_ROWS, MarkKind, WhisperError, nextTag, sameCursor, userOf,
} from './wire.js';

/** @typedef {import('./wire.js').Frame} Frame */
/** @typedef {import('./wire.js').Row} Row */
/** @typedef {import('./chats.js').Chat} Chat */
/** @typedef {import('./chats.js').Message} Message */
/** @typedef {import('./chats.js').Rows} Rows */
/** @typedef {import('./state.js').Mirror} Mirror */
/** @typedef {import('./state.js').Synced} Synced */

/** Collects what a `Synced` will say. The mirror it began with stays as it was. */
export class Turn {
  /** @param {Mirror} mirror @param {Rows} rows @param {number} now */
  constructor(mirror, rows, now) {
    if (!(rows instanceof Map)) throw new WhisperError('usage', 'rows are a Map, by key');
    this.before = mirror;
    this.mirror = mirror;
    this.rows = rows;
    this.now = seconds(now);
    /** @type {Map<string, Chat>} */
    this.chats = new Map();
    /** @type {Map<string, Chat>} */
    this.loaded = new Map();
    // Messages that are not worked into their chats yet; `chat` and `result` do it, all of one at once.
    /** @type {Map<string, Message[]>} */
    this.messages = new Map();
    /** @type {Map<string, number>} */
    this.seen = new Map();
    /** @type {Synced['arrived']} */
    this.arrived = [];
    /** @type {Frame[]} */
    this.send = [];
    /** @type {Synced['lost']} */
    this.lost = [];
    this.reconnect = false;
  }

  /** A conversation as it is by now. @param {string} conv @returns {Chat} */
  chat(conv) {
    let chat = this.chats.get(conv);
    if (chat === undefined) {
      chat = chatOf(conv, this.rows);
      this.loaded.set(conv, chat);
    }
    const messages = this.messages.get(conv);
    if (messages !== undefined) {
      chat = withMessages(chat, messages);
      this.messages.delete(conv);
    }
    this.chats.set(conv, chat);
    return chat;
  }

  /** All that was collected. @returns {Synced} */
  result() {
    for (const conv of [...this.messages.keys()]) this.chat(conv);
    this.follow();
    this.watchTheClock();
    const { arrived, send, lost, reconnect } = this;
    const synced = { ...unchanged(this.mirror), arrived, send, lost, reconnect };
    synced.put.push(...this.seen);
    for (const [conv, chat] of this.chats) {
      const rows = rowsOf(/** @type {Chat} */ (this.loaded.get(conv)), chat);
      synced.put.push(...rows.put);
      synced.delete.push(...rows.delete);
      if (rows.put.length || rows.delete.length) synced.chats.set(conv, chat);
    }
    return synced;
  }

  /** @param {Partial<Mirror>} changes */
  change(changes) { this.mirror = { ...this.mirror, ...changes }; }

  // ---- frames

  /** Take one frame, if it has a place in the present phase. @param {Frame} frame */
  take(frame) {
    if (!TRANSITIONS[this.mirror.phase].includes(frame.frame)) return;
    switch (frame.frame) {
      case 'ENTRY': this.entry(frame); break;
      case 'WELCOME': this.welcome(frame); break;
      case 'SNAPSHOT': this.snapshot(frame); break;
      case 'HEAD': this.head(frame); break;
      case 'ROWS': this.pulled(frame); break;
      case 'MARK': this.mark(frame); break;
      default: return; // the table has no other frames
    }
    this.settle();
  }

  /** @param {Frame} frame */
  welcome({ answer, head }) {
    this.change({ head, since: this.now });
    if (answer === Answer.DELTA) {
      this.change({ phase: this.mirror.phase === Phase.LIVE ? Phase.LIVE : Phase.CATCHING_UP });
    } else {
      this.change({
        phase: Phase.SNAPSHOT, answer, nextPart: 0, inSnapshot: new Set(), held: [], fetching: new Map(),
      });
    }
  }

  /** Take over a part. Parts are saved as they come: over state that is newer, entries change nothing. */
  snapshot(/** @type {Frame} */ { cursor, part, isLast, items }) {
    if (part !== this.mirror.nextPart) {
      this.reconnect = true;
      return;
    }
    const isFork = this.mirror.answer !== Answer.SNAPSHOT;
    const found = new Set(this.mirror.inSnapshot);
    for (const item of items) {
      this.chats.set(item.conv, withItem(this.chat(item.conv), item, isFork));
      if (isFork) this.lost.push({ conv: item.conv, above: item.seq });
      found.add(item.conv);
    }
    this.change({ nextPart: part + 1, inSnapshot: found, since: this.now });
    if (isLast) {
      this.leaveAllBut(found);
      // The floor, not the head: what lies above is still owed.
      this.change({ phase: Phase.CATCHING_UP, cursor, answer: null, inSnapshot: new Set(), askedAt: null });
    }
  }

  /** @param {ReadonlySet<string>} found */
  leaveAllBut(found) {
    for (const key of this.rows.keys()) {
      const conv = key.slice(MEMBERSHIPS.start.length);
      if (key === membershipKey(conv) && !found.has(conv)) {
        this.chats.set(conv, { ...this.chat(conv), membership: null });
      }
    }
  }

  /** @param {Frame} frame */
  head({ cursor: head, conversations }) {
    this.change({ head });
    if (!conversations.size) this.change({ told: new Set() }); // whatever FOLLOW named was lost
    const { cursor } = this.mirror;
    // The same number with another past: only a WELCOME can tell.
    if (head.seq === cursor?.seq && !sameCursor(head, cursor)) this.ask();
    for (const [conv, seq] of conversations) {
      if (!this.mirror.followed.has(conv)) continue;
      const { progress, ...chat } = this.chat(conv);
      this.chats.set(conv, { ...chat, progress: { ...progress, head: Math.max(progress.head, seq) } });
      if (this.mirror.opened.has(conv)) this.fetchHead(conv);
    }
  }

  /** Follow how far this user read on other devices, and say it again if the server has heard less. */
  mark(/** @type {Frame} */ { conv, user, kind, upto }) {
    if (user !== userOf(this.mirror.device) || kind !== MarkKind.READ) return;
    const chat = this.chat(conv);
    const { readUpto } = chat.progress;
    if (upto < readUpto) this.send.push({ frame: 'READ', conv, upto: readUpto });
    this.chats.set(conv, withRead(chat, upto));
  }

  // ---- the inbox

  /** @param {Frame} entry */
  entry(entry) {
    const { cursor, held, head } = this.mirror;
    if (cursor === null || entry.seq <= cursor.seq) return;
    if (held.length) {
      const isNext = entry.seq === held[held.length - 1].seq + 1;
      if (isNext && held.length < MAX_HELD) this.change({ held: [...held, entry] });
      return;
    }
    // A number alone could match after the log lost its tail and grew another one.
    if (entry.seq !== cursor.seq + 1 || entry.tag !== nextTag(cursor.tag, entry.messageId)) {
      this.ask();
      return;
    }
    if (entry.kind !== EntryKind.ASIDE && this.mustWait(entry)) {
      this.change({ held: [entry] });
      this.fetch(entry.conv, entry.pullUpto);
      return;
    }
    this.apply(entry.conv, rowOf(entry));
    const frontier = { epoch: cursor.epoch, seq: entry.seq, tag: entry.tag };
    // The server may have more than it said when it last spoke of its head.
    this.change({ cursor: frontier, askedAt: null, head: head === null || head.seq < frontier.seq ? frontier : head });
  }

  /** Whether rows that were not pushed belong before an entry. What was posted before the user came does not. */
  mustWait(/** @type {Frame} */ { conv, kind, pullUpto }) {
    if (!pullUpto) return false;
    const { progress, membership } = this.chat(conv);
    const isFirst = kind === EntryKind.ROSTER && membership === null && !progress.pulledUpto;
    return pullUpto > progress.pulledUpto && !isFirst;
  }

  /** @param {string} conv @param {Row} row */
  apply(conv, row) {
    const { device } = this.mirror;
    const key = seenKey(row.sender, row.messageId);
    // What this device posted it has already; pulled rows bring it along.
    const isNew = row.sender !== device && !this.rows.has(key) && !this.seen.has(key);
    if (isNew) {
      this.seen.set(key, row.convSeq);
      this.arrived.push({ conv, row });
    }
    if (row.kind === EntryKind.MESSAGE || row.kind === EntryKind.PLACEHOLDER) {
      const isCounted = isNew && row.sender !== null && userOf(row.sender) !== userOf(device);
      const messages = this.messages.get(conv) ?? [];
      messages.push({ seq: row.convSeq, isCounted });
      this.messages.set(conv, messages);
    } else if (row.kind !== EntryKind.ASIDE) {
      this.chats.set(conv, withRow(this.chat(conv), row, device));
    }
  }

  // ---- rows that are pulled

  /** @param {Frame} answer A ROWS. */
  pulled(answer) {
    const { conv } = answer;
    const before = this.chat(conv).progress;
    const target = this.mirror.fetching.get(conv);
    if (target === undefined || answer.after !== before.pulledUpto) return;
    const upto = this.applyRows(answer, target);
    if (upto <= answer.after && answer.after === answer.upto) return; // it says nothing: the timer asks again
    const { progress, ...chat } = this.chat(conv);
    const reached = { pulledUpto: Math.max(progress.pulledUpto, upto), head: Math.max(progress.head, answer.head) };
    this.chats.set(conv, { ...chat, progress: { ...progress, ...reached } });
    const fetching = new Map(this.mirror.fetching);
    fetching.delete(conv);
    this.change({ fetching });
    const [first] = this.mirror.held;
    if (first?.conv === conv && !this.mustWait(first)) this.release();
    else if (upto === answer.upto) this.fetch(conv, target);
  }

  /**
   * Apply rows as far as they are pulled ones, and say how far that is.
   *
   * A MODE row is pushed: one that the inbox has not brought yet ends what may be applied, because rows behind it are
   * in the inbox, or belong behind such rows. One that is known is none of the pulled rows.
   *
   * @param {Frame} answer @param {number} target
   */
  applyRows(answer, target) {
    const [first] = this.mirror.held;
    const isHeld = first?.conv === answer.conv;
    const upto = Math.min(answer.upto, isHeld ? first.pullUpto : target);
    for (const row of answer.rows) {
      if (row.convSeq > upto) break;
      if (row.kind !== EntryKind.MODE) this.apply(answer.conv, row);
      else if (!isHeld && !knows(this.chat(answer.conv), row.convSeq)) return row.convSeq - 1;
    }
    return upto;
  }

  /** Go on with entries that waited; they may wait again, for more. */
  release() {
    const { held } = this.mirror;
    this.change({ held: [] });
    for (const entry of held) this.entry(entry);
  }

  /**
   * Fetch what is known to be there and is not here, once the inbox has brought what belongs before it.
   *
   * After a snapshot the membership is ahead of the inbox: pushed rows below it may still be on their way.
   *
   * @param {string} conv
   */
  fetchHead(conv) {
    const chat = this.chat(conv);
    if (isPulled(chat) && this.mirror.phase === Phase.LIVE) this.fetch(conv, chat.progress.head);
  }

  /** @param {string} conv @param {number} upto */
  fetch(conv, upto) {
    const { fetching } = this.mirror;
    const after = this.chat(conv).progress.pulledUpto;
    if (upto <= after || (fetching.get(conv) ?? 0) >= upto) return;
    this.change({ fetching: new Map([...fetching, [conv, upto]]) });
    this.send.push({ frame: 'RANGE', conv, after, upto, limit: MAX_ROWS });
  }

  // ---- what is missing

  /** Ask for what follows the frontier, once for each frontier; the timer repeats it. */
  ask() {
    const { cursor, askedAt } = this.mirror;
    if (cursor === null || askedAt === cursor.seq) return;
    this.change({ askedAt: cursor.seq });
    this.send.push({ frame: 'PULL', cursor });
  }

  /** Ask for all that is missing, whatever was asked before. */
  askAgain() {
    const { fetching } = this.mirror;
    this.change({ askedAt: null, fetching: new Map(), since: this.now });
    this.ask();
    for (const [conv, upto] of fetching) this.fetch(conv, upto);
  }

  /** Tell the server how far this batch came, as a whole cursor: it goes out after the commit. */
  acknowledge() {
    const { cursor } = this.mirror;
    if (cursor !== null && !sameCursor(cursor, this.before.cursor)) this.send.push({ frame: 'ACK', cursor });
  }

  settle() {
    const { phase, cursor, head, opened } = this.mirror;
    if (phase !== Phase.CATCHING_UP || cursor === null || head === null || cursor.seq < head.seq) return;
    this.change({ phase: Phase.LIVE });
    for (const conv of [...opened].sort()) this.fetchHead(conv);
  }

  /** Begin, begin again or stop to count the seconds without progress. */
  watchTheClock() {
    const { mirror, before } = this;
    if (mirror.phase === Phase.OFFLINE || !hasWelcome(mirror)) return;
    const isBehind = !sameCursor(mirror.cursor, mirror.head) || mirror.held.length > 0 || mirror.fetching.size > 0;
    const hasMoved = !sameCursor(mirror.cursor, before.cursor) || before.since === null;
    if (!isBehind) this.change({ since: null });
    else if (hasMoved) this.change({ since: this.now });
  }

  /** Keep the list of conversations whose heads the server shall name; on a new link it knows of none. */
  follow() {
    const followed = new Set(this.mirror.followed);
    for (const [conv, chat] of this.chats) {
      if (isPulled(chat)) followed.add(conv);
      else followed.delete(conv);
    }
    this.change({ followed });
    if (this.mirror.phase === Phase.OFFLINE || sameSet(followed, this.mirror.told)) return;
    this.change({ told: followed });
    this.send.push({ frame: 'FOLLOW', convs: [...followed].sort().slice(0, MAX_CONVERSATIONS) });
  }
}

/** @param {ReadonlySet<string>} one @param {ReadonlySet<string>} other */
const sameSet = (one, other) => one.size === other.size && [...one].every((conv) => other.has(conv));

/** @param {Frame} entry @returns {Row} */
const rowOf = ({ messageId, kind, convSeq, sender, atMs, own, shared }) => (
  { messageId, kind, convSeq, sender, atMs, own, shared }
);
