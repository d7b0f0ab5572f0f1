// Sending. A message gets its number and its ciphertext in one change of the state, before its first byte leaves, and
// both stay: it is sent until it is answered, and a server that has it already gives the same answer again.
//
// One message is on its way at a time. A client may have sixteen in flight, which is faster and more to keep straight.
//
// An item of the outbox: {id, conv, user, kind, text, replyTo, change, number, frame}. `number` is [epoch, seq] once it
// has one; `frame` is what is sealed, null before.
import * as content from './content.mjs';
import { changed, conversation, remember } from './inbox.mjs';
import { Keys } from './keys.mjs';
import { mintId, userOf } from './names.mjs';
import { KIND, REFUSAL } from './wire.mjs';

/** Write a text to a user into a conversation: durable as soon as this change is saved. */
export function write(state, { conv, user, text, replyTo = null }) {
  const item = {
    id: mintId(), conv, user, kind: KIND.MESSAGE, text, replyTo, change: null, number: null, frame: null,
  };
  state.outbox.push(item);
  const record = { id: item.id, conv, sender: state.device, seq: 0, at: Date.now(), text, replyTo, problem: null };
  remember(state, record);
  return record;
}

/** Let a conversation begin: what makes it goes out before its first message. */
export function begin(state, { conv, user }) {
  if (state.outbox.some((item) => item.conv === conv && item.kind === KIND.ROSTER)) return;
  const change = [[userOf(state.device), user], []]; // who comes, and who goes
  const item = { id: mintId(), conv, user, kind: KIND.ROSTER, text: null, change, number: null, frame: null };
  state.outbox.splice(state.outbox.findIndex((other) => other.conv === conv), 0, item);
}

/**
 * Seal an item: number it, and encrypt it for each device of all members but this one.
 *
 * `keyless` are devices that have published no keys. They get an empty copy, which tells them to ask; to leave them out
 * would be a stale list of devices.
 */
export async function seal(state, id, { devices, keyless }) {
  const item = state.outbox.find((other) => other.id === id);
  const known = conversation(state, item.conv);
  const frame = { if_roster: null, devices: [], change: item.change, shared: null, own: null };
  if (item.kind === KIND.MESSAGE) {
    const keys = new Keys(state.device, state.keys);
    const inside = content.bind(item.conv, item.id, content.text(item.text, item.replyTo));
    frame.own = {};
    for (const device of devices) {
      frame.own[device] = keyless.has(device) ? '' : await keys.encrypt(device, inside);
    }
    frame.if_roster = known.roster; // refuse it if the members are others by now
  }
  item.number ??= [known.epoch, known.next++];
  item.frame = frame;
  return sendFrame(item);
}

/** The SEND of an item. */
export function sendFrame({ conv, number, id, kind, frame }) {
  return { frame: 'SEND', conv, outbox_epoch: number[0], outbox_seq: number[1], message_id: id, kind, ...frame };
}

/** SENT: the message has its place, and needs nobody any more. */
export function sent(state, { conv, message_id: id, conv_seq: seq, at_ms: at }, out) {
  const item = state.outbox.find((other) => other.id === id);
  if (!item) return; // an answer that came twice
  state.outbox.splice(state.outbox.indexOf(item), 1);
  if (item.kind === KIND.ROSTER) {
    const known = conversation(state, conv);
    const [added, removed] = item.change;
    if (seq > known.roster) Object.assign(known, changed(known, { added, removed }), { roster: seq });
    return;
  }
  const record = state.history.find((other) => other.id === id && other.sender === state.device);
  if (!record) return;
  // The VOID of a message that was given up is answered with 0, unless the message had got through before.
  if (!seq) return;
  Object.assign(record, { seq, at, problem: null });
  out.events.push({ event: 'sent', record });
}

/** REFUSED: it has no place, and its number is still its own. Returns how many milliseconds to wait. */
export async function refused(state, { message_id: id, reason, number }, out) {
  const item = state.outbox.find((other) => other.id === id);
  if (!item) return 0;
  switch (reason) {
    case REFUSAL.TRY_LATER:
      return number;
    case REFUSAL.STALE_DEVICES:
    case REFUSAL.ROSTER_MOVED:
      item.frame = null; // sealed again, for those who are there now
      return reason === REFUSAL.ROSTER_MOVED ? 500 : 0; // the inbox has to bring the change first
    case REFUSAL.STALE_OUTBOX:
      await renumber(state, item.conv, number);
      return 0;
    case REFUSAL.SEND_FIRST: // what it asks for was answered long ago: the server has lost it, and it is here no more
      await renumber(state, item.conv, 0);
      return 0;
    default:
      fail(state, item, Object.keys(REFUSAL).find((name) => REFUSAL[name] === reason) ?? 'refused', out);
      return 0;
  }
}

/** Give an item up, and tell the person of all messages that failed. */
export function fail(state, item, why, out) {
  const failed = () => state.history.filter(({ problem, sender }) => problem !== null && sender === state.device);
  const before = new Set(failed());
  giveUp(state, item, why);
  for (const record of failed()) if (!before.has(record)) out.events.push({ event: 'failed', record });
}

/**
 * Give an item up; without its beginning, a conversation's messages are given up, too.
 *
 * If it has a number, a VOID takes that: only its answer tells whether the message got through.
 */
function giveUp(state, item, why) {
  if (item.kind === KIND.ROSTER) {
    const waiting = state.outbox.filter(({ conv, kind }) => conv === item.conv && kind === KIND.MESSAGE);
    for (const one of waiting) giveUp(state, one, why);
  }
  const record = state.history.find(({ id, sender }) => id === item.id && sender === state.device);
  if (record) record.problem = why.toLowerCase().replaceAll('_', ' ');
  if (item.number === null) {
    state.outbox.splice(state.outbox.indexOf(item), 1);
  } else {
    item.kind = KIND.VOID;
    item.frame = { if_roster: null, devices: [], change: null, shared: null, own: null };
  }
}

// The conversation knows the numbers better than this device, so this device goes on from an old copy of itself, and
// its ratchets do, too: a higher epoch begins, and all that waits is sealed again in new sessions. No key may be used
// for two texts.
async function renumber(state, conv, above) {
  const known = conversation(state, conv);
  known.epoch = Math.max(known.epoch, above) + 1;
  known.next = 1;
  const keys = new Keys(state.device, state.keys);
  for (const item of state.outbox.filter((other) => other.conv === conv)) {
    for (const device of Object.keys(item.frame?.own ?? {})) await keys.archive(device);
    if (item.number !== null) item.number = [known.epoch, known.next++];
    item.frame = item.kind === KIND.VOID ? item.frame : null;
  }
}
