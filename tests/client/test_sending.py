"""What is written goes out once, in order, under its number, whatever happens between the commits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from whisperkit import ConversationId, MessageId
from whisperkit.client import sending
from whisperkit.client.drafts import Draft, DraftKind
from whisperkit.client.sending import in_order
from whisperkit.client.standing import Standing
from whisperkit.sync import frames, outbox
from whisperkit.sync.frames import EntryKind, Frame, RefusalReason
from whisperkit.sync.outbox import Outbox
from whisperkit.testing import Fault
from whisperkit.testing.sim_doors import Fates
from whisperkit.testing.sim_phone import ChatNet, SimPhone


def met(net: ChatNet) -> tuple[SimPhone, SimPhone, ConversationId]:
    """Two phones with sessions in both directions."""
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)
    alice.send(chat, "hello")
    net.until(lambda: bob.texts(chat) == ["hello"])
    bob.send(chat, "hi")
    net.until(lambda: alice.texts(chat) == ["hello", "hi"])
    net.wait(5.0)
    return alice, bob, chat


def sends(phone: SimPhone, message_id: MessageId) -> list[frames.Send]:
    return [frame for frame in phone.said if isinstance(frame, frames.Send) and frame.message_id == message_id]


class GoesAway(Fates):
    """A store that loses the answer to one commit, and then says nothing for a while."""

    def __init__(self) -> None:
        super().__init__()
        self.after: int | None = None
        self.is_away = False

    def next(self, door: str) -> Fault:
        if self.is_away:
            return Fault.UNKNOWN_BEFORE
        if door == "commit" and self.after is not None:
            self.after -= 1
            if self.after < 0:
                self.after, self.is_away = None, True
                return Fault.UNKNOWN_AFTER
        return Fault.NONE


def test_what_is_sealed_goes_out_while_the_rest_is_sealed(net: ChatNet) -> None:
    alice, bob = net.phone("alice"), net.phone("bob")
    chat = alice.direct(bob)

    for n in range(300):
        alice.send(chat, f"{n}")
    net.wait(5.0)

    box = alice.client._at.outboxes[chat]  # pyright: ignore[reportPrivateUsage]
    assert len(box.pending) <= 2 * outbox.MAX_IN_FLIGHT, "they wait, though those before them are answered"


@pytest.mark.parametrize("after", range(6))
def test_a_store_that_goes_away_with_an_answer_costs_no_message_its_number(net: ChatNet, after: int) -> None:
    alice, bob, chat = met(net)
    fates = alice.fates = GoesAway()
    alice.restart()
    net.until(lambda: alice.is_live)
    net.wait(5.0)

    fates.after = after
    for text in ("one", "two"):
        alice.runtime.spawn(partial(written, alice, chat, text), name="person")
    net.wait(60.0)
    fates.is_away, fates.after = False, None
    alice.send(chat, "three")
    net.until(lambda: bob.texts(chat)[-1:] == ["three"])
    net.wait(60.0)

    # What the store did not take within a call was told to the person; all else arrived, in order and once.
    assert bob.texts(chat) == alice.texts(chat)
    assert len(set(bob.texts(chat))) == len(bob.texts(chat))


async def written(phone: SimPhone, chat: ConversationId, text: str) -> None:
    try:
        await phone.client.send(chat, text)
    except Exception:
        return


def test_a_server_that_is_busy_is_left_alone_for_as_long_as_it_says(net: ChatNet) -> None:
    alice, bob, chat = met(net)
    alice.wire_fates.arm("up", "lost")  # so that only what is said below is heard
    sent = alice.send(chat, "when you have time")
    net.until(lambda: bool(sends(alice, sent)))
    (send,) = sends(alice, sent)
    assert alice.link is not None
    busy = frames.Refused(chat, send.outbox_epoch, send.outbox_seq, sent, RefusalReason.TRY_LATER, 3_000, (), ())
    alice.link.forge(busy)

    net.wait(2.5)
    early = len(sends(alice, sent))
    net.until(lambda: bob.texts(chat)[-1:] == ["when you have time"], within_s=5.0)

    assert early == 1


def test_a_conversation_that_is_full_holds_up_no_other(net: ChatNet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MAX_PENDING", 2)
    alice, bob, chat = met(net)
    carol = net.phone("carol")
    other = alice.direct(carol)
    alice.send(other, "hello")
    net.until(lambda: carol.texts(other) == ["hello"])
    alice.is_saying = lose_sends(alice, chat)

    for text in ("1", "2", "3"):
        alice.send(chat, text)
    alice.send(other, "not held up")
    net.until(lambda: carol.texts(other) == ["hello", "not held up"], within_s=10.0)
    alice.is_saying = lambda _frame: None
    net.until(lambda: bob.texts(chat) == ["hello", "hi", "1", "2", "3"])


def lose_sends(phone: SimPhone, chat: ConversationId) -> Callable[[Frame], None]:
    def is_saying(frame: Frame) -> None:
        if isinstance(frame, frames.Send) and frame.conv == chat:
            phone.wire_fates.disarm()  # frames that leave as one message are lost as one
            phone.wire_fates.arm("up", "lost")

    return is_saying


def test_who_was_removed_a_moment_ago_is_given_no_key(net: ChatNet) -> None:
    alice, bob, carol = net.phone("alice"), net.phone("bob"), net.phone("carol")
    group = alice.group(bob, carol)
    alice.send(group, "hello")
    net.until(lambda: bob.texts(group) == carol.texts(group) == ["hello"])
    net.wait(700.0)  # so that lists of devices are asked for again
    seen: list[Frame] = []

    def is_saying(frame: Frame) -> None:
        """Bob removes Carol while the sender waits for the devices of the members it knew."""
        if isinstance(frame, frames.Devices) and not seen:
            seen.append(frame)
            alice.wire_fates.arm("down", "late")  # the answer
            remove = partial(bob.client.change_members, group, removed=[carol.device.user])
            bob.runtime.spawn(remove, name="person")

    alice.is_saying = is_saying
    sent = alice.send(group, "not for carol")
    net.until(lambda: bool(sends(alice, sent)))

    net.until(lambda: bob.texts(group)[-1:] == ["not for carol"])

    assert seen
    for send in sends(alice, sent):
        assert carol.device not in (send.own or {})
        assert carol.device not in send.devices


def test_what_was_refused_is_sealed_before_what_was_written_after_it() -> None:
    conv = ConversationId("a" * 32)
    ids = [MessageId(bytes([n]) * 16) for n in range(3)]
    drafts = [Draft(n + 1, DraftKind.MESSAGE, conv, one) for n, one in enumerate(ids)]
    again = drafts[2]
    send = frames.Send(conv, 1, 1, again.message_id, EntryKind.MESSAGE, None, (), None, b"", None)

    found = in_order(drafts, {conv: Outbox(conv, pending=(send,))})

    assert found == [again, drafts[0], drafts[1]]


async def nothing(*_: object) -> None:
    return None


def whatever_memory_says(standing: Standing, conv: ConversationId) -> Outbox:
    return standing.outboxes.get(conv, Outbox(conv))


@pytest.mark.parametrize(
    ("scenario", "owner", "name", "wrong"),
    [
        (test_who_was_removed_a_moment_ago_is_given_no_key, sending, "_check_members", nothing),
        (
            partial(test_a_store_that_goes_away_with_an_answer_costs_no_message_its_number, after=2),
            Standing,
            "box",
            whatever_memory_says,
        ),
    ],
    ids=["members unchecked", "memory unchecked"],
)
def test_a_fault_in_sending_is_noticed(
    net: ChatNet,
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[ChatNet], None],
    owner: object,
    name: str,
    wrong: object,
) -> None:
    monkeypatch.setattr(owner, name, wrong)

    with pytest.raises(AssertionError):
        scenario(net)
