// Receiving. A device has an inbox on the server, a list of entries numbered without gaps: this file takes what comes,
// in order and once, and writes down what it says.
//
// Everything happens on a copy of the state (`Store.change`). What is to be sent, and what the person is to be told,
// gathers in `out` and leaves only when the copy is saved: an ACK lets the server forget an entry.
import { decode as unpack } from '@msgpack/msgpack';
import * as content from './content.mjs';
import { Keys } from './keys.mjs';
import { base64, bytes, mintId, nextTag, userOf } from './names.mjs';
import { ANSWER, KIND } from './wire.mjs';

// What a chat shows. What has fallen out of it cannot be sent again to a device that asks for it.
const MAX_HISTORY = 1_000;
// A new session costs the other side a prekey: a server that damages messages must not use them all up.
const RENEW_EVERY_MS = 3_600_000;

export class Inbox {
  constructor() {
    this.parts = null; // of a snapshot that is coming
    this.head = null; // where the server's inbox ends, as it last said
    this.asked = null; // the place for which PULL was said
  }

  /** Whether all that the server has is here. */
  isLive(state) { return this.head !== null && state.cursor !== null && state.cursor[1] >= this.head[1]; }

  /** Take one frame. */
  async take(state, frame, out) {
    switch (frame.frame) {
      case 'WELCOME': this.welcome(frame); break;
      case 'SNAPSHOT': this.snapshot(state, frame); break;
      case 'HEAD': this.head = frame.cursor; break;
      case 'ENTRY': await this.entry(state, frame, out); break;
      default: break;
    }
  }

  // ---- where the device stands ----

  welcome({ answer, head }) {
    this.head = head;
    this.asked = null;
    // DELTA: the entries behind the cursor follow. Otherwise what followed it is gone, or it is none of this
    // inbox: the state of the conversations follows instead, and entries from there on.
    this.parts = answer === ANSWER.DELTA ? null : [];
  }

  snapshot(state, { cursor, part, is_last: isLast, items }) {
    if (this.parts === null || part !== this.parts.length) return;
    this.parts.push(items);
    if (!isLast) return;
    const all = this.parts.flat();
    for (const [conv, known] of Object.entries(state.conversations)) {
      if (!all.some(([other]) => other === conv)) known.members = null; // this user is in it no more
    }
    for (const item of all) takeItem(state, item);
    state.cursor = cursor;
    this.parts = null;
  }

  // ---- entries ----

  async entry(state, entry, out) {
    if (state.cursor === null || entry.seq <= state.cursor[1]) return; // it came twice
    const [epoch, seq, tag] = state.cursor;
    if (entry.seq !== seq + 1 || entry.tag !== nextTag(tag, entry.message_id)) {
      // Something is missing before it, or this inbox has another past than the server's: it says which.
      if (this.asked !== seq) out.send.push({ frame: 'PULL', cursor: state.cursor });
      this.asked = seq;
      return;
    }
    if (entry.kind === KIND.ASIDE) await aside(state, entry, out);
    else if (entry.kind === KIND.ROSTER) roster(state, entry);
    else if (entry.kind === KIND.MESSAGE) await message(state, entry, out);
    // MODE and PLACEHOLDER are of large groups, which this program is in without reading them.
    state.cursor = [epoch, entry.seq, entry.tag];
  }
}

// ---- conversations --------------------------------------------------------------------------------------------------

/** What is known of a conversation. The numbers are of what this device sends in it; see outbox.mjs. */
export function conversation(state, conv) {
  state.conversations[conv] ??= { members: null, roster: 0, epoch: 1, next: 1 };
  return state.conversations[conv];
}

function takeItem(state, [conv, , rosterSeq, , members]) {
  Object.assign(conversation(state, conv), { members, roster: rosterSeq });
}

function roster(state, { conv, conv_seq: seq, shared, own }) {
  const [added, removed] = unpack(bytes(shared));
  const known = conversation(state, conv);
  if (seq <= known.roster) return; // a snapshot knew it already
  // Who comes to a conversation that was there gets its state beside the change.
  if (own !== null && added.includes(userOf(state.device))) takeItem(state, unpack(bytes(own)));
  else Object.assign(known, changed(known, { added, removed }), { roster: seq });
  if (removed.includes(userOf(state.device))) known.members = null;
}

