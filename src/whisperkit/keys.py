"""Prekeys of a device on the server: published once, each one-time key handed out once.

Keys are taken in the order of their numbers, the EC and the Kyber key in one step, and the numbers only rise: an
upload that is repeated after a key was taken does not bring it back. Who asks again, because the reply was lost, gets
the same bundle again. When no one-time key is left the last resort is handed out and marked; it is never an error.

A *generation* is one life of the key store: the device's link, or a higher number after it lost its private
halves. No key of an earlier generation is handed out again.

Rows: ``k/<generation><kind><place>`` is a one-time key, its place dense in the order of upload, so that the head
knows the next one and the exact count; ``r/<device>`` is what a requester was given within the last hour.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from whisperkit.errors import CorruptStateError, MalformedFrameError
from whisperkit.ids import DeviceId, MessageId
from whisperkit.packing import pack, reading, shaped, unpack
from whisperkit.partitions import Partition, Row, Span, Step, prefix

__all__ = [
    "BURST",
    "EC_KEY_BYTES",
    "KYBER_KEY_BYTES",
    "MAX_REQUESTERS",
    "MAX_STOCK",
    "MAX_UPLOAD_KEYS",
    "NEW_KEYS",
    "REFILL_MS",
    "REMEMBER_MS",
    "REQUESTS",
    "SIGNATURE_BYTES",
    "Bundle",
    "KeyUpload",
    "Keys",
    "Limited",
    "NoKeys",
    "OneTimeKey",
    "SignedKey",
    "StaleGeneration",
    "Stock",
    "TakeAnswer",
    "Uploaded",
    "decode",
    "encode",
    "forget_requests",
    "partition",
    "requests_span",
    "reset",
    "rows_to_take",
    "take",
    "upload",
]

# A type byte and the key, as Signal writes them; ML-KEM-1024 is Kyber-1024's size.
EC_KEY_BYTES: Final = 33
KYBER_KEY_BYTES: Final = 1_569
SIGNATURE_BYTES: Final = 64

# Clients hold about a hundred; at 1.7 KiB for a Kyber key, twice that is what one device may cost.
MAX_UPLOAD_KEYS: Final = 100
MAX_STOCK: Final = 200

# Who opens a session needs one bundle. More would only serve to empty somebody's stock, which weakens the next
# sessions and shows when the device comes online to refill it.
BURST: Final = 6
REFILL_MS: Final = 600_000

# A reply that was lost is asked for again within minutes.
REMEMBER_MS: Final = 3_600_000

# Requesters that are remembered at once. Above it the last resort is handed out unrecorded: a repeat gets the same.
MAX_REQUESTERS: Final = 1_000

# All rows of requesters.
REQUESTS: Final = b"r/"

_KEYS = b"k/"
_EC = b"\x01"
_KYBER = b"\x02"


class OneTimeKey(NamedTuple):
    """A one-time EC prekey: its number and its public half, `EC_KEY_BYTES`."""

    number: int
    key: bytes


class SignedKey(NamedTuple):
    """A signed prekey, EC or Kyber: its number, its public half, and the identity key's signature."""

    number: int
    key: bytes
    signature: bytes


class KeyUpload(NamedTuple):
    """What a device publishes.

    Attributes:
        generation: The life of its key store.
        signed: The signed EC prekey; replaces one of a lower number.
        last_resort: The Kyber prekey for when the others have run out; replaces one of a lower number.
        one_time: EC prekeys for one use each.
        kyber: Kyber prekeys for one use each.
    """

    generation: int
    signed: SignedKey
    last_resort: SignedKey
    one_time: tuple[OneTimeKey, ...] = ()
    kyber: tuple[SignedKey, ...] = ()

    def check(self) -> None:
        """Look at what a peer sent; `upload` relies on it.

        Raises:
            MalformedFrameError: A key or a signature of another length, or more than `MAX_UPLOAD_KEYS` of a kind.
        """
        if len(self.one_time) > MAX_UPLOAD_KEYS or len(self.kyber) > MAX_UPLOAD_KEYS:
            raise MalformedFrameError(f"more than {MAX_UPLOAD_KEYS} one-time keys at once", frame="PUBLISH")
        ec_keys = [self.signed.key, *(key.key for key in self.one_time)]
        if any(len(key) != EC_KEY_BYTES for key in ec_keys):
            raise MalformedFrameError(f"an EC key has {EC_KEY_BYTES} bytes", frame="PUBLISH")
        if any(len(key.key) != KYBER_KEY_BYTES for key in (self.last_resort, *self.kyber)):
            raise MalformedFrameError(f"a Kyber key has {KYBER_KEY_BYTES} bytes", frame="PUBLISH")
        if any(len(key.signature) != SIGNATURE_BYTES for key in (self.signed, self.last_resort, *self.kyber)):
            raise MalformedFrameError(f"a signature has {SIGNATURE_BYTES} bytes", frame="PUBLISH")


