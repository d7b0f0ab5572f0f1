// A chat in a terminal: node main.mjs alice pingbot
//
// What is typed is sent. What was said before is shown first, so nothing is missed by whoever was away.
import readline from 'node:readline';
import { parseArgs } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';
import { Chat } from './chat.mjs';
import { directConversation, userNamed, userOf } from './names.mjs';

const USAGE = `usage: node main.mjs NAME PEER [--url ws://127.0.0.1:8080/ws] [--data FOLDER] [--linger S] [--trace]
    --linger S   how many seconds to wait for answers after the end of the input (default: 2)
    --trace      show all frames`;

const OPTIONS = {
  url: { type: 'string', default: 'ws://127.0.0.1:8080/ws' },
  data: { type: 'string', default: 'chat-data' },
  linger: { type: 'string', default: '2' },
  trace: { type: 'boolean', default: false },
};

function parse() {
  const { values, positionals } = parseArgs({ allowPositionals: true, options: OPTIONS });
  const [name, peer] = positionals;
  const areNames = positionals.every((one) => /^[a-z0-9][a-z0-9_.-]{0,63}$/.test(one));
  if (positionals.length !== 2 || !areNames || name === peer) throw new Error('two names are needed');
  if (!(Number(values.linger) >= 0)) throw new Error('--linger takes seconds');
  if (!/^wss?:\/\/./.test(values.url)) throw new Error('a server is at ws://HOST:PORT/ws or wss://HOST/ws');
  return { ...values, name, peer };
}

function parseOrExit() {
  try {
    return parse();
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    return process.exit(2);
  }
}

// Long fields are cut: a public Kyber key alone has two thousand characters.
const shorten = (_, value) => (typeof value === 'string' && value.length > 60 ? `${value.slice(0, 24)}…` : value);
const trace = (way, { frame, ...fields }) => console.error(`${way} ${frame} ${JSON.stringify(fields, shorten)}`);

const { name, peer, url, data, linger, trace: isTracing } = parseOrExit();
const user = userNamed(peer);
const conv = directConversation(userNamed(name), user);
const chat = new Chat({ url, name, file: `${data}/${name}.json`, trace: isTracing ? trace : undefined });

const names = { [userNamed(name)]: name, [user]: peer };
const nameOf = (device) => names[userOf(device)] ?? device.slice(0, 8);
const words = ({ text, problem }) => (problem ? `${text ?? ''} (${problem})`.trim() : text);

function show(record) {
  console.log(`${nameOf(record.sender)}: ${words(record)}`);
  if (record.seq) chat.read(record.conv, record.seq);
}

for (const record of chat.history.filter((one) => one.conv === conv && (one.seq || one.problem))) show(record);
chat.on('message', show);
chat.on('sent', (record) => console.log(`${name}: ${words(record)}`));
chat.on('failed', (record) => console.log(`${name}: ${words(record)}`));
chat.on('live', () => {
  console.log(`-- ${name} is connected`);
  const last = chat.history.findLast((one) => one.conv === conv && one.seq); // it was shown while this was away
  if (last) chat.read(conv, last.seq);
});
chat.on('offline', () => console.log('-- no connection; what is typed is kept and sent later'));
chat.on('identity', (device) => console.log(`-- ${nameOf(device)} has a new key: compare the safety numbers`));
chat.on('end', (reason) => { console.error(reason); process.exit(1); });

const isDone = () => chat.state.outbox.length === 0;
const running = chat.run();
for await (const line of readline.createInterface({ input: process.stdin })) {
  if (line) { await chat.send(user, line); if (!chat.isLive) console.log(`-- kept: ${line}`); }
}
while (!isDone() && !chat.isOver) await sleep(50);
await sleep(1_000 * Number(linger));
chat.close();
await running;
