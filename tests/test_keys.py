from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whisperkit.errors import CorruptStateError, MalformedFrameError
from whisperkit.ids import DeviceId, MessageId
from whisperkit.keys import (
    BURST,
    EC_KEY_BYTES,
    KYBER_KEY_BYTES,
    MAX_REQUESTERS,
    MAX_STOCK,
    MAX_UPLOAD_KEYS,
    NEW_KEYS,
    REFILL_MS,
    REMEMBER_MS,
    REQUESTS,
    SIGNATURE_BYTES,
    Bundle,
    Keys,
    KeyUpload,
    Limited,
    NoKeys,
    OneTimeKey,
    SignedKey,
    StaleGeneration,
    Uploaded,
    decode,
    encode,
    forget_requests,
    partition,
    requests_span,
    reset,
    rows_to_take,
    take,
    upload,
)
from whisperkit.packing import pack
from whisperkit.partitions import MAX_KEY_BYTES, MAX_STATE_BYTES, MAX_VALUE_BYTES, Row, Step

ALICE, BOB, CAROL = DeviceId.named("alice", 1), DeviceId.named("bob", 1), DeviceId.named("carol", 1)


def ec(number: int) -> OneTimeKey:
    return OneTimeKey(number, number.to_bytes(EC_KEY_BYTES, "big"))


def kyber(number: int) -> SignedKey:
    return SignedKey(number, number.to_bytes(KYBER_KEY_BYTES, "big"), bytes(SIGNATURE_BYTES))


def signed(number: int) -> SignedKey:
    return SignedKey(number, number.to_bytes(EC_KEY_BYTES, "big"), bytes(SIGNATURE_BYTES))


def new(
    numbers: Sequence[int], kyber_numbers: Sequence[int] | None = None, *, signed_number: int = 1, generation: int = 1
) -> KeyUpload:
    kybers = numbers if kyber_numbers is None else kyber_numbers
    one_time, for_kyber = tuple(map(ec, numbers)), tuple(map(kyber, kybers))
    return KeyUpload(generation, signed(signed_number), kyber(9_000 + signed_number), one_time, for_kyber)


class Server:
    """The partition of one device, as a store would keep it."""

    def __init__(self) -> None:
        self.keys = NEW_KEYS
        self.rows: dict[bytes, bytes] = {}

    def apply(self, step: Step[Any, Keys]) -> Any:  # Any: each rule has its own answers
        self.keys = decode(encode(step.state))
        self.rows.update(step.put)
        for key in step.delete:
            del self.rows[key]
        if step.drop is not None:
            self.rows = {k: v for k, v in self.rows.items() if not step.drop.start <= k < step.drop.stop}
        return step.answer

    def upload(self, *args: Any, **kwargs: Any) -> Any:
        return self.apply(upload(self.keys, new(*args, **kwargs)))

    def found(self, requester: DeviceId) -> list[Row]:
        spans = rows_to_take(self.keys, requester)
        return [Row(k, v) for span in spans for k, v in self.rows.items() if span.start <= k < span.stop]

    def take(self, request: int, *, requester: DeviceId = BOB, wall_ms: int = 0) -> Any:
        found = self.found(requester)
        return self.apply(take(self.keys, found, requester=requester, request=name(request), wall_ms=wall_ms))


def name(request: int) -> MessageId:
    return MessageId(request.to_bytes(16, "big"))


@pytest.fixture
def server() -> Server:
    made = Server()
    made.upload([1, 2, 3])
    return made


# ---- publishing -----------------------------------------------------------------------------------------------------


def test_an_upload_is_counted_exactly(server: Server) -> None:
    assert server.upload([4], [4, 5, 6]) == Uploaded(4, 6, 4, 6)


def test_an_upload_that_is_repeated_changes_nothing(server: Server) -> None:
    before = server.keys

    step = upload(before, new([1, 2, 3]))

    assert step == Step(Uploaded(3, 3, 3, 3), before)
    assert not step.changes(before)


def test_numbers_come_in_any_order_and_only_rise(server: Server) -> None:
    assert server.upload([7, 5], [3, 2]) == Uploaded(5, 3, 7, 3)
    assert server.upload([6], []) == Uploaded(5, 3, 7, 3)


def test_a_late_upload_does_not_bring_an_old_signed_key_back(server: Server) -> None:
    server.upload([], signed_number=2)
    server.upload([], signed_number=1)

    assert server.keys.signed == signed(2)
    assert server.keys.last_resort == kyber(9_002)


def test_the_stock_is_bounded_and_what_found_no_room_may_come_again(server: Server) -> None:
    for first in range(0, 400, 100):
        server.upload(range(first + 1, first + 101), [])
    assert server.keys.one_time.left == MAX_STOCK
    assert server.keys.one_time.highest == MAX_STOCK

    server.take(1)

    assert server.upload([MAX_STOCK + 1], []) == Uploaded(MAX_STOCK, 2, MAX_STOCK + 1, 3)


