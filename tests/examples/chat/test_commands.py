"""What is typed into a plain chat, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from examples.chat.commands import COMMANDS
from tests.examples.chat.person import Person
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
    """Let both have the other's conversation open, and know their name."""
    one.type(f"/to {other.name}", "hello")
    other.type(f"/to {one.name}", "hi")
    one.lines.clear()
    other.lines.clear()


def group_of(one: Person, *others: Person) -> str:
    """A group that is open for all of them; returns its label."""
    (line, *_) = one.said(f"/group {' '.join(other.name for other in others)}")
    label = next(word for word in line.split() if word.startswith("#"))
    for other in others:
        other.type(f"/to {label}")
        other.lines.clear()
    one.lines.clear()
    return label


def test_a_message_is_shown_as_sent_here_and_by_name_there(alice: Person, bob: Person) -> None:
    bob.type("/to alice")
    alice.type("/to bob")

    assert alice.said("are you there?") == ["you, sent: are you there?"]
    assert bob.shown[-1] == "alice: are you there?"


def test_a_message_that_begins_with_a_slash_is_written_with_two(alice: Person, bob: Person) -> None:
    meet(alice, bob)

    alice.type("//help yourself")

    assert bob.shown == ["alice: /help yourself"]


def test_nothing_is_written_before_a_conversation_is_open(alice: Person) -> None:
    assert alice.type("hello") == ["not sent: to whom? /to NAME opens a conversation"]
    assert alice.commands.refusals == 1


def test_a_command_that_does_not_exist_is_not_sent_as_a_message(alice: Person, bob: Person) -> None:
    meet(alice, bob)

    assert alice.type("/grup bob", "/xyzzy") == [
        "/grup: there is no such command; did you mean /group?",
        "/xyzzy: there is no such command; /help lists what there is",
    ]
    assert bob.lines == []


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("/to", "/to: to whom? /to NAME"),
        ("/to a/b", "/to: a name has letters"),
        ("/to alice", "/to: that is you"),
        ("/to nobody", "/to: there is no nobody yet"),
        ("/to #ffff", "/to: #ffff is no group; /chats lists them"),
        ("/to @00000000", "/to: nobody here is shown as @00000000"),
        ("/group", "/group: with whom?"),
        ("/group nobody noone", "/group: there is no nobody and no noone yet"),
        ("/history x", "/history: to whom?"),
        ("/search", "/search: for what?"),
        ("/verify 123", "/verify: a safety number has 60 digits, that were 3 characters"),
        ("/accept", "/accept: whom?"),
        ("/link", "/link: which?"),
        ("/link !", "/link: that is no code of a device"),
        ("/link AAAA", "/link: that is no code of a device, or not all of it"),
        ("/unlink", "/unlink: which?"),
        ("/unlink x", "/unlink: x is no number"),
        ("/unlink 1", "/unlink: a device is put out by another one"),
        ("/connect", "/connect: it connects by itself"),
        ("/file 'x", "/file: to whom?"),
        *((word, f"{word}: to whom?") for word in ("/read", "/ticks", "/retry", "/file x", "/save", "/who", "/verify")),
        *((word, f"{word.split()[0]}: to whom?") for word in ("/add nobody", "/remove nobody", "/leave")),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_reason(alice: Person, line: str, answer: str) -> None:
    (shown,) = alice.type(line)

    assert shown.startswith(answer.replace("/file x:", "/file:"))
    assert alice.commands.refusals == 1


def test_what_belongs_to_a_group_is_refused_in_a_conversation_of_two(alice: Person, bob: Person) -> None:
    meet(alice, bob)

    for line in ("/add bob", "/remove bob", "/leave"):
        assert alice.type(line)[-1].endswith("this is a conversation of two; /group makes a group")


def test_every_command_is_in_the_list_of_help(alice: Person) -> None:
    lines = alice.type("/help")

    assert [line.split()[0] for line in lines[: len(COMMANDS)]] == list(COMMANDS)
    assert all(len(line) <= 100 for line in lines[: len(COMMANDS)])


