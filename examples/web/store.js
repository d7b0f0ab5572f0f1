// @ts-check
// A device in one item of a Web Storage, such as `localStorage`: one `setItem` changes all of it, or nothing.
//
// That is enough for the texts of a small chat, and easy to read. What has much to keep is better in IndexedDB, where
// head, rows and history are changed in one transaction.
import { EntryKind, fromBase64, seenKey } from './mirror.js';

// What a page shows. A row that says that a message is here goes with the message.
const MAX_HISTORY = 1_000;

/**
 * @typedef {object} Line What came or was posted.
 * @property {string | null} key Of the row that says it is here; `null` for what this device posted itself.
 * @property {string} conv
 * @property {number} seq Its place in the conversation.
 * @property {string | null} sender
 * @property {number} kind An `EntryKind`.
 * @property {string | null} text Of a message.
 */

/** See `Store` in device.js. What is lost is left alone: what was posted by a form is not posted again. */
export class ItemStore {
  /** @param {Pick<Storage, 'getItem' | 'setItem'>} storage @param {string} name Of the item. */
  constructor(storage, name) {
    this.storage = storage;
    this.name = name;
    const { head, rows, history } = JSON.parse(storage.getItem(name) ?? '{"head": null, "rows": [], "history": []}');
    /** @type {{head: any, rows: Map<string, unknown>, history: Line[]}} */
    this.kept = { head, rows: new Map(rows), history };
  }

  /** What came and what was posted, in the order of a conversation. @param {string} conv */
  history(conv) {
    return this.kept.history.filter((line) => line.conv === conv).sort((one, other) => one.seq - other.seq);
  }

  async head() { return this.kept.head; }

  /** @param {import('./mirror.js').Span[]} spans */
  async load(spans) {
    const isAsked = (/** @type {string} */ key) => spans.some(({ start, stop }) => start <= key && key < stop);
    return new Map([...this.kept.rows].filter(([key]) => isAsked(key)));
  }

  /** @param {import('./device.js').Change} change */
  async commit({ head, put, delete: gone, arrived }) {
    this.change(head, put, gone, arrived.map(lineOf));
  }

  /** Write down what this device posted itself: it never comes to its inbox. @param {Line} line */
  post(line) { this.change(this.kept.head, [], [], [line]); }

  /** @param {any} head @param {[string, unknown][]} put @param {string[]} gone @param {Line[]} lines */
  change(head, put, gone, lines) {
    const rows = new Map([...this.kept.rows, ...put]);
    const history = [...this.kept.history, ...lines];
    const old = history.splice(0, Math.max(0, history.length - MAX_HISTORY));
    for (const key of [...gone, ...old.map((line) => line.key ?? '')]) rows.delete(key);
    // If this throws, because there is no room, nothing has changed.
    this.storage.setItem(this.name, JSON.stringify({ head, rows: [...rows], history }));
    this.kept = { head, rows, history };
  }
}

/** @param {import('./mirror.js').Synced['arrived'][number]} arrived @returns {Line} */
function lineOf({ conv, row }) {
  const { messageId, convSeq: seq, sender, kind, shared } = row;
  const isText = kind === EntryKind.MESSAGE && shared !== null;
  const text = isText ? new TextDecoder().decode(fromBase64(shared)) : null;
  return { key: seenKey(sender, messageId), conv, seq, sender, kind, text };
}
