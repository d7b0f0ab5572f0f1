"""The device of the page in `examples/web`, without network and clock: when it asks, beats, gives up and comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from tests.interop.web import WEB, broken_copy, run_node
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, MessageId
from whisperkit.sync.codec import to_json
from whisperkit.sync.cursor import Cursor, first_tag, next_tag
from whisperkit.sync.frames import (
    Answer,
    Bye,
    ByeCode,
    Entry,
    EntryKind,
    Frame,
    Head,
    Snapshot,
    Welcome,
)

pytestmark = pytest.mark.interop

ALONE: Final = Path(__file__).with_name("web_alone.mjs")
ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
START: Final = Cursor(1, InboxSeq(0), first_tag(BOB))
MESSAGE_ID: Final = MessageId(bytes(16))
FIRST: Final = Cursor(1, InboxSeq(1), next_tag(START.tag, MESSAGE_ID))
ENTRY: Final = Entry(
    *(
        FIRST.seq,
        FIRST.tag,
        MESSAGE_ID,
        EntryKind.MESSAGE,
        ConversationId("room"),
        ConversationSeq(1),
        ConversationSeq(0),
    ),
    *(ALICE, 0, None, b"hello"),
)
NEW: Final = (Welcome(Answer.SNAPSHOT, START, START), Snapshot(START, 0, True, ()))
HELLO, BEAT, ACK, PULL = 4, 7, 17, 18


@pytest.fixture
def web() -> Path:
    return WEB


def run(node: Path, web: Path, program: str, **frames: tuple[Frame, ...]) -> Any:  # Any: JSON
    """Run a few lines: frames are lists in their names, and what `say` is given comes back."""
    given = {name: [json.loads(to_json(frame)) for frame in found] for name, found in frames.items()}
    head = f"""
        import {{ alone }} from {json.dumps(ALONE.as_uri())};
        const begin = (options) => alone({json.dumps(str(web))}, {json.dumps(BOB)}, options);
        const {{ {", ".join(given)} }} = {json.dumps(given)};
        const say = (it) => {{ console.log(JSON.stringify(it)); process.exit(); }};
    """
    return json.loads(run_node(node, "--input-type=module", "-e", head + program))


def codes(frames: list[list[Any]]) -> list[int]:
    return [frame[0] for frame in frames]


def test_it_greets_when_the_server_has_spoken_in_whatever_form(nodejs: Path, web: Path) -> None:
    program = """
        const { sockets, hear } = await begin();
        say([[...sockets[0].sent], await hear(), await hear(...WELCOMED)]);
    """

    before, greeting, answer = run(nodejs, web, program, WELCOMED=NEW)

    assert (before, codes(greeting)) == ([], [HELLO])
    assert codes(answer) == [ACK]


def test_what_a_lost_push_has_hidden_is_asked_for_after_five_seconds_and_again(nodejs: Path, web: Path) -> None:
    program = """
        const { hear, pass } = await begin();
        await hear(...WELCOMED);
        const waiting = [await hear(...HEAD), await pass(4900), await pass(200), await pass(5000)];
        say([...waiting, await hear(...ENTRY), await pass(9000)]);
    """

    said = run(nodejs, web, program, WELCOMED=NEW, HEAD=(Head(FIRST, {}),), ENTRY=(ENTRY,))

    assert [codes(frames) for frames in said] == [[], [], [PULL], [PULL], [ACK], []]


def test_it_beats_and_says_again_how_far_it_has_come(nodejs: Path, web: Path) -> None:
    program = """
        const { hear, pass } = await begin();
        await hear(...WELCOMED);
        say(await pass(30000));
    """

    assert codes(run(nodejs, web, program, WELCOMED=NEW)) == [ACK, BEAT]


def test_a_server_that_says_nothing_is_left_and_tried_again(nodejs: Path, web: Path) -> None:
    program = """
        const { sockets, hear, pass } = await begin();
        await hear(...WELCOMED);
        await pass(75000);
        const before = sockets.length;
        await pass(16000);
        say([before, sockets.length, sockets[0].readyState, await hear()]);
    """

    before, after, state, greeting = run(nodejs, web, program, WELCOMED=NEW)

    assert (before, after, state) == (1, 2, 3)
    assert greeting[0][4][:2] == [1, 0]  # its cursor


def test_what_is_not_kept_is_not_acknowledged_and_comes_again(nodejs: Path, web: Path) -> None:
    program = """
        let isFull = false;
        const { device, sockets, store, hear, pass } = await begin({ fails: () => isFull });
        await hear(...WELCOMED);
        isFull = true;
        const answer = await hear(...ENTRY);
        const said = device.error.message;
        isFull = false;
        await pass(1000);
        const [hello] = await hear();
        const later = await hear(...DELTA, ...ENTRY);
        say([answer, said, hello, later, store.history('room').map(({ text }) => text)]);
    """

    answer, said, hello, later, history = run(
        nodejs, web, program, WELCOMED=NEW, ENTRY=(ENTRY,), DELTA=(Welcome(Answer.DELTA, FIRST, START),)
    )

    assert (answer, said) == ([], "there is no room")
    assert hello[4][1] == 0
    assert (codes(later), history) == ([ACK], ["hello"])


def test_what_is_no_frame_ends_the_connection_and_not_the_page(nodejs: Path, web: Path) -> None:
    program = """
        const { device, sockets, hear, pass } = await begin();
        await hear(...WELCOMED);
        const answer = await hear([99]);
        const { code } = device.error;
        await pass(1000);
        say([answer, code, sockets.map(({ readyState }) => readyState)]);
    """

    assert run(nodejs, web, program, WELCOMED=NEW) == [[], "wire.malformed", [3, 1]]


def test_it_stays_away_when_a_person_has_to_act(nodejs: Path, web: Path) -> None:
    program = """
        const { ended, sockets, hear, pass } = await begin();
        await hear(...WELCOMED);
        await hear(...BYE);
        sockets[0].close();
        await pass(100000);
        say([typeof await ended, sockets.length]);
    """

    for code in (ByeCode.SUPERSEDED, ByeCode.UNAUTHORISED, ByeCode.PROTOCOL):
        assert run(nodejs, web, program, WELCOMED=NEW, BYE=(Bye(code, None),)) == ["string", 1]


def test_it_comes_again_when_the_server_has_said_to(nodejs: Path, web: Path) -> None:
    program = """
        const { sockets, hear, pass } = await begin();
        await hear(...WELCOMED);
        await hear(...BYE);
        sockets[0].close();
        await pass(6900);
        const before = sockets.length;
        await pass(200);
        say([before, sockets.length]);
    """

    assert run(nodejs, web, program, WELCOMED=NEW, BYE=(Bye(ByeCode.TRY_LATER, 7),)) == [1, 2]


def test_an_old_message_goes_with_the_row_that_says_it_is_here(nodejs: Path, web: Path) -> None:
    program = """
        const { store } = await begin();
        const head = { mirror: null, connectionNo: 0 };
        const row = { messageId: '', sender: null, kind: 1, atMs: 0, own: null, shared: null };
        for (let n = 0; n < 1005; n += 1) {
          const one = { conv: 'room', row: { ...row, messageId: `${n}`, convSeq: n } };
          await store.commit({ head, put: [[`i/${n}`, n]], delete: [], arrived: [one], lost: [] });
        }
        say([store.kept.history.length, store.kept.rows.size, store.kept.rows.has('i/4'), store.kept.rows.has('i/5')]);
    """

    assert run(nodejs, web, program) == [1_000, 1_000, False, True]


# ---- broken on purpose


class Broken(NamedTuple):
    """The test of a promise, and how to break that."""

    test: Callable[[Path, Path], None]
    file: str
    old: str
    new: str


BROKEN: Final = (
    Broken(
        test_it_greets_when_the_server_has_spoken_in_whatever_form, "device.js", "typeof data !== 'string'", "false"
    ),
    Broken(
        test_what_a_lost_push_has_hidden_is_asked_for_after_five_seconds_and_again,
        "device.js",
        "inTurn(ring)",
        "inTurn(async () => {})",
    ),
    Broken(
        test_what_a_lost_push_has_hidden_is_asked_for_after_five_seconds_and_again,
        "device.js",
        "    this.mirror = synced.state;\n",
        "",
    ),
    Broken(
        test_a_server_that_says_nothing_is_left_and_tried_again,
        "device.js",
        "      if (this.isOver) break;\n",
        "      break;\n",
    ),
    Broken(test_it_beats_and_says_again_how_far_it_has_come, "device.js", "[{ frame: 'ACK', cursor }]", "[]"),
    Broken(
        test_a_server_that_says_nothing_is_left_and_tried_again, "device.js", "(now() - heardAt) > SILENT_MS", "0 > 1"
    ),
    Broken(
        test_what_is_not_kept_is_not_acknowledged_and_comes_again,
        "device.js",
        "    if (mustSave",
        "    this.send(synced.send);\n    if (mustSave",
    ),
    Broken(
        test_what_is_not_kept_is_not_acknowledged_and_comes_again,
        "store.js",
        "    this.storage.setItem",
        "    this.kept = { head, rows, history };\n    this.storage.setItem",
    ),
    Broken(
        test_what_is_no_frame_ends_the_connection_and_not_the_page,
        "device.js",
        "      this.error = error;\n      this.socket?.close();\n",
        "      this.error = error;\n",
    ),
    Broken(test_it_stays_away_when_a_person_has_to_act, "device.js", "if (reason !== undefined) return reason;", ""),
    Broken(test_it_comes_again_when_the_server_has_said_to, "device.js", "bye?.retryAfterS ?? 0", "0"),
    Broken(
        test_an_old_message_goes_with_the_row_that_says_it_is_here, "store.js", "[...gone, ...old", "[...gone, ...[]"
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: f"{broken.file}: {broken.test.__name__}")
def test_a_device_that_breaks_a_promise_is_found(nodejs: Path, tmp_path: Path, broken: Broken) -> None:
    web = broken_copy(tmp_path, file=broken.file, old=broken.old, new=broken.new)

    with pytest.raises(AssertionError):
        broken.test(nodejs, web)
