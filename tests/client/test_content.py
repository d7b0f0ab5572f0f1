"""What is inside a ciphertext: read back as it was written, and refused with one kind of error when it is none."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit import BlobId, ConversationId, MessageId
from whisperkit.client.content import (
    MAX_CONTENT_BYTES,
    MAX_TEXT_CHARS,
    AskAgain,
    Attachment,
    Bound,
    Content,
    KeyGift,
    Resend,
    ResendRequest,
    Text,
    Unknown,
    bind,
    check_content,
    decode_content,
    encode_content,
    unbind,
)
from whisperkit.errors import InvalidMessageError, UsageError
from whisperkit.ratchet import AttachmentPointer

CONV, OTHER = ConversationId("chat"), ConversationId("other")
ONE, TWO = MessageId(bytes(16)), MessageId(bytes(15) + b"\x01")
POINTER = AttachmentPointer(bytes(32), bytes(32), 7, "cat.jpg", "image/jpeg")
SAMPLES: list[Content] = [
    Text("hello"),
    Text("x" * MAX_TEXT_CHARS, ONE),
    Attachment(BlobId("0" * 32), POINTER, "a cat"),
    KeyGift(CONV, b"key"),
    ResendRequest(CONV, ONE),
    Resend(CONV, ONE, encode_content(Text("again"))),
    AskAgain(),
    Bound(CONV, ONE, encode_content(Text("here"))),
]


@pytest.mark.parametrize("content", SAMPLES)
def test_content_is_read_back_as_it_was_written(content: Content) -> None:
    found = decode_content(encode_content(content))

    assert found == content
    assert type(found) is type(content)


def test_what_a_newer_client_sends_is_told_apart_and_not_refused() -> None:
    assert decode_content(msgpack.packb((1, 99, "something", "new"))) == Unknown(99)
    assert decode_content(encode_content(Unknown(99))) == Unknown(99)


@pytest.mark.parametrize(
    "raw",
    [
        None,
        [],
        [1],
        [2, 1, "another version", None],
        [1, "one", "a kind that is none"],
        [1, 1],
        [1, 1, "", None],
        [1, 1, b"bytes", None],
        [1, 1, "x" * (MAX_TEXT_CHARS + 1), None],
        [1, 1, "text", b"no id"],
        [1, 1, "text", "no bytes"],
        [1, 2, "no blob", POINTER.encode(), ""],
        [1, 2, "0" * 32, b"no pointer", ""],
        [1, 2, "0" * 32, POINTER.encode(), 7],
        [1, 3, "!", b"key"],
        [1, 3, "chat", "no bytes"],
        [1, 4, "chat", bytes(15)],
        [1, 5, "chat", bytes(16), None],
        [1, 6, "too much"],
        [1, 7, "chat", bytes(16)],
    ],
)
def test_what_is_not_of_its_form_is_refused(raw: object) -> None:
    with pytest.raises(InvalidMessageError):
        decode_content(msgpack.packb(raw))


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.integers(-5, 9) | st.binary(max_size=20) | st.text(max_size=20), st.lists, max_leaves=12
    ).map(msgpack.packb)
)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(InvalidMessageError):
        decode_content(data)


def test_a_message_opens_only_in_its_place() -> None:
    content = encode_content(Text("here"))
    bound = bind(CONV, ONE, content)

    assert unbind(bound, CONV, ONE) == content
    for conv, message_id in ((OTHER, ONE), (CONV, TWO)):
        with pytest.raises(InvalidMessageError, match="another place"):
            unbind(bound, conv, message_id)
    with pytest.raises(InvalidMessageError):
        unbind(content, CONV, ONE)
    with pytest.raises(InvalidMessageError):
        unbind(bind(CONV, ONE, b"no content"), CONV, ONE)


def test_what_a_person_writes_is_measured_in_bytes() -> None:
    assert decode_content(check_content(Text("x" * 60_000))) == Text("x" * 60_000)
    with pytest.raises(UsageError, match=str(MAX_CONTENT_BYTES)):
        check_content(Text("ß" * 60_000))
    with pytest.raises(UsageError):
        check_content(Text(""))
    with pytest.raises(UsageError):
        check_content(Attachment(BlobId("0" * 32), POINTER._replace(name="x" * 300), ""))
