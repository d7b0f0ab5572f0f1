"""The keys, the palette, commands that are typed, and narrow screens."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App
from textual.command import CommandPalette
from textual.widget import Widget

from examples.chat.commands import COMMANDS
from examples.tui.attach import Attach
from examples.tui.find import Find
from examples.tui.go_to import GoTo
from examples.tui.keys import KEYS, key_in_words
from examples.tui.keys_page import KeysPage
from examples.tui.members import Members
from examples.tui.settings import Settings
from examples.tui.verify import Verify
from tests.examples.tui.stage import Stage, on_stage
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio


async def three(net: ChatNet, alice: Stage) -> None:
    """Three conversations, bob's the last one."""
    for name in ("dave", "carol", "bob"):
        net.phone(name)
        await alice.go_to(name)
        await alice.write(f"hello {name}")


def here(alice: Stage) -> str:
    assert alice.app.room is not None
    return next(line.title for line in alice.app.desk.chats if alice.app.room.conv == line.conv)


def focused(alice: Stage) -> Widget | None:
    return alice.app.focused


async def test_alt_and_arrows_step_through_the_conversations_and_alt_digit_or_ctrl_k_goes_to_one(
    net: ChatNet, tmp_path: Path
) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await three(net, alice)
        assert [line.title for line in alice.app.desk.chats] == ["bob", "carol", "dave"]

        await alice.press("alt+down")
        assert here(alice) == "carol"
        await alice.press("alt+up", "alt+up")
        assert here(alice) == "dave"
        await alice.press("alt+2")
        assert here(alice) == "carol"
        await alice.press("alt+9")
        assert here(alice) == "carol"

        await alice.press("ctrl+k")
        assert isinstance(alice.app.screen, GoTo)
        await alice.press(*"av", "enter")
        assert here(alice) == "dave"


