"""One function for each frame, written out from the table: what the readers of its fields do, without their calls.

A gateway reads a SEND and an ACK for every message. Field by field that is twenty calls of small functions, and with
the checks of a whole frame in one function it takes half as long. The readers in `fields` stay what they are: they
read JSON, they say which field it was that is refused, and the tests hold what is written here to them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from textwrap import indent
from typing import Any, Final, TypeAlias

from whisperkit.ids import MessageId
from whisperkit.sync import fields as of
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.fields import Field, Kind, RefusedValueError

__all__ = ["FrameReader", "frame_reader"]

FrameReader: TypeAlias = Callable[[list[Any]], Any]
"""Makes a frame of the elements of an array, code included, whose number was checked. Any: what a peer sent, and
which frame comes of it says the table."""

_REFUSE: Final = "    raise Refused"
_CURSOR: Final = of.Record(
    Cursor, (Field("epoch", of.Number(1)), Field("seq", of.Number()), Field("tag", of.Bytes(8, 8)))
)


def frame_reader(name: str, record: type[tuple[Any, ...]], fields: tuple[Field, ...]) -> FrameReader:
    """Write the function for one frame, in msgpack.

    Args:
        name: Of the frame, for tracebacks.
        record: The NamedTuple that it makes.
        fields: What is in it.

    Returns:
        A function that raises one of `fields.REFUSALS` where a reader of one of the fields would.
    """
    written = _Written()
    names = [written.name() for _ in fields]
    lines = [f"_, {', '.join(names)}, = elements"] if names else []
    for field, variable in zip(fields, names, strict=True):
        lines += written.check(field.kind, variable)
    lines.append(f"return new({written.constant(record)}, ({''.join(f'{variable}, ' for variable in names)}))")
    source = "def read(elements):\n" + indent("\n".join(lines), "    ")
    # What is run holds numbers and names that were made here, and nothing that a peer sent.
    exec(compile(source, f"<reader of {name}>", "exec"), written.known)
    read: FrameReader = written.known["read"]
    return read


class _Written:
    """Lines of code, and the names that they use."""

    def __init__(self) -> None:
        # Any: a namespace.
        self.known: dict[str, Any] = {"new": of.new_tuple, "Refused": RefusedValueError}
        self._numbers = count()

    def name(self) -> str:
        """A name that was not used yet."""
        return f"v{next(self._numbers)}"

    def constant(self, value: object) -> str:
        """A name for a value."""
        name = f"k{next(self._numbers)}"
        self.known[name] = value
        return name

    def check(self, kind: Kind, it: str) -> list[str]:
        """Lines that check the variable `it` and leave in it what a reader of this kind returns."""
        match kind:
            case of.Number(low, high):
                return [f"if type({it}) is not int or not {low} <= {it} <= {high}:", _REFUSE]
            case of.Flag():
                return [f"if type({it}) is not bool:", _REFUSE]
            case of.Bytes(low, high):
                return [f"if type({it}) is not bytes or not {low} <= len({it}) <= {high}:", _REFUSE]
            case of.MessageIdField():
                made = f"{it} = {self.constant(bytes.__new__)}({self.constant(MessageId)}, {it})"
                return [f"if type({it}) is not bytes or len({it}) != 16:", _REFUSE, made]
            case of.Choice():
                known = self.constant(kind.known)
                return [f"{it} = {known}.get({it}) if type({it}) is int else None", f"if {it} is None:", _REFUSE]
            case of.Id():
                return self._id(kind, it)
            case of.Nullable(inner):
                return [f"if {it} is not None:", *_indented(self.check(inner, it))]
            case of.CursorField():
                return self._record(_CURSOR, it)
            case of.Record():
                return self._record(kind, it)
            case of.Array(inner, high):
                return self._array(inner, high, it)
            case of.Map(key, value, high):
                return self._map(key, value, high, it)
            case of.Text():
                return [f"{it} = {self.constant(kind.reader(is_json=False))}({it})"]

    def _id(self, kind: of.Id[Any], it: str) -> list[str]:
        """One that came before is looked up; another one is read."""
        known, read = self.constant(kind.known), self.constant(kind.reader(is_json=False))
        return ["try:", f"    {it} = {known}[{it}]", "except (KeyError, TypeError):", f"    {it} = {read}({it})"]

    def _record(self, kind: of.Record, it: str) -> list[str]:
        names = [self.name() for _ in kind.fields]
        lines = [f"if type({it}) is not list or len({it}) != {len(names)}:", _REFUSE, f"{', '.join(names)}, = {it}"]
        for field, name in zip(kind.fields, names, strict=True):
            lines += self.check(field.kind, name)
        return [*lines, f"{it} = new({self.constant(kind.type)}, ({', '.join(names)},))"]

    def _array(self, inner: Kind, high: int, it: str) -> list[str]:
        found, one = self.name(), self.name()
        return [
            f"if type({it}) is not list or len({it}) > {high}:",
            _REFUSE,
            f"{found} = []",
            f"for {one} in {it}:",
            *_indented(self.check(inner, one)),
            f"    {found}.append({one})",
            f"{it} = tuple({found})",
        ]

    def _map(self, key: Kind, value: Kind, high: int, it: str) -> list[str]:
        found, one, its = self.name(), self.name(), self.name()
        return [
            f"if type({it}) is not dict or len({it}) > {high}:",
            _REFUSE,
            f"{found} = {{}}",
            f"for {one}, {its} in {it}.items():",
            *_indented(self.check(key, one)),
            *_indented(self.check(value, its)),
            f"    {found}[{one}] = {its}",
            f"{it} = {found}",
        ]


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]
