"""`examples/web/mirror.js` against the mirror of the library: the same stories, and the same answers, step by step.

The stories of `tests/vectors/mirror`, and new ones with every run; `SEED=n make interop` throws the same dice again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import pytest

from tests.examples.web.dice import dice, parts
from tests.examples.web.stories import Story, long_ones
from tests.examples.web.vectors import kept
from tests.interop.web import WEB, JavaScriptError, broken_copy, run_node
from whisperkit.ids import DeviceId, InboxSeq
from whisperkit.strategy import Strategy
from whisperkit.sync import mirror_state
from whisperkit.sync.codec import MAX_FRAMES, MAX_JSON_CHARS, decode, encode_json
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.fields import MAX_NUMBER
from whisperkit.sync.frames import (
    BY_CODE,
    BY_TYPE,
    Answer,
    ByeCode,
    Direction,
    EntryKind,
    MarkKind,
    PresenceState,
    RefusalReason,
)
from whisperkit.sync.mirror_state import BEHIND_S, MAX_HELD, STALLED_S, Phase

pytestmark = pytest.mark.interop

ALICE: Final = DeviceId.named("alice", 1)
PLAYER: Final = Path(__file__).parents[1] / "examples" / "web" / "player.mjs"


def run_js(node: Path, program: str, *arguments: object) -> Any:  # Any: JSON
    """Run a few lines with everything in mirror.js; `input` is what is given, and what `say` is given comes back."""
    head = f"import * as sync from {json.dumps((WEB / 'mirror.js').as_uri())};\n"
    head += "const input = JSON.parse(process.argv[1]); const say = (it) => console.log(JSON.stringify(it));\n"
    return json.loads(run_node(node, "--input-type=module", "-e", head + program, json.dumps(arguments)))


def compare(node: Path, stories: Sequence[Story], *, web: Path = WEB) -> None:
    """Play stories to both.

    Raises:
        JavaScriptError: They differ, and where.
    """
    told = [story.told() for story in stories]
    given = [{"device": story["device"], "steps": [step for step, _ in story["steps"]]} for story in told]
    played = json.loads(run_node(node, PLAYER, web, typed=json.dumps(given)))
    for story, answers in zip(told, played, strict=True):
        for number, ((step, expected), found) in enumerate(zip(story["steps"], answers, strict=True)):
            # As text: in Python, true is 1.
            if json.dumps(found, sort_keys=True) != json.dumps(expected, sort_keys=True):
                raise JavaScriptError(f"{story['name']}, step {number}: {step}\nexpected {expected}\nbut it is {found}")


def test_the_stories_of_the_vectors_are_told_alike(nodejs: Path) -> None:
    compare(nodejs, kept())


def test_stories_at_the_limits_are_told_alike(nodejs: Path) -> None:
    compare(nodejs, long_ones())


def test_stories_that_nobody_has_thought_of_are_told_alike(nodejs: Path, rng: Random) -> None:
    compare(nodejs, [dice(rng.randrange(1 << 32), steps=100) for _ in range(200)])


def test_frames_cursors_and_tags_are_read_alike_and_refused_alike(nodejs: Path, rng: Random) -> None:
    compare(nodejs, [parts(rng, 2_000)])


def test_both_have_the_same_tables(nodejs: Path) -> None:
    program = f"""
        import {{ FRAMES }} from {json.dumps((WEB / "wire.js").as_uri())};
        const {{ Answer, ByeCode, EntryKind, MarkKind, PresenceState, RefusalReason, Strategy, Phase }} = sync;
        say([FRAMES, [Answer, ByeCode, EntryKind, MarkKind, PresenceState, RefusalReason, Strategy, Phase],
             sync.TRANSITIONS, [sync.BEHIND_S, sync.STALLED_S, sync.MAX_HELD]]);
    """

    table, enumerations, transitions, constants = run_js(nodejs, program)

    assert {name: (line["code"], line["direction"], line["names"]) for name, line in table.items()} == {
        spec.name: (spec.code, spec.direction, [_camel(field.name) for field in spec.fields])
        for spec in (BY_CODE[line["code"]] for line in table.values())
    }
    ours = (Answer, ByeCode, EntryKind, MarkKind, PresenceState, RefusalReason, Strategy, Phase)
    assert enumerations == [{member.name: member.value for member in members} for members in ours]
    assert {(phase, one) for phase, names in transitions.items() for one in names} == {
        (phase.value, _upper(kind.__name__)) for phase, kind in mirror_state.TRANSITIONS
    }
    assert constants == [BEHIND_S, STALLED_S, MAX_HELD]


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))


def _upper(name: str) -> str:
    return "".join(f"_{char}" if char.isupper() else char for char in name).strip("_").upper()


# ---- the hash


def test_the_hash_is_that_of_the_rfc(nodejs: Path) -> None:
    # RFC 7693, appendix A.
    expected = (
        "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1"
        "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923"
    )

    assert _hashed(nodejs, [(b"abc".hex(), 64)]) == [expected]


def test_the_hash_is_that_of_python_at_every_length(nodejs: Path, rng: Random) -> None:
    lengths = [*range(260), 383, 384, 385, 1_000, 4_096]
    given = [(rng.randbytes(length).hex(), rng.randint(1, 64)) for length in lengths]

    found = _hashed(nodejs, given)

    assert found == [hashlib.blake2b(bytes.fromhex(data), digest_size=size).hexdigest() for data, size in given]


def _hashed(node: Path, given: Sequence[tuple[str, int]]) -> list[str]:
    program = f"""
        import {{ blake2b }} from {json.dumps((WEB / "blake2b.js").as_uri())};
        say(input[0].map(([data, size]) => Buffer.from(blake2b(Buffer.from(data, 'hex'), size)).toString('hex')));
    """
    found: list[str] = run_js(node, program, given)
    return found


# ---- what is JavaScript's own


@pytest.mark.parametrize(
    ("epoch", "seq"), [(MAX_NUMBER + 1, 1), (1, MAX_NUMBER + 1), (MAX_NUMBER + 2, 1), ((1 << 63) - 1, (1 << 63) - 1)]
)
def test_a_cursor_that_would_be_rounded_is_refused(nodejs: Path, epoch: int, seq: int) -> None:
    text = Cursor(epoch, InboxSeq(seq), bytes(8)).text()

    assert _code_of(nodejs, f"sync.parseCursor({json.dumps(text)})") == "ids.malformed"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("sync.newMirror('bob')", "ids.malformed"),
        ("sync.newMirror(BOB, { epoch: 1n, seq: 0, tag: TAG })", "usage"),
        ("sync.newMirror(BOB, { epoch: 1, seq: 2 ** 53, tag: TAG })", "usage"),
        ("sync.cursorText({ epoch: 1, seq: 0.5, tag: TAG })", "usage"),
        ("sync.cursorText(null)", "usage"),
        ("sync.attach(sync.newMirror(BOB), {})", "usage"),
        ("sync.attach(sync.newMirror(BOB), { now: '1' })", "usage"),
        ("sync.receive(sync.newMirror(BOB), [], {}, { now: 1 })", "usage"),
        ("sync.receive(sync.newMirror(BOB), [], new Map(), { now: NaN })", "usage"),
        ("sync.read(sync.newMirror(BOB), 'one', 2 ** 53, new Map(), { now: 1 })", "usage"),
        ("sync.read(sync.newMirror(BOB), 'one', '1', new Map(), { now: 1 })", "usage"),
        ("sync.openChat(sync.newMirror(BOB), 'one', new Map([['c/one', [1, 0]]]), { now: 1 })", "store.corrupt"),
        (
            "sync.openChat(sync.newMirror(BOB), 'one', new Map([['c/one', [2, 0, 0, 0, []]]]), { now: 1 })",
            "store.corrupt",
        ),
        ("sync.openChat(sync.newMirror(BOB), 'one', new Map([['r/one', null]]), { now: 1 })", "store.corrupt"),
        ("sync.decodeMirror([1, BOB])", "store.corrupt"),
        ("sync.decodeMirror({})", "store.corrupt"),
        ("sync.decode(new ArrayBuffer(2))", "usage"),
        ("sync.decode('[8,[1,0,\"AAAAAAAAAAA=\"],[]]')", "wire.malformed"),
        ("sync.decode('[' + ' '.repeat(3 << 19) + ']')", "wire.oversized"),
        ("sync.encode([{ frame: 'HEAD' }])", "usage"),
        ("sync.encode([{ frame: 'constructor' }])", "usage"),
        ("sync.encode([{ frame: 'ACK' }])", "usage"),
        ("sync.encode([{ frame: 'READ', conv: 'one', upto: 9007199254740993 }])", "usage"),
        ("sync.encode([{ frame: 'READ', conv: 'one', upto: 1n }])", "usage"),
        ("sync.encode([{ frame: 'READ', conv: 'one' }])", "usage"),
        ("sync.fromBase64('AA')", "wire.malformed"),
    ],
)
def test_what_a_caller_does_wrong_is_an_error_with_a_code(nodejs: Path, call: str, code: str) -> None:
    assert _code_of(nodejs, call) == code


def _code_of(node: Path, call: str) -> str | None:
    program = f"""
        const [BOB, TAG] = ['a5fc8b7c-171f-5995-9c47-169566b84e41.1', 'AAAAAAAAAAA='];
        try {{ {call}; say(null); }} catch (error) {{
          if (!(error instanceof sync.WhisperError)) throw error;
          say(error.code);
        }}
    """
    code: str | None = run_js(node, program)
    return code


def test_frames_are_written_as_the_server_reads_them(nodejs: Path) -> None:
    """All that a device sends, with names that are numbers or worse; more than fits goes in several messages."""
    program = """
        const [device] = input;
        const cursor = { epoch: 1, seq: 2, tag: 'AAAAAAAAAAA=' };
        const messageId = 'AAAAAAAAAAAAAAAAAAAAAA==';
        const user = device.slice(0, 36);
        const send = { frame: 'SEND', conv: '__proto__', outboxEpoch: 1, outboxSeq: 1, messageId, kind: 1,
                       ifRoster: null, devices: [], change: { added: [], removed: [user] }, shared: 'aGk=',
                       own: new Map([[device, '']]) };
        const all = [
          { frame: 'HELLO', version: 1, device, connectionNo: 2 ** 53 - 1, cursor, proof: null },
          { frame: 'BEAT' }, { frame: 'ACK', cursor }, { frame: 'PULL', cursor },
          { frame: 'FOLLOW', convs: ['7', '1'] }, { frame: 'RANGE', conv: '7', after: 0, upto: 1, limit: 256 }, send,
          { frame: 'READ', conv: '7', upto: 1 },
          { frame: 'ASIDE', messageId, own: new Map([[device, 'aGk=']]) }, { frame: 'MARKS', convs: ['7'] },
          { frame: 'WATCH', users: [user] }, { frame: 'TYPING', conv: '7', user },
        ];
        const large = { ...send, shared: Buffer.alloc(256 << 10).toString('base64') };
        say([sync.encode(all), sync.encode([]), sync.encode(Array(6).fill(large)).map((text) => text.length),
             sync.encode(Array(1025).fill(all[1])).map((text) => JSON.parse(text).length)]);
    """

    [message], none, sizes, counts = run_js(nodejs, program, ALICE)

    found = decode(message, direction=Direction.TO_SERVER)
    assert [BY_TYPE[type(frame)].name for frame in found] == [
        *("HELLO", "BEAT", "ACK", "PULL", "FOLLOW", "RANGE", "SEND", "READ", "ASIDE", "MARKS", "WATCH", "TYPING")
    ]
    assert encode_json(found) == [message]
    assert none == []
    assert len(sizes) == 2
    assert max(sizes) <= MAX_JSON_CHARS
    assert counts == [MAX_FRAMES, 1]


# ---- broken on purpose


class Broken(NamedTuple):
    """A promise of the mirror, and how to break it."""

    promise: str
    file: str
    old: str
    new: str


BROKEN: Final = (
    Broken("a link of the chain is checked", "turn.js", " || entry.tag !== nextTag(cursor.tag, entry.messageId)", ""),
    Broken("what came before is dropped", "turn.js", "cursor === null || entry.seq <= cursor.seq", "cursor === null"),
    Broken("a repeat is dropped by its id", "turn.js", " && !this.rows.has(key) && !this.seen.has(key)", ""),
    Broken("the sender is part of a message's key", "state.js", "${messageId}${sender ?? ''}", "${messageId}"),
    Broken("own messages are no news", "turn.js", "row.sender !== device && !this.rows", "!this.rows"),
    Broken("an ACK is what was taken", "turn.js", "'ACK', cursor }", "'ACK', cursor: this.mirror.head }"),
    Broken("a frontier is asked for once", "turn.js", "askedAt === cursor.seq", "false"),
    Broken(
        "a snapshot's cursor is the floor",
        "turn.js",
        "cursor, answer: null,",
        "cursor: this.mirror.head, answer: null,",
    ),
    Broken("the parts of a snapshot are in order", "turn.js", "part !== this.mirror.nextPart", "false"),
    Broken("after a fork own messages are sent again", "turn.js", "if (isFork) this.lost", "if (false) this.lost"),
    Broken("who is in no item is out", "turn.js", "      this.leaveAllBut(found);\n", ""),
    Broken("what is pulled comes first", "turn.js", "pullUpto > progress.pulledUpto && ", "false && "),
    Broken("rows behind an unknown switch wait", "turn.js", "return row.convSeq - 1", "continue"),
    Broken("pulled conversations are followed", "turn.js", "if (isPulled(chat)) followed.add(conv);\n      else ", ""),
    Broken("the timer asks", "turn.js", "this.change({ askedAt: null, fetching: new Map(), since: this.now });", ""),
    Broken("heads are heard", "turn.js", "case 'HEAD': this.head(frame); break;", ""),
    Broken(
        "the frontier is saved",
        "state.js",
        "stored(MIRROR, { device, cursor })",
        "stored(MIRROR, { device, cursor: null })",
    ),
    Broken("a late change is old", "chats.js", "if (seq <= before.asOf) return before;", ""),
    Broken("who has left is not brought back", "chats.js", "them back.\n  if (", "them back.\n  if (false && "),
    Broken("reading never goes back", "chats.js", "if (upto <= chat.progress.readUpto) return chat;", ""),
    Broken("a fraction is no number", "wire.js", "/\\d[.eE]/", "/[]/"),
    Broken("no number is rounded", "wire.js", "!Number.isSafeInteger(json) || json", "json"),
    Broken("one id has one text", "wire.js", "json.endsWith('=') ? btoa(atob(json)) : json", "json"),
    Broken("a hash takes all rounds", "blake2b.js", "round < 12", "round < 11"),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.promise)
def test_a_mirror_that_breaks_a_promise_is_found(nodejs: Path, tmp_path: Path, broken: Broken) -> None:
    web = broken_copy(tmp_path, file=broken.file, old=broken.old, new=broken.new)

    with pytest.raises(JavaScriptError):
        compare(nodejs, [*kept(), parts(Random(0), 200)], web=web)