async def test_alt_a_goes_to_what_is_unread(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await three(net, alice)
        dave = net.phones[-3]
        dave.send(dave.direct(alice.sim), "psst")
        await alice.wait(5.0)

        await alice.press("alt+a")
        assert here(alice) == "dave"
        await alice.wait()
        await alice.press("alt+a")
        assert here(alice) == "dave"
        assert "nothing is unread" in alice.screen


async def test_what_was_begun_stays_with_its_conversation(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await three(net, alice)
        await alice.press(*"half a", "alt+2")
        assert alice.app.composer.text == ""

        await alice.press("alt+1")

        assert alice.app.composer.text == "half a"


async def test_enter_sends_what_alt_enter_and_ctrl_j_put_on_lines_and_nothing_of_an_empty_one(
    net: ChatNet, tmp_path: Path
) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.go_to("bob")
        await alice.press("enter", "space", "enter")
        alice.app.composer.put("")
        await alice.press("a", "alt+enter", "b", "ctrl+j", "c", "enter")
        await alice.write("//etc is a folder")

        assert bob.texts(bob.direct(alice.sim)) == ["a\nb\nc", "/etc is a folder"]


async def test_f1_shows_every_key_and_every_command(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path, size=(100, 120)) as alice:
        await alice.press("f1")

        assert isinstance(alice.app.screen, KeysPage)
        for keys in KEYS.values():
            assert all(f"[{key.name}]" in alice.screen for key in keys)
        assert all(word in alice.screen for word in COMMANDS)


async def test_every_command_is_in_the_palette(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        offered = {command.title.split()[0] for command in alice.app.get_system_commands(alice.app.screen)}

        assert set(COMMANDS) <= offered


async def test_keys_can_be_set(net: ChatNet, tmp_path: Path) -> None:
    settings = Settings(keys={"go-to": "ctrl+t", "send": "ctrl+j", "new-line": "enter", "copy": "y"})
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path, settings=settings) as alice:
        alice.app.composer.put("/to bob")
        alice.app.composer.focus()
        await alice.press("ctrl+j")
        await alice.wait()
        await alice.press("ctrl+k")
        assert not isinstance(alice.app.screen, GoTo)
        await alice.press("ctrl+t")
        assert isinstance(alice.app.screen, GoTo)

        await alice.press("escape", "a", "enter", "b", "ctrl+j")
        await alice.wait()
        assert bob.texts(bob.direct(alice.sim)) == ["a\nb"]


async def test_hints_name_the_keys_as_they_are_set(net: ChatNet, tmp_path: Path) -> None:
    keys = {"go-to": "f5", "new": "f6", "file": "ctrl+l,f7", "who": "w", "open": "o", "back": "f8"}
    async with on_stage(net, "alice", tmp_path, settings=Settings(keys=keys)) as alice:
        assert "0 chats · F6 new" in alice.lines[-1]
        assert "F1 keys · Enter send · Ctrl+L file · Ctrl+F find" in alice.lines[-1]
        assert "F6 writes to somebody, F1 shows all keys" in alice.lines[1]
        await alice.write("hello?")
        assert "to whom? F5 goes" in alice.screen
        alice.app.clear_notifications()
        alice.app.view.focus()
        await alice.settle()
        assert "↑↓ select · o open · w who has it · F1 keys · F8 back" in alice.screen


async def test_commands_that_have_a_screen_of_their_own_open_it(net: ChatNet, tmp_path: Path) -> None:
    (tmp_path / "cat.jpg").write_bytes(b"cat")
    async with on_stage(net, "alice", tmp_path) as alice:
        await three(net, alice)
        for line, kind in (
            ("/help", KeysPage),
            (f"/file {tmp_path}/cat.jpg look", Attach),
            ("/search hello", Find),
            ("/verify", Verify),
            ("/who", Members),
        ):
            await alice.write(line)
            assert isinstance(alice.app.screen, kind), line
            await alice.press("escape")
        await alice.write("/retry")
        assert "nothing here failed" in alice.screen
        await alice.write("/file /home/bob's cat.jpg")
        assert "/file: a quote is open" in " ".join(alice.screen.split())
        await alice.write("/history")
        assert focused(alice) is alice.app.view
        await alice.write("/chats")
        assert focused(alice) is alice.app.chat_list


async def test_tab_goes_from_pane_to_pane_and_escape_back_to_where_one_writes(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await three(net, alice)
        panes: list[object] = []
        for _ in range(3):
            await alice.press("tab")
            panes.append(focused(alice))
        assert panes == [alice.app.chat_list, alice.app.view, alice.app.composer]

        alice.app.view.focus()
        await alice.press("escape")
        assert focused(alice) is alice.app.composer


async def test_ctrl_p_opens_the_palette_and_ctrl_q_quits(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.press("ctrl+p")
        assert isinstance(alice.app.screen, CommandPalette)
        await alice.press("escape", "ctrl+q")

        assert alice.app.return_code == 0


async def test_commands_of_the_plain_client_answer_here_too(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.write("/devices")
        assert "alice.1, this one" in alice.screen
        await alice.write("/dance")
        assert "/dance: there is no such command" in alice.screen
        await alice.write("hello?")
        assert "to whom?" in alice.screen
        await alice.write("/quit")
        assert not alice.app.is_running or alice.app.return_code == 0


async def test_ctrl_n_makes_a_conversation_or_a_group_and_refuses_what_is_no_name(net: ChatNet, tmp_path: Path) -> None:
    net.phone("bob")
    net.phone("carol")
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.press("ctrl+n", *"../x", "enter")
        assert "a name has letters" in alice.screen
        await alice.press("escape", "ctrl+n", *"bob, carol", "enter")
        await alice.wait(5.0)

        assert "bob, carol" in alice.lines[1]


async def test_a_narrow_screen_has_one_pane_and_escape_goes_to_the_list(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path, size=(60, 20)) as alice:
        assert "Chats" in alice.screen
        await alice.press("ctrl+n")
        net.phone("bob")
        await alice.press(*"bob", "enter")
        await alice.wait()
        assert "Chats" not in alice.screen
        assert "F1 keys" in alice.screen

        await alice.press("escape")
        assert "Chats" in alice.screen
        assert "F1 keys" not in alice.screen
        await alice.press("enter")
        assert "Chats" not in alice.screen

        await alice.resize(100, 20)
        await alice.settle()
        assert "Chats" in alice.screen
        assert "F1 keys" in alice.screen


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("alt+up", "Alt+↑"),
        ("ctrl+k", "Ctrl+K"),
        ("alt+a", "Alt+a"),
        ("ctrl+end", "Ctrl+End"),
        ("pageup", "PgUp"),
        ("up,k", "↑, k"),
        ("N", "N"),
    ],
)
def test_keys_are_said_as_people_say_them(keys: str, words: str) -> None:
    assert key_in_words(keys) == words


def test_no_key_means_two_things_in_one_place() -> None:
    for keys in KEYS.values():
        pressed = [one for key in keys for one in key.keys.split(",")]
        assert len(pressed) == len(set(pressed))
    assert App.BINDINGS  # textual's own Ctrl+Q and Ctrl+P are beside ours
