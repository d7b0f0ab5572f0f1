"""What the server can see: rows as they lie there, with what anybody reads of a ciphertext, and no more."""

from __future__ import annotations

import json

import pytest

from examples.lab.serving import Door
from examples.lab.view import SHOWN_ROWS, Json, Seen, look
from whisperkit import ConversationId, DeviceId, MessageId
from whisperkit.client.sealing import wire_form
from whisperkit.client.session_manager import SessionManager
from whisperkit.errors import MalformedIdError
from whisperkit.ids import ConversationSeq, UserId
from whisperkit.partitions import Change
from whisperkit.service import MessageService
from whisperkit.stores import MemoryMarks, MemoryPartitions, Stores
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation_state as state
from whisperkit.sync.frames import EntryKind
from whisperkit.sync.rows import PostRow, as_row

pytestmark = pytest.mark.anyio

ALICE, BOB = DeviceId.named("alice", 1), DeviceId.named("bob", 1)
CHAT = ConversationId("chat")
TEXT = b"gate changed to B12"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def seen_with(shared: bytes | None = None, own: dict[DeviceId, bytes] | None = None, count: int = 1) -> Seen:
    """A store with a conversation of so many posts."""
    posts = [
        PostRow(
            ConversationSeq(seq),
            MessageId(bytes([seq]) * 16),
            EntryKind.MESSAGE,
            Strategy.SMALL,
            ALICE,
            1_000,
            0,
            shared=shared,
            own=own,
        )
        for seq in range(1, count + 1)
    ]
    head = state.Conversation(seq=ConversationSeq(count), fanned_out=ConversationSeq(count))
    store = MemoryPartitions()
    await store.commit([Change(state.partition(CHAT), 0, state.encode(head), tuple(map(as_row, posts)))])
    return Seen(store, MemoryMarks())


async def only_row(seen: Seen) -> tuple[Json, dict[str, str]]:
    (row,) = (await look(seen, CHAT, [ALICE, BOB]))["rows"]
    return row, dict(row["fields"])


async def test_of_a_conversation_that_is_not_there_is_nothing_to_see() -> None:
    shown = await look(Seen(MemoryPartitions(), MemoryMarks()), CHAT, [ALICE])

    assert shown == {
        "conversation": "chat",
        "head": 0,
        "fanned_out": 0,
        "rows": [],
        "inboxes": [{"device": ALICE, "held": 0, "head": 0, "cursor": 0}],
        "marks": [],
    }


async def test_of_a_group_message_the_header_is_seen_and_not_the_text() -> None:
    alice = await SessionManager.create(MemoryPartitions(), ALICE)
    await alice.create_distribution(CHAT)
    body = wire_form(await alice.group_encrypt(TEXT, group=CHAT))
    row, fields = await only_row(await seen_with(shared=body))

    assert row["sender"] == ALICE
    assert row["bytes"] == len(body)
    assert row["hex"] == body[:32].hex()
    assert fields["copy for"] == "all members"
    assert fields["type"] == "SENDER_KEY"
    assert fields["ratchet counter"] == "0"
    assert TEXT.decode() not in json.dumps(row)


@pytest.mark.parametrize(
    ("copy", "kind"),
    [
        (b"", "none: the device has no keys yet, and will ask"),
        (b"\x02short", "unreadable: "),
        (b"\x03short", "unreadable: "),
        (b"\x09what?", "9"),
    ],
)
async def test_what_is_no_message_is_said_to_be_none(copy: bytes, kind: str) -> None:
    row, fields = await only_row(await seen_with(own={BOB: copy}))

    assert fields["copy for"] == BOB
    assert fields["type"].startswith(kind)
    assert row["bytes"] == len(copy)


async def test_the_newest_rows_are_shown_in_order() -> None:
    shown = await look(await seen_with(shared=b"\x09", count=SHOWN_ROWS + 5), CHAT, [])

    assert [row["seq"] for row in shown["rows"]] == list(range(6, SHOWN_ROWS + 6))


async def test_a_copy_that_lies_in_an_inbox_is_shown_once_and_entries_of_others_are_not() -> None:
    stores = Stores.memory()
    async with MessageService(stores) as service:
        await service.register(ALICE, BOB, DeviceId.named("carol", 1))
        chat = await service.create_conversation([ALICE.user, BOB.user])
        other = await service.create_conversation([BOB.user, UserId.named("carol")])
        await service.send(ALICE, chat, b"\x09 body", outbox_seq=1)
        await service.send(BOB, other, b"\x09 elsewhere", outbox_seq=1)
        async with service.receive(BOB) as entries:
            read = [entry.body for entry in entries]
        shown = await look(Seen(stores.partitions, stores.marks), chat, [ALICE, BOB])

    assert b"\x09 body" in read
    assert [(row["seq"], row["sender"]) for row in shown["rows"]] == [(1, "the server"), (2, ALICE)]
    assert shown["rows"][1]["bytes"] == len(b"\x09 body")
    assert [box["held"] for box in shown["inboxes"]] == [1, 0]
    assert {"user": BOB.user, "delivered": 2, "read": 0} in shown["marks"]


async def test_the_door_answers_what_it_knows_and_says_what_it_does_not() -> None:
    async with MessageService(Stores.memory()) as service:
        await service.register(BOB)
        server = _Server(service)
        door = Door(server, Seen(MemoryPartitions(), MemoryMarks()))  # type: ignore[arg-type]  # it needs no more of it
        shown = await door.answer({"look": CHAT, "devices": f"{ALICE} {BOB}"})
        nothing = await door.answer({"open": "sesame"})
        replaced = await door.answer({"replace": BOB, "identity_key": (b"\x05" * 33).hex(), "registration_id": 7})
        account = await service.gateway.people.account(BOB.user, is_fresh=True)
        with pytest.raises(MalformedIdError):
            await door.answer({"look": CHAT, "devices": "bob"})

    assert isinstance(shown, dict)
    assert nothing == {"problem": "nobody knows what that asks"}
    assert replaced == {}
    assert [(one.number, one.identity_key, one.registration_id) for one in account.devices] == [(1, b"\x05" * 33, 7)]


class _Server:
    def __init__(self, service: MessageService) -> None:
        self.service = service
