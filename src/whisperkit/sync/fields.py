"""What a field of a frame may hold: one small class for each kind, which reads a decoded value or refuses it.

A kind is data: the table in `frames` lists kinds, and the decoder, the checks, the JSON form, the page in
the docs and the generators of the tests are all made from that list. `reader(is_json=...)` builds a closure, once
per field when the module loads, so that reading costs one call and no lookups. The two forms differ in
bytes only: msgpack has them, JSON writes them in base64 (RFC 4648, section 4, with padding).

Every number stops at 2**53 - 1, the largest that JSON carries exactly in every language.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable
from enum import IntEnum
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast

from whisperkit.errors import MalformedIdError
from whisperkit.ids import ConversationId, DeviceId, InboxSeq, MessageId, UserId
from whisperkit.sync.cursor import Cursor

__all__ = [
    "CONVERSATION",
    "CURSOR",
    "DEVICE",
    "FLAG",
    "MAX_NUMBER",
    "MESSAGE_ID",
    "SEQ",
    "USER",
    "Array",
    "Bytes",
    "Choice",
    "CursorField",
    "Field",
    "Flag",
    "Id",
    "Kind",
    "Map",
    "MessageIdField",
    "Nullable",
    "Number",
    "Record",
    "RefusedValueError",
    "Text",
]

MAX_NUMBER: Final = 2**53 - 1
# A gateway meets the same few thousand ids again and again. Whoever sends fresh ones costs us a regular
# expression each, and never more memory than this.
_KEPT_IDS: Final = 16_384

# A reader takes whatever msgpack or JSON made of the peer's bytes and returns the value of its kind's
# Python type: object in, and only the table knows what comes out.
Reader: TypeAlias = Callable[[object], Any]
E = TypeVar("E", bound=IntEnum)
T = TypeVar("T", bound=str)


class RefusedValueError(ValueError):
    """A value is not of its kind; the decoder turns this into a `MalformedFrameError`."""


class Number(NamedTuple):
    """A whole number from `low` to `high`, both included."""

    low: int = 0
    high: int = MAX_NUMBER

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check; it is the same in both forms. True is no number."""
        low, high = self

        def read(value: object) -> int:
            if type(value) is int and low <= value <= high:
                return value
            raise RefusedValueError(f"not a number of {low} to {high}")

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return "number" if self == Number() else f"number {self.low} to {self.high}"


class Flag(NamedTuple):
    """True or false."""

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check; it is the same in both forms."""

        def read(value: object) -> bool:
            if type(value) is bool:
                return value
            raise RefusedValueError("not true or false")

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return "true or false"


class Bytes(NamedTuple):
    """Bytes, at least `low` and at most `high` of them."""

    low: int
    high: int

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check; from JSON it also decodes base64."""
        low, high = self

        def read(value: object) -> bytes:
            if type(value) is bytes and low <= len(value) <= high:
                return value
            raise RefusedValueError(f"not {self.describe()}")

        def read_json(value: object) -> bytes:
            return read(_from_base64(value))

        return read_json if is_json else read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return f"{self.low} bytes" if self.low == self.high else f"{self.low} to {self.high} bytes"


class Text(NamedTuple):
    """At most `high` characters of text."""

    high: int

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check. JSON can spell half a surrogate pair, which is no text and could not be sent on."""
        high = self.high

        def read(value: object) -> str:
            if type(value) is str and len(value) <= high and not any("\ud800" <= c <= "\udfff" for c in value):
                return value
            raise RefusedValueError(f"not text of at most {high} characters")

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return f"text, at most {self.high} characters"


class Id(Generic[T]):
    """An id with a text form: a user, a device, a conversation.

    Args:
        name: What it is, for the docs.
        parse: Reads the text form; raises `MalformedIdError`.
    """

    def __init__(self, name: str, parse: Callable[[str], T]) -> None:
        self.name = name
        self.parse = parse
        self.known: dict[object, T] = {}

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check; it is the same in both forms. An id that came before costs one look-up."""
        known, parse = self.known, self.parse

        def read(value: object) -> T:
            try:
                return known[value]
            except (KeyError, TypeError):  # TypeError: a list or a map, which cannot be looked up
                if type(value) is not str:
                    raise RefusedValueError("not text") from None
            found = parse(value)
            if len(known) >= _KEPT_IDS:
                known.clear()
            known[value] = found
            return found

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return self.name


class MessageIdField(NamedTuple):
    """A message id, 16 bytes."""

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check; from JSON it also decodes base64."""
        make = bytes.__new__

        def read(value: object) -> MessageId:
            if type(value) is bytes and len(value) == 16:
                return make(MessageId, value)  # the check of `MessageId` itself was made just now
            raise RefusedValueError("not a message id of 16 bytes")

        def read_json(value: object) -> MessageId:
            return read(_from_base64(value))

        return read_json if is_json else read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return "message id, 16 bytes"


class CursorField(NamedTuple):
    """A whole cursor, an array of epoch, seq and tag."""

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check out of those of the three parts."""
        epoch_number, number, tag = (
            Number(1).reader(is_json=is_json),
            Number().reader(is_json=is_json),
            Bytes(8, 8).reader(is_json=is_json),
        )

        def read(value: object) -> Cursor:
            epoch, seq, link = _elements(value, 3)
            return Cursor(epoch_number(epoch), InboxSeq(number(seq)), tag(link))

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return "cursor [epoch, seq, tag of 8 bytes]"


