"""Safety numbers, what follows when one changes, and a user's own devices."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.chat.trust import invitation
from tests.examples.chat.person import Person
from whisperkit.client import Client
from whisperkit.testing.sim_phone import ChatNet

Make = Callable[..., Person]


@pytest.fixture
def alice(person: Make) -> Person:
    return person("alice")


@pytest.fixture
def bob(person: Make) -> Person:
    return person("bob")


def meet(one: Person, other: Person) -> None:
    one.type(f"/to {other.name}", "hello")
    other.type(f"/to {one.name}", "hi")
    one.lines.clear()
    other.lines.clear()


def digits(line: str) -> str:
    return line.partition(": ")[2]


def second(net: ChatNet, person: Make, first: Person) -> Person:
    """A second device of somebody, linked by what they type."""
    tablet = person(first.name, net.phone(first.name, 2, is_linked=True))
    net.wait(2.0)
    code = tablet.sim.do(invitation)
    net.wait(10.0)
    first.type(f"/link {code}")
    net.until(lambda: tablet.sim.is_live)
    net.wait(12.0)
    return tablet


def set_up_anew(net: ChatNet, old: Person, person: Make) -> Person:
    """The same person on a phone that knows nothing of before."""
    new = net.add(old.sim.device)
    net.wait(5.0)

    async def identity(client: Client) -> tuple[bytes, int]:
        return await client.identity()

    net.server.replace(old.sim.device, *new.do(identity))
    old.sim.crash()
    new.restart()
    net.until(lambda: new.is_live)
    net.wait(12.0)
    return person(old.name, new)


def test_both_sides_show_the_same_number_in_groups_of_five(alice: Person, bob: Person) -> None:
    meet(alice, bob)

    (hers,), (his,) = alice.type("/verify"), bob.type("/verify")

    assert hers.startswith("safety number with bob: ")
    assert his.startswith("safety number with alice: ")
    assert digits(hers) == digits(his)
    assert [len(group) for group in digits(hers).split()] == [5] * 12


def test_digits_that_are_the_same_make_the_other_side_verified(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    (his,) = bob.type("/verify")

    assert alice.type(f"/verify {digits(his)}") == ["✔ the same: bob is verified"]
    assert alice.type("/verify")[0].startswith("safety number with bob, ✔ verified: ")


def test_a_single_other_digit_verifies_nobody(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    (his,) = bob.type("/verify")
    last = "0" if his[-1] != "0" else "1"

    (line,) = alice.type(f"/verify {digits(his)[:-1]}{last}")

    assert line.startswith("✗ not the same")
    assert alice.type("/verify")[0].startswith("safety number with bob: ")


def test_each_device_of_the_other_side_has_a_number_of_its_own(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    tablet = second(net, person, bob)
    alice.type("all of you")
    bob.type("yes")
    tablet.type("/to alice", "me too")

    phone_line, tablet_line = alice.type("/verify")

    assert phone_line.startswith("safety number with bob.1: ")
    assert tablet_line.startswith("safety number with bob.2: ")
    assert [digits(phone_line)] == [digits(line) for line in bob.type("/verify")]
    assert [digits(tablet_line)] == [digits(line) for line in tablet.type("/verify")]
    assert alice.type(f"/verify {digits(tablet_line)}") == ["✔ the same: bob.2 is verified"]
    assert [", ✔ verified" in line for line in alice.type("/verify")] == [False, True]


def test_a_group_shows_the_numbers_of_all_others(alice: Person, bob: Person, person: Make) -> None:
    carol = person("carol")
    meet(alice, bob)
    meet(alice, carol)
    alice.type("/group bob carol")

    assert [line.partition(":")[0] for line in alice.type("/verify")] == [
        "safety number with bob",
        "safety number with carol",
    ]


def test_a_key_that_is_not_here_yet_is_said_to_be_missing(alice: Person, bob: Person) -> None:
    alice.type("/to bob")

    assert alice.type("/verify") == ["bob: its key is not here yet; write a message first"]


def test_a_number_that_has_changed_is_told_with_what_it_may_mean(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    set_up_anew(net, bob, person)

    alice.type("are you there?")
    net.wait(60.0)

    (line,) = [line for line in alice.lines if line.startswith("!")]
    assert "bob has a new safety number (bob.1)" in line
    assert "it can be somebody in between" in line
    assert line.endswith("/verify shows the number, to be compared")


def test_nothing_is_sent_to_a_verified_person_with_another_key_until_it_is_accepted(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    alice.type(f"/verify {digits(bob.type('/verify')[0])}")
    new = set_up_anew(net, bob, person)
    alice.type("only for the old bob")
    net.wait(60.0)
    (warning,) = [line for line in alice.lines if line.startswith("!")]
    assert warning.endswith("until you type /accept bob")
    assert not any("only for the old bob" in line for line in new.lines)

    lines = alice.type("/accept bob")
    net.wait(60.0)

    assert lines[0] == "the new safety number of bob is accepted; /verify shows it, to be compared"
    assert any("only for the old bob" in line for line in new.lines)
    assert alice.type("/accept bob") == ["/accept: no new safety number of bob was told of"]


def test_a_device_is_linked_by_the_code_that_it_shows(alice: Person, bob: Person, person: Make, net: ChatNet) -> None:
    meet(alice, bob)

    tablet = second(net, person, alice)

    assert "alice.2 is linked; it is let in within a minute" in alice.lines
    assert tablet.type("/devices") == ["alice.1", "alice.2, this one"]
    bob.type("to both of you")
    assert [line.endswith(": to both of you") for line in (alice.lines[-1], tablet.lines[-1])] == [True, True]
    tablet.type("/to bob", "from the tablet")
    assert alice.shown[-1] == "you, sent: from the tablet"


def test_a_device_that_was_put_out_hears_of_it_and_gets_nothing_more(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    tablet = second(net, person, alice)

    assert alice.type("/unlink 2")[-1] == "device 2 is out of the account"
    net.wait(30.0)
    bob.type("only to the phone")

    assert tablet.lines[-1] == "■ refused: this device was taken out of the account; what it has can still be read"
    assert not tablet.screen.is_over
    assert alice.shown[-1] == "bob: only to the phone"
    assert alice.type("/devices") == ["alice.1, this one"]


def test_a_code_that_was_cut_short_links_nothing(alice: Person, person: Make, net: ChatNet) -> None:
    tablet = person("alice", net.phone("alice", 2, is_linked=True))
    code = tablet.sim.do(invitation)

    assert alice.type(f"/link {code[:-4]}", "/devices") == [
        "/link: that is no code of a device, or not all of it",
        "alice.1, this one",
    ]
    assert tablet.screen.is_waiting_for_link