def test_a_later_generation_begins_afresh_and_the_earlier_is_over(server: Server) -> None:
    server.take(1)

    assert server.upload([1], [], generation=2) == Uploaded(1, 0, 1, 0)
    assert server.upload([9], generation=1) == StaleGeneration(2)
    assert len(server.rows) == 2  # the new key, and what Bob was given
    assert server.take(1).generation == 2


def test_a_reset_device_has_no_keys_until_it_publishes(server: Server) -> None:
    assert server.apply(reset(server.keys, 2)) == Uploaded(0, 0, 0, 0)
    assert server.rows == {}
    assert type(server.take(1)) is NoKeys
    assert reset(server.keys, 2) == Step(Uploaded(0, 0, 0, 0), server.keys)
    assert reset(server.keys, 1) == Step(StaleGeneration(2), server.keys)


BAD_UPLOADS = [
    new(range(MAX_UPLOAD_KEYS + 1), []),
    new([], range(MAX_UPLOAD_KEYS + 1)),
    new([])._replace(signed=signed(1)._replace(key=b"short")),
    new([1])._replace(one_time=(OneTimeKey(1, b"short"),)),
    new([])._replace(last_resort=signed(1)),
    new([], [1])._replace(kyber=(signed(1),)),
    new([])._replace(signed=signed(1)._replace(signature=b"short")),
]


@pytest.mark.parametrize("bad", BAD_UPLOADS)
def test_keys_of_other_sizes_are_refused_before_they_are_stored(bad: KeyUpload) -> None:
    new([1]).check()
    with pytest.raises(MalformedFrameError):
        bad.check()


# ---- taking ---------------------------------------------------------------------------------------------------------


def test_keys_are_taken_in_order_the_ec_and_the_kyber_key_in_one_step(server: Server) -> None:
    bundles = [server.take(request) for request in (1, 2)]

    assert bundles == [Bundle(1, signed(1), kyber(number), False, ec(number)) for number in (1, 2)]
    assert (server.keys.one_time.left, server.keys.kyber.left) == (1, 1)


def test_the_same_request_gets_the_same_bundle_for_an_hour(server: Server) -> None:
    first = server.take(1)
    server.upload([], signed_number=2)

    assert server.take(1, wall_ms=REMEMBER_MS - 1) == first
    assert server.take(1, wall_ms=REMEMBER_MS) == Bundle(1, signed(2), kyber(2), False, ec(2))


def test_requests_are_told_apart_by_who_asks(server: Server) -> None:
    assert server.take(1, requester=BOB).one_time == ec(1)
    assert server.take(1, requester=CAROL).one_time == ec(2)


def test_when_none_is_left_the_last_resort_is_given_and_marked(server: Server) -> None:
    server.upload([4, 5], [])
    for request in range(3):
        server.take(request)

    without_kyber = server.take(3)
    server.take(4)
    without_any = server.take(5)

    assert without_kyber == Bundle(1, signed(1), kyber(9_001), True, ec(4))
    assert without_any == Bundle(1, signed(1), kyber(9_001), True, None)
    assert server.take(5) == without_any


def test_who_published_nothing_has_no_keys() -> None:
    step = take(NEW_KEYS, [], requester=BOB, request=name(1), wall_ms=0)

    assert step == Step(NoKeys(), NEW_KEYS)


def test_one_requester_cannot_empty_the_stock() -> None:
    server = Server()
    server.upload(range(1, 101))
    for request in range(BURST):
        assert type(server.take(request)) is Bundle

    assert server.take(BURST) == Limited(REFILL_MS)
    assert server.take(0).one_time == ec(1)  # a repeat costs nothing
    assert type(server.take(BURST, wall_ms=REFILL_MS)) is Bundle
    assert server.take(BURST + 1, wall_ms=REFILL_MS) == Limited(REFILL_MS)
    assert type(server.take(BURST + 1, requester=CAROL)) is Bundle