/** The members after a change. */
export function changed({ members }, { added, removed }) {
  return { members: [...new Set([...(members ?? []), ...added])].filter((user) => !removed.includes(user)) };
}

// ---- messages -------------------------------------------------------------------------------------------------------

const find = (state, conv, id, sender) => state.history.find((record) => (
  record.conv === conv && record.id === id && record.sender === sender
));

/** Write a message into the history. */
export function remember(state, record) {
  state.history.push(record);
  state.history.splice(0, state.history.length - MAX_HISTORY);
}

async function message(state, { conv, message_id: id, sender, conv_seq: seq, at_ms: at, own, shared }, out) {
  // In a larger group the text is in `shared`, under a key of its sender, and that is beyond this program.
  if (sender === null || shared !== null) return;
  if (find(state, conv, id, sender)) return; // of a server that was restored from a backup
  const record = { id, conv, sender, seq, at, text: null, replyTo: null, problem: null };
  try {
    const inside = content.unbind(await open(state, sender, own, out), conv, id);
    const said = content.decode(inside);
    if (said.kind === 'text') Object.assign(record, { text: said.text, replyTo: said.replyTo });
    else record.problem = 'of a kind that this program does not know';
  } catch {
    // Never dropped: it keeps its place, and its sender is asked for it. If there was a ciphertext, the session may be
    // broken, so the question goes out in a new one.
    record.problem = 'unreadable';
    const fresh = Boolean(own) && mayRenew(state, sender);
    state.asides.push({ id: mintId(), to: sender, content: base64(content.request(conv, id)), fresh });
  }
  remember(state, record);
  out.events.push({ event: 'message', record });
}

async function open(state, sender, own, out) {
  if (!own) throw new Error('there is nothing for this device');
  const told = out.events.length;
  const changed = (device) => out.events.push({ event: 'identity', device });
  try {
    return await new Keys(state.device, state.keys, { changed }).decrypt(sender, own);
  } catch (error) {
    out.events.length = told; // anybody can write a key into a first message; it counts if the message opens
    throw error;
  }
}

// ---- asides: from device to device, about messages that could not be read -------------------------------------------

async function aside(state, { sender, own }, out) {
  if (sender === null) return;
  let said;
  try {
    said = content.decode(await open(state, sender, own, out));
  } catch {
    // Only to a device that was met before: strangers could make this one begin sessions without end.
    const isKnown = await new Keys(state.device, state.keys).knows(sender);
    if (isKnown && mayRenew(state, sender)) {
      state.asides.push({ id: mintId(), to: sender, content: base64(content.askAgain()), fresh: true });
    }
    return;
  }
  if (said.kind === 'request') sendAgain(state, sender, said);
  else if (said.kind === 'resend') putInPlace(state, sender, said, out);
  else if (said.kind === 'ask again') askAgain(state, sender);
}

function sendAgain(state, asking, { conv, messageId }) {
  const record = find(state, conv, messageId, state.device);
  const isFor = state.conversations[conv]?.members?.includes(userOf(asking));
  if (!record?.seq || record.text === null || !isFor) return;
  const again = content.resend(conv, messageId, content.text(record.text, record.replyTo));
  state.asides.push({ id: mintId(), to: asking, content: base64(again), fresh: false });
}

function putInPlace(state, sender, { conv, messageId, content: inside }, out) {
  const record = find(state, conv, messageId, sender);
  if (record?.problem !== 'unreadable') return;
  const said = content.decode(inside);
  if (said.kind !== 'text') return;
  Object.assign(record, { text: said.text, replyTo: said.replyTo, problem: null });
  out.events.push({ event: 'message', record });
}

function askAgain(state, sender) {
  for (const { conv, id, problem, sender: from } of state.history) {
    if (problem !== 'unreadable' || from !== sender) continue;
    state.asides.push({ id: mintId(), to: sender, content: base64(content.request(conv, id)), fresh: false });
  }
}

function mayRenew(state, device) {
  if (Date.now() - (state.renewedAt[device] ?? 0) < RENEW_EVERY_MS) return false;
  state.renewedAt[device] = Date.now();
  return true;
}
