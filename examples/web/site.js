// @ts-check
// What the page asks of the site in examples/django_channels: a login, rooms, and that what is typed is posted.

const RETRY_MS = 500;
const cookie = (/** @type {string} */ name) => document.cookie.match(`(?:^|; )${name}=([^;]*)`)?.[1] ?? '';

/** @param {string} method @param {string} path @param {Record<string, string>} [form] @returns {Promise<any>} */
async function ask(method, path, form) {
  const headers = { 'X-CSRFToken': cookie('csrftoken') };
  const answer = await fetch(path, { method, headers, body: form && new URLSearchParams(form) });
  const said = await answer.json().catch(() => ({ error: answer.statusText }));
  if (!answer.ok) {
    const why = typeof said.error === 'string' ? said.error : JSON.stringify(said.error);
    throw Object.assign(new Error(why), { isAnswer: answer.status < 500 });
  }
  return said;
}

/** Make an account, or log in; returns the device. @param {string} name @param {string} password */
export async function logIn(name, password) {
  await ask('GET', '/login'); // sets the cookie against forged requests
  const { device } = await ask('POST', '/login', { name, password });
  return device;
}

/** Enter a room that nobody is in, or let somebody in; returns the names of the devices in it. */
export async function enter(/** @type {string} */ room, /** @type {string} */ name) {
  await ask('PUT', `/rooms/${room}/members/${name}`);
  return ask('GET', `/rooms/${room}`);
}

/** Posts what is typed, in order, again and again until it is answered: the number makes that safe. */
export class Poster {
  constructor() {
    this.epoch = Math.floor(Date.now() / 1_000); // each page posts under one of its own
    this.number = 0;
    this.last = Promise.resolve();
  }

  /** @param {string} room @param {string} text @returns {Promise<number>} Its seq in the room. */
  post(room, text) {
    this.number += 1;
    const form = { epoch: `${this.epoch}`, number: `${this.number}`, text };
    const posted = this.last.then(() => this.untilAnswered(`/rooms/${room}/messages`, form));
    this.last = posted.then(() => {}, () => {});
    return posted;
  }

  /** @param {string} path @param {Record<string, string>} form */
  async untilAnswered(path, form) {
    for (;;) {
      try {
        return (await ask('POST', path, form)).seq;
      } catch (error) {
        if (/** @type {any} */ (error).isAnswer) throw error;
      }
      await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
    }
  }
}
