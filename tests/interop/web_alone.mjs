// A device of examples/web without network and clock: what is sent is kept, and time passes when it is told to.
//
//     const { device, sockets, store, hear, pass } = await alone(folder, { fails })
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const settled = async () => { for (let n = 0; n < 50; n += 1) await null; };

/** `fails()` says whether a commit fails. */
export async function alone(folder, id, { fails = () => false } = {}) {
  let now = 1_000;
  let timers = [];
  const start = (again) => (call, ms) => {
    const timer = { call, due: now + ms, again: again ? ms : null };
    timers.push(timer);
    return timer;
  };
  const stop = (timer) => { timers = timers.filter((other) => other !== timer); };
  Object.assign(globalThis, {
    setTimeout: start(false),
    setInterval: start(true),
    clearTimeout: stop,
    clearInterval: stop,
    performance: { now: () => now },
  });
  globalThis.WebSocket = { OPEN: 1 };
  const { Device } = await import(pathToFileURL(join(folder, 'device.js')));
  const { ItemStore } = await import(pathToFileURL(join(folder, 'store.js')));

  const sockets = [];
  class Socket {
    constructor() {
      sockets.push(Object.assign(this, { readyState: 1, sent: [] }));
    }

    send(text) { this.sent.push(...[JSON.parse(text)].flatMap((one) => (Array.isArray(one[0]) ? one : [one]))); }

    close() {
      if (this.readyState !== 1) return;
      this.readyState = 3;
      this.onclose();
    }
  }
  const kept = new Map();
  const storage = {
    getItem: (name) => kept.get(name) ?? null,
    setItem(name, text) {
      if (fails()) throw new Error('there is no room');
      kept.set(name, text);
    },
  };
  const store = new ItemStore(storage, 'device');
  const device = new Device({ device: id, dial: () => new Socket(), store });
  const ended = device.run();
  await settled();

  /** The server says something; returns what the device answers. */
  async function hear(...frames) {
    const socket = sockets.at(-1);
    const before = socket.sent.length;
    socket.onmessage({ data: frames.length ? JSON.stringify(frames) : new ArrayBuffer(2) });
    await settled();
    return socket.sent.slice(before);
  }

  /** Time passes, and with it what was to happen; returns what the device says meanwhile. */
  async function pass(ms) {
    const socket = sockets.at(-1);
    const before = socket.sent.length;
    const end = now + ms;
    await settled();
    for (;;) {
      const [next] = timers.filter(({ due }) => due <= end).sort((one, other) => one.due - other.due);
      if (next === undefined) break;
      now = Math.max(now, next.due);
      if (next.again === null) stop(next);
      else next.due += next.again;
      next.call();
      await settled();
    }
    now = end;
    return socket.sent.slice(before);
  }
  return { device, ended, sockets, store, kept, hear, pass };
}
