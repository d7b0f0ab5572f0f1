// What the device keeps, in one JSON file.
//
// All that belongs together changes together: a message that came, the ratchet that opened it and the cursor that
// stands behind it are one change. So a program that is killed at any moment finds itself where it was before the
// change or after it. Were the ratchet saved apart from the cursor, a message would be lost or a key used twice.
//
// A file that is written anew for each message is slow, and simple; a database does the same with less work. Two
// processes must not use one file: the server tells the older one to go, and by then both may have used the same key.
import {
  closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';

export class Store {
  /** Open a file; `make` gives the first state of a device that is new. */
  constructor(path, make) {
    this.path = path;
    this.turn = Promise.resolve();
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    if (existsSync(path)) this.state = JSON.parse(readFileSync(path, 'utf8'));
    else this.save(make());
  }

  /**
   * Change the state, one change after another. `work` may do what it likes with the copy that it gets: only when it
   * has ended well, and the copy is on the disk, does the copy become the state. Returns what `work` returns.
   */
  change(work) {
    const done = this.turn.then(async () => {
      const copy = structuredClone(this.state);
      const answer = await work(copy);
      this.save(copy);
      return answer;
    });
    this.turn = done.catch(() => {}); // whoever called hears of it; the next change goes on from what is saved
    return done;
  }

  save(state) {
    const next = `${this.path}.new`;
    const file = openSync(next, 'w', 0o600); // there are private keys in it, in clear
    try {
      writeFileSync(file, JSON.stringify(state));
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(next, this.path); // a rename is whole or not at all
    const folder = openSync(dirname(this.path), 'r');
    try { fsyncSync(folder); } finally { closeSync(folder); }
    this.state = state;
  }
}
