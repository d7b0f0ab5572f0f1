"""A long session in a real terminal with a real server, which is killed in the middle of it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.examples.processes import Server
from tests.examples.tui.glass import Glass
from tests.missing import do_without

Open = Callable[..., Glass]


@pytest.fixture(scope="module", autouse=True)
def tmux() -> None:
    """Without the package these tests are skipped, and fail on CI."""
    if shutil.which("tmux") is None:
        do_without("tmux is not installed; on Debian and Ubuntu: apt-get install tmux")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[Open]:
    """Open the client of somebody."""
    opened: list[Glass] = []

    def open_for(
        name: str, *more: str, columns: int = 100, lines: int = 30, settings: Mapping[str, str] | None = None
    ) -> Glass:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        command = ["chat", name, "--url", server.url, *more]
        glass = Glass(command, folder, columns=columns, lines=lines, settings=settings)
        opened.append(glass)
        return glass

    yield open_for
    for glass in opened:
        glass.close()


def meet(client: Open) -> tuple[Glass, Glass]:
    """Two people who have written to each other."""
    alice, bob = client("alice"), client("bob")
    alice.shows("whisperkit  alice.1", "● live")
    bob.shows("● live")
    alice.press("\x0e")  # Ctrl+N
    alice.shows("New conversation")
    alice.press("bob\r")
    alice.shows("╭─ bob")
    alice.press("are you there?\r")
    bob.shows("are you there?")
    bob.press("\r")  # the conversation in the list
    bob.shows("1 unread")
    bob.press("boarding now\r")
    alice.shows("boarding now")
    return alice, bob


def said(glass: Glass) -> list[str]:
    """The first lines of the messages on the screen, without who and when."""
    return [found[1].rstrip(" ✓✔◷│") for found in re.finditer(r"\d\d:\d\d  (.*)", glass.screen)]


def drawn(glass: Glass) -> tuple[int, int]:
    """How large the picture is that was drawn: to the corner of the last box."""
    corners = [(len(line), row) for row, line in enumerate(glass.screen.splitlines(), 1) if line.endswith("╯")]
    return max(corners, default=(0, 0), key=lambda corner: corner[1])


def test_a_talk_with_a_kill_of_the_server_in_the_middle_loses_and_doubles_nothing(
    client: Open, server: Server, tmp_path: Path
) -> None:
    alice, bob = meet(client)
    alice.until(lambda: "✔✔" in alice.line("are you there?"))

    server.kill()
    alice.shows("○ offline since")
    alice.press("one\r")
    alice.shows("1 waiting")
    alice.press("two\x1b\rlines\r")  # Alt+Enter in between
    alice.shows("2 waiting")
    assert "◷" in alice.line("  one")
    bob.shows("○ offline since")
    bob.press("from the other side\r")
    bob.shows("1 waiting")
    server.start()

    alice.shows("● live", "from the other side")
    alice.until(lambda: "◷" not in alice.screen)
    bob.shows("● live", "  one", "  two", "   lines")
    assert said(bob)[-3:] == ["one", "two", "from the other side"] or said(bob)[-3:] == [
        "from the other side",
        "one",
        "two",
    ]
    assert len(said(bob)) == len(set(said(bob)))

    picture = tmp_path / "alice" / "cat.jpg"
    picture.write_bytes(os.urandom(300_000))
    alice.press("\x0f")  # Ctrl+O
    alice.shows("Send a file")
    alice.press("cat.jpg")
    alice.shows("image/jpeg, 300 kB")
    alice.press("\r")
    bob.shows("▤ cat.jpg  300 kB")
    bob.press("\t\t")  # past the list, to the messages
    bob.shows("↑↓ select")
    bob.press("\x1b[A")
    bob.press("s")
    bob.shows("Save the file")
    bob.press("\r")
    bob.shows("saved cat.jpg")
    assert (tmp_path / "bob" / "cat.jpg").read_bytes() == picture.read_bytes()

    alice.press("\x07")  # Ctrl+G
    alice.shows("searched on this device only")
    alice.press("boarding")
    alice.shows("[boarding] now")
    alice.press("\r")
    alice.shows("1 of 1")
    alice.press("\x1b")
    alice.press("\x13")  # Ctrl+S
    alice.shows("Safety number", "not compared yet")
    alice.press("v")
    alice.shows("✔ verified")
    alice.press("\x1b")
    alice.shows_no("Safety number")

    alice.become(48, 20)
    alice.shows("bob", "F1 keys")
    alice.shows_no("╭─ Chats")
    alice.press("\x11")  # Ctrl+Q
    assert alice.end() == 0


def test_the_size_is_that_of_the_window_and_not_one_that_was_exported_before(client: Open) -> None:
    alice = client("alice", settings={"COLUMNS": "80", "LINES": "24"})
    alice.shows("● live")
    assert drawn(alice) == (100, 30)

    alice.become(48, 20)

    alice.until(lambda: drawn(alice) == (48, 20))


def test_what_was_written_without_a_server_goes_out_the_next_time(client: Open, server: Server) -> None:
    alice, bob = meet(client)
    server.kill()
    alice.shows("○ offline")
    alice.press("kept\r")
    alice.shows("1 waiting")
    alice.press("/quit\r")
    assert alice.end() == 0
    assert "1 not sent yet; they go out the next time" in alice.screen

    server.start()
    client("alice").shows("● live")

    bob.shows("kept")


def test_an_interrupt_from_outside_ends_it_at_once_and_ctrl_c_says_how_to_quit(client: Open) -> None:
    alice = client("alice")
    alice.shows("● live")
    alice.press("\x03")
    alice.shows("Do you want to quit?")

    alice.interrupt()

    assert alice.end() == 130
    assert "Traceback" not in alice.screen


def test_a_name_that_is_taken_is_said_after_the_screen_is_gone(client: Open, tmp_path: Path) -> None:
    client("alice").shows("● live")

    mallory = client("alice", "--data", str(tmp_path / "elsewhere"))

    assert mallory.end() == 1
    assert "alice is another device's name" in " ".join(mallory.screen.split())


def test_settings_that_mean_nothing_are_told_and_nothing_is_opened(client: Open, tmp_path: Path) -> None:
    (tmp_path / "alice" / "chat-data").mkdir(parents=True)
    (tmp_path / "alice" / "chat-data" / "chat.toml").write_text('theme = "pink"\n[keys]\nfnd = "ctrl+t"\n')

    alice = client("alice")

    assert alice.end() == 78
    assert "theme is one of terminal, dark, light, high-contrast, not 'pink'" in " ".join(alice.screen.split())
    assert "there is no key called fnd; did you mean find?" in " ".join(alice.screen.split())
