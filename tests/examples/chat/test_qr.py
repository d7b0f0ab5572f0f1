"""The code that the other side scans, read back from what was drawn as a scanner reads it."""

from __future__ import annotations

import io
import re

import pytest
import segno
import zxingcpp

from examples.chat import qr
from examples.chat.qr import qr_lines, room_for_qr
from whisperkit.ids import DeviceId
from whisperkit.ratchet import SafetyNumber
from whisperkit.ratchet.curve import PublicKey
from whisperkit.testing.ratchet import seeded_bytes

PIXELS = 4
COLUMNS = 80

# What a half block shows of its foreground and its background.
HALVES = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}
LINE = re.compile(r"\x1b\[38;5;16;48;5;231m([ ▀▄█]+)\x1b\[0m")


def scannable(seed: int) -> bytes:
    random_bytes = seeded_bytes(seed)
    device = DeviceId.named("bob", 1)
    return SafetyNumber(random_bytes(64), random_bytes(64), device, PublicKey(random_bytes(33))).scannable


def modules(lines: list[str]) -> list[list[int]]:
    """What is on the screen, a dark module as 1: black on white, each line coloured for itself."""
    rows: list[list[int]] = []
    for line in lines:
        found = LINE.fullmatch(line)
        assert found is not None
        halves = [HALVES[block] for block in found[1]]
        rows += [[upper for upper, _ in halves], [lower for _, lower in halves]]
    return rows


def scan(rows: list[list[int]], *, is_dark: bool = False) -> list[bytes]:
    """Take a picture of the screen and decode it."""
    around = 255 * (not is_dark)
    width = 80 * PIXELS
    picture = bytearray([around]) * (width * (len(rows) + 8) * PIXELS)
    for y in range(len(rows) * PIXELS):
        for x in range(len(rows[0]) * PIXELS):
            picture[(y + 4 * PIXELS) * width + x] = 255 * (not rows[y // PIXELS][x // PIXELS])
    image = memoryview(bytes(picture)).cast("B", (len(picture) // width, width))
    return [code.bytes for code in zxingcpp.read_barcodes(image)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_dark", [False, True], ids=["light terminal", "dark terminal"])
def test_what_is_drawn_can_be_scanned(seed: int, is_dark: bool) -> None:
    data = scannable(seed)

    assert scan(modules(qr_lines(data, columns=COLUMNS)), is_dark=is_dark) == [data]


def test_each_module_is_where_it_belongs_with_a_quiet_zone_around() -> None:
    data = scannable(1)
    rows = modules(qr_lines(data, columns=COLUMNS))

    code = [[int(module) for module in row] for row in segno.make_qr(data, error="l").matrix]
    size = len(code)
    assert [row[4 : 4 + size] for row in rows[4 : 4 + size]] == code
    around = rows[:4] + rows[4 + size :] + [row[:4] + row[4 + size :] for row in rows]
    assert len(rows) >= size + 8
    assert not any(map(any, around))


def test_it_is_low_and_narrow_enough_for_a_small_terminal() -> None:
    lines = qr_lines(scannable(1), columns=COLUMNS)

    assert len(lines) == 21  # of 24, with the name and three lines of digits scrolled to the top
    assert {len(LINE.sub(r"\1", line)) for line in lines} == {41}


def test_where_it_does_not_fit_nothing_is_drawn() -> None:
    assert qr_lines(scannable(1), columns=40) == qr_lines(scannable(1), columns=0) == []
    assert qr_lines(scannable(1), columns=41)


@pytest.mark.parametrize(
    "wrong",
    [
        {(False, False): " ", (True, False): "▄", (False, True): "▀", (True, True): "█"},
        {(False, False): "█", (True, False): "▀", (False, True): "▄", (True, True): " "},
    ],
    ids=["upside down", "half of it turned to its negative"],
)
def test_a_code_that_is_drawn_wrong_is_not_read(monkeypatch: pytest.MonkeyPatch, wrong: dict[object, str]) -> None:
    monkeypatch.setattr(qr, "_BLOCKS", wrong)

    assert scan(modules(qr_lines(scannable(1), columns=COLUMNS))) == []


class Out(io.TextIOWrapper):
    """A terminal, or a pipe."""

    def __init__(self, encoding: str = "utf-8", *, is_terminal: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


TERMINAL = {"TERM": "xterm-256color"}


def test_there_is_room_for_it_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "97")
    monkeypatch.setenv("LINES", "24")

    assert room_for_qr(Out(), TERMINAL) == 97


@pytest.mark.parametrize(
    ("out", "environment"),
    [
        (Out(is_terminal=False), TERMINAL),
        (Out("latin-1"), TERMINAL),
        (Out("ascii"), TERMINAL),
        (Out(), {**TERMINAL, "NO_COLOR": "1"}),
        (Out(), {"TERM": "dumb"}),
        (Out(), {}),
    ],
    ids=["a pipe", "no half blocks", "ascii", "no colours wanted", "no colours possible", "unknown"],
)
def test_there_is_no_room_for_it_elsewhere(
    monkeypatch: pytest.MonkeyPatch, out: Out, environment: dict[str, str]
) -> None:
    monkeypatch.setenv("COLUMNS", "97")
    monkeypatch.setenv("LINES", "24")

    assert room_for_qr(out, environment) == 0
