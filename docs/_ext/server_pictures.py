"""What `make bench` found, as pictures in SVG. Letters have the colour of the page, be it light or dark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import median
from typing import Final, NamedTuple

from server_rows import Json, number

__all__ = ["costs", "margins", "parts", "peers"]

_WIDTH: Final = 720
# The letters are 12 pixels high and of one width: _static/states.css.
_LETTER: Final = 7.3
_LINE: Final = 22
_BAR: Final = 14
_TITLE: Final = 26
_PAD: Final = 8

_OURS: Final = "#3b82c4"
_OTHERS: Final = "#8a94a0"
_HELD: Final = "#3d9a6a"
_MISSED: Final = "#d1603d"
# One for each part of the profile, and as many again as are needed.
_COLOURS: Final = (
    *("#4e79a7", "#76b7b2", "#59a14f", "#c9a227", "#f28e2b", "#b07aa1", "#8a5a9c", "#9c755f"),
    *("#e15759", "#e88a95", "#d37295", "#499894", "#a0cbe8", "#79706e", "#a9a9a9"),
)
_PLAYERS: Final = {"ours": "whisperkit", "relay": "relay", "edge": "relay on our edge"}
# A margin of more is drawn as that.
_MOST: Final = 3.0


class _Bar(NamedTuple):
    label: str
    value: float
    text: str
    colour: str


def costs(report: Json) -> str:
    """What one message or delivery costs the server, beside the relays."""
    groups: dict[str, list[_Bar]] = {}
    for row in report["rows"]:
        found = {key: _server_us(key, row["rounds"]) for key in _PLAYERS}
        if None not in found.values():
            groups[row["title"]] = [
                _Bar(_PLAYERS[key], us, f"{number(us)} µs", _OURS if key == "ours" else _OTHERS)
                for key, us in found.items()
                if us is not None
            ]
    return _bars("CPU time of the server for one message", groups)


def _server_us(key: str, rounds: Sequence[Json]) -> float | None:
    values = [each[key]["server_us"] for each in rounds if isinstance(each.get(key), dict) and "server_us" in each[key]]
    return median(values) if values else None


def margins(report: Json) -> str:
    """How each figure stands to what it has to be: what is left of the line is missed."""
    bars = [
        _Bar(
            f"{row['key']}: {figure['label']}",
            min(_MOST, margin),
            f"{number(margin)} ×",
            _HELD if margin >= 1 else _MISSED,
        )
        for row in report["rows"]
        for figure in row["figures"]
        if (margin := _margin(figure)) is not None
    ]
    return _bars("How each figure stands to its limit", {"": bars}, line=1.0, most=_MOST)


def _margin(figure: Json) -> float | None:
    found, limit = figure["median"], figure["least"]
    if limit is None or found <= 0 or figure["is_kept"] is None:
        return None
    return float(found / limit if figure["more_is_better"] else limit / found)


def peers(report: Json, key: str) -> str:
    """What each server does of one load."""
    (row,) = (row for row in report["rows"] if row["key"] == key)
    name, unit = ("kib", " KiB") if row["unit"] == "bytes" else ("rate", "/s")
    bars = [
        _Bar(
            report["peers"][peer]["title"],
            found[name]["median"],
            f"{number(found[name]['median'])}{unit}",
            _OURS if peer == "ours" else _OTHERS,
        )
        for peer, found in row["results"].items()
    ]
    return _bars(row["title"], {row["title"]: bars})


def parts(profile: Json) -> str:
    """A bar for each load, cut into the parts of what a message costs."""
    loads = [*profile["loads"].values()]
    body: list[str] = []
    top = 0.0
    for load in loads:
        body.append(_text(0, top + 15, f"{load['title']}: {number(load['us'])} µs"))
        body += _stack(load, top + _TITLE)
        top += _TITLE + _LINE + _PAD
    names = [name for name, _ in loads[0]["parts"]]
    for n, name in enumerate(names):
        x, y = (n % 2) * _WIDTH / 2, top + (n // 2) * _LINE
        body += [_rect(x, y + 2, _BAR, _colour(n)), _text(x + _BAR + 6, y + _BAR, name)]
    return _svg("Where the time of a message goes", top + (len(names) + 1) // 2 * _LINE, body)


def _stack(load: Json, top: float) -> Iterator[str]:
    left = 0.0
    for n, (name, us) in enumerate(load["parts"]):
        width = _WIDTH * us / load["us"]
        yield _rect(left, top, width, _colour(n), height=_LINE, title=f"{name}: {us:.1f} µs")
        text = f"{us:.0f}"
        if width > _LETTER * (len(text) + 1):
            yield f'<text x="{left + width / 2:.1f}" y="{top + 15}" text-anchor="middle" fill="#111">{text}</text>'
        left += width


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _bars(name: str, groups: Mapping[str, Sequence[_Bar]], *, line: float | None = None, most: float = 0.0) -> str:
    """Bars in groups, all on one scale."""
    every = [bar for bars in groups.values() for bar in bars]
    longest = most or max((bar.value for bar in every), default=1.0)
    left = _LETTER * max((len(bar.label) for bar in every), default=0) + _PAD
    room = _WIDTH - left - _LETTER * max((len(bar.text) for bar in every), default=0) - _PAD
    body: list[str] = []
    top = 0.0
    for title, bars in groups.items():
        if title:
            body.append(_text(0, top + 15, title, weight="bold"))
            top += _TITLE
        for bar in bars:
            width = room * bar.value / longest
            body += [
                _text(0, top + _BAR - 2, bar.label),
                _rect(left, top, width, bar.colour, title=f"{bar.label}: {bar.text}"),
                _text(left + width + 6, top + _BAR - 2, bar.text),
            ]
            top += _LINE
        top += _PAD
    if line is not None:
        x = left + room * line / longest
        body.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{top:.0f}" stroke="currentColor"/>')
    return _svg(name, top, body)


def _text(x: float, y: float, text: str, *, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="currentColor" font-weight="{weight}">{escape(text)}</text>'


def _rect(x: float, y: float, width: float, colour: str, *, height: float = _BAR, title: str = "") -> str:
    told = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}">{told}</rect>'


def _svg(name: str, height: float, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(name)}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}">'
    )
    return "\n".join([head, *body, "</svg>"])
