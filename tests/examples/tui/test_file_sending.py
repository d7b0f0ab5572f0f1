"""Row "file sending": completion or paste, preview, a bar with percent and rate, pause, resume after a restart."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest
from textual.events import Paste
from textual.widgets import Input

from examples.tui.attach import Attach, PathSuggester, SaveAs
from examples.tui.opener import is_harmless
from tests.examples.tui.stage import Stage, SteppedBlobs, on_stage
from whisperkit.ids import DeviceId
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio

SIZE = 1_200_000


@pytest.fixture
def blobs() -> SteppedBlobs:
    return SteppedBlobs(DeviceId.named("alice", 1))


@pytest.fixture
def phone(net: ChatNet, blobs: SteppedBlobs) -> SimPhone:
    net.phone("bob")
    return net.phone("alice", blobs=blobs)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "cat.jpg"
    path.write_bytes(bytes(SIZE))
    return path


async def attach(alice: Stage, path: Path, caption: str = "") -> None:
    await alice.press("ctrl+o")
    alice.app.screen.query_one("#path", Input).value = str(path)
    alice.app.screen.query_one("#caption", Input).value = caption
    await alice.settle()
    await alice.press("enter")


async def until(alice: Stage, text: str) -> None:
    """Let the loop run until something is on the screen."""
    for _ in range(200):
        await alice.settle()
        if text in alice.screen:
            return
    raise AssertionError(f"{text!r} was not shown:\n{alice.screen}")


async def test_a_file_moves_with_a_bar_and_can_wait_and_go_on(
    net: ChatNet, tmp_path: Path, blobs: SteppedBlobs, phone: SimPhone, picture: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, sim=phone, blobs=blobs) as alice:
        await alice.go_to("bob")
        await attach(alice, picture, "look at him")
        await until(alice, "0 %")
        alice.clock.now_ms += 2_000
        blobs.let_move(0.5)
        await until(alice, "█████░░░░░")
        assert "▤ cat.jpg  1.2 MB" in alice.screen
        assert "/s" in alice.screen

        alice.app.view.focus()
        await alice.press("up", "p")
        await until(alice, "paused at 50 %")
        blobs.let_move(1.0)
        await alice.settle()
        assert "paused at 50 %" in alice.screen

        await alice.press("p")
        await until(alice, "look at him")
        await alice.wait(10.0)
        assert alice.line_with("look at him").endswith("✓✓")


async def test_a_file_goes_on_after_a_restart(
    net: ChatNet, tmp_path: Path, blobs: SteppedBlobs, phone: SimPhone, picture: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, sim=phone, blobs=blobs) as alice:
        await alice.go_to("bob")
        await attach(alice, picture)
        blobs.let_move(0.3)
        await until(alice, "29 %")
    moved = len(next(iter(blobs.kept.values())))
    phone.restart()
    net.until(lambda: phone.is_live)

    async with on_stage(net, "alice", tmp_path, sim=phone, blobs=blobs) as alice:
        assert [len(data) for data in blobs.kept.values()] == [moved]
        blobs.let_move(1.0)
        await alice.settle()
        await alice.wait(10.0)
        await alice.go_to("bob")

        assert alice.line_with("cat.jpg").endswith("✓✓")
        assert len(blobs.kept) == 1
        assert list((tmp_path / "outgoing").iterdir()) == []


async def test_a_file_waits_for_a_connection_and_can_be_given_up(
    net: ChatNet, tmp_path: Path, blobs: SteppedBlobs, phone: SimPhone, picture: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, sim=phone, blobs=blobs) as alice:
        await alice.go_to("bob")
        blobs.is_away = True
        await attach(alice, picture)
        await until(alice, "✗ no connection")

        alice.app.view.focus()
        await alice.press("up", "delete")
        await alice.settle()

        assert not any("cat.jpg" in line for line in alice.messages)
        assert list((tmp_path / "outgoing").iterdir()) == []


async def test_the_dialog_says_what_a_path_leads_to_and_sends_no_folder(
    net: ChatNet, tmp_path: Path, phone: SimPhone, picture: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        await alice.go_to("bob")
        await alice.press("ctrl+o")
        path = alice.app.screen.query_one("#path", Input)
        path.value = str(picture)
        await alice.settle()
        assert "image/jpeg, 1.2 MB" in alice.screen

        path.value = str(tmp_path)
        await alice.settle()
        assert "a folder" in alice.screen
        await alice.press("enter")
        assert "there is no such file" in alice.screen
        await alice.press("escape")
        assert not isinstance(alice.app.screen, Attach)


async def test_the_pasted_path_of_a_file_asks_whether_to_send_it_and_pasted_text_is_text(
    net: ChatNet, tmp_path: Path, phone: SimPhone, picture: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        await alice.go_to("bob")
        for text in ("hello\nyou", "/nowhere/at.all"):
            alice.app.composer.put("")
            alice.app.post_message(Paste(text))
            await alice.settle()
            assert alice.app.composer.text == text

        alice.app.post_message(Paste(f"'{picture}'"))
        await alice.settle()
        assert isinstance(alice.app.screen, Attach)
        assert alice.app.screen.query_one("#path", Input).value == str(picture)


async def test_a_path_is_completed(tmp_path: Path, picture: Path) -> None:
    (tmp_path / ".hidden").touch()
    (tmp_path / "folder").mkdir()
    suggester = PathSuggester()

    assert await suggester.get_suggestion(f"{tmp_path}/c") == str(picture)
    assert await suggester.get_suggestion(f"{tmp_path}/f") == f"{tmp_path}/folder/"
    assert await suggester.get_suggestion(f"{tmp_path}/") == str(picture)
    assert await suggester.get_suggestion("/nowhere/at") is None
    assert await suggester.get_suggestion("") is None


async def test_a_file_is_saved_where_nothing_is(
    net: ChatNet, tmp_path: Path, blobs: SteppedBlobs, phone: SimPhone, picture: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, sim=phone, blobs=blobs) as alice:
        await alice.go_to("bob")
        await attach(alice, picture)
        blobs.let_move(1.0)
        await alice.settle()
        await alice.wait(10.0)
        alice.app.view.focus()
        await alice.press("up", "s")
        assert isinstance(alice.app.screen, SaveAs)

        await alice.press("enter")
        assert "cat.jpg is there already" in alice.screen
        alice.app.screen.query_one("#path", Input).value = str(tmp_path / "again.jpg")
        await alice.press("enter")
        await until(alice, "saved")

        assert (tmp_path / "again.jpg").read_bytes() == bytes(SIZE)


async def test_enter_opens_a_picture_with_the_program_that_the_system_has_for_it(
    net: ChatNet, tmp_path: Path, blobs: SteppedBlobs, phone: SimPhone, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "opened")
    for name in ("xdg-open", "open"):
        (tmp_path / name).write_text(f'#!/bin/sh\nwc -c < "$1" > {tmp_path}/opened\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    async with on_stage(net, "alice", tmp_path, sim=phone, blobs=blobs) as alice:
        await alice.go_to("bob")
        await attach(alice, picture)
        blobs.let_move(1.0)
        await alice.settle()
        await alice.wait(10.0)
        alice.app.view.focus()
        await alice.press("up", "enter")
        opened = await anyio.Path(tmp_path / "opened").read_text()  # waits for the other end

        assert int(opened) == SIZE


@pytest.mark.parametrize(
    ("media_type", "name", "is_opened"),
    [
        ("image/jpeg", "cat.jpg", True),
        ("text/plain", "notes.txt", True),
        ("image/jpeg", "cat.desktop", False),
        ("application/x-sh", "cat.jpg", False),
        ("image/svg+xml", "cat.svg", False),
        ("text/html", "cat.html", False),
        ("image/jpeg", "cat", False),
    ],
)
def test_only_what_a_viewer_shows_is_opened(media_type: str, name: str, is_opened: bool) -> None:
    assert is_harmless(media_type, name) is is_opened