class Stock(NamedTuple):
    """One-time keys of one kind.

    Attributes:
        taken: How many of this generation were handed out: the place of the next one.
        published: How many there ever were.
        highest: The highest number among them.
    """

    taken: int = 0
    published: int = 0
    highest: int = 0

    @property
    def left(self) -> int:
        """How many are left."""
        return self.published - self.taken


class Keys(NamedTuple):
    """The head of a device's prekeys.

    Attributes:
        generation: The life of the device's key store; 0 before anything was published.
        signed: The signed EC prekey.
        last_resort: The Kyber prekey for when the others have run out.
        one_time: The stock of EC prekeys.
        kyber: The stock of Kyber prekeys.
        requesters: How many rows of requesters there are.
    """

    generation: int = 0
    signed: SignedKey | None = None
    last_resort: SignedKey | None = None
    one_time: Stock = Stock()
    kyber: Stock = Stock()
    requesters: int = 0


NEW_KEYS: Final = Keys()


# ---- publishing -----------------------------------------------------------------------------------------------------


class Uploaded(NamedTuple):
    """What is there now. A device that has forgotten its numbers goes on above the highest.

    Attributes:
        one_time: How many EC prekeys are left.
        kyber: How many Kyber prekeys are left.
        highest_one_time: The highest number of an EC prekey that was ever accepted.
        highest_kyber: The highest number of a Kyber prekey that was ever accepted.
    """

    one_time: int
    kyber: int
    highest_one_time: int
    highest_kyber: int


class StaleGeneration(NamedTuple):
    """The device began a later life of its key store: this one is over."""

    generation: int


def upload(keys: Keys, new: KeyUpload) -> Step[Uploaded | StaleGeneration, Keys]:
    """Take what is new of an upload: keys with numbers above all of before, while there is room for them.

    Args:
        keys: The head.
        new: The upload, checked. A higher generation begins afresh.
    """
    if new.generation < keys.generation:
        return Step(StaleGeneration(keys.generation), keys)
    begun = reset(keys, new.generation)
    before = begun.state
    one_time, ec_rows = _stocked(before.one_time, new.one_time, _place(new.generation, _EC))
    kyber, kyber_rows = _stocked(before.kyber, new.kyber, _place(new.generation, _KYBER))
    after = Keys(
        new.generation,
        _newer(before.signed, new.signed),
        _newer(before.last_resort, new.last_resort),
        one_time,
        kyber,
        before.requesters,
    )
    return Step(_uploaded(after), keys if after == keys else after, ec_rows + kyber_rows, drop=begun.drop)


def reset(keys: Keys, generation: int) -> Step[Uploaded | StaleGeneration, Keys]:
    """Begin a later life of the device's key store, without keys: after it was unlinked or lost its private halves."""
    if generation <= keys.generation:
        answer = StaleGeneration(keys.generation) if generation < keys.generation else _uploaded(keys)
        return Step(answer, keys)
    after = Keys(generation, requesters=keys.requesters)
    return Step(_uploaded(after), after, drop=Span(_KEYS, _KEYS + generation.to_bytes(8, "big")))


def _uploaded(keys: Keys) -> Uploaded:
    return Uploaded(keys.one_time.left, keys.kyber.left, keys.one_time.highest, keys.kyber.highest)


def _newer(known: SignedKey | None, new: SignedKey) -> SignedKey:
    """An upload that comes late does not bring an old key back."""
    return known if known is not None and new.number <= known.number else new


def _stocked(stock: Stock, new: Collection[OneTimeKey | SignedKey], place: bytes) -> tuple[Stock, tuple[Row, ...]]:
    rows: list[Row] = []
    taken, published, highest = stock
    for key in sorted(new, key=lambda key: key.number):
        if key.number > highest and published - taken < MAX_STOCK:
            rows.append(Row(place + published.to_bytes(8, "big"), pack(*key)))
            published, highest = published + 1, key.number
    return Stock(taken, published, highest), tuple(rows)


