// @ts-check
// The lab in a browser. It draws what the lab's process says and tells it what people do; the phones, their keys and
// the server are over there. What is kept here is what is on the screen, so a reload loses nothing.
//
//     process --- one WebSocket, JSON ---> take --> Phone, Server, Wire, Controls --> the page
//             <-- {"do": ...} ------------ tell
//
// Whatever somebody wrote goes into the page as text and never as markup, and nothing sets a style in markup: the content
// security policy allows neither. Of a list of messages only a window of rows is in the page, and every change of it
// goes through `Chat.steady`, so that what is being read stays where it is.

/**
 * @typedef {object} Message A row of a phone.
 * @property {string} id
 * @property {number} order Its place in the conversation.
 * @property {number} at_ms
 * @property {boolean} mine
 * @property {string} [text]
 * @property {{name: string, type: string, size: number, moved: number, total: number, state: string}} [file]
 * @property {string} mark
 * @property {string} words What the mark means, with the time.
 *
 * @typedef {{id: number, phone: number, way: 'up' | 'down', name: string, bytes: number, fate: string, at_ms: number}} Frame
 * @typedef {{seq: number, sender: string, bytes: number, hex: string, fields: [string, unknown][]}} Sealed
 */

// ---- words: pure, about what they are given -------------------------------------------------------------------------

/** @type {Record<string, string>} */
const GLYPHS = { pending: '◷', sent: '✓', delivered: '✓✓', read: '✔✔', failed: '✗', unreadable: '⧖' };
/** @type {Record<string, string>} Marks that are worth saying when they come. */
const SPOKEN = { sent: 'sent', delivered: 'delivered', read: 'read', failed: 'not sent' };
/** @type {Record<string, string>} */
const FATES = { passed: '✓', lost: '✗ lost', doubled: '×2 doubled', late: '◷ late', waiting: '… waiting' };

const CLOCK = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const DAY = new Intl.DateTimeFormat('en-GB', { weekday: 'long', day: 'numeric', month: 'long' });

/** A text of at most so many units, never with half a character at its end. @param {string} text @param {number} most */
export function cut(text, most) {
  return text.length <= most ? text : `${text.slice(0, most).replace(/[\uD800-\uDBFF]$/, '')}…`;
}

/** What a message is called when it is spoken of. @param {Message} message */
export const briefly = (message) => cut(message.file?.name ?? message.text ?? '', 40);