def test_what_is_remembered_of_a_requester_is_bounded() -> None:
    server = Server()
    for first in (1, 101):
        server.upload(range(first, first + 100))
    for request in range(200):
        server.take(request, wall_ms=request * REFILL_MS)

    (row,) = [value for key, value in server.rows.items() if key.startswith(REQUESTS)]
    assert len(row) <= 2_000 * (BURST + REMEMBER_MS // REFILL_MS) <= MAX_VALUE_BYTES


def test_above_the_bound_of_requesters_the_last_resort_is_given_unrecorded(server: Server) -> None:
    server.keys = server.keys._replace(requesters=MAX_REQUESTERS)
    before = server.keys

    assert server.take(1) == Bundle(1, signed(1), kyber(9_001), True, None)
    assert server.keys == before


def test_requesters_are_forgotten_when_there_is_nothing_left_to_remember(server: Server) -> None:
    server.take(1, requester=BOB)
    server.take(1, requester=CAROL, wall_ms=1_000)
    rows = [Row(*pair) for pair in server.rows.items() if requests_span().start <= pair[0] < requests_span().stop]

    assert server.keys.requesters == len(rows) == 2
    assert forget_requests(server.keys, rows, wall_ms=REMEMBER_MS - 1) == Step(0, server.keys)
    assert server.apply(forget_requests(server.keys, rows, wall_ms=REMEMBER_MS)) == 1
    assert server.keys.requesters == 1
    assert [key for key in server.rows if key.startswith(REQUESTS)] == [REQUESTS + CAROL.encode()]


def test_a_key_that_is_counted_and_not_there_is_corruption(server: Server) -> None:
    with pytest.raises(CorruptStateError):
        take(server.keys, [], requester=BOB, request=name(1), wall_ms=0)


# ---- model 8 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_one_step", [True, False])
def test_m08_a_key_is_given_to_one_request(server: Server, in_one_step: bool) -> None:
    """Model 8 keys, "select, then delete": both look before either deletes."""
    before, looked = server.keys, server.found(BOB)
    first = server.take(1, requester=BOB)
    if in_one_step:  # the second one's commit finds the head moved, and it looks again
        before, looked = server.keys, server.found(CAROL)

    second = take(before, looked, requester=CAROL, request=name(2), wall_ms=0).answer

    assert isinstance(second, Bundle)
    assert (second.one_time != first.one_time) is in_one_step


def without_floor(keys: Keys) -> Keys:
    return keys._replace(one_time=keys.one_time._replace(highest=0), kyber=keys.kyber._replace(highest=0))


def with_floor(keys: Keys) -> Keys:
    return keys


@pytest.mark.parametrize(("floor", "is_right"), [(with_floor, True), (without_floor, False)])
def test_m08_a_taken_key_does_not_come_back(floor: Callable[[Keys], Keys], is_right: bool) -> None:
    """Model 8 keys, "upload repeated, taken keys come back (no floor)"."""
    server = Server()
    server.upload([1, 2])
    handed = [server.take(1).one_time]
    server.apply(upload(floor(server.keys), new([1, 2])))

    handed += [server.take(request).one_time for request in (2, 3)]

    left = [key for key in handed if key is not None]
    assert (len(set(left)) == len(left)) is is_right


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.just("take"), st.integers(0, 8), st.sampled_from([BOB, CAROL]))
        | st.tuples(st.just("upload"), st.integers(0, 8), st.integers(0, 3)),
        max_size=20,
    )
)
def test_no_one_time_key_is_given_to_two_requests(events: list[tuple[str, int, Any]]) -> None:
    server = Server()
    server.upload([])
    given_to: dict[tuple[str, int], tuple[DeviceId, int]] = {}
    order: list[int] = []
    for at, (kind, number, more) in enumerate(events):
        if kind == "upload":
            server.upload(range(number, number + more))
            continue
        bundle = server.take(number, requester=more, wall_ms=at)
        if not isinstance(bundle, Bundle):
            continue
        if bundle.one_time is not None:
            key = ("ec", bundle.one_time.number)
            if key not in given_to:
                order.append(bundle.one_time.number)
            assert given_to.setdefault(key, (more, number)) == (more, number)
        if not bundle.is_last_resort:
            assert given_to.setdefault(("kyber", bundle.kyber.number), (more, number)) == (more, number)
        assert server.keys.one_time.taken + server.keys.one_time.left == server.keys.one_time.published

    assert order == sorted(order)


# ---- bytes ----------------------------------------------------------------------------------------------------------


def test_the_head_survives_its_bytes_at_the_limits() -> None:
    most = 2**63 - 1
    stock = NEW_KEYS.one_time._replace(taken=most, published=most, highest=most)
    full = SignedKey(most, bytes(KYBER_KEY_BYTES), bytes(SIGNATURE_BYTES))
    largest = Keys(most, full._replace(key=bytes(EC_KEY_BYTES)), full, stock, stock, most)

    for keys in (NEW_KEYS, largest, reset(NEW_KEYS, 3).state):
        assert decode(encode(keys)) == keys
        assert len(encode(keys)) <= MAX_STATE_BYTES
    assert decode(b"") is NEW_KEYS


@pytest.mark.parametrize(
    "data",
    [
        b"\x00",
        pack(1, (), (), (0, 0), (0, 0, 0), 0),
        pack(1, (1, b""), (), (0, 0, 0), (0, 0, 0), 0),
        pack(1, (), (1, b"", "x"), (0, 0, 0), (0, 0, 0), 0),
    ],
)
def test_other_bytes_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptStateError):
        decode(data)


@pytest.mark.parametrize("taken", [7, (b"short", 1, ()), (bytes(16), 1, (1, (), (), True, ()))])
def test_a_row_that_is_no_requester_is_corrupt(server: Server, taken: object) -> None:
    row = Row(REQUESTS + BOB.encode(), pack(0, [taken]))

    with pytest.raises(CorruptStateError):
        take(server.keys, [row], requester=BOB, request=name(1), wall_ms=0)


def test_prekeys_have_one_partition_and_keys_within_their_bound() -> None:
    assert partition(ALICE) == f"keys/{ALICE}"
    assert all(len(span.stop) <= MAX_KEY_BYTES for span in rows_to_take(NEW_KEYS, ALICE))