# ---- taking ---------------------------------------------------------------------------------------------------------


class Bundle(NamedTuple):
    """What it takes to open a session, besides the device's identity key and registration id.

    Attributes:
        generation: The life of the key store that the keys are of.
        signed: The signed EC prekey.
        kyber: A Kyber prekey, for one use unless `is_last_resort`.
        is_last_resort: Whether the one-time Kyber keys have run out.
        one_time: A one-time EC prekey; `None` if they have run out.
    """

    generation: int
    signed: SignedKey
    kyber: SignedKey
    is_last_resort: bool
    one_time: OneTimeKey | None


class NoKeys(NamedTuple):
    """The device has published nothing, or is gone."""


class Limited(NamedTuple):
    """The requester took too many: wait."""

    retry_after_ms: int


TakeAnswer: TypeAlias = Bundle | NoKeys | Limited


class _Taken(NamedTuple):
    request: MessageId
    at_ms: int
    bundle: Bundle


class _Requester(NamedTuple):
    """What one device was given.

    Attributes:
        full_at_ms: When its budget will be whole again; each take moves it by `REFILL_MS`.
        taken: What it took within `REMEMBER_MS`.
    """

    full_at_ms: int = 0
    taken: tuple[_Taken, ...] = ()


def rows_to_take(keys: Keys, requester: DeviceId) -> tuple[Span, ...]:
    """What `take` has to be given: at most one row of each span, three in all."""
    ec = _place(keys.generation, _EC) + keys.one_time.taken.to_bytes(8, "big")
    kyber = _place(keys.generation, _KYBER) + keys.kyber.taken.to_bytes(8, "big")
    return _only(ec), _only(kyber), _only(_requester_key(requester))


def take(
    keys: Keys, rows: Sequence[Row], *, requester: DeviceId, request: MessageId, wall_ms: int
) -> Step[TakeAnswer, Keys]:
    """Hand out a bundle: the same to the same request within `REMEMBER_MS`.

    Args:
        keys: The head.
        rows: What `rows_to_take` names, read at this version of the head.
        requester: Who asks.
        request: Names the request; the same in every repeat.
        wall_ms: Now, milliseconds since 1970.

    Raises:
        CorruptStateError: A key that the head counts is not there.
    """
    if keys.signed is None or keys.last_resort is None:
        return Step(NoKeys(), keys)
    found = {row.key: row.value for row in rows}
    key = _requester_key(requester)
    known = _decode_requester(found[key]) if key in found else None
    before = known or _Requester()
    remembered = tuple(taken for taken in before.taken if wall_ms - taken.at_ms < REMEMBER_MS)
    for taken in remembered:
        if taken.request == request and taken.bundle.generation == keys.generation:
            return Step(taken.bundle, keys)
    wait_ms = before.full_at_ms - (BURST - 1) * REFILL_MS - wall_ms
    if wait_ms > 0:
        return Step(Limited(wait_ms), keys)
    last_resort = Bundle(keys.generation, keys.signed, keys.last_resort, True, None)
    if known is None and keys.requesters >= MAX_REQUESTERS:
        return Step(last_resort, keys)
    after, bundle, gone = _handed_out(keys, last_resort, found)
    noted = _Requester(max(before.full_at_ms, wall_ms) + REFILL_MS, (*remembered, _Taken(request, wall_ms, bundle)))
    after = after._replace(requesters=keys.requesters + (known is None))
    return Step(bundle, after, (Row(key, _encode_requester(noted)),), gone)


def _handed_out(keys: Keys, bundle: Bundle, found: dict[bytes, bytes]) -> tuple[Keys, Bundle, tuple[bytes, ...]]:
    """The next one-time keys, as far as there are any, and their rows' keys."""
    gone: list[bytes] = []
    if keys.one_time.left:
        key = _place(keys.generation, _EC) + keys.one_time.taken.to_bytes(8, "big")
        gone.append(key)
        bundle = bundle._replace(one_time=OneTimeKey(*_stored(found, key, _ONE_TIME_SHAPE)))
        keys = keys._replace(one_time=keys.one_time._replace(taken=keys.one_time.taken + 1))
    if keys.kyber.left:
        key = _place(keys.generation, _KYBER) + keys.kyber.taken.to_bytes(8, "big")
        gone.append(key)
        bundle = bundle._replace(kyber=SignedKey(*_stored(found, key, _SIGNED_SHAPE)), is_last_resort=False)
        keys = keys._replace(kyber=keys.kyber._replace(taken=keys.kyber.taken + 1))
    return keys, bundle, tuple(gone)