def test_quit_ends_it(alice: Person) -> None:
    assert not alice.commands.is_over

    alice.type("/quit")

    assert alice.commands.is_over


def test_a_conversation_opens_with_its_last_lines_and_a_mark_where_unread_ones_begin(
    alice: Person, bob: Person
) -> None:
    meet(alice, bob)
    alice.type("one", "two")

    assert bob.said("/to alice") == [
        "alice: hello",
        "you, sent: hi",
        "--- 2 unread ---",
        "alice: one",
        "alice: two",
        "writing to alice",
    ]
    assert bob.said("/history 1") == ["--- 2 unread ---", "alice: two"]


def test_whoever_answers_has_read(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    alice.type("one", "two")
    assert bob.type("/chats") == ["chat with alice: 2 unread"]
    assert alice.said("/ticks")[-1] == "delivered to bob: two"

    bob.type("aha")

    assert bob.type("/chats") == ["chat with alice"]
    assert alice.said("/ticks")[-1] == "read by bob: two"


def test_one_can_read_without_an_answer(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    alice.type("one")

    bob.type("/read")

    assert alice.said("/ticks")[-1] == "read by bob: one"


def test_what_was_never_shown_is_not_called_read(alice: Person, bob: Person, net: ChatNet) -> None:
    meet(alice, bob)
    alice.type("one")
    bob.sim.restart()
    bob.start()
    net.wait(5.0)

    bob.type("/to alice")
    bob.screen.here = None
    bob.type("/chats")

    assert alice.said("/ticks")[-1] == "delivered to bob: one"


def test_there_are_no_ticks_where_nothing_was_written(alice: Person, bob: Person) -> None:
    bob.type("/to alice")

    assert bob.type("/ticks") == ["you have written nothing here from this device"]


def test_a_group_is_made_and_everybody_hears_of_its_members(alice: Person, bob: Person, person: Make) -> None:
    carol = person("carol")
    meet(alice, bob)
    meet(alice, carol)

    label = group_of(alice, bob, carol)
    alice.type("hello all")

    assert bob.shown == [f"alice in group {label}: hello all"]
    assert bob.said("/history")[0].startswith(f"group {label}: alice added you, @")
    assert f"group {label} with bob, carol" in alice.said("/chats")


def test_members_are_added_removed_and_leave(alice: Person, bob: Person, person: Make) -> None:
    carol = person("carol")
    meet(alice, bob)
    meet(alice, carol)
    meet(bob, carol)
    label = group_of(alice, bob)

    alice.type("/add carol")
    carol.type(f"/to {label}")
    bob.type("/remove carol")
    carol.type("am I out?")
    alice.type("/leave")

    assert bob.shown[-3:] == [
        f"group {label}: alice added carol",
        f"group {label}: you removed carol",
        f"group {label}: alice left",
    ]
    assert carol.shown[-2:] == [
        f"group {label}: bob removed you",
        "you, not sent: am I out?  (not member; /retry sends it again)",
    ]
    assert alice.said("/who") == ["/who: you are not in this group"]
    assert f"group {label}, which you have left" in alice.said("/chats")


def test_what_failed_is_sent_again_once(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    label = group_of(alice, bob)
    alice.type("/remove bob")
    bob.type("let me in")
    alice.type("/add bob")
    bob.lines.clear()

    assert bob.said("/retry") == ["you, sent: let me in"]
    assert bob.said("/retry") == ["nothing here failed"]
    assert alice.shown[-1] == f"bob in group {label}: let me in"


def test_two_groups_that_begin_alike_are_not_mixed_up(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    label = group_of(alice, bob)

    assert alice.type("/to #") == ["/to: # is more than one group; /chats lists them"]
    assert alice.type(f"/to {label}")[-1] == f"writing to group {label}"


def test_who_is_here_and_how_they_are(alice: Person, bob: Person, person: Make, net: ChatNet) -> None:
    carol = person("carol")
    meet(alice, bob)
    meet(alice, carol)
    group_of(alice, bob, carol)
    assert alice.said("/who") == ["bob: online", "carol: online", "and you"]
    carol.sim.fly()
    net.wait(120.0)

    lines = alice.said("/who")

    assert lines[0] == "bob: online"
    assert lines[1].startswith("carol: last seen today ")
    assert lines[2:] == ["and you"]


def test_how_people_are_is_not_made_up_without_a_connection(alice: Person, bob: Person, net: ChatNet) -> None:
    meet(alice, bob)
    assert alice.said("/who") == ["bob: online", "and you"]
    alice.sim.fly()
    net.wait(2.0)

    assert alice.type("/who") == ["how they are is not known without a connection", "bob", "and you"]


def test_words_are_found_with_who_said_them_and_where(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    label = group_of(alice, bob)
    alice.type("boarding at ten", "/to bob", "boarding now")
    bob.type("boarding too")

    assert [line.partition(" ")[2].split(" ", 1)[1] for line in alice.type("/search board")] == [
        f"you in group {label}: [boarding] at ten",
        "you to bob: [boarding] now",
        f"bob in group {label}: [boarding] too",
    ]
    assert alice.type("/search luggage") == ["nothing found on this device, which is all that was searched"]


def test_somebody_new_cannot_be_looked_up_without_a_connection(alice: Person, bob: Person, net: ChatNet) -> None:
    alice.sim.fly()
    net.wait(2.0)

    (line,) = alice.type("/to bob")

    assert line.endswith("there is no connection now")


def test_whom_one_has_written_to_can_be_written_to_without_a_connection(
    alice: Person, bob: Person, net: ChatNet
) -> None:
    meet(alice, bob)
    alice.sim.fly()
    net.wait(2.0)

    assert alice.said("/to bob")[-1] == "writing to bob"
    assert alice.said("in a tunnel")[-1] == "you, waiting to send: in a tunnel"
    assert alice.type("/state")[0].startswith("○ offline since ")
    assert ", 1 waiting to be sent, next try within " in alice.lines[-1]
    alice.sim.land()
    net.wait(40.0)

    assert alice.shown[-2:] == ["● live", "you, sent: in a tunnel"]
    assert alice.type("/state") == ["● live"]
    assert bob.shown == ["alice: in a tunnel"]


def test_a_file_is_looked_for_before_anything_else(alice: Person, bob: Person, tmp_path: Path, net: ChatNet) -> None:
    meet(alice, bob)
    (tmp_path / "my cat.txt").write_text("miaow")

    assert alice.type("/file", "/file nope.txt", "/file 'my", f"/file {tmp_path}") == [
        "/file: which? /file PATH",
        "/file: nope.txt: there is no such file",
        "/file: a quote is open: a path with a space or a quote in it stands in quotes of the other kind",
        f"/file: {tmp_path}: there is no such file",
    ]
    alice.sim.fly()
    net.wait(2.0)
    assert alice.type(f"/file '{tmp_path / 'my cat.txt'}' look")[-1].endswith(
        "there is no connection now: try again later"
    )


def test_a_file_that_is_not_there_is_not_saved(alice: Person, bob: Person) -> None:
    meet(alice, bob)

    assert alice.type("/save", "/save 0", "/save x") == [
        "/save: there are 0 files here; 1 is the last one",
        "/save: there are 0 files here; 1 is the last one",
        "/save: x is no number",
    ]


def test_without_any_conversation_it_is_said_how_to_begin(alice: Person) -> None:
    assert alice.type("/chats") == ["no conversation yet: /to NAME begins one"]


def test_a_name_is_known_the_next_time(alice: Person, bob: Person) -> None:
    meet(alice, bob)
    bob.sim.restart()
    bob.start()

    assert bob.type("/chats")[0] == "chat with alice"


def test_what_waits_in_any_conversation_is_counted(alice: Person, bob: Person, net: ChatNet) -> None:
    meet(alice, bob)
    group_of(alice, bob)
    alice.sim.fly()
    net.wait(2.0)
    alice.type("one", "/to bob", "two")
    counted: list[int] = []

    async def count(_: object) -> None:
        counted.append(await alice.commands.unsent())

    alice.sim.do(count)

    assert counted == [2]
    assert alice.screen.here == ConversationId.direct(alice.sim.device.user, bob.sim.device.user)
