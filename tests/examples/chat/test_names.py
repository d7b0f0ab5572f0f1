"""Who is called what."""

from __future__ import annotations

import pytest

from examples.chat.names import Names, check_name, group_label
from whisperkit.errors import OutcomeUnknownError
from whisperkit.ids import ConversationId, UserId
from whisperkit.stores import MemoryPartitions
from whisperkit.testing.faulty import Fault, FaultyPartitions
from whisperkit.testing.sim_runtime import run_now

ALICE, BOB = UserId.named("alice"), UserId.named("bob")


@pytest.fixture
def names() -> Names:
    return Names("alice", MemoryPartitions())


@pytest.mark.parametrize(
    ("typed", "name"), [("Alice", "alice"), ("ÉMILE", "émile"), ("mary-jane.2", "mary-jane.2"), ("李", "李")]
)
def test_a_name_counts_without_its_capitals(typed: str, name: str) -> None:
    assert check_name(typed) == name


@pytest.mark.parametrize("text", ["", "a/b", "../x", "-x", ".x", "a b", "#7f3a", "@7f3a", "x" * 65, "a\n"])
def test_what_could_be_a_path_an_option_or_a_label_is_no_name(text: str) -> None:
    with pytest.raises(ValueError, match="a name has"):
        check_name(text)


def test_a_person_is_known_by_name_once_it_was_typed(names: Names) -> None:
    assert names.name_of(BOB) == f"@{BOB[:8]}"

    assert names.user_of("Bob") == BOB

    assert names.name_of(BOB) == "bob"


def test_the_person_at_the_device_is_you(names: Names) -> None:
    assert names.name_of(ALICE) == "you"
    assert names.user_of("alice") == ALICE


def test_names_that_were_saved_are_known_the_next_time() -> None:
    store = MemoryPartitions()
    names = Names("alice", store)
    for name in ("bob", "alice", "Bob", "李"):
        names.user_of(name)
        run_now(names.save())

    again = Names("alice", store)
    run_now(again.load())

    assert again.name_of(BOB) == "bob"
    assert again.name_of(UserId.named("李")) == "李"


def test_a_name_that_could_not_be_saved_is_saved_the_next_time() -> None:
    store = MemoryPartitions()
    faults = iter([Fault.UNKNOWN_BEFORE] * 8)
    names = Names("alice", FaultyPartitions(store, lambda call: next(faults, Fault.NONE)))
    names.user_of("bob")
    with pytest.raises(OutcomeUnknownError):
        run_now(names.save())

    run_now(names.save())

    again = Names("alice", store)
    run_now(again.load())
    assert again.name_of(BOB) == "bob"


def test_a_stranger_is_meant_by_the_label_that_was_shown(names: Names) -> None:
    label = names.name_of(BOB)

    assert names.user_of(label) == BOB
    with pytest.raises(ValueError, match="nobody here is shown as @00000000"):
        names.user_of("@00000000")


def test_a_group_is_called_by_the_beginning_of_its_id() -> None:
    assert group_label(ConversationId("7f3a21bc")) == "#7f3a"
