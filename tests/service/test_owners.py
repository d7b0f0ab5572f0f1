"""Notes and the list of gateways, as rules: whoever has a note can be found, in whatever order commits come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any, NamedTuple

import pytest

from whisperkit.errors import CorruptStateError
from whisperkit.ids import ConversationId, GatewayId, Owner
from whisperkit.partitions import Row, Step
from whisperkit.service import owners
from whisperkit.service.owners import Notes
from whisperkit.sync.conversation import Fenced

CHATS = (ConversationId("one"), ConversationId("two"))
GATEWAY = GatewayId("g1")


class Rules(NamedTuple):
    """The rules, of which a test exchanges one."""

    note: Callable[..., Step[Any, Notes]] = owners.note
    end: Callable[..., Step[bool, Notes]] = owners.end
    delist: Callable[..., Step[None, None]] = owners.delist
    lists_first: bool = True


class World:
    """What the store holds of one gateway's name; every method is one commit."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.notes = Notes()
        self.rows: dict[bytes, bytes] = {}
        self.listed: bytes | None = None

    def begin(self) -> Owner:
        step = owners.begin(self.notes, at_least=1)
        self.notes = step.state
        return Owner(GATEWAY, step.answer)

    def enlist(self, owner: Owner) -> None:
        for row in owners.enlist(owner, self.listed).put:
            self.listed = row.value

    def note(self, owner: Owner, conv: ConversationId) -> bool:
        step = self.rules.note(self.notes, owner, conv)
        self.rows.update(step.put)
        return step.answer is None

    def settle(self, owner: Owner, conv: ConversationId) -> None:
        for key in owners.settle(self.notes, owner, conv).delete:
            self.rows.pop(key, None)

    def left(self, upto: int) -> list[Row]:
        span = owners.note_span(below=upto + 1)
        return [Row(key, value) for key, value in self.rows.items() if span.start <= key < span.stop]

    def end(self, owner: Owner) -> bool:
        step = self.rules.end(self.notes, owner, self.left(owner.incarnation))
        self.notes = step.state
        return step.answer

    def delist(self, owner: Owner) -> None:
        if self.rules.delist(owner, self.listed).delete:
            self.listed = None

    @property
    def is_sound(self) -> bool:
        """Whether everybody who has a note is listed, under its incarnation or a later one."""
        upto = 0 if self.listed is None else int.from_bytes(self.listed, "big")
        return all(owners.owner_of_note(GATEWAY, key)[0].incarnation <= upto for key in self.rows)


def life(world: World) -> Iterator[None]:
    """A process under the name: begins, notes and settles, goes on as a new incarnation when it was fenced."""
    while True:
        owner = world.begin()
        yield
        if world.rules.lists_first:
            world.enlist(owner)
            yield
        for number in count():
            if not world.note(owner, CHATS[number % 2]):
                break
            yield
            if not world.rules.lists_first:
                world.enlist(owner)
                yield
            world.settle(owner, CHATS[(number + 1) % 2])
            yield


def adopter(world: World) -> Iterator[None]:
    """Somebody who takes whoever is listed for gone, rightly or not."""
    while True:
        if world.listed is not None:
            owner = owners.listed_owner(Row(owners.listed_key(GATEWAY), world.listed))
            yield
            for row in world.left(owner.incarnation):
                world.settle(*owners.owner_of_note(GATEWAY, row.key))
                yield
            if world.end(owner):
                yield
                world.delist(owner)
        yield


def play(rules: Rules, turns: list[int]) -> bool:
    """Two processes under one name and two adopters take turns, one commit each."""
    world = World(rules)
    everybody = [life(world), life(world), adopter(world), adopter(world)]
    for turn in turns:
        next(everybody[turn])
        if not world.is_sound:
            return False
    return True


def orders(number: int) -> Iterator[list[int]]:
    """Many orders in which they may take turns."""
    random = Random(1)
    for _ in range(number):
        yield random.choices(range(4), k=80)


def test_whoever_has_a_note_is_listed_in_whatever_order_commits_come() -> None:
    assert all(play(Rules(), turns) for turns in orders(500))


def ends_whatever_is_left(notes: Notes, owner: Owner, _left: object) -> Step[bool, Notes]:
    return owners.end(notes, owner, ())


def takes_notes_of_the_ended(notes: Notes, owner: Owner, conv: ConversationId) -> Step[Any, Notes]:
    return owners.note(notes._replace(ended=0), owner, conv)._replace(state=notes)


def delists_whoever_is_there(owner: Owner, _there: object) -> Step[None, None]:
    return Step(None, None, delete=(owners.listed_key(owner.gateway),))


@pytest.mark.parametrize(
    "broken",
    [
        Rules(end=ends_whatever_is_left),
        Rules(note=takes_notes_of_the_ended),
        Rules(delist=delists_whoever_is_there),
        Rules(lists_first=False),
    ],
    ids=["ends whatever is left", "takes notes of the ended", "delists whoever is there", "notes first"],
)
def test_each_condition_is_needed(broken: Rules) -> None:
    assert not all(play(broken, turns) for turns in orders(2_000))


def test_an_incarnation_that_has_ended_is_told_to_go_on_above_it() -> None:
    notes = Notes(incarnation=9, ended=7)

    assert owners.note(notes, Owner(GATEWAY, 7), CHATS[0]).answer == Fenced(7)
    assert owners.note(notes, Owner(GATEWAY, 8), CHATS[0]).answer is None


def test_ending_and_listing_may_be_repeated() -> None:
    owner = Owner(GATEWAY, 7)
    ended = owners.end(Notes(7), owner, ()).state
    (row,) = owners.enlist(owner, None).put

    assert owners.end(ended, owner, ()) == Step(True, ended)
    assert not owners.enlist(owner, row.value).changes(None)
    assert not owners.delist(owner, None).changes(None)
    assert owners.listed_owner(row) == owner


@pytest.mark.parametrize("notes", [Notes(), Notes(3), Notes(1 << 60, 1 << 59)])
def test_a_head_comes_back_as_it_was(notes: Notes) -> None:
    assert owners.OWNERS.decode(owners.OWNERS.encode(notes)) == notes


@pytest.mark.parametrize("data", [b"\xff", b"\x93\x01\x07", b"\x92\x01\x07", b"\x93\x02\x07\x00", b"\x93\x01\x07\xc0"])
def test_a_head_that_is_damaged_is_named(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        owners.OWNERS.decode(data)
