// A browser as small as the page of examples/web can do with: it loads page.js from a folder, against a real site.
//
//     node web_browser.mjs FOLDER URL
//
// What is typed: `enter NAME PASSWORD ROOM`, or a text to send. What is shown is told line by line.
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder, url] = process.argv.slice(2);
const cookies = new Map();
const sentCookies = () => [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
const told = new Set();

function tell(line) {
  if (!told.has(line)) console.log(line);
  told.add(line);
}

class Element {
  constructor(id) { Object.assign(this, { id, value: '', text: '', children: [] }); }
  get textContent() { return this.text; }
  set textContent(text) {
    if (this.id === 'state') console.log(`-- ${text}`);
    this.text = text;
  }

  replaceChildren(...children) { for (const { text } of children) tell(text); }
}

const elements = new Map();
const find = (id) => elements.get(id) ?? elements.set(id, new Element(id)).get(id);
const { fetch, WebSocket } = globalThis;

Object.assign(globalThis, {
  window: globalThis,
  location: { origin: url },
  localStorage: { kept: null, getItem() { return this.kept; }, setItem(_, text) { this.kept = text; } },
  document: {
    getElementById: find,
    createElement: () => new Element(null),
    hasFocus: () => true,
    get cookie() { return sentCookies(); },
  },
  async fetch(path, { headers, ...options }) {
    const always = { Origin: url, Cookie: sentCookies() };
    const answer = await fetch(new URL(path, url), { ...options, headers: { ...headers, ...always } });
    for (const set of answer.headers.getSetCookie()) cookies.set(...set.split(';')[0].split(/=(.*)/s).slice(0, 2));
    return answer;
  },
  WebSocket: class extends WebSocket {
    constructor(to) { super(to, { headers: { Origin: url, Cookie: sentCookies() } }); }
  },
});
await import(pathToFileURL(join(folder, 'page.js')));

const submitted = { preventDefault() {} };
createInterface({ input: process.stdin }).on('line', (line) => {
  const [, name, password, room] = line.match(/^enter (\S+) (.+) (\S+)$/) ?? [];
  if (name === undefined) {
    find('text').value = line;
    find('typing').onsubmit(submitted);
  } else {
    for (const [id, value] of Object.entries({ name, password, room })) find(id).value = value;
    find('login').onsubmit(submitted);
  }
}).on('close', () => process.exit());
