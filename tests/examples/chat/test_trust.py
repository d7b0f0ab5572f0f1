"""Safety numbers, what follows when one changes, and a user's own devices."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from examples.chat.trust import invitation
from tests.examples.chat.person import Person
from tests.examples.chat.test_qr import modules, scan
from whisperkit.client import Client
from whisperkit.client.events import TicksMoved
from whisperkit.client.standing import MAX_EVENTS
from whisperkit.ids import ConversationId
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


# ---- the number of one person, and its code -------------------------------------------------------------------------


def test_the_number_of_somebody_is_shown_as_it_is_read_aloud(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    alice.screen.here = None  # whatever is open

    title, *groups = alice.type("/verify bob")

    assert title == "safety number with bob:"
    assert [len(line.split()) for line in groups] == [4, 4, 4]
    assert " ".join(" ".join(groups).split()) == digits(bob.type("/verify")[0])


def test_with_room_for_it_its_code_is_drawn_and_the_other_side_scans_it(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    alice.screen.columns = lambda: 80

    drawn = alice.type("/verify bob")[4:]
    (scanned,) = scan(modules(drawn))

    number = bob.sim.do(lambda client: client.safety_number(alice.sim.device))
    mine = alice.sim.do(lambda client: client.safety_number(bob.sim.device))
    assert scanned == mine.scannable
    assert number.matches(scanned)


@pytest.mark.parametrize("columns", [0, 40])
def test_without_room_for_it_there_are_the_digits(alice: Person, bob: Person, columns: int) -> None:
    meet(alice, bob)
    alice.screen.columns = lambda: columns

    assert len(alice.type("/verify bob")) == 4


def test_digits_behind_a_name_are_compared_with_that_person(alice: Person, bob: Person, person: Make) -> None:
    carol = person("carol")
    meet(alice, bob)
    meet(alice, carol)
    his, hers = digits(bob.type("/verify")[0]), digits(carol.type("/verify")[0])

    assert alice.type(f"/verify carol {his}")[0].startswith("✗ not the same")
    assert alice.type(f"/verify bob {his}") == ["✔ the same: bob is verified"]
    assert alice.type(f"/verify carol {hers}") == ["✔ the same: carol is verified"]


def as_hex(data: bytes) -> str:
    return data.hex()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize("write", [as_hex, as_base64])
def test_the_bytes_of_a_scanned_code_are_compared_too(
    alice: Person, bob: Person, write: Callable[[bytes], str]
) -> None:
    meet(alice, bob)
    theirs = bob.sim.do(lambda client: client.safety_number(alice.sim.device)).scannable
    own = alice.sim.do(lambda client: client.safety_number(bob.sim.device)).scannable

    assert alice.type(f"/verify bob {write(own)}")[0].startswith("✗ not the same")  # a mirror verifies nobody
    assert alice.type(f"/verify bob {write(theirs)}") == ["✔ the same: bob is verified"]


@pytest.mark.parametrize(
    ("read", "said"),
    [
        ("12345 67890", "a safety number has 60 digits, that were 10"),
        ("what?", "that is neither 60 digits nor the bytes of a code, in base64 or hexadecimal"),
        ("zz" * 74, "that is neither 60 digits nor the bytes of a code, in base64 or hexadecimal"),
        ("AAAA", "protobuf: field number 0"),
        ("EAE=", "a safety number is of version 1"),
    ],
)
def test_what_is_no_safety_number_is_said_to_be_none(alice: Person, bob: Person, read: str, said: str) -> None:
    meet(alice, bob)

    (line,) = alice.type(f"/verify bob {read}")

    assert line.startswith("/verify: ")
    assert alice.type("/verify")[0].startswith("safety number with bob: ")


def test_a_verified_name_is_marked_wherever_one_looks_for_it_and_after_a_restart(
    alice: Person, bob: Person, net: ChatNet
) -> None:
    meet(alice, bob)
    alice.type(f"/verify {digits(bob.type('/verify')[0])}")

    alice.sim.restart()
    net.until(lambda: alice.sim.is_live)
    alice.lines.clear()
    alice.start()

    assert alice.type("/to bob")[-1] == "writing to bob, ✔ verified"
    assert alice.type("/chats") == ["chat with bob, ✔ verified: 1 unread"]
    assert alice.type("/who") == ["bob, ✔ verified: online", "and you"]


def test_own_other_devices_have_numbers_too(alice: Person, bob: Person, person: Make, net: ChatNet) -> None:
    meet(alice, bob)
    tablet = second(net, person, alice)
    bob.type("to both")
    alice.type("to the tablet, too")

    hers, its = alice.type("/verify alice"), tablet.type("/verify alice")

    assert hers[0] == "safety number with alice.2:"
    assert its[0] == "safety number with alice.1:"
    assert hers[1:] == its[1:]


# ---- devices that come ----------------------------------------------------------------------------------------------


def test_a_new_device_of_somebody_is_told_with_what_to_do_and_only_once(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    tablet = second(net, person, bob)

    alice.type("to both of you")
    tablet.type("/to alice", "from the tablet")
    told = [line for line in alice.lines if line.startswith("!")]
    alice.sim.restart()
    net.until(lambda: alice.sim.is_live)
    alice.lines.clear()
    alice.start()
    net.wait(30.0)

    assert told == [
        "! bob has a new device (bob.2). Most of the time that is one that bob linked; it can be somebody in between. "
        "/verify bob shows its safety number, to be compared"
    ]
    assert not any(line.startswith("!") for line in alice.lines)
    assert alice.type("/verify bob")[4] == "safety number with bob.2:"


def test_a_new_device_of_somebody_verified_takes_the_mark_away_until_it_is_compared(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    alice.type(f"/verify {digits(bob.type('/verify')[0])}")
    tablet = second(net, person, bob)

    alice.type("to both of you")
    (line,) = [line for line in alice.lines if line.startswith("!")]
    before = alice.type("/chats")[-1]
    tablet.type("/to alice")
    alice.type(f"/verify bob {digits(tablet.type('/verify')[0])}")

    assert line.endswith("; until it is, bob is not verified any more")
    assert before.partition(": ")[0] == "chat with bob"
    assert alice.type("/chats")[-1].partition(": ")[0] == "chat with bob, ✔ verified"


def test_a_new_device_of_ones_own_is_told_with_how_to_get_rid_of_it(alice: Person, person: Make, net: ChatNet) -> None:
    tablet = second(net, person, alice)
    laptop = net.linked(alice.sim, 3, name="alice")
    tablet.sim.restart()
    net.until(lambda: tablet.sim.is_live)
    tablet.start()
    net.wait(5.0)

    assert laptop.is_live
    assert [line for line in tablet.lines if line.startswith("!")] == [
        "! you have a new device (alice.3), which reads what you write and what is written to you. "
        "If you did not link it, somebody got into your account: /unlink 3 puts it out"
    ]
    assert not any(line.startswith("!") for line in alice.lines)


def test_what_was_dropped_as_too_much_is_shown_all_the_same(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    tablet = second(net, person, bob)
    alice.sim.restart()  # and nobody looks at it
    tablet.type("/to alice", "guess who")
    alice.lines.clear()
    alice.start()

    for _ in range(MAX_EVENTS):
        alice.screen._events.put(TicksMoved(ConversationId("a")))  # pyright: ignore[reportPrivateUsage]
    net.wait(1.0)

    told = [line.partition(" (")[0].partition(":")[0] for line in alice.lines]
    assert told == ["! too much at once", "! bob has a new device"]
    assert alice.sim.client.notices == ()


async def hear_nothing(*_: object) -> None:
    return None


def test_a_screen_that_tells_and_does_not_say_so_tells_again(
    alice: Person, bob: Person, person: Make, net: ChatNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Client, "noticed", hear_nothing)

    with pytest.raises(AssertionError):
        test_a_new_device_of_somebody_is_told_with_what_to_do_and_only_once(alice, bob, person, net)


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
    assert line.endswith("/verify bob shows it, to be compared")


def test_nothing_is_sent_to_a_verified_person_with_another_key_until_it_is_accepted(
    alice: Person, bob: Person, person: Make, net: ChatNet
) -> None:
    meet(alice, bob)
    alice.type(f"/verify {digits(bob.type('/verify')[0])}")
    new = set_up_anew(net, bob, person)
    alice.type("only for the old bob")
    net.wait(60.0)
    (warning,) = [line for line in alice.lines if line.startswith("!")]
    assert "so bob is not verified any more" in warning
    assert warning.endswith("until you type /accept bob")
    assert not any("only for the old bob" in line for line in new.lines)

    lines = alice.type("/accept bob")
    net.wait(60.0)

    assert lines[0] == "the new safety number of bob is accepted; /verify shows it, to be compared"
    assert any("only for the old bob" in line for line in new.lines)
    assert alice.type("/accept bob") == ["/accept: no new safety number of bob waits to be accepted"]


def test_a_device_is_linked_by_the_code_that_it_shows(alice: Person, bob: Person, person: Make, net: ChatNet) -> None:
    meet(alice, bob)

    tablet = second(net, person, alice)

    assert "alice.2 is linked; it is let in within a minute" in alice.lines
    assert tablet.type("/devices") == ["alice.1", "alice.2, this one"]
    bob.type("to both of you")
    net.wait(2.0)
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
    net.wait(2.0)
    code = tablet.sim.do(invitation)

    assert alice.type(f"/link {code[:-4]}", "/devices") == [
        "/link: that is no code of a device, or not all of it",
        "alice.1, this one",
    ]
    assert tablet.screen.is_waiting_for_link
