// @ts-check
// The page: a room, what was said in it, and a line to type.
import { Device } from './device.js';
import { EntryKind, badge, chatOf, chatSpans } from './mirror.js';
import { Poster, enter, logIn } from './site.js';
import { ItemStore } from './store.js';

const find = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

find('login').onsubmit = async (/** @type {Event} */ event) => {
  event.preventDefault();
  const [name, password, room] = ['name', 'password', 'room'].map((id) => find(id).value);
  try {
    const device = await logIn(name, password);
    const names = await enter(room, name);
    // One page at a time: two would overwrite what the other keeps.
    await navigator.locks.request(device, { ifAvailable: true }, (lock) => {
      if (lock === null) throw new Error('this device is open in another page');
      return chat(device, room, names);
    });
  } catch (error) {
    find('state').textContent = /** @type {Error} */ (error).message;
  }
};

/** @param {string} id Of the device. @param {string} room @param {Record<string, string>} names */
async function chat(id, room, names) {
  const known = { ...names };
  const store = new ItemStore(localStorage, `whisperkit ${id}`);
  const poster = new Poster();
  const dial = () => new WebSocket(`${location.origin.replace('http', 'ws')}/ws`);
  const device = new Device({ device: id, dial, store, changed: () => show() });

  async function show() {
    const lines = store.history(room).filter(({ kind }) => kind === EntryKind.MESSAGE);
    find('lines').replaceChildren(...lines.map(({ sender, text }) => {
      const line = document.createElement('li');
      line.textContent = `${known[sender ?? ''] ?? 'somebody'}: ${text}`;
      return line;
    }));
    const now = chatOf(room, await store.load(chatSpans(room)));
    const why = device.error instanceof Error ? `: ${device.error.message}` : '; it comes again by itself';
    find('state').textContent = device.isLive ? `${badge(now)} unread` : `no connection${why}`;
    if (document.hasFocus() && badge(now)) await device.read(room, now.progress.head);
  }

  find('typing').onsubmit = async (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = find('text').value;
    find('text').value = '';
    try {
      if (text.startsWith('/add ')) {
        Object.assign(known, await enter(room, text.slice(5).trim()));
      } else {
        const seq = await poster.post(room, text);
        store.post({ key: null, conv: room, seq, sender: id, kind: EntryKind.MESSAGE, text });
      }
      await show();
    } catch (error) {
      find('state').textContent = /** @type {Error} */ (error).message;
    }
  };
  find('login').hidden = true;
  find('talk').hidden = false;
  window.onfocus = show;
  await device.open(room);
  find('state').textContent = await device.run();
}
