"""The client of examples/bot/node, part by part, over a rough wire, and with its promises broken."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import pytest

from examples.adapters.sqlite import open_sqlite
from examples.bot.bot import answer, answer_to
from examples.config import load_config
from examples.net.websocket_link import connect
from examples.server.app import open_server
from tests.interop.install import FOLDER, node
from tests.interop.programs import Program, node_client
from tests.interop.rough_wire import Spoiler, rough_wire
from whisperkit.client import Client
from whisperkit.client.content import (
    AskAgain,
    Content,
    Resend,
    ResendRequest,
    Text,
    bind,
    decode_content,
    encode_content,
    unbind,
)
from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.sync.connection import challenge_message, register_message
from whisperkit.sync.cursor import next_tag
from whisperkit.sync.frames import BY_CODE, Answer, ByeCode, EntryKind, RefusalReason

pytestmark = pytest.mark.interop

ALICE, PINGBOT = DeviceId.named("alice", 1), DeviceId.named("pingbot", 1)


def run_js(program: str, *arguments: object, source: Path = FOLDER) -> Any:  # Any: JSON
    """Run a few lines in the folder of the program; `input` is what is given, and what `say` is given comes back."""
    head = "const input = JSON.parse(process.argv[1]); const say = (it) => console.log(JSON.stringify(it));\n"
    ran = subprocess.run(
        [node(), "--input-type=module", "-e", head + program, json.dumps(arguments)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


# ---- what both sides have to compute alike --------------------------------------------------------------------------


def test_the_frames_are_those_of_the_table(official: str) -> None:
    tables = run_js(
        "import * as wire from './wire.mjs'; say([wire.FRAMES, wire.KIND, wire.ANSWER, wire.REFUSAL, wire.BYE]);"
    )

    frames, *enumerations = tables
    assert {name: (code, fields) for name, (code, *fields) in frames.items()} == {
        BY_CODE[code].name: (code, [field.name for field in BY_CODE[code].fields]) for code, *_ in frames.values()
    }
    assert enumerations == [
        {member.name: member.value for member in members} for members in (EntryKind, Answer, RefusalReason, ByeCode)
    ]


def test_names_are_computed_alike(official: str, rng: Random) -> None:
    users = ["alice", "pingbot", "Zoë", "", "x" * 64]
    tag, message_id = rng.randbytes(8), MessageId(rng.randbytes(16))
    program = """
        import { base64, bytes, directConversation, mintId, nextTag, userNamed } from './names.mjs';
        const [names, tag, id] = input;
        const ids = names.map(userNamed);
        say({ ids, chats: ids.map((one) => ids.map((other) => directConversation(one, other))),
              tag: nextTag(tag, id), minted: Buffer.from(bytes(mintId())).toString('hex') });
    """

    found = run_js(program, users, _base64(tag), _base64(message_id))

    ids = [UserId.named(name) for name in users]
    assert found["ids"] == ids
    assert found["chats"] == [[ConversationId.direct(one, other) for other in ids] for one in ids]
    assert found["tag"] == _base64(next_tag(tag, message_id))
    minted = MessageId(bytes.fromhex(found["minted"]))
    assert (minted[6] >> 4, minted[8] >> 6) == (7, 2)
    assert MessageId.mint(wall_ms=minted.minted_at_ms, random_bytes=rng.randbytes)[:6] == minted[:6]


def test_the_same_is_signed(official: str, rng: Random) -> None:
    nonce, key = rng.randbytes(32), rng.randbytes(33)
    number = 2**53 - 1
    program = """
        import { helloMessage, registerMessage } from './wire.mjs';
        const [nonce, number, device, key, registration, name] = input;
        say([helloMessage(nonce, number, device), registerMessage(nonce, device, key, registration, name)]
            .map((message) => message.toString('hex')));
    """

    found = run_js(program, _base64(nonce), number, ALICE, _base64(key), 16_380, "Zoë")

    assert found == [
        challenge_message(nonce, ALICE, number).hex(),
        register_message(nonce, ALICE, identity_key=key, registration_id=16_380, name="Zoë").hex(),
    ]


@pytest.mark.parametrize(
    "content",
    [
        Text("hello"),
        Text("Zoë \N{GRINNING FACE}" * 100, MessageId(bytes(range(16)))),
        ResendRequest(ConversationId("chat"), MessageId(bytes(range(16)))),
        Resend(ConversationId("chat"), MessageId(bytes(16)), encode_content(Text("again"))),
        AskAgain(),
    ],
    ids=lambda content: type(content).__name__,
)
def test_contents_are_written_and_read_alike(official: str, content: Content) -> None:
    program = """
        import * as content from './content.mjs';
        import { bytes, base64 } from './names.mjs';
        const [data, conv, id, bound] = input;
        const found = content.decode(bytes(data));
        const again = {
          text: ({ text, replyTo }) => content.text(text, replyTo),
          request: ({ conv, messageId }) => content.request(conv, messageId),
          resend: ({ conv, messageId, content: inner }) => content.resend(conv, messageId, inner),
          'ask again': () => content.askAgain(),
        }[found.kind](found);
        say([again, content.bind(conv, id, bytes(data)), content.unbind(bytes(bound), conv, id)].map(base64));
    """
    data, conv, message_id = encode_content(content), ConversationId("chat"), MessageId(bytes(16))
    bound = bind(conv, message_id, data)

    written, bound_there, unbound = run_js(program, _base64(data), conv, _base64(message_id), _base64(bound))

    assert decode_content(_bytes(written)) == content
    assert unbind(_bytes(bound_there), conv, message_id) == data
    assert _bytes(unbound) == data


@pytest.mark.parametrize("place", [("other", bytes(16)), ("chat", bytes(15) + b"\x01")])
def test_a_message_that_was_written_for_another_place_is_refused(official: str, place: tuple[str, bytes]) -> None:
    bound = bind(ConversationId(place[0]), MessageId(place[1]), encode_content(Text("hello")))
    program = """
        import * as content from './content.mjs';
        import { bytes } from './names.mjs';
        try { content.unbind(bytes(input[0]), 'chat', input[1]); say('taken'); } catch (error) { say(error.message); }
    """

    assert "another place" in run_js(program, _base64(bound), _base64(bytes(16)))


# ---- over a rough wire ----------------------------------------------------------------------------------------------

MESSAGES: Final = 24
# The same for the client as it is and for those that are broken, so that these do not fail for want of time alone.
PATIENCE_S: Final = 20.0


class Broken(NamedTuple):
    """A promise of the client, and how to break it."""

    promise: str
    file: str
    old: str
    new: str


BROKEN: Final = (
    Broken(
        "what is missing is asked for",
        "inbox.mjs",
        "entry.seq !== seq + 1 || entry.tag !== nextTag(tag, entry.message_id)",
        "false",
    ),
    Broken("who is behind the head asks", "chat.mjs", "    if (frame.frame === 'HEAD') this.mindTheGap();\n", ""),
    Broken("what is saved is on the disk", "store.mjs", "    renameSync(next, this.path);", "    //"),
    Broken(
        "what cannot be read is asked for",
        "inbox.mjs",
        "    state.asides.push({ id: mintId(), to: sender, content: base64(content.request(conv, id)), fresh });\n",
        "",
    ),
    Broken(
        "what others cannot read is sent again",
        "inbox.mjs",
        "if (said.kind === 'request') sendAgain",
        "if (0) sendAgain",
    ),
    Broken(
        "a message keeps its id", "outbox.mjs", "message_id: id, kind, ...frame", "message_id: mintId(), kind, ...frame"
    ),
)


def test_nothing_is_lost_or_doubled_on_a_rough_wire(official: str, tmp_path: Path, rng: Random) -> None:
    did = asyncio.run(_chat_on_a_rough_wire(FOLDER, tmp_path, rng))

    assert min(did.values()) > 0, did


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.promise)
def test_a_client_that_breaks_a_promise_is_found(official: str, tmp_path: Path, rng: Random, broken: Broken) -> None:
    source = tmp_path / "source"
    shutil.copytree(FOLDER, source, ignore=shutil.ignore_patterns("node_modules"))
    (source / "node_modules").symlink_to(FOLDER / "node_modules")
    path = source / broken.file
    text = path.read_text(encoding="utf-8")
    assert text.count(broken.old) == 1, "the place that was to be broken is not there any more"
    path.write_text(text.replace(broken.old, broken.new), encoding="utf-8")

    with pytest.raises(AssertionError):
        asyncio.run(_chat_on_a_rough_wire(source, tmp_path, rng))


async def _chat_on_a_rough_wire(source: Path, folder: Path, rng: Random) -> dict[str, int]:
    """A conversation with a kill in the middle, all of which has to arrive in order and once; returns what was done."""
    said = [f"{n}: {rng.randbytes(4).hex()}" for n in range(MESSAGES)]
    spoiler = Spoiler()
    async with _bot(folder) as url, rough_wire(url, spoiler) as rough_url:
        alice = node_client(folder / "alice", rough_url, source=source, patience_s=PATIENCE_S)
        try:
            await asyncio.to_thread(_chat, alice, said)
            spoiler.hides_next_message = True
            await asyncio.to_thread(_say, alice, "the answer to this has to be asked for")
            spoiler.damages_next_send = True
            await asyncio.to_thread(_say, alice, "the bot has to ask for this")
            await asyncio.to_thread(alice.finish)
        finally:
            await asyncio.to_thread(alice.kill)
    said += ["the answer to this has to be asked for", "the bot has to ask for this"]
    state = json.loads((folder / "alice" / "alice.json").read_text(encoding="utf-8"))
    history = sorted(state["history"], key=lambda record: record["seq"])
    # Whoever took anything that is not in the inbox is told at the next HELLO, and given everything once more.
    assert spoiler.answers == [Answer.SNAPSHOT, *[Answer.DELTA] * (len(spoiler.answers) - 1)]
    assert len({record["seq"] for record in history}) == len(history)
    assert [one["text"] for one in history if one["sender"] == ALICE] == said
    assert [one["text"] for one in history if one["sender"] == PINGBOT] == [answer_to(text) for text in said]
    return spoiler.did


def _chat(alice: Program, said: list[str]) -> None:
    alice.start()
    half = len(said) // 2
    alice.type(*said[:half])
    alice.until(f"alice: {said[half - 1]}")
    alice.kill()
    alice.start()
    alice.type(*said[half:])
    alice.until(f"pingbot: {answer_to(said[-1])}")
    for text in said:
        alice.until(f"pingbot: {answer_to(text)}")


def _say(alice: Program, text: str) -> None:
    alice.type(text)
    alice.until(f"pingbot: {answer_to(text)}")


@asynccontextmanager
async def _bot(folder: Path) -> AsyncGenerator[str]:
    """The server, and the bot of the examples on it."""
    settings = {
        "WHISPERKIT_SERVER__BIND": "127.0.0.1:0",
        "WHISPERKIT_SERVER__SQLITE_PATH": str(folder / "server.db"),
        "WHISPERKIT_SERVER__BLOB_PATH": str(folder / "blobs"),
    }
    async with (
        open_server(load_config(environ=settings)) as server,
        open_sqlite(folder / "bot.db") as store,
        Client(store, PINGBOT, connect=connect(server.url), name="pingbot", keeps_unhandled=True) as client,
    ):
        assert await client.wait_live(timeout_s=30)
        answering = asyncio.create_task(answer(client))
        yield server.url
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
