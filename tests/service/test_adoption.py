"""What a dead gateway left is finished by others, whatever the directory remembers; one that lives loses time only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.service.conftest import MakeLab
from tests.service.lab import (
    ALICE,
    BOB,
    CAROL,
    CHAT,
    DAVE,
    LIMITS,
    TEAM,
    Lab,
    Node,
    Phone,
    commit_to,
    read_of,
)
from whisperkit.ids import ConversationId, DeviceId, Owner
from whisperkit.partitions import Change, Partition, Row, Step
from whisperkit.service import Hook, ServiceConfig, gateway, owners
from whisperkit.service.adoption import Adopter
from whisperkit.service.owners import Notes
from whisperkit.stores import MemoryDirectory
from whisperkit.strategy import Strategy
from whisperkit.sync import conversation as conversations
from whisperkit.sync import frames
from whisperkit.sync.conversation import Fenced
from whisperkit.sync.frames import EntryKind, RefusalReason, RosterChange
from whisperkit.testing import Fault
from whisperkit.testing.sim_runtime import run_now

# The directory in memory is young for 40 s; then a lease of 3 s has to be absent for 5 s.
QUICK = ServiceConfig(fanout=LIMITS, beat_s=1.0, lease_s=3.0, adopt_after_s=5.0, note_s=2.0)
ADOPTED_S = 60.0
# Too much to be fused, so that there is something to finish in both kinds of store.
BIG = bytes(LIMITS.batch_bytes + 1)
RULE = owners.note


@pytest.fixture
def quick(make_lab: MakeLab) -> Lab:
    """A lab that does not wait long, with a conversation of Alice and Bob."""
    lab = make_lab(config=QUICK)
    lab.chat()
    return lab


def send_big(phone: Phone, conv: ConversationId = CHAT, *, seq: int | None = None) -> None:
    """Send what is not fused."""
    members = (ALICE, BOB) if conv == CHAT else (ALICE, BOB, CAROL)
    phone.send(conv, own={device: BIG for device in members if device != phone.device}, seq=seq)


def leave(lab: Lab, node: Node, *, conv: ConversationId = CHAT, sender: DeviceId = ALICE, number: int = 1) -> None:
    """Post at a gateway that is killed before anybody gets the message."""
    phone = lab.phone(sender, at=node, number=number)
    node.door.hold(commit_to("inbox/"))
    send_big(phone, conv)
    lab.settle()
    assert node.door.held
    lab.crash(node)


def listed(lab: Lab) -> list[str]:
    """The gateways on the list."""
    return [owners.listed_owner(row).gateway for row in lab.rows(owners.GATEWAYS)]


# ---- the dead -------------------------------------------------------------------------------------------------------


def forget(lab: Lab) -> None:
    lab.directory.empty()


def wait_for_hours(lab: Lab) -> None:
    lab.settle(3 * 3_600.0)


def test_what_the_dead_left_is_finished_though_the_directory_forgot_them(quick: Lab) -> None:
    bob = quick.phone(BOB)
    leave(quick, quick.start("g2"))
    forget(quick)
    quick.settle(ADOPTED_S)

    assert bob.texts(CHAT) == [BIG]
    assert quick.received(BOB, CHAT) == [1, 2]
    assert quick.notes("g2") == []
    assert listed(quick) == ["g1"]


def adopted_by_a_later_one(lab: Lab, lose: Callable[[Lab], None]) -> tuple[list[int], list[str]]:
    """What Bob has, and who is listed, if all gateways die and the next one knows neither them nor their leases."""
    leave(lab, lab.start("g2"))
    lab.crash(lab.g1)
    lose(lab)
    later = lab.start("g3")
    lab.settle(ADOPTED_S)
    return lab.received(BOB, CHAT, at=later), listed(lab)


@pytest.mark.parametrize("lose", [forget, wait_for_hours])
def test_what_the_dead_left_is_finished_by_one_that_began_later_under_another_name(
    quick: Lab, lose: Callable[[Lab], None]
) -> None:
    assert adopted_by_a_later_one(quick, lose) == ([1, 2], ["g3"])
    assert quick.notes("g2") == []


class TrustsTheDirectory(Adopter):
    """Looks for those only whom the directory could name itself, as it has heard of them."""

    directory: MemoryDirectory

    async def _listed(self) -> AsyncIterator[Owner]:
        async for owner in super()._listed():
            if owner in self.directory._alive_until:  # pyright: ignore[reportPrivateUsage]
                yield owner


def test_a_gateway_that_trusts_the_directory_alone_leaves_them_unfinished(
    quick: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "Adopter", TrustsTheDirectory)
    monkeypatch.setattr(TrustsTheDirectory, "directory", quick.directory, raising=False)

    assert adopted_by_a_later_one(quick, forget) == ([1], ["g1", "g2", "g3"])
    assert quick.notes("g2") != []


def test_a_gateway_that_comes_back_finishes_what_it_left_at_once(quick: Lab) -> None:
    leave(quick, quick.start("g2"))
    before = quick.rows(owners.GATEWAYS)

    quick.start("g2")
    quick.settle(3.0)

    assert quick.received(BOB, CHAT) == [1, 2]
    assert quick.notes("g2") == []
    assert listed(quick) == ["g1", "g2"]
    assert quick.rows(owners.GATEWAYS) > before


def test_several_dead_are_adopted_each_once(quick: Lab) -> None:
    quick.group(ALICE, BOB, CAROL)
    leave(quick, quick.start("g2"))
    leave(quick, quick.start("g3"), conv=TEAM, sender=BOB)
    leave(quick, quick.start("g4"), sender=BOB, number=2)
    quick.settle(2 * ADOPTED_S)

    assert sorted(quick.received(CAROL)) == [1, 2]
    assert quick.received(BOB, CHAT) == [1, 2]
    assert quick.received(ALICE, CHAT) == [1, 3]
    assert listed(quick) == ["g1"]


def test_a_group_that_grew_before_its_gateway_died_gets_the_strategy_of_its_size(quick: Lab) -> None:
    quick.group(ALICE, BOB, CAROL)
    dead = quick.start("g2")
    dead.door.hold(commit_to("inbox/"))
    change = RosterChange(added=(DAVE.user,))
    quick.phone(ALICE, at=dead).send(TEAM, kind=EntryKind.ROSTER, change=change)
    quick.settle()
    quick.crash(dead)
    quick.settle(ADOPTED_S)

    assert quick.head(TEAM).members == LIMITS.direct_below
    assert quick.head(TEAM).strategy is Strategy.MID
    assert quick.received(DAVE, TEAM) == [2]
    assert listed(quick) == ["g1"]


def test_two_who_adopt_at_once_do_no_harm(quick: Lab) -> None:
    dead = quick.start("g2")
    leave(quick, dead)
    owner = dead.gateway.core.owner
    other = quick.start("g3")

    for node in (quick.g1, other):
        quick.begin(node.gateway.adopter.adopt(owner), on=node.runtime)
    quick.settle(2 * ADOPTED_S)

    assert quick.received(BOB, CHAT) == [1, 2]
    assert quick.notes("g2") == []
    assert listed(quick) == ["g1", "g3"]


class Fences(Hook):
    """Counts how often a gateway was taken for dead."""

    def __init__(self) -> None:
        self.count = 0

    def fenced(self) -> None:
        self.count += 1


# ---- the living -----------------------------------------------------------------------------------------------------


def test_a_gateway_that_lives_is_not_adopted(quick: Lab) -> None:
    other = quick.start("g2")
    owner = other.gateway.core.owner
    other.door.hold(commit_to("inbox/"))
    send_big(quick.phone(ALICE, at=other))
    quick.settle(10 * ADOPTED_S)

    assert quick.notes("g2")
    assert quick.head(CHAT).fences == ()
    assert listed(quick) == ["g1", "g2"]
    other.door.let_go()
    quick.settle(5.0)
    assert quick.received(BOB, CHAT) == [1, 2]
    assert other.gateway.core.owner == owner


def test_while_the_directory_is_young_nobody_is_taken_for_dead(quick: Lab) -> None:
    leave(quick, quick.start("g2"))

    for _ in range(10):
        quick.directory.empty()
        quick.settle(40.0)
    early = listed(quick)
    quick.settle(ADOPTED_S)

    assert early == ["g1", "g2"]
    assert listed(quick) == ["g1"]


def test_while_the_directory_is_away_nobody_is_adopted_and_then_they_are(quick: Lab) -> None:
    quick.settle(ADOPTED_S)
    leave(quick, quick.start("g2"))

    quick.away.add("directory")
    quick.settle(ADOPTED_S)
    early = listed(quick)
    quick.away.clear()
    quick.settle(10.0)

    assert early == ["g1", "g2"]
    assert listed(quick) == ["g1"]
    assert quick.received(BOB, CHAT) == [1, 2]


def from_a_zombie(lab: Lab) -> list[int]:
    """What Bob gets from a gateway that stood still before its note, was adopted meanwhile, posts, and dies."""
    zombie = lab.start("g2")
    zombie.door.hold(commit_to("owner/g2"))
    send_big(lab.phone(ALICE, at=zombie))
    lab.settle()
    assert zombie.door.held
    zombie.runtime.pause()
    lab.settle(ADOPTED_S)
    assert listed(lab) == ["g1"]

    zombie.door.hold(commit_to("inbox/"))
    zombie.door.release()
    zombie.runtime.resume()
    lab.settle(2.0)
    assert lab.notes("g2")
    lab.crash(zombie)
    lab.settle(2 * ADOPTED_S)
    return lab.received(BOB, CHAT)


def test_a_zombie_leaves_nothing_that_nobody_looks_for(quick: Lab) -> None:
    assert from_a_zombie(quick) == [1, 2]
    assert listed(quick) == ["g1"]
    assert quick.notes("g2") == []


def takes_any_note(notes: Notes, owner: Owner, conv: ConversationId) -> Step[Fenced | None, Notes]:
    """Takes notes of those that have ended, too."""
    return RULE(notes._replace(ended=0), owner, conv)._replace(state=notes)


def test_a_note_of_one_that_was_taken_off_the_list_would_be_found_by_nobody(
    quick: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owners, "note", takes_any_note)

    assert from_a_zombie(quick) == [1]
    assert quick.notes("g2") != []


def test_a_false_suspicion_costs_time_only(make_lab: MakeLab) -> None:
    hook = Fences()
    lab = make_lab(config=QUICK, hook=hook)
    lab.chat()
    lab.group(ALICE, BOB, CAROL)
    other = lab.start("g2")
    before = other.gateway.core.owner
    alice, bob = lab.phone(ALICE, at=other), lab.phone(BOB)
    other.door.hold(commit_to("conv/"))
    send_big(alice)
    send_big(alice, TEAM)
    lab.settle()
    other.runtime.pause()
    lab.settle(ADOPTED_S)
    assert listed(lab) == ["g1"]

    other.door.let_go()
    other.runtime.resume()
    lab.settle(2.0)
    alice.send(CHAT, b"again")
    lab.settle(5.0)

    assert (hook.count, alice.refusals) == (1, [])
    assert sorted(alice.sent) == [2, 2, 3]
    assert bob.texts(CHAT) == [BIG, b"again"]
    assert bob.texts(TEAM) == [BIG]
    assert other.gateway.core.owner.incarnation > before.incarnation
    assert listed(lab) == ["g1", "g2"]
    assert lab.notes("g2") == []


def test_what_a_zombie_noted_behind_the_sweep_it_adopts_itself(quick: Lab) -> None:
    quick.group(ALICE, BOB, CAROL)
    zombie = quick.start("g2")
    owner = zombie.gateway.core.owner
    zombie.door.hold(commit_to("inbox/"))
    alice = quick.phone(ALICE, at=zombie)
    send_big(alice)
    quick.settle()
    quick.run(quick.g1.gateway.adopter.adopt(owner))  # and whoever adopts dies before it comes back for more
    zombie.door.release()
    send_big(alice, TEAM)
    quick.settle()
    left = quick.notes("g2")
    send_big(alice)
    zombie.door.let_go()
    quick.settle(10.0)

    assert zombie.gateway.core.owner != owner
    assert left
    assert quick.notes("g2") == []
    assert quick.received(BOB) == [1, 1, 2, 2, 3]


def test_without_a_new_incarnation_posts_are_refused_for_a_while_and_the_gateway_stands(quick: Lab) -> None:
    zombie = quick.start("g2")
    alice = quick.phone(ALICE, at=zombie)
    zombie.runtime.pause()
    quick.settle(ADOPTED_S)
    zombie.door.fail(commit_to(owners.GATEWAYS), *[Fault.UNKNOWN_BEFORE] * 100)
    zombie.runtime.resume()

    send_big(alice)
    quick.settle(40.0)
    assert alice.refusals == [RefusalReason.TRY_LATER]
    zombie.door.fail_nothing()
    send_big(alice, seq=1)
    quick.settle(2.0)

    assert alice.sent == [2]
    assert listed(quick) == ["g1", "g2"]


def test_gateways_that_see_no_lease_but_their_own_lose_time_only(make_lab: MakeLab) -> None:
    """As with a database that they share, and a directory in the memory of each."""
    hook = Fences()
    lab = make_lab(config=QUICK, hook=hook)
    lab.chat()
    lab.directory = MemoryDirectory(now=lambda: lab.world.now)
    other = lab.start("g2")
    alice, bob = lab.phone(ALICE, at=other), lab.phone(BOB)

    for _ in range(20):
        send_big(alice)
        send_big(bob)
        lab.settle(13.0)
        alice.say(frames.Beat())
        bob.say(frames.Beat())
    lab.settle(13.0)

    assert hook.count > 4
    assert (alice.refusals, bob.refusals) == ([], [])
    for phone in (alice, bob):
        assert sorted(phone.sent + [entry.conv_seq for entry in phone.entries(CHAT)]) == list(range(1, 42))


# ---- taking off the list, and beginning -----------------------------------------------------------------------------


def left_by_one_that_began_meanwhile(lab: Lab) -> list[int]:
    """What Bob gets from a gateway that begins again while it is taken off the list, posts, and dies."""
    lab.crash(lab.start("g2"))
    lab.g1.door.hold(commit_to(owners.GATEWAYS))
    lab.settle(ADOPTED_S)
    assert lab.g1.door.held
    again = lab.start("g2")
    lab.g1.door.let_go()
    lab.settle()
    leave(lab, again)
    lab.settle(ADOPTED_S)
    return lab.received(BOB, CHAT)


def test_a_gateway_that_begins_again_while_it_is_taken_off_the_list_stays_listed(quick: Lab) -> None:
    assert left_by_one_that_began_meanwhile(quick) == [1, 2]
    assert listed(quick) == ["g1"]


def test_taken_off_the_list_without_a_look_it_would_be_found_by_nobody(
    quick: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delist(owner: Owner, _there: bytes | None) -> Step[None, None]:
        return Step(None, None, delete=(owners.listed_key(owner.gateway),))

    monkeypatch.setattr(owners, "delist", delist)

    assert left_by_one_that_began_meanwhile(quick) == [1]
    assert quick.notes("g2") != []


def test_who_dies_between_its_beginning_and_the_list_has_left_nothing(quick: Lab) -> None:
    other = quick.start("g2")
    leave(quick, other)
    # As if it had begun again and died before its second commit.
    head = run_now(quick.memory.heads([owners.partition(other.gateway.core.owner.gateway)]))
    (name, (version, state)), *_ = head.items()
    later = owners.begin(owners.OWNERS.decode(state), at_least=1).state
    run_now(quick.memory.commit([Change(name, version, owners.OWNERS.encode(later))]))
    quick.settle(ADOPTED_S)

    assert quick.received(BOB, CHAT) == [1, 2]
    assert listed(quick) == ["g1"]


# ---- what it costs --------------------------------------------------------------------------------------------------


def test_nobody_looks_at_the_notes_of_the_living(quick: Lab) -> None:
    others = [quick.start(f"g{number}") for number in range(2, 6)]
    quick.settle(3.0)
    for node in (quick.g1, *others):
        node.door.forget()
    quick.settle(10 * ADOPTED_S)

    assert not any(read_of("rows", "owner/")(call) for node in (quick.g1, *others) for call in node.door.calls)


def test_one_of_many_adopts_and_the_next_if_it_does_not(quick: Lab) -> None:
    others = [quick.start(f"g{number}") for number in range(2, 7)]
    everybody = {str(node.gateway.core.owner.gateway): node for node in (quick.g1, *others)}
    everybody["g4"].door.fail(read_of("rows", "owner/g3"), *[Fault.UNKNOWN_BEFORE] * 1_000)
    leave(quick, everybody.pop("g3"))
    quick.settle(ADOPTED_S)

    looked = [
        name for name, node in everybody.items() if any(read_of("rows", "owner/g3")(call) for call in node.door.calls)
    ]
    assert looked == ["g4", "g5"]
    assert quick.received(BOB, CHAT) == [1, 2]
    assert "g3" not in listed(quick)


def test_a_conversation_that_cannot_be_finished_keeps_no_other_waiting(quick: Lab) -> None:
    dead = quick.start("g2")
    broken = ConversationId("broken")
    noted = owners.note(Notes(), dead.gateway.core.owner, broken).put
    leave(quick, dead)
    name = owners.partition(dead.gateway.core.owner.gateway)
    version, state = run_now(quick.memory.heads([name]))[name]
    run_now(
        quick.memory.commit(
            [Change(conversations.partition(broken), 0, b"\xff damaged"), Change(name, version, state, noted)]
        )
    )
    quick.settle(ADOPTED_S)

    assert quick.received(BOB, CHAT) == [1, 2]
    assert [row.key for row in quick.notes("g2")] == [noted[0].key]
    assert listed(quick) == ["g1", "g2"]  # until somebody has looked at it


def test_a_gateway_that_cannot_be_adopted_keeps_no_other_waiting(quick: Lab) -> None:
    run_now(quick.memory.commit([Change(Partition("owner/a"), 0, b"\xff damaged")]))
    version, state = run_now(quick.memory.heads([owners.GATEWAYS]))[owners.GATEWAYS]
    row = Row(b"g/a", (7).to_bytes(8, "big"))
    run_now(quick.memory.commit([Change(owners.GATEWAYS, version, state, (row,))]))
    leave(quick, quick.start("g2"))
    quick.settle(ADOPTED_S)

    assert quick.received(BOB, CHAT) == [1, 2]
    assert listed(quick) == ["a", "g1"]
