// Plays stories to the mirror in JavaScript, and tells in JSON what came of each step, as player.py does.
//
//     node player.mjs FOLDER < stories        FOLDER: where mirror.js is
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const load = (name) => import(pathToFileURL(join(process.argv[2], name)));
const sync = await load('mirror.js');
const wire = await load('wire.js');

const sorted = (names) => [...names].sort();
const written = (kind, value) => (value === null ? null : kind.write(value));
const frameOf = ({ frame, ...fields }) => [wire.FRAMES[frame].code, ...wire.FRAMES[frame].fields.write(fields)];

class Player {
  constructor(device) {
    this.mirror = sync.newMirror(device);
    this.saved = JSON.stringify(sync.encodeMirror(this.mirror));
    this.rows = new Map();
  }

  take({ do: name, ...step }) {
    try {
      return this[name](step);
    } catch (error) {
      if (!(error instanceof sync.WhisperError)) throw error;
      return { error: error.code };
    }
  }

  // ---- the link

  attach({ now, followed }) { return this.become(sync.attach(this.mirror, { followed, now })); }
  detach() { return this.become(sync.detach(this.mirror)); }
  restart() { return this.become(sync.decodeMirror(JSON.parse(this.saved))); }

  timer({ now }) {
    const spans = sync.rowsFor(this.mirror, []);
    return this.commit(sync.handleTimer(this.mirror, this.load(spans), { now }), { spans });
  }

  receive({ text, now, crash }) {
    const batch = sync.decode(text);
    const spans = sync.rowsFor(this.mirror, batch);
    return this.commit(sync.receive(this.mirror, batch, this.load(spans), { now }), { spans, crash });
  }

  // ---- the person

  open({ conv, now }) { return this.commit(sync.openChat(this.mirror, conv, this.chat(conv), { now })); }
  close({ conv }) { return this.become(sync.closeChat(this.mirror, conv)); }
  read({ conv, upto, now }) { return this.commit(sync.read(this.mirror, conv, upto, this.chat(conv), { now })); }

  posted({ conv, change, seq, now }) {
    const send = { frame: 'SEND', conv, change: change && { added: change[0], removed: change[1] } };
    return this.commit(sync.posted(this.mirror, send, { frame: 'SENT', convSeq: seq }, this.chat(conv), { now }));
  }

  // ---- parts alone

  decode({ text }) { return { frames: sync.decode(text).map(frameOf) }; }
  change({ data }) { return { change: wire.CHANGE.write(wire.decodeChange(data)) }; }
  item({ data }) { return { item: wire.ITEM.write(wire.decodeItem(data)) }; }

  cursor({ text }) {
    const cursor = sync.parseCursor(text);
    return { cursor: wire.CURSOR.write(cursor), text: sync.cursorText(cursor) };
  }

  tag({ device, ids }) { return { tag: ids.reduce(sync.nextTag, sync.firstTag(device)) }; }

  // ---- what is kept

  load(spans) {
    const isIn = (key) => spans.some(({ start, stop }) => start <= key && key < stop);
    // Through JSON, as every store would.
    return new Map([...this.rows].filter(([key]) => isIn(key)).map(([key, value]) => [key, JSON.parse(value)]));
  }

  chat(conv) { return this.load(sync.chatSpans(conv)); }

  become(mirror) {
    this.mirror = mirror;
    return { state: state(mirror) };
  }

  commit(synced, { spans = [], crash = null } = {}) {
    const answer = { must_save: sync.mustSave(synced, this.mirror), ...told(synced, spans) };
    if (crash !== 'before') {
      for (const [key, value] of synced.put) this.rows.set(key, JSON.stringify(value));
      for (const key of synced.delete) this.rows.delete(key);
      this.saved = JSON.stringify(sync.encodeMirror(synced.state));
    }
    this.mirror = crash === null ? synced.state : sync.decodeMirror(JSON.parse(this.saved));
    const isThere = ([, value]) => value !== false && JSON.stringify(value) !== '[]' && JSON.stringify(value) !== '{}';
    return Object.fromEntries(Object.entries(answer).filter(isThere));
  }
}

// ---- in JSON --------------------------------------------------------------------------------------------------------

function told({ state: mirror, put, delete: gone, arrived, send, chats, lost, reconnect }, spans) {
  return {
    spans: sorted(new Set(spans.map(({ start, stop }) => JSON.stringify([start, stop])))).map((one) => JSON.parse(one)),
    state: state(mirror),
    put: Object.fromEntries(put),
    delete: sorted(gone),
    arrived: arrived.map(({ conv, row }) => [conv, wire.ROW.write(row)]),
    send: send.map(frameOf),
    chats: Object.fromEntries([...chats].map(([conv, chat]) => [conv, chatOf(chat)])),
    lost: lost.map(({ conv, above }) => [conv, above]),
    reconnect,
  };
}

const state = (mirror) => [
  written(wire.CURSOR, mirror.cursor), mirror.phase, written(wire.CURSOR, mirror.head), mirror.since, mirror.askedAt,
  mirror.answer, mirror.nextPart, sorted(mirror.inSnapshot), Object.fromEntries(mirror.fetching),
  sorted(mirror.opened), sorted(mirror.followed), sorted(mirror.told), mirror.held.map(({ seq }) => seq),
  sync.deadline(mirror),
];

function chatOf(chat) {
  const seen = [sync.isPulled(chat), sync.badge(chat)];
  if (chat.membership === null) return seen;
  return [...seen, sync.members(chat.membership), sync.version(chat.membership)];
}

const stories = JSON.parse(readFileSync(0, 'utf8'));
const played = stories.map(({ device, steps }) => {
  const player = new Player(device);
  return steps.map((step) => player.take(step));
});
process.stdout.write(JSON.stringify(played));
