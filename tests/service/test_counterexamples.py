"""Counterexamples to designs that look simpler, played step by step, each with the variant that it refutes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, TypeAlias, cast

import pytest

from tests.service.lab import (
    ALICE,
    BOB,
    CAROL,
    CHAT,
    EVERYBODY,
    LIMITS,
    TEAM,
    Lab,
    commit_to,
    identity_key,
    read_of,
    request,
)
from whisperkit import accounts
from whisperkit.accounts import LinkedDevice
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.service import ServiceConfig, finishing
from whisperkit.service.catchup import CatchUp
from whisperkit.service.copies import Copies
from whisperkit.service.finishing import Finisher
from whisperkit.service.people import People
from whisperkit.service.workers import Worker
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync import inbox as inboxes
from whisperkit.sync.conversation import Conversation
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import EntryKind
from whisperkit.sync.inbox import Item
from whisperkit.testing import StoreCall

Part: TypeAlias = tuple[frames.SnapshotItem, ...]

LAPTOP = DeviceId(BOB.user, 2)


def link(lab: Lab) -> frames.Link:
    return frames.Link(request(1), LAPTOP.number, identity_key(LAPTOP), 7)


def to_laptop(call: StoreCall) -> bool:
    return call.operation == "commit" and inboxes.partition(LAPTOP) in call.partitions


# ---- m03: a snapshot that is read before the inbox is opened --------------------------------------------------------


def unknown_to_laptop(lab: Lab) -> set[int]:
    """What a laptop does not hear of, if somebody writes while its inbox is being opened."""
    lab.chat()
    alice, bob = lab.phone(ALICE, at=lab.start("g2")), lab.phone(BOB)
    lab.g1.door.hold(to_laptop)
    bob.say(link(lab))
    lab.settle()
    lab.crash(lab.g1)  # the laptop is listed, and has no inbox yet
    other = lab.start("g3")
    other.door.hold(to_laptop)
    laptop = lab.phone(LAPTOP, at=other)
    alice.send(CHAT, own={BOB: b"text", LAPTOP: b"text"})
    lab.settle()
    other.door.let_go()
    lab.settle()
    alice.send(CHAT, own={BOB: b"text", LAPTOP: b"text"})
    lab.settle()

    told = {item.conv: item.seq for part in laptop.all(frames.Snapshot) for item in part.items}[CHAT]
    return set(range(told + 1, lab.head(CHAT).seq + 1)) - {entry.conv_seq for entry in laptop.entries(CHAT)}


class SnapshotFirst(People):
    """Reads what the snapshot will say, and opens the inbox behind that."""

    read = CatchUp.snapshot
    parts: ClassVar[list[Part]] = []

    async def complete(self, device: DeviceId, linked: LinkedDevice) -> None:
        _, found = await SnapshotFirst.read(self._catchup, device)
        SnapshotFirst.parts[:] = [part async for part in found]
        inbox = await self._catchup.inbox(device)
        if inbox.link < linked.link:
            await self._open(device, linked.link)

    @staticmethod
    async def snapshot(catchup: CatchUp, device: DeviceId) -> tuple[Cursor, AsyncIterator[Part]]:
        floor, _ = await SnapshotFirst.read(catchup, device)

        async def known() -> AsyncIterator[Part]:
            for part in SnapshotFirst.parts:
                yield part

        return floor, known()


def test_m03_a_snapshot_and_what_comes_behind_it_leave_nothing_out(lab: Lab) -> None:
    assert unknown_to_laptop(lab) == set()


def test_m03_a_snapshot_that_is_read_before_the_inbox_is_opened_leaves_something_out(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(People, "complete", SnapshotFirst.complete)
    monkeypatch.setattr(CatchUp, "snapshot", SnapshotFirst.snapshot)

    assert unknown_to_laptop(lab) == {2}


# ---- m04c: a device that is linked while a message is under way -----------------------------------------------------


def kinds_at_laptop(lab: Lab) -> list[EntryKind]:
    """What a laptop gets of a message that was encrypted before it was linked, and finished behind that."""
    lab.chat()
    other = lab.start("g2")
    alice, bob = lab.phone(ALICE, at=other), lab.phone(BOB)
    other.door.hold(commit_to("inbox/"))
    alice.send(CHAT, own={BOB: b"for the phone"})
    lab.settle()
    bob.say(link(lab))
    lab.settle()
    laptop = lab.phone(LAPTOP)
    lab.crash(other)  # and with it what it knew of devices; somebody else finishes
    lab.run(lab.g1.gateway.finisher.finish(CHAT))
    lab.settle()
    return [entry.kind for entry in laptop.entries(CHAT)]


class NoPlaceholder(Copies):
    """A device that the message does not name gets an entry of it all the same, with nothing in it."""

    def shared_item(self) -> Item:
        return self._item(self.row.kind, None, None, is_shared=False)


def test_m04c_a_device_linked_in_between_is_told_that_it_has_to_ask() -> None:
    assert kinds_at_laptop(Lab(spans=False)) == [EntryKind.PLACEHOLDER]


def test_m04c_without_placeholders_a_device_linked_in_between_has_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "Copies", NoPlaceholder)

    assert kinds_at_laptop(Lab(spans=False)) == [EntryKind.MESSAGE]


# ---- m11: a job is judged by a head that is known from before -------------------------------------------------------


def received_through_the_job(lab: Lab) -> list[int]:
    """What a member of a queued group gets, if the worker's gateway knows the head of before."""
    lab.group(*EVERYBODY[:5])
    lab.run(lab.g1.service.send(ALICE, TEAM, b"known here"))
    lab.settle(2.0)
    poster = lab.start("g2", config=ServiceConfig(fanout=LIMITS, works_jobs=False))
    lab.run(poster.service.send(BOB, TEAM, b"queued there"))
    lab.settle(2.0)
    return lab.received(CAROL, TEAM)


