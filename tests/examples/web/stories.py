"""Stories of a device, step by step, one for each promise of the mirror."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from tests.examples.web.player import Step, play
from tests.sync.test_mirror import (
    ALICE,
    BOB,
    CAROL,
    CONVS,
    ONE,
    START,
    behind,
    entry,
    item_of,
    pulled,
    rows_frame,
)
from whisperkit.ids import ConversationId, ConversationSeq, DeviceId, InboxSeq, UserId
from whisperkit.strategy import Strategy
from whisperkit.sync import codec, frames
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.fields import MAX_NUMBER
from whisperkit.sync.frames import Answer as Welcomed
from whisperkit.sync.frames import (
    EntryKind,
    Frame,
    MarkKind,
    RosterChange,
    SnapshotItem,
)

__all__ = ["Story", "attach", "long_ones", "receive", "roster", "told_by_hand"]

TWO: Final = CONVS[1]
LAPTOP: Final = DeviceId(BOB.user, 2)


class Story(NamedTuple):
    """What happens to a device."""

    name: str
    steps: list[Step]
    device: DeviceId = BOB

    def told(self) -> dict[str, Any]:
        """With what came of each step."""
        lines = [[step, answer] for step, answer in zip(self.steps, play(self.device, self.steps), strict=True)]
        return {"name": self.name, "device": self.device, "steps": lines}


# ---- steps


def receive(*batch: Frame, now: int = 0, crash: str | None = None) -> Step:
    [text] = codec.encode_json(batch)
    return {"do": "receive", "text": text, "now": now} | ({} if crash is None else {"crash": crash})


def attach(*followed: ConversationId, now: int = 0) -> Step:
    return {"do": "attach", "now": now} | ({"followed": list(followed)} if followed else {})


def welcome(answer: Welcomed, head: Cursor = START, floor: Cursor = START) -> frames.Welcome:
    return frames.Welcome(answer, head, floor)


# Bob's first connection: two conversations, of which the second is pulled.
ITEMS: Final = (
    item_of(ONE, 1, Strategy.SMALL, (ALICE.user, BOB.user)),
    item_of(TWO, 4, Strategy.MEGA, ()),
)
FIRST: Final = (
    attach(),
    receive(welcome(Welcomed.SNAPSHOT), frames.Snapshot(START, 0, False, ITEMS[:1])),
    receive(frames.Snapshot(START, 1, True, ITEMS[1:])),
)


def chain(start: Cursor, *entries: dict[str, Any]) -> list[frames.Entry]:
    """Entries one behind the other; `number` is the seq in the conversation, and the message id."""
    found: list[frames.Entry] = []
    for changes in entries:
        found.append(entry(before=start, **changes))
        start = Cursor(start.epoch, found[-1].seq, found[-1].tag)
    return found


def roster(*added: Any, removed: Sequence[Any] = ()) -> bytes:
    return codec.encode_change(RosterChange(tuple(added), tuple(removed)))


def three(conv: ConversationId = ONE) -> list[frames.Entry]:
    return chain(START, *({"number": number, "conv": conv} for number in (2, 3, 4)))


# ---- told by hand


def told_by_hand() -> list[Story]:
    """One for each promise."""
    return [Story(name, [*steps]) for name, steps in _by_hand()] + [
        Story("a device before its first snapshot", [attach(), receive(three()[0]), receive(welcome(Welcomed.DELTA))])
    ]


def _by_hand() -> Iterable[tuple[str, Sequence[Step]]]:
    one, two, last = three()
    yield "a batch in order", [*FIRST, receive(one, two, last)]
    yield "what comes twice", [*FIRST, receive(one, two), receive(one, two), receive(two, last)]
    gap = [receive(last), receive(last), receive(one, last), receive(two, last)]
    yield "a gap is asked for once for each frontier", [*FIRST, *gap]
    changed = [receive(one._replace(tag=b"another!")), receive(one)]
    yield "a changed tag is asked about, not applied", [*FIRST, *changed]
    other = Cursor(1, InboxSeq(1), b"another!")
    head = [receive(one), receive(frames.Head(other, {})), receive(welcome(Welcomed.FORKED, other, START))]
    yield "the same number with another past", [*FIRST, *head]

    late = Cursor(1, InboxSeq(70), b"the tail")
    trimmed = [attach(now=9), receive(welcome(Welcomed.SNAPSHOT, late, late), frames.Snapshot(late, 0, True, ITEMS))]
    yield "what was trimmed comes as a snapshot", [*FIRST, receive(one), {"do": "detach"}, *trimmed]
    for answer in (Welcomed.FORKED, Welcomed.AHEAD):
        reset = Cursor(2, InboxSeq(0), START.tag)
        again = [receive(welcome(answer, reset, reset), frames.Snapshot(reset, 0, True, ITEMS[:1])), receive(one, two)]
        yield f"reset: {answer.name}", [*FIRST, receive(one), {"do": "detach"}, attach(), *again]
    parts_lost = [attach(), receive(welcome(Welcomed.SNAPSHOT)), receive(frames.Snapshot(START, 1, True, ITEMS[1:]))]
    yield "a snapshot with a part missing", parts_lost
    anew = [*FIRST[:2], receive(welcome(Welcomed.SNAPSHOT)), receive(frames.Snapshot(START, 0, True, ITEMS[1:]))]
    yield "a snapshot that begins again", [*anew, receive(welcome(Welcomed.DELTA))]
    given_up = [*FIRST[:2], receive(welcome(Welcomed.DELTA)), {"do": "timer", "now": 29}, {"do": "timer", "now": 30}]
    yield "a snapshot that is broken off", given_up
    out = [attach(), receive(welcome(Welcomed.SNAPSHOT), frames.Snapshot(START, 0, True, ITEMS[1:]))]
    yield "who is in no item of a snapshot is out", [*FIRST, receive(one), {"do": "detach"}, *out]

    for crash in ("before", "after"):
        died = [receive(one, two, crash=crash), attach(), receive(welcome(Welcomed.DELTA), one, two, last)]
        yield f"restart, having died {crash} the commit", [*FIRST, *died]
    yield "restart from what was saved", [*FIRST, receive(one), {"do": "restart"}, attach(TWO), receive(two, last)]

    yield "large numbers", list(_large_numbers())
    yield "behind the head for five seconds", list(_behind())
    yield "rows that are pulled", list(_pulled())
    yield "as far as the rows go", list(_reach())
    yield "who belongs to it", list(_members())
    yield "two changes at the same place", list(_same_place())
    yield "who comes again", list(_comes_again())
    yield "a fork far up", list(_far_up())
    yield "what is read", list(_read())
    yield "kinds of entries", list(_kinds())
    yield "what is refused", list(_refused())


def _large_numbers() -> Iterable[Step]:
    top = Cursor(MAX_NUMBER, InboxSeq(MAX_NUMBER - 1), START.tag)
    yield attach()
    yield receive(welcome(Welcomed.SNAPSHOT, top, top), frames.Snapshot(top, 0, True, ITEMS[:1]))
    [found] = chain(top, {"number": 2})
    huge = found._replace(conv_seq=ConversationSeq(MAX_NUMBER), at_ms=MAX_NUMBER)
    yield receive(huge)
    [text] = codec.encode_json([huge])
    for wrong in ("9007199254740992", "9007199254740993", "9007199254740990.9", "9.007e15", "1e400", "-0.0"):
        yield {"do": "receive", "text": text.replace(str(MAX_NUMBER), wrong), "now": 0}
    for cursor in (top, START):
        yield {"do": "cursor", "text": cursor.text()}


def _behind() -> Iterable[Step]:
    yield from FIRST
    one, two, _ = three()
    yield receive(frames.Head(behind(two), {}), now=100)
    yield {"do": "timer", "now": 104}
    yield {"do": "timer", "now": 105}
    yield receive(one, now=107)
    yield {"do": "timer", "now": 112}
    yield receive(two, now=113)
    yield {"do": "timer", "now": 500}
    yield {"do": "detach"}
    yield attach(now=600)
    yield {"do": "timer", "now": 630}


def _pulled() -> Iterable[Step]:
    """`TWO` is pulled from row 5 on; a MODE row makes it a pushed one, and another brings the pulling back."""
    yield from FIRST
    yield receive(frames.Head(START, {TWO: ConversationSeq(6), ONE: ConversationSeq(9)}))
    yield {"do": "open", "conv": TWO, "now": 1}
    yield receive(in_two(rows_frame(4, 4)), now=2)
    yield receive(in_two(rows_frame(4, 5, pulled(5))), now=3)
    yield receive(in_two(rows_frame(5, 6, pulled(6, sender=BOB))), now=4)
    yield receive(in_two(rows_frame(6, 7, pulled(7))), now=4)
    yield {"do": "close", "conv": TWO}
    yield receive(frames.Head(START, {TWO: ConversationSeq(8)}), now=5)
    to_small = {"number": 9, "conv": TWO, "kind": EntryKind.MODE, "shared": bytes([Strategy.SMALL])}
    waiting = chain(START, to_small | {"pull_upto": ConversationSeq(8)}, {"number": 10, "conv": TWO}, {"number": 2})
    yield receive(*waiting, waiting[-1], now=6)
    yield {"do": "timer", "now": 12}
    mode = pulled(9, EntryKind.MODE)
    yield receive(in_two(rows_frame(6, 7, pulled(7))), now=13)
    yield receive(in_two(rows_frame(7, 9, pulled(8), mode)), now=14)
    to_mega = {"number": 11, "conv": TWO, "kind": EntryKind.MODE, "shared": bytes([Strategy.MEGA])}
    yield receive(*chain(behind(waiting[-1]), to_mega, to_mega | {"number": 12, "shared": b"\x09"}), now=15)
    yield {"do": "open", "conv": TWO, "now": 16}
    yield receive(frames.Head(START, {}), now=17)
    yield receive(frames.Head(START, {TWO: ConversationSeq(15)}), now=17)
    not_known = pulled(14, EntryKind.MODE)
    yield receive(in_two(rows_frame(12, 15, pulled(13), not_known, pulled(15))), now=18)
    yield {"do": "detach"}
    yield attach(TWO, now=19)
    yield receive(welcome(Welcomed.DELTA), now=19)


def _reach() -> Iterable[Step]:
    """How far an answer goes is not where its last row is; what is not known yet ends it."""
    yield from FIRST
    yield receive(frames.Head(START, {TWO: ConversationSeq(20)}))
    yield {"do": "open", "conv": TWO, "now": 1}
    yield receive(in_two(rows_frame(4, 8, pulled(5))), now=2)
    unknown = pulled(11, EntryKind.MODE)
    yield receive(in_two(rows_frame(8, 12, pulled(9), unknown, pulled(12))), now=3)
    yield receive(frames.Head(START, {TWO: ConversationSeq(21)}), now=4)
    yield receive(in_two(rows_frame(10, 12, unknown, pulled(12))), now=5)
    yield receive(frames.Head(START, {TWO: ConversationSeq(22)}), now=6)
    waiting = chain(START, {"number": 14, "conv": TWO, "pull_upto": ConversationSeq(13)}, {"number": 2})
    yield receive(*waiting, now=7)
    yield receive(in_two(rows_frame(10, 14, unknown, pulled(12), pulled(14))), now=8)
    ahead = Cursor(1, InboxSeq(3), b"another!")
    yield receive(frames.Head(ahead, {}), now=9)
    yield receive(*chain(behind(waiting[-1]), {"number": 3}), now=10)


def in_two(found: frames.Rows) -> frames.Rows:
    return found._replace(conv=TWO)


def _members() -> Iterable[Step]:
    yield from FIRST
    state = SnapshotItem(
        ConversationId("three"),
        ConversationSeq(5),
        ConversationSeq(5),
        Strategy.MID,
        (BOB.user, CAROL),
        ConversationSeq(3),
    )
    three = {"number": 5, "conv": state.conv, "kind": EntryKind.ROSTER}
    comes, goes, back = roster(CAROL), roster(removed=[CAROL]), roster(BOB.user)
    entries = chain(
        START,
        {"number": 2, "kind": EntryKind.ROSTER, "shared": comes},
        {"number": 3, "kind": EntryKind.ROSTER, "shared": b"\xc1"},
        three | {"shared": roster(BOB.user), "own": codec.encode_item(state), "pull_upto": ConversationSeq(4)},
        three | {"number": 6, "shared": roster(BOB.user), "own": codec.encode_item(state)},
        three | {"number": 7, "shared": roster(removed=[BOB.user])},
        three | {"number": 8, "shared": comes},
        three | {"number": 9, "shared": back, "own": b"\x00"},
    )
    yield receive(*entries[:1])
    yield {"do": "posted", "conv": ONE, "change": [[], [CAROL]], "seq": 6, "now": 1}
    yield {"do": "posted", "conv": ONE, "change": [[CAROL], []], "seq": 4, "now": 1}
    yield {"do": "posted", "conv": ONE, "change": [[CAROL], []], "seq": 4, "now": 1}
    yield receive(*entries[1:2])
    for one in entries[2:]:
        yield receive(one)
    five = chain(behind(entries[-1]), {"number": 5, "kind": EntryKind.ROSTER, "shared": goes})
    yield receive(*five)
    yield {"do": "posted", "conv": ONE, "change": [[CAROL], []], "seq": 5, "now": 1}
    yield {"do": "posted", "conv": ONE, "change": None, "seq": 7, "now": 1}
    yield {"do": "posted", "conv": ONE, "change": [[CAROL], []], "seq": 0, "now": 1}
    yield {"do": "posted", "conv": ONE, "change": [[], [BOB.user]], "seq": 7, "now": 1}
    yield {"do": "posted", "conv": ONE, "change": [[CAROL], []], "seq": 8, "now": 1}
    yield {"do": "posted", "conv": "__proto__", "change": [[BOB.user, CAROL], []], "seq": 1, "now": 1}


def _same_place() -> Iterable[Step]:
    """Changes at the very place that a snapshot, or this device, has already told of."""
    yield from FIRST
    dave, old = UserId.named("dave"), {"number": 1, "kind": EntryKind.ROSTER, "shared": roster(CAROL)}
    mode = {"number": 1, "kind": EntryKind.MODE, "shared": bytes([Strategy.MEGA])}
    both = chain(START, old, mode)
    yield receive(*both)
    yield {"do": "posted", "conv": ONE, "change": [[], [ALICE.user]], "seq": 6, "now": 1}
    six = chain(behind(both[-1]), {"number": 6, "kind": EntryKind.ROSTER, "shared": roster(dave)})
    yield receive(*six)
    yield {"do": "posted", "conv": ONE, "change": [[CAROL], []], "seq": 8, "now": 1}
    item = item_of(ONE, 8, Strategy.MID, (BOB.user,))
    cursor = behind(six[-1])
    yield receive(welcome(Welcomed.SNAPSHOT, cursor, cursor), frames.Snapshot(cursor, 0, False, (item,)))
    other = item._replace(members=(ALICE.user, BOB.user))
    yield receive(frames.Snapshot(cursor, 1, True, (other, ITEMS[1])))
    yield {"do": "open", "conv": TWO, "now": 2}
    yield receive(frames.Head(cursor, {TWO: ConversationSeq(6)}), now=2)
    yield receive(in_two(rows_frame(4, 6, pulled(4, EntryKind.MODE), pulled(6))), now=3)


def _comes_again() -> Iterable[Step]:
    """Who was in a conversation before is owed what came between; who is told of others gets no state."""
    yield from FIRST
    item = codec.encode_item(item_of(ONE, 3, Strategy.MID, (CAROL,)))
    entries = chain(
        START,
        {"number": 3, "kind": EntryKind.ROSTER, "shared": roster(CAROL), "own": item},
        {"number": 4, "kind": EntryKind.ROSTER, "shared": roster(removed=[BOB.user])},
        {"number": 9, "kind": EntryKind.ROSTER, "shared": roster(BOB.user), "pull_upto": ConversationSeq(8)},
    )
    for one in entries:
        yield receive(one)
    yield receive(rows_frame(4, 8, pulled(8)))
    stranger = {"number": 7, "conv": ConversationId("three"), "pull_upto": ConversationSeq(6)}
    yield receive(*chain(behind(entries[-1]), stranger))
    yield {"do": "detach"}


def _far_up() -> Iterable[Step]:
    """What was pulled below the head of a restored store is pulled again, and no more than that."""
    high = [item_of(conv, seq, Strategy.MEGA, ()) for conv, seq in ((ONE, 5_000), (TWO, 9_000))]
    yield attach()
    yield receive(welcome(Welcomed.SNAPSHOT), frames.Snapshot(START, 0, True, tuple(high)))
    reset = Cursor(2, InboxSeq(0), START.tag)
    lower = [item_of(conv, seq, Strategy.MEGA, ()) for conv, seq in ((ONE, 7_000), (TWO, 3_000))]
    yield receive(welcome(Welcomed.FORKED, reset, reset), frames.Snapshot(reset, 0, True, tuple(lower)))


def _read() -> Iterable[Step]:
    yield from FIRST
    yield receive(*three())
    yield {"do": "read", "conv": ONE, "upto": 3, "now": 1}
    yield {"do": "read", "conv": ONE, "upto": 2, "now": 1}
    mark = frames.Mark(ONE, BOB.user, MarkKind.READ, ConversationSeq(1))
    yield receive(mark)
    yield receive(mark._replace(upto=ConversationSeq(4)))
    yield receive(mark._replace(user=ALICE.user), mark._replace(kind=MarkKind.DELIVERED))
    yield {"do": "detach"}
    yield {"do": "read", "conv": TWO, "upto": 1, "now": 2}


def _kinds() -> Iterable[Step]:
    yield from FIRST
    found = chain(
        START,
        {"number": 2, "sender": LAPTOP},
        {"number": 3, "sender": BOB},
        {"number": 4, "sender": None, "own": None, "shared": b""},
        {"number": 5, "kind": EntryKind.PLACEHOLDER, "own": None},
        {"number": 6, "kind": EntryKind.VOID, "own": None},
        {"number": 0, "conv": frames.ASIDES, "kind": EntryKind.ASIDE, "pull_upto": ConversationSeq(3)},
        {"number": 7, "own": bytes(range(256)), "at_ms": 1_800_000_000_000},
        {"number": 7, "sender": LAPTOP},
        {"number": 8, "kind": EntryKind.MODE, "own": None, "shared": b""},
        {"number": 9, "conv": ConversationId("7"), "kind": EntryKind.MODE, "shared": b"\x02"},
    )
    for one in found:
        yield receive(one)
    [text] = codec.encode_json(found[:1])
    yield {"do": "decode", "text": text.replace("Ag==", "Ah==")}  # the same bytes
    bye = frames.Bye(frames.ByeCode.TRY_LATER, 30)
    yield receive(frames.Typing(ONE, CAROL), frames.Presence(CAROL, frames.PresenceState.ONLINE, None, True), bye)


def _refused() -> Iterable[Step]:
    yield {"do": "open", "conv": "not a conversation", "now": 0}
    yield {"do": "attach", "followed": ["é"], "now": 0}
    yield attach()
    yield attach()
    yield {"do": "detach"}
    yield {"do": "detach"}
    good = receive(*three()[:1])["text"]
    for wrong in ("", "[]", "{}", "[[]]", "[99]", "[4,1]", "[7]", f"[{good},7]", f"[{good},{good}", good[:-2] + "]"):
        yield {"do": "receive", "text": wrong, "now": 0}
    user = BOB.user
    for wrong in (user, f"{user}.0", f"{user}.128", f"{user}.1x", f"{user}-1", f"{user.upper()}.1", f"{user[:-1]}g.1"):
        yield {"do": "decode", "text": good.replace(ALICE, wrong)}
    for wrong in ("[]", "null", "7", '"one"', '{"one":null}', '{"not one":1}', "{}"):
        yield {"do": "decode", "text": f'[8,[1,0,"AAAAAAAAAAA="],{wrong}]'}
    for wrong in ("0", "null", "true"):
        yield {"do": "decode", "text": f'[19,[1,0,"AAAAAAAAAAA="],0,{wrong},[]]'}
    # Longer ways to write the same, which are read; a map, something deeper, something behind it, something cut off.
    same = (b"\x92\x90\x90", b"\xdc\x00\x02\x90\xdd\x00\x00\x00\x00", b"\x92\x91\xd9\x24" + user.encode() + b"\x90")
    for data in (
        *same,
        b"\x92\x80\x90",
        b"\x92\x91\x90\x90",
        b"\x92\x90\x90\x00",
        b"\x92\x90",
        b"\x92\x90\x91\xd9",
        b"",
    ):
        yield {"do": "change", "data": base64.b64encode(data).decode()}
    yield {"do": "cursor", "text": START.text()[:-1]}
    yield {"do": "cursor", "text": "A" * 32}
    yield {"do": "cursor", "text": START.text().replace(START.text()[-1], "+")}


def long_ones() -> list[Story]:
    """At the limits, and therefore too long to be kept."""
    return [Story("limits", [*_limits()])]


def _limits() -> Iterable[Step]:
    yield from FIRST
    good = receive(*three()[:1])["text"]
    for count in (codec.MAX_FRAMES, codec.MAX_FRAMES + 1):
        yield {"do": "receive", "text": f"[{','.join([good] * count)}]", "now": 0}
    for spaces in (0, 1):
        yield {"do": "receive", "text": good + " " * (codec.MAX_JSON_CHARS - len(good) + spaces), "now": 0}
    largest = {"shared": bytes(frames.MAX_SHARED_BYTES), "own": bytes(frames.MAX_OWN_BYTES)}
    yield receive(*chain(behind(three()[0]), {"number": 3} | largest))
    yield receive(*chain(behind(three()[1]), {"number": 4, "shared": bytes(frames.MAX_SHARED_BYTES + 1)}))
    for rows in (frames.MAX_ROWS, frames.MAX_ROWS + 1):
        yield {"do": "decode", "text": codec.to_json(rows_frame(0, 1, *[pulled(1)] * rows))}
    for pairs in (frames.MAX_CONVERSATIONS, frames.MAX_CONVERSATIONS + 1):
        heads = {ConversationId(f"c{number}"): ConversationSeq(number) for number in range(pairs)}
        yield {"do": "decode", "text": codec.to_json(frames.Head(START, heads))}
    # More unread than a badge says, more held than a mirror holds, more members than a roster has.
    many = chain(behind(three()[1]), *({"number": number} for number in range(4, 1_010)))
    for first in range(0, len(many), 300):
        yield receive(*many[first : first + 300])
    yield {"do": "read", "conv": ONE, "upto": 1_006, "now": 1}
    wait = {"conv": TWO, "pull_upto": ConversationSeq(8)}
    yield receive(*chain(behind(many[-1]), *({"number": number} | wait for number in range(9, 300))))
    yield {"do": "restart"}
    yield attach()
    yield receive(welcome(Welcomed.DELTA))
    # Two are in: these are all that it holds, and one more.
    crowd = [UserId.named(str(number)) for number in range(frames.MAX_MEMBERS - 1)]
    parts = [crowd[first : first + frames.MAX_CHANGE_USERS] for first in range(0, len(crowd), frames.MAX_CHANGE_USERS)]
    for number, came in enumerate((*parts[:-1], parts[-1][:-1], parts[-1][-1:])):
        change = {"number": 2_000 + number, "kind": EntryKind.ROSTER}
        many += chain(behind(many[-1]), change | {"shared": roster(*came)})
        yield receive(many[-1])
