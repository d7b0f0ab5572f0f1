"""Whole screens at three sizes, compared with those that were looked at: text for all, weight and colour by a picture.

`WHISPERKIT_NEW_SCREENS=1` writes them anew.
"""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path
from typing import Final

import pytest
from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color

from examples.tui.ascii_only import AsciiOnly
from examples.tui.glyphs import ASCII
from examples.tui.themes import THEMES
from tests.examples.tui.scene import at_the_airport
from tests.examples.tui.stage import Stage
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio

SCREENS: Final = Path(__file__).parent / "screens"
STATIC: Final = Path(__file__).parents[3] / "docs" / "_static"
IS_NEW: Final = bool(os.environ.get("WHISPERKIT_NEW_SCREENS"))


def check(name: str, alice: Stage) -> None:
    """Compare what is on the screen with what is expected."""
    shown = "\n".join(lasting(line) for line in alice.lines) + "\n"
    path = SCREENS / f"{name}.txt"
    if IS_NEW:
        path.write_text(shown, encoding="utf-8")
    assert shown == path.read_text(encoding="utf-8")


def lasting(line: str) -> str:
    """A line without times, keys and ids: what happens in between depends on how often it is drawn."""
    line = re.sub(r" +([○o] offline.*next try) +\d+ s", r" \1 0 s", line.rstrip())
    line = re.sub(r"\b\d{5}\b", "12345", line)
    line = re.sub(r"#[0-9a-f]{4}", "#7f3a", line)
    line = re.sub(r"[▀▄█][▀▄█ ]{8,}", "(a code)", line)
    return re.sub(r"\d\d:\d\d", "00:00", line)


async def test_the_conversation_at_three_sizes_and_the_list_where_there_is_one_pane(
    net: ChatNet, tmp_path: Path
) -> None:
    async with at_the_airport(net, tmp_path, size=(80, 24)) as alice:
        for width, height in ((80, 24), (120, 40), (48, 20)):
            await alice.resize(width, height)
            check(f"conversation-{width}x{height}", alice)
        await alice.press("escape", "escape")
        check("list-48x20", alice)


async def test_the_pictures_in_the_docs_show_this_screen(net: ChatNet, tmp_path: Path) -> None:
    async with at_the_airport(net, tmp_path, size=(100, 30)) as alice:
        for size, name in (((100, 30), "chat"), ((48, 20), "chat-narrow")):
            await alice.resize(*size)
            drawn = re.sub(r"@font-face \{.*?\}", "", alice.app.export_screenshot(title="chat alice"), flags=re.DOTALL)
            path = STATIC / f"{name}.svg"
            if IS_NEW:
                # Without the fonts, which would be fetched from elsewhere, and without spaces at the ends of lines.
                path.write_text("\n".join(map(str.rstrip, drawn.splitlines())) + "\n", encoding="utf-8")
            kept = path.read_text(encoding="utf-8")

            assert _texts(drawn) == _texts(kept)
            assert _texts(drawn) != _texts(kept.replace(";font-weight: bold", ""))
            assert "cdnjs" not in kept


def _texts(picture: str) -> set[tuple[str, str]]:
    """What a picture says, with colour and weight, without times and ids."""
    styles = dict(re.findall(r"-(r\d+) \{ ([^}]*) \}", picture))
    found = re.findall(r'<text class="[^"]*-(r\d+)"[^>]*>([^<]*)</text>', picture)
    texts = [(styles[style], unescape(text).replace("\xa0", " ")) for style, text in found]
    return {
        (style, re.sub(r"\d+", "0", lasting(text).strip()))
        for style, text in texts
        if not re.search(r"#[0-9a-f]{4}|offline", text)
    }


async def test_the_dialogs(net: ChatNet, tmp_path: Path) -> None:
    async with at_the_airport(net, tmp_path, size=(80, 24)) as alice:
        for width, height in ((80, 24), (48, 20)):
            await alice.resize(width, height)
            for key, name in (("f1", "keys"), ("ctrl+s", "verify"), ("ctrl+o", "attach"), ("f2", "members")):
                await alice.press(key)
                check(f"{name}-{width}x{height}", alice)
                await alice.press("escape")


async def test_a_theme_changes_colours_and_no_letter(net: ChatNet, tmp_path: Path) -> None:
    async with at_the_airport(net, tmp_path, size=(80, 24)) as alice:
        colors: dict[str, set[str]] = {}
        for theme in THEMES:
            alice.app.theme = theme
            await alice.settle()
            check("conversation-80x24", alice)
            colors[theme] = alice.colors()

        assert all(one.isalpha() or one.startswith("color") for one in colors.pop("terminal")), "of the terminal only"
        assert len({frozenset(found) for found in colors.values()}) == len(colors)


async def test_no_color_changes_no_letter_and_has_none(
    net: ChatNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with at_the_airport(net, tmp_path, size=(80, 24), has_no_color=True) as alice:
        check("conversation-80x24", alice)
        assert alice.colors() == set()


async def test_a_terminal_with_ascii_has_nothing_else_on_any_screen(net: ChatNet, tmp_path: Path) -> None:
    async with at_the_airport(net, tmp_path, size=(80, 24), glyphs=ASCII) as alice:
        check("conversation-ascii-80x24", alice)
        for key in ("f1", "ctrl+s", "ctrl+o", "ctrl+n", "ctrl+k", "ctrl+f", "f2", "ctrl+p"):
            await alice.press(key)
            assert alice.screen.isascii(), key
            await alice.press("escape")
        alice.app.say("something in passing")
        await alice.settle()
        assert alice.screen.isascii()
        await alice.press("alt+1", "tab")
        assert alice.screen.isascii()


@pytest.mark.parametrize("drawn", ["─│╭╮╰╯┌┐└┘├┤", "▁▂▃▄▅▆▇█", "▌▐▔░", "←↑→↓·…", "🔎"])
def test_what_is_drawn_is_as_wide_in_ascii(drawn: str) -> None:
    (segment,) = AsciiOnly().apply([Segment(f"{drawn} café")], Color(0, 0, 0))

    assert segment.text.isascii() is False, "what people write stays"
    assert segment.text.endswith(" café")
    assert segment.text.removesuffix(" café").isascii()
    assert segment.cell_length == cell_len(f"{drawn} café")