class JudgesByTheCache(Worker):
    """Is done with a job if nothing is unfinished by the head that was used last."""

    async def _finish(self, conv: ConversationId, upto: int) -> None:
        known = self._core.cache.get(conversations.partition(conv))
        if known is None or not cast("Conversation", known.state).is_finished:
            await self._finisher.finish(conv)


def test_m11_a_job_is_not_judged_by_a_head_from_before() -> None:
    assert received_through_the_job(Lab(spans=True)) == [1, 2, 3]


def test_m11_a_job_that_is_judged_by_a_head_from_before_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Worker, "_finish", vars(JudgesByTheCache)["_finish"])

    assert received_through_the_job(Lab(spans=True)) == [1, 2]


# ---- m11: a zombie, and a device that was linked meanwhile ----------------------------------------------------------


def order_at_laptop(lab: Lab) -> list[int]:
    """What a laptop's inbox holds, if a gateway stands still between reading an old row and its audience."""
    lab.chat()
    alice = lab.phone(ALICE)
    zombie = lab.start("g2")
    lab.g1.door.hold(commit_to("inbox/"))
    alice.send(CHAT, own={BOB: bytes(LIMITS.batch_bytes + 1)})  # too much to be fused
    lab.settle()
    zombie.door.hold(read_of("heads", accounts.partition(BOB.user)))
    lab.begin(zombie.gateway.finisher.finish(CHAT), on=zombie.runtime)
    lab.settle()
    assert zombie.door.held
    lab.g1.door.let_go()
    lab.settle()

    lab.run(lab.g1.service.register(LAPTOP))
    alice.send(CHAT, own={BOB: b"fused", LAPTOP: b"fused"})
    lab.settle()
    zombie.door.let_go()
    lab.settle()
    return lab.received(LAPTOP, CHAT)


class AppendsUnbound(Finisher):
    """Appends without the conversation in the commit: the last row of it in the inbox shall tell what is there."""

    async def _append_together(self, run: Sequence[Copies], devices: list[DeviceId]) -> bool:
        await self._append_apart(run, devices, dropped_upto=0)
        await self._skip(run[0].conv, run[-1].row.seq)
        return True


def test_m11_a_zombie_appends_nothing_behind_what_was_fused() -> None:
    assert order_at_laptop(Lab(spans=True)) == [3]


def test_m11_an_append_that_is_not_bound_to_the_conversation_lets_a_zombie_append(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Finisher, "_append_together", vars(AppendsUnbound)["_append_together"])

    assert order_at_laptop(Lab(spans=True)) == [3, 2]


def test_m11_a_fused_commit_writes_no_last_row() -> None:
    lab = Lab(spans=True)
    lab.chat()
    before = lab.rows(inboxes.partition(BOB))

    lab.run(lab.g1.service.send(ALICE, CHAT, b"fused"))

    key = inboxes.last_seq_key(CHAT)
    assert [row for row in lab.rows(inboxes.partition(BOB)) if row.key == key] == [
        row for row in before if row.key == key
    ]