/** @param {number} bytes */
export function sizeOf(bytes) {
  if (bytes < 1_000) return `${bytes} B`;
  return bytes < 999_500 ? `${Math.round(bytes / 1_000)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

const MAX_BLOCKS = 10;

/** How much of an inbox has been taken, in so many blocks at most. @param {number} done @param {number} all */
export function blocks(done, all) {
  const count = Math.min(Math.max(all, 0), MAX_BLOCKS);
  const full = count === 0 ? 0 : Math.floor((Math.min(Math.max(done, 0), all) * count) / all);
  return '▮'.repeat(full) + '▯'.repeat(count - full);
}

/** One sentence about marks that came together: by name while they are few. @param {{text: string, word: string}[]} marks */
export function gather(marks) {
  return Object.values(SPOKEN).flatMap((word) => {
    const of = marks.filter((mark) => mark.word === word);
    return of.length > 2 ? [`${of.length} messages ${word}`] : of.map(({ text }) => `${text}, ${word}`);
  }).join('. ');
}

/** Where a message is among others in their order, or would be. @param {Message[]} messages @param {Message} message */
export function placeOf(messages, { order, id }) {
  let low = 0;
  let high = messages.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = messages[middle];
    if (other.order < order || (other.order === order && other.id < id)) low = middle + 1;
    else high = middle;
  }
  return low;
}

// ---- the page's elements --------------------------------------------------------------------------------------------

/** The element that a selector names, which is there. @param {string} selector @param {ParentNode} [within] @returns {any} */
const get = (selector, within = document) => {
  const found = within.querySelector(selector);
  if (found === null) throw new Error(`nothing is ${selector}`);
  return found;
};

/**
 * A new element: what is in `properties` is set on it, `data` and `aria` by their short names.
 *
 * @param {string} tag
 * @param {Record<string, any>} [properties]
 * @param {...(Node | string)} children
 * @returns {any}
 */
function make(tag, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  Object.assign(element.dataset, data);
  for (const [name, value] of Object.entries(aria)) element.setAttribute(`aria-${name}`, value);
  element.append(...children);
  return element;
}

/** Set a text that may be there already, so that nobody is told of it twice. @param {Element} element @param {string} text */
const write = (element, text) => { if (element.textContent !== text) element.textContent = text; };
/** @param {Element} button @param {boolean} is */
const press = (button, is) => button.setAttribute('aria-pressed', String(is));
/** Unlike `disabled` it leaves the focus where it is. @param {Element} button @param {boolean} is */
const enable = (button, is) => button.setAttribute('aria-disabled', String(!is));
/** Whether a list is scrolled to its end, give or take a few pixels. @param {Element} list */
const isAtEnd = ({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight <= BOTTOM_PX;
/** @param {Element} button */
const isEnabled = (button) => button.getAttribute('aria-disabled') !== 'true';

/** Somewhere to keep small things, where the browser allows it. @param {'localStorage' | 'sessionStorage'} where */
const drawer = (where) => ({
  get: (/** @type {string} */ key) => { try { return window[where].getItem(key) ?? ''; } catch { return ''; } },
  set: (/** @type {string} */ key, /** @type {string} */ value) => { try { window[where].setItem(key, value); } catch { /* not kept */ } },
});
const settings = drawer('localStorage');
const drafts = drawer('sessionStorage');

// ---- what is said aloud, and what is said to the eye ----------------------------------------------------------------

const SPEAK_MS = 200;
const TOAST_MS = 12_000;

/** Says each change once, to those who do not see it: what comes together is said together. */
class Voice {
  /** @type {string[]} */
  sentences = [];
  /** @type {Map<string, {text: string, word: string}>} By message: only its last mark is said. */
  marks = new Map();
  timer = 0;

  /** @param {string} sentence */
  say(sentence) {
    this.sentences.push(sentence);
    this.timer ||= window.setTimeout(() => this.speak(), SPEAK_MS);
  }

  /** @param {string} key @param {Message} message */
  mark(key, message) {
    this.marks.set(key, { text: briefly(message), word: SPOKEN[message.mark] });
    this.timer ||= window.setTimeout(() => this.speak(), SPEAK_MS);
  }

  speak() {
    get('#spoken').textContent = [...this.sentences, gather([...this.marks.values()])].filter(Boolean).join('. ');
    [this.sentences, this.timer] = [[], 0];
    this.marks.clear();
  }
}

const voice = new Voice();
let toastTimer = 0;

/** @param {string} text @param {boolean} isBad */
function toast(text, isBad) {
  const element = get('#toast');
  element.hidden = false;
  element.textContent = isBad ? `⚠ ${text}` : text;
  window.clearTimeout(toastTimer);
  toastTimer = window.setTimeout(() => { element.hidden = true; }, TOAST_MS);
}

/** What holds for the whole page, until it does not. @param {string} text Empty for nothing. */
function banner(text, canTakeOver = false) {
  get('#banner').hidden = text === '';
  write(get('#banner-text'), text);
  get('#take-over').hidden = !canTakeOver;
}

// ---- the link to the process ----------------------------------------------------------------------------------------

const FIRST_RETRY_MS = 500;
const MAX_RETRY_MS = 5_000;
const REPLACED = 4001;

/** The WebSocket, opened again whenever it closes, until another tab takes over. */
class Link {
  /** @param {(messages: any[]) => void} take Is given all that came since it was last called. */
  constructor(take) {
    this.take = take;
    /** @type {WebSocket | null} */
    this.socket = null;
    this.retryMs = FIRST_RETRY_MS;
    /** @type {any[]} */
    this.arrived = [];
  }

  open() {
    const url = new URL('lab', document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onopen = () => { this.retryMs = FIRST_RETRY_MS; banner(''); };
    socket.onmessage = ({ data }) => {
      // A burst is drawn once.
      if (this.arrived.length === 0) window.setTimeout(() => this.take(this.arrived.splice(0)));
      this.arrived.push(JSON.parse(data));
    };
    socket.onclose = ({ code }) => {
      this.socket = null;
      get('main').setAttribute('aria-busy', 'true');
      if (code === REPLACED) { replaced(); return; }
      banner('The lab cannot be reached: its process has ended, or hangs. Trying again …');
      window.setTimeout(() => this.open(), this.retryMs);
      this.retryMs = Math.min(2 * this.retryMs, MAX_RETRY_MS);
    };
  }

  /** Tell the process something; false if it cannot be reached. @param {Record<string, unknown>} message */
  tell(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }
}

/** @param {boolean} is */
const setInert = (is) => { for (const part of get('main').children) part.inert = is; };

/** Two tabs of one phone would both say what was read. */
function replaced() {
  setInert(true);
  banner('This tab was replaced by a newer one, and shows what it last saw.', true);
  get('#take-over').focus();
}

// ---- a conversation on a phone --------------------------------------------------------------------------------------

const STEP_ROWS = 60;
const MAX_ROWS = 240;
const NEAR_PX = 900;
const BOTTOM_PX = 8;
const LONG_TEXT = 1_500;

/** A row of the list: a message, and above it the lines that begin a day and what is unread. */
class Row {
  /** @param {string} who Whose message it is, for those who hear it. @param {(what: string, id: string) => void} act */
  constructor(who, act) {
    this.act = act;
    /** @type {Message | null} */
    this.shown = null;
    this.day = make('p', { className: 'day', hidden: true });
    this.unread = make('p', { className: 'unread', hidden: true });
    this.text = make('div', { className: 'text', dir: 'auto' });
    this.rest = make('button', { type: 'button', className: 'rest', hidden: true });
    this.file = make('div', { className: 'file', hidden: true });
    this.time = make('time');
    this.mark = make('span', { className: 'mark' });
    this.failure = make('div', { className: 'failure', hidden: true });
    this.bubble = make('div', { className: 'bubble' }, make('span', { className: 'away' }, who), this.text,
      this.rest, this.file, make('p', { className: 'meta' }, this.time, ' ', this.mark), this.failure);
    this.element = make('li', {}, this.day, this.unread, this.bubble);
  }

  /** @param {Message} message @param {string} day Empty if it is that of the row above. @param {string} unread */
  draw(message, day, unread) {
    if (this.day.textContent !== day) { this.day.textContent = day; this.day.hidden = day === ''; }
    if (this.unread.textContent !== unread) { this.unread.textContent = unread; this.unread.hidden = unread === ''; }
    if (message === this.shown) return;
    const before = this.shown;
    this.shown = message;
    this.element.dataset.id = message.id;
    this.bubble.className = `bubble ${message.mark === 'notice' ? 'notice' : message.mine ? 'mine' : 'theirs'}`;
    this.bubble.dataset.mark = message.mark;
    write(this.time, CLOCK.format(message.at_ms));
    if (before === null || before.text !== message.text || before.mark !== message.mark) this.drawText(message);
    if (message.file) this.drawFile(message, message.file);
    if (before?.mark !== message.mark || before?.words !== message.words) this.drawMark(message);
  }

  /** @param {Message} message */
  drawText(message) {
    const text = message.mark === 'unreadable' ? '⧖ waiting for this message' : message.text ?? '';
    this.text.hidden = text === '';
    const isLong = text.length > LONG_TEXT;
    write(this.text, isLong ? cut(text, LONG_TEXT) : text);
    this.rest.hidden = !isLong;
    this.rest.textContent = `Read all of it, ${sizeOf(new Blob([text]).size)}`;
    this.rest.onclick = () => { this.text.textContent = text; this.rest.hidden = true; };
  }

  /** @param {Message} message */
  drawMark({ id, mark, words }) {
    const isSeen = mark in GLYPHS && mark !== 'failed' && mark !== 'unreadable';
    this.mark.hidden = !isSeen;
    this.mark.dataset.mark = mark;
    this.mark.textContent = isSeen ? GLYPHS[mark] : '';
    this.mark.title = words;
    if (isSeen) {
      this.mark.setAttribute('role', 'img');
      this.mark.setAttribute('aria-label', words);
    }
    this.text.title = mark === 'unreadable' ? words : '';
    this.failure.hidden = mark !== 'failed';
    this.failure.replaceChildren(...(mark !== 'failed' ? [] : [
      make('p', {}, `✗ ${words}`),
      make('button', { type: 'button', onclick: () => this.act('retry', id) }, 'Retry'),
      make('button', { type: 'button', onclick: () => this.act('discard', id) }, 'Discard'),
    ]));
  }

  /** @param {Message} message @param {NonNullable<Message['file']>} file */
  drawFile({ id, mine, mark }, file) {
    const where = `files/${this.act('phone', '')}/${encodeURIComponent(id)}`;
    const isMoving = file.state === 'moving' || file.state === 'paused';
    // Until it is sent, nobody can fetch it.
    const isThere = file.state === 'done' && mark !== 'pending' && mark !== 'failed';
    const look = `${isMoving} ${isThere}`;
    if (this.file.dataset.look !== look) {
      this.file.dataset.look = look;
      const name = make('p', {}, '▤ ', make('bdi', {}, file.name), ' ', make('span', { className: 'size' }, sizeOf(file.size)));
      const bar = make('progress', { className: 'bar', aria: { label: `${mine ? 'Sending' : 'Receiving'} ${file.name}` } });
      const stop = make('button', { type: 'button', onclick: () => this.act('cancel', id) }, 'Cancel');
      const save = make('a', { href: where, download: file.name }, 'Save');
      // Its box has one size whatever comes, so nothing moves when it is there.
      const picture = () => make('img', { src: where, alt: file.name, loading: 'lazy' });
      const isPicture = /^image\/(png|jpeg|gif|webp)$/.test(file.type);
      this.file.hidden = false;
      this.file.replaceChildren(...(isThere && isPicture ? [picture()] : []), name,
        ...(isMoving ? [bar, make('span', { className: 'percent' }), stop] : isThere ? [save] : []));
    }
    if (isMoving) {
      const bar = get('.bar', this.file);
      [bar.max, bar.value] = [file.total || 1, file.moved];
      const percent = `${Math.floor((100 * file.moved) / (file.total || 1))} %`;
      write(get('.percent', this.file), file.state === 'paused' ? `${percent}, paused` : percent);
    }
  }
}

/** The list of messages: a window of rows, which moves with what is looked at. */
class Chat {
  /**
   * @param {HTMLElement} section The phone.
   * @param {object} doors
   * @param {(id: string) => void} doors.askBefore Ask for what is older.
   * @param {() => void} doors.looked What is on the screen has changed.
   * @param {(what: string, id: string) => any} doors.act
   */
  constructor(section, { askBefore, looked, act }) {
    [this.askBefore, this.looked, this.act] = [askBefore, looked, act];
    this.log = get('.log', section);
    this.list = get('.log ol', section);
    this.button = get('.newest', section);
    /** @type {Message[]} All that are known, in order. */
    this.messages = [];
    /** @type {Map<string, Message>} */
    this.byId = new Map();
    /** @type {Map<string, Row>} Those in the page: of `messages` from `from` to below `to`. */
    this.rows = new Map();
    this.from = this.to = 0;
    this.hasMore = this.isAsking = false;
    this.isAtEnd = true;
    this.fresh = 0;
    /** @type {string | null} */
    this.divider = null;
    this.unread = 0;
    this.peer = '';
    this.log.addEventListener('scroll', () => this.scrolled(), { passive: true });
    this.log.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.key === 'End') { event.preventDefault(); this.goToEnd(); }
    });
    this.button.onclick = () => { this.goToEnd(); this.log.focus(); };
    const watch = new ResizeObserver(() => { if (this.isAtEnd) this.scrollToEnd(); });
    watch.observe(this.log);
    watch.observe(this.list);
  }

  clear() {
    [this.messages, this.byId, this.rows] = [[], new Map(), new Map()];
    [this.from, this.to, this.fresh, this.divider, this.unread] = [0, 0, 0, null, 0];
    [this.hasMore, this.isAsking, this.isAtEnd] = [false, false, true];
    this.list.replaceChildren();
  }

  /** Take the older messages that were asked for, or the newest at the beginning. @param {Message[]} messages @param {boolean} hasMore */
  putHistory(messages, hasMore) {
    [this.hasMore, this.isAsking] = [hasMore, false];
    const isFirst = this.messages.length === 0;
    for (const message of messages) this.place(message);
    if (isFirst) this.from = Math.max(0, this.to - STEP_ROWS);
    // What is old is not read aloud.
    this.log.setAttribute('aria-busy', 'true');
    this.draw();
    window.setTimeout(() => this.log.setAttribute('aria-busy', 'false'), SPEAK_MS);
  }

  /** Take what is new, or has changed. @param {Message[]} messages */
  put(messages) {
    let isOwn = false;
    for (const message of messages) {
      const before = this.byId.get(message.id);
      this.place(message);
      if (before === undefined) {
        isOwn ||= message.mine;
        if (!message.mine && !this.isAtEnd) this.fresh += 1;
      } else if (message.mine && before.mark !== message.mark && message.mark in SPOKEN) {
        voice.mark(`${this.peer} ${message.id}`, message);
      }
    }
    if (isOwn) this.goToEnd();
    else this.draw();
  }

  /** @param {string} id */
  remove(id) {
    const message = this.byId.get(id);
    if (message === undefined) return;
    this.takeOut(message);
    this.byId.delete(id);
    this.draw();
  }

  /** Put a message into its place, in the place of what was known of it. @param {Message} message */
  place(message) {
    const before = this.byId.get(message.id);
    this.byId.set(message.id, message);
    if (before !== undefined && before.order === message.order) {
      this.messages[placeOf(this.messages, before)] = message;
      return;
    }
    const wasAll = this.to === this.messages.length;
    if (before !== undefined) this.takeOut(before);
    const at = placeOf(this.messages, message);
    this.messages.splice(at, 0, message);
    if (at < this.from) { this.from += 1; this.to += 1; }
    else if (at < this.to || (at === this.to && wasAll)) this.to += 1;
  }

  /** @param {Message} message */
  takeOut(message) {
    const at = placeOf(this.messages, message);
    this.messages.splice(at, 1);
    if (at < this.from) this.from -= 1;
    if (at < this.to) this.to -= 1;
  }

  /** Where the line is, and what it says. @param {string | null} id @param {number} unread */
  divide(id, unread) {
    if (id === this.divider && unread === this.unread) return;
    [this.divider, this.unread] = [id, unread];
    this.draw();
  }

  // -- drawing

  draw() {
    if (this.isAtEnd) this.from = Math.max(this.from, this.to - MAX_ROWS);
    else this.to = Math.min(this.to, this.from + MAX_ROWS);
    this.steady(() => {
      const shown = this.messages.slice(this.from, this.to);
      const ids = new Set(shown.map(({ id }) => id));
      for (const [id, row] of this.rows) {
        if (!ids.has(id)) { row.element.remove(); this.rows.delete(id); }
      }
      let next = this.list.firstElementChild;
      let above = this.messages[this.from - 1];
      for (const message of shown) {
        const row = this.rowOf(message);
        const day = DAY.format(message.at_ms);
        const unread = message.id === this.divider ? `${this.unread} unread` : '';
        row.draw(message, above && DAY.format(above.at_ms) === day ? '' : day, unread);
        if (row.element === next) next = next.nextElementSibling;
        else this.list.insertBefore(row.element, next);
        above = message;
      }
    });
    this.drawButton();
    this.looked();
  }

  /** @param {Message} message */
  rowOf(message) {
    let row = this.rows.get(message.id);
    if (row === undefined) {
      row = new Row(message.mark === 'notice' ? '' : `${message.mine ? 'You' : this.peer}: `, this.act);
      this.rows.set(message.id, row);
    }
    return row;
  }

  drawButton() {
    this.button.hidden = this.isAtEnd;
    write(this.button, this.fresh ? `↓ ${this.fresh} new` : '↓');
    this.button.setAttribute('aria-label', this.fresh ? `${this.fresh} new, to the newest` : 'To the newest');
  }

  /** Change the list without moving what is looked at: at the end it stays there, elsewhere the first row does. @param {() => void} change */
  steady(change) {
    if (this.isAtEnd) {
      change();
      this.scrollToEnd();
      return;
    }
    const anchor = this.firstSeen();
    const top = anchor?.getBoundingClientRect().top;
    change();
    if (anchor?.isConnected) this.log.scrollTop += anchor.getBoundingClientRect().top - top;
  }

  /** The bubble at the upper edge. */
  firstSeen() {
    const rows = this.list.children;
    const edge = this.log.scrollTop;
    let low = 0;
    let high = rows.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].offsetTop + rows[middle].offsetHeight <= edge) low = middle + 1;
      else high = middle;
    }
    return rows[low]?.lastElementChild;
  }

  // -- scrolling

  scrolled() {
    const { scrollTop, clientHeight, scrollHeight } = this.log;
    const below = scrollHeight - scrollTop - clientHeight;
    this.isAtEnd = this.to === this.messages.length && isAtEnd(this.log);
    if (this.isAtEnd) this.fresh = 0;
    else if (scrollTop < NEAR_PX) this.lookEarlier();
    else if (below < NEAR_PX && this.to < this.messages.length) this.lookLater();
    this.drawButton();
    this.looked();
  }

  lookEarlier() {
    if (this.from > 0) {
      this.from = Math.max(0, this.from - STEP_ROWS);
      this.draw();
    } else if (this.hasMore && !this.isAsking) {
      this.isAsking = true;
      this.askBefore(this.messages[0].id);
    }
  }

  lookLater() {
    this.to = Math.min(this.messages.length, this.to + STEP_ROWS);
    this.from = Math.max(this.from, this.to - MAX_ROWS);
    this.draw();
  }

  scrollToEnd() {
    this.log.scrollTop = this.log.scrollHeight;
  }

  goToEnd() {
    this.to = this.messages.length;
    if (this.from < this.to - MAX_ROWS) this.from = this.to - STEP_ROWS;
    [this.isAtEnd, this.fresh] = [true, 0];
    this.draw();
  }

  /** Show the line above what is unread, if it is not on the screen. */
  goToDivider() {
    const message = this.divider === null ? undefined : this.byId.get(this.divider);
    if (message === undefined) return;
    const at = placeOf(this.messages, message);
    if (at < this.from || at >= this.to) {
      this.from = Math.max(0, at - STEP_ROWS);
      this.to = Math.min(this.messages.length, this.from + MAX_ROWS);
      this.isAtEnd = false;
      this.draw();
    }
    const box = this.log.getBoundingClientRect();
    const line = this.rows.get(message.id)?.unread.getBoundingClientRect();
    if (line === undefined || line.top >= box.top) return;
    this.log.scrollTop += line.top - box.top - 8;
    this.isAtEnd = false;
    this.scrolled();
  }

  /** The newest message of the other side that is on the screen to its end. */
  newestSeen() {
    const { bottom } = this.log.getBoundingClientRect();
    for (let at = this.to - 1; at >= this.from; at -= 1) {
      const message = this.messages[at];
      if (message.mine || message.mark !== 'received') continue;
      const box = this.rows.get(message.id)?.bubble.getBoundingClientRect();
      if (box && box.bottom <= bottom + 1) return message;
    }
    return null;
  }
}

// ---- a phone --------------------------------------------------------------------------------------------------------

const TYPING_MS = 3_000;

/** A phone: who is at the other end, their conversation, and where one writes. */
class Phone {
  /** @param {{phone: number, name: string, device: string}} who */
  constructor({ phone, name, device }) {
    [this.no, this.name] = [phone, name];
    /** @type {any} What the process last said of it. */
    this.state = null;
    this.isOpen = false;
    this.hasOpened = false;
    this.seenOrder = -Infinity;
    this.typedAt = -Infinity;
    /** @type {{name: string, size: number, stop: AbortController}[]} */
    this.uploads = [];

    const section = get('#phone-template').content.cloneNode(true).firstElementChild;
    this.section = section;
    section.dataset.phone = phone;
    const title = get('h2', section);
    title.id = `phone-${phone}-title`;
    title.append(`${name}’s phone `, make('span', { className: 'device' }, device));
    section.setAttribute('aria-labelledby', title.id);
    get('.face', section).dataset.phone = phone;
    this.chat = new Chat(section, {
      askBefore: (id) => link.tell({ do: 'history', phone, before: id, count: 100 }),
      looked: () => this.report(),
      act: (what, id) => this.act(what, id),
    });
    this.flight = make('button', { type: 'button', aria: { pressed: 'false', label: `${name} in the air` } },
      make('span', { aria: { hidden: 'true' } }, `✈ ${name}`));
    this.flight.onclick = () => link.tell({ do: 'flight', phone, on: !this.state?.flight });
    this.listenToFocus();
    this.listenToComposer();
    this.listenToFiles();
    get('.number', section).onclick = get('.compare', section).onclick = () => showNumber(this);
    get('.accept', section).onclick = () => link.tell({ do: 'accept', phone });
  }

  /** What is on a row's buttons. @param {string} what @param {string} id */
  act(what, id) {
    if (what === 'phone') return this.no;
    if (what === 'cancel') {
      const file = this.chat.byId.get(id)?.file;
      this.uploads.find(({ name, size }) => name === file?.name && size === file.size)?.stop.abort();
    }
    return link.tell({ do: what, phone: this.no, id });
  }

  /** Take what the process says of it. @param {any} state */
  take(state) {
    const before = this.state;
    this.state = state;
    const { section } = this;
    section.dataset.state = state.state;
    write(get('.link', section), state.devices > 1 ? `${state.words} · ${state.devices} devices` : state.words);
    write(get('.peer-name', section), state.peer.name);
    write(get('.peer-words', section), state.peer.words);
    write(get('.face', section), state.peer.name.slice(0, 1));
    write(get('.number', section), state.verified ? '✔ verified' : 'Safety number');
    this.chat.peer = state.peer.name;
    this.chat.log.setAttribute('aria-label', `Messages with ${state.peer.name}`);
    this.field.setAttribute('aria-label', `Message to ${state.peer.name}`);
    get('.flying', section).hidden = !state.flight;
    press(this.flight, state.flight);
    write(get('.changed p', section), `⚠ ${state.peer.name}’s safety number has changed. Most often it is a new phone, or `
      + 'the app was installed again; rarely somebody is in between. Compare the numbers before you rely on it.');
    get('.changed', section).hidden = !state.changed;
    write(get('p.removed', section), `${this.name} is out of the group: what is written now, this phone cannot read.`);
    get('p.removed', section).hidden = !state.removed;
    if (before && before.state !== state.state) voice.say(`${this.name}’s phone: ${state.words.replace(/^\W+/u, '')}`);
    if (before && !before.changed && state.changed) voice.say(`${state.peer.name}’s safety number has changed`);
    // The line stays put while somebody is here, and follows what is unread while nobody is.
    if (!this.isOpen) this.chat.divide(state.divider, state.unread);
  }

  clear() {
    this.chat.clear();
    [this.hasOpened, this.isOpen, this.seenOrder] = [false, false, -Infinity];
  }

  /** Everything has come that is there at the beginning: go to what is unread. */
  open() {
    if (this.hasOpened || this.state === null || this.chat.messages.length === 0) return;
    this.hasOpened = true;
    this.chat.goToDivider();
    if (this.section.contains(document.activeElement)) this.isOpen = true;
  }

  // -- who looks at it

  listenToFocus() {
    this.section.addEventListener('focusin', () => {
      if (!this.isOpen) {
        this.isOpen = true;
        this.chat.goToDivider();
      }
      this.report();
    });
    this.section.addEventListener('focusout', (/** @type {FocusEvent} */ { relatedTarget }) => {
      if (!document.hasFocus() || this.section.contains(/** @type {Node | null} */ (relatedTarget))) return;
      this.isOpen = false;
      if (this.state) this.chat.divide(this.state.divider, this.state.unread);
    });
    window.addEventListener('focus', () => this.report());
  }

  /** Say what was read: what is on the screen while this phone has the focus. */
  report() {
    if (!document.hasFocus() || !this.section.contains(document.activeElement)) return;
    const seen = this.chat.newestSeen();
    if (seen === null || seen.order <= this.seenOrder) return;
    if (link.tell({ do: 'seen', phone: this.no, id: seen.id })) this.seenOrder = seen.order;
  }

  // -- writing

  listenToComposer() {
    /** @type {HTMLTextAreaElement} */
    this.field = get('textarea', this.section);
    const form = get('form', this.section);
    this.field.value = drafts.get(`draft-${this.no}`);
    this.field.addEventListener('input', () => {
      this.grow();
      drafts.set(`draft-${this.no}`, this.field.value);
      const now = performance.now();
      if (this.field.value === '' || now - this.typedAt < TYPING_MS) return;
      this.typedAt = now;
      link.tell({ do: 'typing', phone: this.no });
    });
    this.field.addEventListener('keydown', (event) => {
      // 229 is what Safari says of the Enter that ends a composition.
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === 'Enter' && !event.shiftKey && !event.altKey) {
        event.preventDefault();
        form.requestSubmit();
      } else if (event.key === 'Escape') {
        this.chat.log.focus();
      }
    });
    form.addEventListener('submit', (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.send();
    });
  }

  send() {
    const text = this.field.value;
    if (text.trim() !== '') {
      if (link.tell({ do: 'send', phone: this.no, text })) {
        this.field.value = '';
        drafts.set(`draft-${this.no}`, '');
        this.typedAt = -Infinity;
        this.grow();
      } else {
        toast('The lab cannot be reached; what you wrote is still here.', true);
      }
    }
    this.field.focus();
  }

  grow() {
    this.field.style.height = 'auto';
    this.field.style.height = `${this.field.scrollHeight + 2}px`;
  }

  // -- files

  listenToFiles() {
    const { section } = this;
    const picker = get('.picker', section);
    get('.attach', section).onclick = () => picker.click();
    picker.addEventListener('change', () => {
      for (const file of picker.files) this.upload(file);
      picker.value = '';
      this.field.focus();
    });
    this.field.addEventListener('paste', (event) => {
      if (!event.clipboardData?.files.length) return;
      event.preventDefault();
      for (const file of event.clipboardData.files) this.upload(file);
    });
    section.addEventListener('dragover', () => section.classList.add('dropping'));
    section.addEventListener('dragleave', (/** @type {DragEvent} */ { relatedTarget }) => {
      if (!section.contains(/** @type {Node | null} */ (relatedTarget))) section.classList.remove('dropping');
    });
    section.addEventListener('drop', (/** @type {DragEvent} */ event) => {
      section.classList.remove('dropping');
      for (const file of event.dataTransfer?.files ?? []) this.upload(file);
    });
  }

  /** @param {File} file */
  async upload(file) {
    const upload = { name: file.name, size: file.size, stop: new AbortController() };
    const asked = new URLSearchParams({ phone: String(this.no), name: file.name, type: file.type || 'application/octet-stream' });
    this.uploads.push(upload);
    try {
      const answer = await fetch(`files?${asked}`, { method: 'POST', body: file, signal: upload.stop.signal });
      if (!answer.ok) toast(`${file.name} was not sent: ${(await answer.json()).message}`, true);
    } catch {
      if (!upload.stop.signal.aborted) toast(`${file.name} was not sent: the lab cannot be reached`, true);
    }
    this.uploads.splice(this.uploads.indexOf(upload), 1);
  }
}

/** Two people read these digits to each other. @param {Phone} phone */
function showNumber(phone) {
  const { peer, number, verified } = phone.state;
  const dialog = get('#number-dialog');
  write(get('#number-text'), number === '' ? 'There is none yet: it is made of both identity keys, which meet with the first message.'
    : `If ${peer.name} sees the same digits, nobody is in between.${verified ? ' ✔ verified' : ''}`);
  get('[value="verify"]', dialog).hidden = number === '';
  get('#number-digits').replaceChildren(...(number.replace(/\D/g, '').match(/.{1,5}/g) ?? [])
    .map((/** @type {string} */ group) => make('span', {}, group)));
  dialog.returnValue = '';
  dialog.onclose = () => { if (dialog.returnValue === 'verify') link.tell({ do: 'verify', phone: phone.no }); };
  dialog.showModal();
}

// ---- what the server can see ----------------------------------------------------------------------------------------

/** The column in the middle: what is told by the server alone, which has no plaintext to tell. */
class Server {
  constructor() {
    this.section = get('#server');
    this.scroll = get('#rows-scroll');
    this.body = get('#rows tbody');
    /** @type {Map<number, HTMLElement[]>} Of each seq its row, and what opens below it. */
    this.rows = new Map();
    /** @type {boolean | null} */
    this.isUp = null;
    this.isAtEnd = true;
    this.scroll.addEventListener('scroll', () => { this.isAtEnd = isAtEnd(this.scroll); }, { passive: true });
    new ResizeObserver(() => this.follow()).observe(this.scroll);
  }

  clear() {
    this.rows.clear();
    this.body.replaceChildren();
    this.isUp = null;
  }

  /** @param {any} state */
  take(state) {
    if (this.isUp !== null && this.isUp !== state.up) voice.say(state.up ? 'The server is back' : 'The server is killed');
    this.isUp = state.up;
    this.section.classList.toggle('down', !state.up);
    write(get('#server-state'), state.up ? `● up, pid ${state.pid}` : '■ killed, comes back');
    enable(get('#kill'), state.up);
    write(get('#facts'), `conversation ${state.conversation}   head ${state.head}   fanned out ${state.fanned_out}`);
    const { acknowledged, lost, doubled } = state.counter;
    write(get('#counter'), `acknowledged ${acknowledged}, lost ${lost}, doubled ${doubled}`);
    get('#counter').classList.toggle('bad', lost + doubled > 0);
    this.drawHoldings(state);
    this.drawRows(state.rows);
  }

  /** @param {Sealed[]} rows */
  drawRows(rows) {
    const kept = new Set(rows.map(({ seq }) => seq));
    for (const [seq, elements] of this.rows) {
      if (kept.has(seq)) continue;
      for (const element of elements) element.remove();
      this.rows.delete(seq);
    }
    // What is on a disk does not change: only what is new is drawn.
    for (const row of rows) if (!this.rows.has(row.seq)) this.addRow(row);
    get('#rows-empty').hidden = this.rows.size > 0;
    this.follow();
  }

  /** Stay at the newest row, unless somebody has gone to another. */
  follow() {
    if (this.isAtEnd) this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  /** @param {Sealed} row */
  addRow({ seq, sender, bytes, hex, fields }) {
    const id = `row-${seq}`;
    const button = make('button', { type: 'button', aria: { expanded: 'false', controls: id, label: `${seq}, all fields` } }, String(seq));
    const short = hex.replace(/(.{4})(?=.)/g, '$1 ');
    const line = make('tr', { className: 'sealed' }, make('td', { className: 'seq' }, button),
      make('td', { className: 'from' }, sender), make('td', { className: 'number' }, String(bytes)),
      make('td', { className: 'body' }, short && `${short} …`));
    const list = make('dl', {}, ...[...fields, [`first ${Math.floor(hex.length / 2)} bytes`, short]]
      .flatMap(([name, value]) => [make('dt', {}, String(name)), make('dd', {}, String(value))]));
    const detail = make('tr', { className: 'detail', id, hidden: true }, make('td', { colSpan: 4 }, list,
      make('p', {}, `This is all there is: ${bytes} bytes, of which the server can read none.`)));
    line.onclick = () => {
      detail.hidden = !detail.hidden;
      button.setAttribute('aria-expanded', String(!detail.hidden));
      line.classList.toggle('open', !detail.hidden);
      detail.scrollIntoView({ block: 'nearest' });
    };
    this.rows.set(seq, [line, detail]);
    this.body.append(line, detail);
  }

  /** @param {{inboxes: {device: string, held: number, head: number, cursor: number}[], marks: {user: string, delivered: number, read: number}[]}} state */
  drawHoldings({ inboxes, marks }) {
    get('#holdings').replaceChildren(
      ...inboxes.flatMap(({ device, held, head, cursor }) => {
        // The last ten, or all that wait.
        const first = head - Math.min(head, Math.max(held, MAX_BLOCKS));
        const bar = make('span', { className: 'blocks', aria: { hidden: 'true' } }, blocks(cursor - first, head - first));
        return [make('dt', {}, `inbox ${device}`), make('dd', {}, `${first} `, bar, ` ${head}   cursor ${cursor}   holds ${held}`)];
      }),
      ...marks.flatMap(({ user, delivered, read }) => [
        make('dt', {}, `marks ${user}`), make('dd', {}, `delivered ${delivered}   read ${read}`),
      ]),
    );
  }
}

// ---- the wire -------------------------------------------------------------------------------------------------------

const MAX_FRAMES = 200;
const MAX_DOTS = 24;
const FRESH_MS = 3_000;
const TRAVEL_MS = [0, 1_800, 1_000, 450];

/** Frames: dots that travel, the last ones in words, and all of them in a table. */
class Wire {
  constructor() {
    this.lane = get('#lane');
    this.body = get('#frames tbody');
    this.calm = window.matchMedia('(prefers-reduced-motion: reduce)');
    this.calm.addEventListener('change', () => this.choose());
    /** @type {Map<number, {row: HTMLElement, frame: Frame}>} Oldest first. */
    this.frames = new Map();
    this.hasLog = settings.get('log') === 'yes';
    this.isStepping = false;
    this.speed = 2;
  }

  clear() {
    this.frames.clear();
    this.body.replaceChildren();
    this.lane.querySelectorAll('.dot').forEach((/** @type {Element} */ dot) => dot.remove());
  }

  /** Whether frames are dots or rows. */
  choose() {
    this.isCalm = this.calm.matches || this.isStepping;
    get('#frames-scroll').hidden = !(this.hasLog || this.isCalm);
    this.lane.hidden = this.isCalm;
    press(get('#log'), this.hasLog);
  }

  /** @param {Frame} frame */
  take(frame) {
    const { id, phone, way, name, bytes, fate } = frame;
    const known = this.frames.get(id);
    const who = phones[phone]?.name ?? String(phone);
    const row = known?.row ?? make('tr');
    row.dataset.fate = fate;
    row.replaceChildren(make('td', {}, way === 'up' ? `${who} → server` : `server → ${who}`), make('td', {}, name),
      make('td', { className: 'number' }, String(bytes)), make('td', { className: 'fate' }, FATES[fate] ?? fate));
    if (!known) this.body.prepend(row);
    this.frames.set(id, { row, frame });
    if (this.frames.size > MAX_FRAMES) {
      const [oldest, { row: old }] = this.frames.entries().next().value ?? [];
      old.remove();
      this.frames.delete(oldest);
    }
    if (!this.isCalm && !known && !document.hidden && Date.now() - frame.at_ms < FRESH_MS) this.travel(frame);
  }

  /** The last frames in a line, because a dot that has passed tells nothing any more. */
  drawTicker() {
    const last = [...this.frames.values()].slice(-4).reverse().map(({ frame: { phone, way, name, fate } }) => {
      const who = phones[phone]?.name ?? String(phone);
      return make('span', { data: { fate } }, way === 'up' ? `${who} ${name} → ` : `${who} ← ${name} `, FATES[fate] ?? fate);
    });
    get('#ticker').replaceChildren(...last);
  }

  /** @param {Frame} frame */
  travel({ phone, way, name, fate }) {
    if (this.lane.childElementCount > MAX_DOTS) return;
    const [home, middle] = [phone === 0 ? 8 : 92, phone === 0 ? 46 : 54];
    const [from, to] = way === 'up' ? [home, middle] : [middle, home];
    const end = fate === 'lost' ? from + (to - from) * 0.6 : to;
    const frames = [
      { left: `${from}%`, opacity: 0 }, { opacity: 1, offset: 0.12 }, { opacity: 1, offset: 0.85 },
      { left: `${end}%`, opacity: 0, ...(fate === 'lost' ? { translate: '0 1rem' } : {}) },
    ];
    const duration = TRAVEL_MS[this.speed] * (fate === 'late' ? 2.5 : 1);
    for (let copy = 0; copy < (fate === 'doubled' ? 2 : 1); copy += 1) {
      const sign = fate === 'passed' || fate === 'waiting' ? '' : ` ${FATES[fate].slice(0, 2).trim()}`;
      const dot = make('span', { className: 'dot', data: { fate, way } }, name + sign);
      this.lane.append(dot);
      dot.animate(frames, { duration, delay: copy * 180, easing: 'ease-in-out', fill: 'both' }).onfinish = () => dot.remove();
    }
  }
}

// ---- controls, keys, theme ------------------------------------------------------------------------------------------

/** What the process last said of the faults. @type {any} */
let controls = { lose: 0, double: false, reorder: false, slow: false, step: false, speed: 2 };

/** @param {any} state */
function takeControls(state) {
  controls = state;
  for (const button of document.querySelectorAll('[data-set]')) {
    press(button, Boolean(state[/** @type {HTMLElement} */ (button).dataset.set ?? '']));
  }
  for (const button of document.querySelectorAll('[data-speed]')) {
    press(button, Number(/** @type {HTMLElement} */ (button).dataset.speed) === state.speed);
  }
  enable(get('#next'), state.step);
  wire.speed = state.speed;
  wire.isStepping = state.step;
  wire.choose();
}

function listenToControls() {
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-set]'))) {
    const what = button.dataset.set ?? '';
    button.onclick = () => link.tell({ do: 'set', what, to: what === 'lose' ? (controls.lose ? 0 : 30) : !controls[what] });
  }
  for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[data-speed]'))) {
    button.onclick = () => link.tell({ do: 'set', what: 'speed', to: Number(button.dataset.speed) });
  }
  get('#kill').onclick = () => { if (isEnabled(get('#kill'))) link.tell({ do: 'kill' }); };
  get('#next').onclick = step;
  get('#log').onclick = () => {
    wire.hasLog = !wire.hasLog;
    settings.set('log', wire.hasLog ? 'yes' : 'no');
    wire.choose();
  };
  get('#run').onclick = () => { isRunAsked = link.tell({ do: 'run' }); };
  get('#help-open').onclick = () => get('#help').showModal();
  get('#take-over').onclick = () => {
    setInert(false);
    banner('');
    link.open();
  };
}

const step = () => { if (isEnabled(get('#next'))) link.tell({ do: 'step' }); };

/** Keys work where they do not mean something else already. */
function listenToKeys() {
  document.addEventListener('keydown', (event) => {
    const at = /** @type {HTMLElement} */ (event.target);
    const isTaken = event.ctrlKey || event.metaKey || event.altKey || event.isComposing
      || at.closest('input, textarea, dialog') || get('.stage').inert;
    if (isTaken) return;
    if (event.key === '1' || event.key === '2') {
      event.preventDefault();
      phones[Number(event.key) - 1]?.field.focus();
    } else if (event.key === '?') {
      event.preventDefault();
      get('#help').showModal();
    } else if (event.key === ' ' && controls.step && !at.closest('button, a, [tabindex]')) {
      event.preventDefault();
      step();
    }
  });
  // A file that misses a phone would take the place of the page.
  for (const kind of ['dragover', 'drop']) document.addEventListener(kind, (event) => event.preventDefault());
}

/** Light and dark follow the system until the button says otherwise. */
function listenToTheme() {
  const button = get('#theme');
  const system = window.matchMedia('(prefers-color-scheme: dark)');
  const isDark = () => (settings.get('theme') || (system.matches ? 'dark' : 'light')) === 'dark';
  const show = () => {
    document.documentElement.dataset.theme = settings.get('theme');
    write(button, isDark() ? 'Light' : 'Dark');
  };
  button.onclick = () => { settings.set('theme', isDark() ? 'light' : 'dark'); show(); };
  system.addEventListener('change', show);
  show();
}

// ---- a run as a test ------------------------------------------------------------------------------------------------

let isRunAsked = false;

/** @param {{name: string, text: string}} run */
async function showRun({ name, text }) {
  if (!isRunAsked) return;
  isRunAsked = false;
  const field = get('#run-text');
  field.value = text;
  write(get('#run-name'), name);
  write(get('#run-command'), `python -m whisperkit.testing replay ${name}`);
  get('#run-dialog').showModal();
  field.select();
  try {
    await navigator.clipboard.writeText(text);
    write(get('#run-said'), 'All that was decided, by you and by the dice. It is on your clipboard.');
  } catch {
    write(get('#run-said'), 'All that was decided, by you and by the dice. Copy it from here.');
  }
}

// ---- the tour -------------------------------------------------------------------------------------------------------

/** @param {number} phone @param {string[]} texts */
const say = (phone, ...texts) => texts.map((text) => ({ do: 'send', phone, text }));

/** @type {{title: string, text: string, steps: [string, Record<string, unknown>[]][], again: string}[]} */
const CARDS = [
  {
    title: 'A message',
    text: 'It gets ✓ when it is on the server’s disk, ✓✓ when Bob’s phone has it, and ✔✔ when it was on Bob’s screen while '
      + 'he used the phone. The server sees a sender, a size and noise: open its row in the middle.',
    steps: [['Alice writes', say(0, 'at the gate')]],
    again: 'make the line slow, write, and look for a moment in which a tick is there too early.',
  },
  {
    title: 'A flight',
    text: 'Bob’s phone is off for an hour. What Alice writes is kept in his inbox, in order, and he takes it when he lands, '
      + 'in one page, from where his cursor stands.',
    steps: [
      ['Bob takes off', [{ do: 'flight', phone: 1, on: true }]],
      ['Alice writes ten', say(0, ...['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten'])],
      ['Bob lands', [{ do: 'flight', phone: 1, on: false }]],
    ],
    again: 'let both fly, let both write, and land them in either order.',
  },
  {
    title: 'A lost push',
    text: 'The next frame to Bob is lost. He notices: his inbox is numbered, so the frame after it, or the next heartbeat, '
      + 'shows the gap, and he asks for what is missing.',
    steps: [
      ['Lose the next frame to Bob', [{ do: 'lose_next', phone: 1, way: 'down' }]],
      ['Alice writes', say(0, 'did you get this?')],
    ],
    again: 'press lose 30 %, write fast on both phones, and watch the counter in the middle.',
  },
  {
    title: 'A double',
    text: 'Alice’s frame reaches the server twice, as after a lost answer. It carries its number in her outbox, so the second '
      + 'one is answered like the first and changes nothing.',
    steps: [
      ['Double the next frame of Alice', [{ do: 'double_next', phone: 0, way: 'up' }]],
      ['Alice writes', say(0, 'only once, please')],
    ],
    again: 'press double and reorder together, and look for the same message twice.',
  },
  {
    title: 'A kill',
    text: 'The server is ended by SIGKILL, in the middle of whatever it does, and started again. What it had acknowledged '
      + 'was on its disk; what it had not, the phones send again.',
    steps: [
      ['Alice writes three', say(0, 'before', 'right before', 'at the same moment')],
      ['Kill the server', [{ do: 'kill' }]],
      ['Alice writes meanwhile', say(0, 'while it was gone')],
    ],
    again: 'write and kill as fast as you can; the counter says how many were acknowledged, and lost.',
  },
  {
    title: 'A removed member',
    text: 'Bob is taken out of the group. From then on everybody uses new keys, which he does not get: what is written '
      + 'meanwhile he cannot read, not even when he is back.',
    steps: [
      ['Remove Bob', [{ do: 'remove' }]],
      ['Alice writes', say(0, 'without Bob')],
      ['Add Bob again', [{ do: 'add' }]],
    ],
    again: 'remove him in the middle of a flight, and see which messages he finds when he lands.',
  },
  {
    title: 'A changed key',
    text: 'Bob installs the app again, so he has a new identity key. Alice’s phone meets it with her next message, says that '
      + 'the safety number has changed and what that usually means, and waits for her choice.',
    steps: [
      ['Alice writes', say(0, 'it was good to see you')],
      ['Alice verifies Bob', [{ do: 'verify', phone: 0 }]],
      ['Bob installs the app again', [{ do: 'reinstall', phone: 1 }]],
      ['Alice writes again', say(0, 'is it you?')],
    ],
    again: 'write before you compare, and see which messages wait until you have chosen.',
  },
];

/** Cards for people who would rather look than read. */
function listenToTour() {
  const tour = get('#tour');
  const open = get('#tour-open');
  let at = 0;
  const show = () => {
    const { title, text, steps, again } = CARDS[at];
    write(get('#tour-title'), `${at + 1} of ${CARDS.length} · ${title}`);
    write(get('#tour-text'), text);
    write(get('#tour-break'), again);
    get('#tour-steps').replaceChildren(...steps.map(([label, acts], no) => make('button', {
      type: 'button', className: 'act', onclick: () => acts.forEach((act) => link.tell(act)),
    }, steps.length > 1 ? `${no + 1}. ${label}` : label)));
    enable(get('#tour-back'), at > 0);
    enable(get('#tour-next'), at < CARDS.length - 1);
  };
  const go = (/** @type {number} */ by) => {
    if (CARDS[at + by] === undefined) return;
    at += by;
    show();
    get('#tour-title').focus();
  };
  const toggle = (/** @type {boolean} */ is) => {
    tour.hidden = !is;
    open.setAttribute('aria-expanded', String(is));
    if (is) show();
    (is ? get('#tour-title') : open).focus();
  };
  open.onclick = () => toggle(tour.hidden);
  get('#tour-close').onclick = () => toggle(false);
  get('#tour-back').onclick = () => go(-1);
  get('#tour-next').onclick = () => go(1);
}

// ---- what the process says ------------------------------------------------------------------------------------------

/** @type {Phone[]} */
const phones = [];
const server = new Server();
const wire = new Wire();
const link = new Link(take);

/** Take what came together. @param {any[]} messages */
function take(messages) {
  /** @type {Message[][]} */
  let rows = [];
  const draw = () => {
    rows.forEach((some, phone) => phones[phone].chat.put(some));
    rows = [];
  };
  for (const message of messages) {
    // Rows of a burst are put into the page together, and before anything that speaks of them.
    if (message.kind === 'message') (rows[message.phone] ??= []).push(message);
    else {
      if (message.kind !== 'frame') draw();
      takeOne(message);
    }
  }
  draw();
  wire.drawTicker();
  for (const phone of phones) phone.open();
}

/** @param {any} message */
function takeOne(message) {
  switch (message.kind) {
    case 'hello': begin(message); break;
    case 'phone': phones[message.phone].take(message); break;
    case 'history': phones[message.phone].chat.putHistory(message.messages, message.more); break;
    case 'gone': phones[message.phone].chat.remove(message.id); break;
    case 'server': server.take(message); break;
    case 'frame': wire.take(message); break;
    case 'controls': takeControls(message); break;
    case 'said': toast(message.text, message.bad); break;
    case 'run': showRun(message); break;
    default: break; // replaced: the socket closes next, and says so
  }
}

/** A process has answered: what it holds comes whole, so begin from nothing. @param {{seed: number, phones: {phone: number, name: string, device: string}[]}} hello */
function begin(hello) {
  for (const who of hello.phones) {
    if (phones[who.phone] === undefined) {
      const phone = new Phone(who);
      phones[who.phone] = phone;
      if (who.phone === 0) get('.stage').prepend(phone.section);
      else get('.stage').append(phone.section);
      get('#flights').append(phone.flight);
      write(get(`.end[data-end="${who.phone}"]`), who.name);
      phone.grow();
    }
    phones[who.phone].clear();
  }
  server.clear();
  wire.clear();
  write(get('#seed'), `seed ${hello.seed}`);
  get('main').setAttribute('aria-busy', 'false');
}

listenToControls();
listenToKeys();
listenToTheme();
listenToTour();
wire.choose();
link.open();
