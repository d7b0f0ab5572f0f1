// The page of examples/web without its browser: its device, kept in a file, tells what comes line by line.
//
//     node web_device.mjs FOLDER URL DEVICE HEADERS
//
// FOLDER is where device.js is, HEADERS what a browser would send along.
// What is typed is a room: all of it has been read. When the input ends, so does the program.
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder, url, device, headers] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(join(folder, name)));
const { Device } = await load('device.js');
const { ItemStore } = await load('store.js');
const { decode } = await load('mirror.js');

const FILE = 'device.json';
const storage = {
  getItem: () => (existsSync(FILE) ? readFileSync(FILE, 'utf8') : null),
  setItem(_, text) {
    writeFileSync(`${FILE}.next`, text);
    renameSync(`${FILE}.next`, FILE);
  },
};

const store = new ItemStore(storage, FILE);
let isLive = false;
let told = store.kept.history.length;
const changed = () => {
  const { history } = store.kept;
  for (; told < history.length; told += 1) console.log(`${history[told].kind} ${history[told].text}`);
  if (page.isLive !== isLive) console.log(page.isLive ? '-- live' : '-- no connection');
  isLive = page.isLive;
};
function dial() {
  // Node's own WebSocket takes headers; in a browser the cookie goes along by itself.
  const socket = new WebSocket(url, { headers: JSON.parse(headers) });
  socket.addEventListener('message', ({ data }) => {
    const frames = typeof data === 'string' ? decode(data) : [];
    for (const { frame, answer } of frames) if (frame === 'WELCOME') console.log(`-- welcome ${answer}`);
  });
  return socket;
}
const page = new Device({ device, dial, store, changed });

const typed = createInterface({ input: process.stdin });
typed.on('line', async (room) => {
  await page.read(room, store.history(room).at(-1).seq);
  console.log(`-- read ${room}`);
});
typed.on('close', () => page.close());
console.log(`-- ended: ${await page.run()}`);
typed.close();
