"""What is written out from the table reads and refuses as the readers of the fields do, one by one."""

from __future__ import annotations

import random
from typing import Any, cast

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.sync import codec
from whisperkit.sync import fields as of
from whisperkit.sync.fields import REFUSALS, Field, maker_of, readers_of
from whisperkit.sync.frame_readers import FrameReader, frame_reader
from whisperkit.sync.frames import FRAMES, MAX_SHARED_BYTES, FrameSpec
from whisperkit.testing.samples import sample_frame

SEND = next(spec for spec in FRAMES if spec.name == "SEND")

# What msgpack can make of a peer's bytes, and what of it is at an edge of some field.
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from([-1, 0, 1, 2**31, of.MAX_NUMBER, of.MAX_NUMBER + 1, 2**64 - 1, 0.5, "", "x", "\ud800"])
    | st.sampled_from([bytes(size) for size in (0, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 65)])
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3), inner),
    max_leaves=6,
)


def one_by_one(spec: FrameSpec) -> FrameReader:
    readers, make = readers_of(spec.fields, is_json=False), maker_of(spec.type)
    return lambda elements: make([read(value) for read, value in zip(readers, elements[1:], strict=True)])


FAST = {spec.name: frame_reader(spec.name, spec.type, spec.fields) for spec in FRAMES}
SLOW = {spec.name: one_by_one(spec) for spec in FRAMES}


def outcome(read: FrameReader, elements: list[Any]) -> tuple[object, object]:
    """The frame and the types of all that is in it, or that it was refused."""
    try:
        frame = read(elements)
    except REFUSALS:
        return "refused", None
    return frame, types_in(frame)


def types_in(value: object) -> object:
    kind: type[object] = type(value)
    if isinstance(value, tuple):
        return kind, [types_in(element) for element in cast("tuple[object, ...]", value)]
    if isinstance(value, dict):
        return [(type(key), types_in(its)) for key, its in cast("dict[object, object]", value).items()]
    return kind


def spoil(rng: random.Random, value: object, junk: object) -> object:
    """Put something else in the place of a value, or of something within it."""
    if isinstance(value, list) and value and rng.random() < 0.7:
        elements = list(cast("list[object]", value))
        place = rng.randrange(len(elements))
        elements[place] = spoil(rng, elements[place], junk)
        return elements
    if isinstance(value, dict) and value and rng.random() < 0.7:
        pairs = cast("dict[object, object]", value)
        key = rng.choice(list(pairs))
        return {**pairs, key: spoil(rng, pairs[key], junk)}
    return junk


def elements_of(rng: random.Random, spec: FrameSpec) -> list[Any]:
    raw: list[Any] = msgpack.unpackb(codec.encode(sample_frame(rng, spec)))
    return raw


@pytest.mark.parametrize("spec", FRAMES, ids=lambda spec: spec.name)
@settings(max_examples=25)  # for each of the frames
@given(rng=st.randoms(use_true_random=False))
def test_what_is_good_is_read_alike(spec: FrameSpec, rng: random.Random) -> None:
    elements = elements_of(rng, spec)

    found = outcome(FAST[spec.name], elements)

    assert found[0] != "refused"
    assert found == outcome(SLOW[spec.name], elements)


@pytest.mark.parametrize("spec", [spec for spec in FRAMES if spec.fields], ids=lambda spec: spec.name)
@settings(max_examples=50)  # for each of the frames
@given(rng=st.randoms(use_true_random=False), junk=anything)
def test_what_is_spoilt_is_refused_alike(spec: FrameSpec, rng: random.Random, junk: object) -> None:
    code, *values = elements_of(rng, spec)
    place = rng.randrange(len(values))
    values[place] = spoil(rng, values[place], junk)

    assert outcome(FAST[spec.name], [code, *values]) == outcome(SLOW[spec.name], [code, *values])


EDGES: list[tuple[of.Kind, object, object]] = [
    (of.Number(2, 5), 5, 6),
    (of.Number(2, 5), 2, 1),
    (of.Number(0, 1), 1, True),
    (of.Bytes(2, 3), b"123", b"1234"),
    (of.Bytes(2, 3), b"12", b"1"),
    (of.MESSAGE_ID, bytes(16), bytes(17)),
    (of.FLAG, True, 1),
    (of.Nullable(of.FLAG), None, 0),
    (of.Array(of.FLAG, 2), [True, False], [True] * 3),
    (of.Array(of.FLAG, 2), [], {}),
    (of.Map(of.CONVERSATION, of.FLAG, 1), {"a": True}, {"a": True, "b": True}),
    (of.Map(of.CONVERSATION, of.FLAG, 1), {}, []),
    (of.CONVERSATION, "a", b"a"),
    (of.CONVERSATION, "a", []),
    (of.CURSOR, [1, 0, bytes(8)], [0, 0, bytes(8)]),
    (of.Text(2), "ab", "abc"),
]


@pytest.mark.parametrize(("kind", "good", "bad"), EDGES)
def test_each_kind_has_its_edge_where_the_table_says(kind: of.Kind, good: object, bad: object) -> None:
    read = frame_reader("EDGE", tuple, (Field("it", kind),))

    assert read([0, good]) == (kind.reader(is_json=False)(good),)
    with pytest.raises(REFUSALS):
        read([0, bad])


def test_one_that_was_written_from_another_table_is_caught() -> None:
    wider = tuple(
        field._replace(kind=of.Nullable(of.Bytes(0, MAX_SHARED_BYTES + 1))) if field.name == "shared" else field
        for field in SEND.fields
    )
    assert wider != SEND.fields
    elements = elements_of(random.Random(1), SEND)
    elements[1 + SEND.fields.index(Field("shared", of.Nullable(of.Bytes(0, MAX_SHARED_BYTES))))] = bytes(
        MAX_SHARED_BYTES + 1
    )

    broken = frame_reader("SEND", SEND.type, wider)

    assert outcome(broken, elements) != outcome(SLOW["SEND"], elements)
