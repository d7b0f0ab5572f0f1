from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import blake2b

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import MalformedIdError
from whisperkit.ids import DeviceId, InboxSeq, MessageId
from whisperkit.sync.cursor import CURSOR_CHARS, TAG_BYTES, Cursor, first_tag, next_tag

NUMBERS = st.integers(0, 2**63 - 1)
CURSORS = st.builds(Cursor, st.integers(1, 2**63 - 1), NUMBERS.map(InboxSeq), st.binary(min_size=8, max_size=8))
ALICE = DeviceId.named("alice", 1)


def message(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


@given(CURSORS)
def test_the_text_form_names_one_cursor(cursor: Cursor) -> None:
    text = cursor.text()

    assert len(text) == CURSOR_CHARS
    assert Cursor.parse(text) == cursor


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda raw: urlsafe_b64encode(raw).decode()))
def test_other_texts_are_refused_or_are_the_one_form_of_a_cursor(text: str) -> None:
    try:
        cursor = Cursor.parse(text)
    except MalformedIdError:
        return

    assert cursor.text() == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 31,
        "A" * 33,
        Cursor(1, InboxSeq(1), bytes(8)).text() + "====",
        Cursor(1, InboxSeq(1), bytes(8)).text()[:-1] + "\n",
        Cursor(1, InboxSeq(1), bytes(8)).text()[:-1] + "é",
        urlsafe_b64encode(b"\xff" * 24).decode(),
    ],
)
def test_a_malformed_text_is_the_peers_fault(text: str) -> None:
    with pytest.raises(MalformedIdError):
        Cursor.parse(text)


def test_a_cursor_without_an_epoch_is_refused() -> None:
    no_epoch = urlsafe_b64encode(bytes(24)).decode()

    with pytest.raises(MalformedIdError):
        Cursor.parse(no_epoch)


def test_tags_begin_with_the_device_and_chain_over_message_ids() -> None:
    first = first_tag(ALICE)

    second = next_tag(first, message(7))

    assert first == blake2b(ALICE.encode(), digest_size=8).digest()
    assert second == blake2b(first + message(7), digest_size=8).digest()
    assert len(second) == TAG_BYTES
    assert first_tag(DeviceId.named("alice", 2)) != first


def chained(ids: Sequence[MessageId]) -> bytes:
    tag = first_tag(ALICE)
    for message_id in ids:
        tag = next_tag(tag, message_id)
    return tag


def of_the_last_entry(ids: Sequence[MessageId]) -> bytes:
    return blake2b(ids[-1], digest_size=8).digest()


@pytest.mark.parametrize(("tag_of", "tells"), [(chained, True), (of_the_last_entry, False)])
def test_m03_a_log_that_forks_and_meets_again_is_told_by_the_chain_only(
    tag_of: Callable[[Sequence[MessageId]], bytes], tells: bool
) -> None:
    """Model 3 cursor, "tag of the entry alone": entry 2 is the same in both logs, entry 1 is not."""
    lost, grown = [message(1), message(2)], [message(3), message(2)]

    assert (tag_of(lost) != tag_of(grown)) is tells
