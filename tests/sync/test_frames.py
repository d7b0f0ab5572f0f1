import random
from collections import Counter
from enum import IntEnum
from typing import Any, get_args, get_type_hints

import pytest

from whisperkit.ids import ConversationId, DeviceId, MessageId, UserId
from whisperkit.sync import codec, frames
from whisperkit.sync import fields as of
from whisperkit.sync.cursor import Cursor
from whisperkit.sync.frames import BY_CODE, BY_TYPE, FRAMES, Direction, FrameSpec
from whisperkit.sync.wire_page import render_page
from whisperkit.testing.samples import sample

BY_NAME = {spec.name: spec for spec in FRAMES}


def nested(kind: of.Kind) -> list[of.Record]:
    """All records inside a kind."""
    match kind:
        case of.Nullable(inner) | of.Array(inner, _):
            return nested(inner)
        case of.Map(_, value, _):
            return nested(value)
        case of.Record(_, inner_fields):
            return [kind, *(found for field in inner_fields for found in nested(field.kind))]
        case _:
            return []


RECORDS = [found for spec in FRAMES for found in nested(of.Record(spec.type, spec.fields))]


def python_type(kind: of.Kind) -> object:
    """The annotation that belongs to a kind, as the classes write it."""
    match kind:
        case of.Number():
            return int
        case of.Flag():
            return bool
        case of.Bytes():
            return bytes
        case of.Text():
            return str
        case of.MessageIdField():
            return MessageId
        case of.CursorField():
            return Cursor
        case of.Choice():
            return kind.members
        case of.Record(record, _):
            return record
        case of.Id():
            return {of.USER: UserId, of.DEVICE: DeviceId}.get(kind, ConversationId)
        case of.Nullable(inner):
            return (python_type(inner), None)
        case of.Array(inner, _):
            return (tuple, python_type(inner))
        case of.Map(key, value, _):
            return (dict, python_type(key), python_type(value))


def plain(annotation: Any) -> object:
    """An annotation in the form of `python_type`: the two kinds of number are both numbers."""
    parts = get_args(annotation)
    if type(None) in parts:
        return (plain(next(part for part in parts if part is not type(None))), None)
    if len(parts) == 2 and parts[1] is ...:
        return (tuple, plain(parts[0]))
    if len(parts) == 2:
        return (dict, plain(parts[0]), plain(parts[1]))
    return getattr(annotation, "__supertype__", annotation)


def test_every_code_and_name_is_given_once() -> None:
    codes, names = Counter(spec.code for spec in FRAMES), Counter(spec.name for spec in FRAMES)

    assert set(codes.values()) == {1}
    assert set(names.values()) == {1}
    assert len(BY_CODE) == len(BY_TYPE) == len(FRAMES)
    assert set(get_args(frames.Frame)) == set(BY_TYPE)


def test_codes_and_numbers_never_change() -> None:
    assert {spec.name: spec.code for spec in FRAMES} == {
        "CHALLENGE": 1, "REGISTER": 2, "REGISTERED": 3, "HELLO": 4, "WELCOME": 5, "BYE": 6, "BEAT": 7, "HEAD": 8,
        "ENTRY": 16, "ACK": 17, "PULL": 18, "SNAPSHOT": 19, "FOLLOW": 20, "RANGE": 21, "ROWS": 22,
        "SEND": 32, "SENT": 33, "REFUSED": 34, "ASIDE": 35, "ASIDE_OK": 36,
        "PUBLISH": 48, "PUBLISHED": 49, "TAKE": 50, "BUNDLE": 51, "DEVICES": 52, "DEVICE_LISTS": 53, "LINK": 54,
        "UNLINK": 55, "LINKED": 56, "FAILED": 57,
        "READ": 64, "MARKS": 65, "MARK": 66, "WATCH": 67, "PRESENCE": 68, "TYPING": 69,
    }  # fmt: skip
    assert list(frames.EntryKind) == [1, 2, 3, 4, 5, 6]
    assert list(frames.Answer) == [1, 2, 3, 4]
    assert list(frames.RefusalReason) == [1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.type.__name__)
def test_the_table_and_the_classes_agree(record: of.Record) -> None:
    hints = get_type_hints(record.type)

    assert list(hints) == [field.name for field in record.fields]
    for field in record.fields:
        assert plain(hints[field.name]) == python_type(field.kind), field.name


@pytest.mark.parametrize("spec", FRAMES, ids=lambda spec: spec.name)
def test_the_docstring_says_who_sends_a_frame(spec: FrameSpec) -> None:
    doc = spec.type.__doc__ or ""

    assert doc.startswith({Direction.TO_SERVER: "C: ", Direction.TO_CLIENT: "S: "}.get(spec.direction, "C and S: "))


def test_the_largest_entry_fits_into_a_message_and_a_row() -> None:
    rng = random.Random(1)
    entry = frames.Entry(*(sample(field.kind, rng) for field in BY_NAME["ENTRY"].fields))
    entry = entry._replace(own=bytes(frames.MAX_OWN_BYTES), shared=bytes(frames.MAX_SHARED_BYTES))

    assert len(codec.encode(entry)) < codec.MAX_MESSAGE_BYTES


def test_the_largest_list_of_devices_fits_into_a_message() -> None:
    device = frames.ListedDevice(127, bytes(33), (1 << 14) - 1)
    users = frames.DeviceList(UserId.named("alice"), of.MAX_NUMBER, (device,) * 127)
    lists = frames.DeviceLists(MessageId(bytes(16)), (users,) * frames.MAX_USERS)

    assert len(codec.encode(lists)) < codec.MAX_MESSAGE_BYTES


def test_the_page_of_the_docs_has_every_frame_field_and_number() -> None:
    page = render_page()

    for spec in FRAMES:
        assert f"### {spec.name}" in page
        for field in spec.fields:
            assert f"| `{field.name}` | {field.kind.describe()} |" in page
    enums: list[type[IntEnum]] = [frames.RefusalReason, frames.ByeCode, frames.EntryKind]
    for members in enums:
        for member in members:
            assert f"{member.value} {member.name}" in page