def _stored(found: dict[bytes, bytes], key: bytes, shape: tuple[type, ...]) -> tuple[Any, ...]:
    if key not in found:
        raise CorruptStateError(kind="one-time key", reason="the head counts it, the row is not there")
    return unpack(found[key], kind="one-time key", shape=shape)


def forget_requests(keys: Keys, rows: Sequence[Row], *, wall_ms: int) -> Step[int, Keys]:
    """Delete the rows of requesters about whom there is nothing left to remember.

    Args:
        keys: The head.
        rows: Some rows of `REQUESTS`, read at this version of the head.
        wall_ms: Now, milliseconds since 1970.

    Returns:
        How many.
    """
    gone = tuple(row.key for row in rows if _is_over(_decode_requester(row.value), wall_ms))
    after = keys._replace(requesters=keys.requesters - len(gone)) if gone else keys
    return Step(len(gone), after, delete=gone)


def _is_over(requester: _Requester, wall_ms: int) -> bool:
    return requester.full_at_ms <= wall_ms and all(wall_ms - taken.at_ms >= REMEMBER_MS for taken in requester.taken)


# ---- bytes ----------------------------------------------------------------------------------------------------------


def partition(device: DeviceId) -> Partition:
    """Where a device's prekeys are kept."""
    return Partition(f"keys/{device}")


def requests_span() -> Span:
    """The rows of all requesters, for `forget_requests`."""
    return prefix(REQUESTS)


def _place(generation: int, kind: bytes) -> bytes:
    return _KEYS + generation.to_bytes(8, "big") + kind


def _only(key: bytes) -> Span:
    return Span(key, key + b"\x00")


def _requester_key(requester: DeviceId) -> bytes:
    return REQUESTS + requester.encode()


_ONE_TIME_SHAPE = (int, bytes)
_SIGNED_SHAPE = (int, bytes, bytes)
_STOCK_SHAPE = (int, int, int)


def encode(keys: Keys) -> bytes:
    """The head's state: about 1.9 KiB, most of it the last resort."""
    return pack(keys.generation, keys.signed or (), keys.last_resort or (), *keys[3:])


def decode(data: bytes) -> Keys:
    """Read the head's state; empty for one that was never written.

    Raises:
        CorruptStateError: It is none.
    """
    if not data:
        return NEW_KEYS
    shape = (int, tuple, tuple, tuple, tuple, int)
    generation, signed, last_resort, one_time, kyber, requesters = unpack(data, kind="keys", shape=shape)
    with reading("keys"):
        return Keys(
            generation,
            SignedKey(*shaped(signed, _SIGNED_SHAPE)) if signed else None,
            SignedKey(*shaped(last_resort, _SIGNED_SHAPE)) if last_resort else None,
            Stock(*shaped(one_time, _STOCK_SHAPE)),
            Stock(*shaped(kyber, _STOCK_SHAPE)),
            requesters,
        )


def _encode_requester(requester: _Requester) -> bytes:
    taken = [(request, at_ms, (*bundle[:4], bundle.one_time or ())) for request, at_ms, bundle in requester.taken]
    return pack(requester.full_at_ms, taken)


def _decode_requester(data: bytes) -> _Requester:
    full_at_ms, taken = unpack(data, kind="requester of keys", shape=(int, tuple))
    with reading("requester of keys"):
        return _Requester(full_at_ms, tuple(_taken(*shaped(each, (bytes, int, tuple))) for each in taken))


def _taken(request: bytes, at_ms: int, fields: tuple[Any, ...]) -> _Taken:
    generation, signed, kyber, is_last_resort, one_time = shaped(fields, (int, tuple, tuple, bool, tuple))
    bundle = Bundle(
        generation,
        SignedKey(*shaped(signed, _SIGNED_SHAPE)),
        SignedKey(*shaped(kyber, _SIGNED_SHAPE)),
        is_last_resort,
        OneTimeKey(*shaped(one_time, _ONE_TIME_SHAPE)) if one_time else None,
    )
    return _Taken(MessageId(request), at_ms, bundle)
