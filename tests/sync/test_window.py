from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError
from whisperkit.ids import DeviceId, MessageId
from whisperkit.packing import pack
from whisperkit.sync.window import (
    MAX_RECENT,
    SendFirst,
    StaleOutbox,
    Window,
    decode_window,
    encode_window,
    window_key,
)


def message(number: int) -> MessageId:
    return MessageId(number.to_bytes(16, "big"))


def filled(count: int) -> Window:
    window = Window()
    for number in range(1, count + 1):
        window = window.remember(message(number), number + 100, epoch=1, number=number)
    return window


def test_the_last_thirty_two_ids_are_remembered_with_their_seqs() -> None:
    window = filled(MAX_RECENT + 3)

    assert window.seq_of(message(3)) is None
    assert window.seq_of(message(4)) == 104
    assert window.seq_of(message(35)) == 135
    assert len(window.entries) == MAX_RECENT
    assert window.entries[-1] == (message(35), 135)


@given(st.lists(st.binary(min_size=16, max_size=16).map(MessageId), max_size=40), st.data())
def test_an_id_is_found_only_where_a_record_begins(ids: list[MessageId], data: st.DataObject) -> None:
    window = Window()
    for number, message_id in enumerate(ids, 1):
        window = window.remember(message_id, number, epoch=1, number=number)
    raw = window.recent
    start = data.draw(st.integers(0, max(0, len(raw) - 16)))
    asked = MessageId(raw[start : start + 16]) if raw else message(0)

    expected = dict(window.entries).get(asked)

    if expected is None:
        assert window.seq_of(asked) is None
    else:
        assert window.seq_of(asked) in {seq for message_id, seq in window.entries if message_id == asked}


def test_an_id_that_lies_across_two_records_is_not_found() -> None:
    window = Window().remember(MessageId(b"\x01" * 16), 0x0101, epoch=1, number=1)
    window = window.remember(MessageId(b"\x02" * 16), 2, epoch=1, number=2)
    across = MessageId(window.recent[8:24])

    assert window.seq_of(across) is None


def test_the_next_number_is_taken_and_no_other() -> None:
    window = filled(5)

    assert window.refusal(1, 6) is None
    assert window.refusal(1, 7) == SendFirst(6)
    assert window.refusal(1, 5) == StaleOutbox(1)
    assert window.refusal(0, 9) == StaleOutbox(1)


def test_a_higher_epoch_counts_from_one_and_keeps_the_ids() -> None:
    window = filled(5)

    renumbered = window.remember(message(9), 109, epoch=4, number=1)

    assert window.refusal(4, 1) is None
    assert window.refusal(4, 2) == SendFirst(1)
    assert renumbered[:2] == (4, 1)
    assert renumbered.seq_of(message(5)) == 105


def test_a_message_without_a_number_takes_none() -> None:
    window = filled(5).remember(message(9), 109, epoch=7, number=None)

    assert window[:2] == (1, 5)
    assert window.seq_of(message(9)) == 109


@given(st.integers(0, 40))
def test_a_window_survives_its_row(count: int) -> None:
    window = filled(count)

    assert decode_window(encode_window(window)) == window


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", pack(1, 1, b"x"), pack(1, 1, bytes(24 * 33)), pack("1", 1, b""), encode_window(filled(1))[:-1]],
)
def test_a_row_that_is_no_window_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode_window(data)


def test_windows_lie_under_their_device() -> None:
    device = DeviceId.named("alice", 127)

    assert window_key(device) == b"s/" + device.encode()
    assert len(window_key(device)) <= 64