class Choice(Generic[E]):
    """One of the numbers of an enumeration."""

    def __init__(self, members: type[E]) -> None:
        self.members = members
        self.known = {int(member): member for member in members}

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check; it is the same in both forms."""
        known = self.known

        def read(value: object) -> E:
            if type(value) is int and value in known:
                return known[value]
            raise RefusedValueError(f"not a known {self.members.__name__}")

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return ", ".join(f"{member.value} {member.name}" for member in self.members)


class Nullable(NamedTuple):
    """A value of another kind, or null."""

    kind: Kind

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check around the other kind's."""
        read_value = self.kind.reader(is_json=is_json)

        def read(value: object) -> object:
            return None if value is None else read_value(value)

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return f"{self.kind.describe()}; or null"


class Array(NamedTuple):
    """At most `high` values of one kind, in order; a tuple in Python."""

    kind: Kind
    high: int

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check around that of the elements. The count is checked before any of them is read."""
        read_element, high = self.kind.reader(is_json=is_json), self.high

        def read(value: object) -> tuple[object, ...]:
            if type(value) is not list:
                raise RefusedValueError("not an array")
            elements: list[object] = value  # pyright: ignore[reportUnknownVariableType]  # of what: see the reader
            if len(elements) > high:
                raise RefusedValueError(f"{len(elements)} elements, at most {high} are allowed")
            return tuple([read_element(element) for element in elements])

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return f"array, at most {self.high}, of ({self.kind.describe()})"


class Map(NamedTuple):
    """At most `high` pairs of an id and a value; a dict in Python."""

    key: Id[Any]  # which id does not matter here: its reader checks it
    value: Kind
    high: int

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check around those of keys and values. The count is checked before any of them is read."""
        read_key, read_value, high = self.key.reader(is_json=is_json), self.value.reader(is_json=is_json), self.high

        def read(value: object) -> dict[object, object]:
            if type(value) is not dict:
                raise RefusedValueError("not a map")
            pairs: dict[object, object] = value  # pyright: ignore[reportUnknownVariableType]  # as in Array
            if len(pairs) > high:
                raise RefusedValueError(f"{len(pairs)} pairs, at most {high} are allowed")
            return {read_key(key): read_value(item) for key, item in pairs.items()}

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return f"map, at most {self.high}, of {self.key.describe()} to ({self.value.describe()})"


class Field(NamedTuple):
    """A named place in a frame or record."""

    name: str
    kind: Kind


class Record(NamedTuple):
    """An array with a fixed place for each field; a NamedTuple in Python."""

    type: type[tuple[Any, ...]]  # the NamedTuple class; each has its own field types
    fields: tuple[Field, ...]

    def reader(self, *, is_json: bool) -> Reader:
        """Build the check out of those of the fields."""
        readers, count, make = readers_of(self.fields, is_json=is_json), len(self.fields), maker_of(self.type)

        def read(value: object) -> tuple[object, ...]:
            return make([read(element) for read, element in zip(readers, _elements(value, count), strict=True)])

        return read

    def describe(self) -> str:
        """Say it in words, for the docs."""
        return f"[{', '.join(f'{field.name}: {field.kind.describe()}' for field in self.fields)}]"


Kind: TypeAlias = (
    Number
    | Flag
    | Bytes
    | Text
    | Id[Any]
    | MessageIdField
    | CursorField
    | Choice[Any]
    | Nullable
    | Array
    | Map
    | Record
)

SEQ: Final = Number()
FLAG: Final = Flag()
USER: Final = Id("user id", UserId)
DEVICE: Final = Id("device id", DeviceId.parse)
CONVERSATION: Final = Id("conversation id", ConversationId)
MESSAGE_ID: Final = MessageIdField()
CURSOR: Final = CursorField()


def readers_of(fields: tuple[Field, ...], *, is_json: bool) -> tuple[Reader, ...]:
    """The checks of fields, in order."""
    return tuple(field.kind.reader(is_json=is_json) for field in fields)


# Makes a NamedTuple of a class and its checked fields the fastest way: what `_make` does, without counting. Any: which
# tuple it makes depends on the class, which a type checker cannot follow.
new_tuple: Final = cast("Callable[[Any, Any], Any]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]


def maker_of(record: type[tuple[Any, ...]]) -> Callable[[list[object]], tuple[Any, ...]]:
    """Make a NamedTuple of checked fields."""
    return partial(new_tuple, record)


def _from_base64(value: object) -> bytes:
    if type(value) is not str:
        raise RefusedValueError("not base64")
    try:
        data = binascii.a2b_base64(value, strict_mode=True)
    except ValueError:
        raise RefusedValueError("not base64") from None
    # Strict as it is, it lets a padding pass behind three bytes, where none belongs.
    if len(value) != 4 * -(-len(data) // 3):
        raise RefusedValueError("not base64")
    return data


def _elements(value: object, count: int) -> list[object]:
    if type(value) is not list:
        raise RefusedValueError("not an array")
    elements: list[object] = value  # pyright: ignore[reportUnknownVariableType]  # as in Array
    if len(elements) != count:
        raise RefusedValueError(f"{len(elements)} elements, expected {count}")
    return elements


# What a reader may raise on a peer's bytes; everything else would be a bug of the reader.
REFUSALS: Final = (RefusedValueError, MalformedIdError)
