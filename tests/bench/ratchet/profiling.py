"""Where the time of each operation goes, by parts: `make bench-ratchet ARGS=--profile`."""

from __future__ import annotations

import linecache
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import cycle
from typing import Any, Final

from tests.bench.ratchet.contestant import EPOCH_MESSAGES, FULL, Conversation, texts
from tests.bench.ratchet.ours import Sessions
from tests.bench.ratchet.sampling import Job, Place, Profile, sample
from whisperkit.ratchet import CiphertextMessage

__all__ = ["OPERATIONS", "part_of", "plain", "profile", "render_profile"]

# Any: JSON.
Json = dict[str, Any]

_LIBRARY: Final = "whisperkit."
_BURST: Final = 1_000
_SET_UPS: Final = 20
# How often each session is saved and loaded, because making one takes long. What is kept of the first time is there for
# the others.
_SAVES: Final = 20
_TEXT_BYTES: Final = 100

# Parts by the names of modules. A module that is not here is a part of its own.
PARTS: Final[Mapping[str, str]] = {
    "outside": "the loop of the benchmark",
    "whisperkit.ratchet.body": "AES-CBC and padding",
    "whisperkit.ratchet.prepared_hmac": "HMAC and HKDF",
    "whisperkit.ratchet.curve": "X25519",
    "whisperkit.ratchet.xeddsa": "signatures",
    "whisperkit.ratchet.kem": "ML-KEM-1024 of the handshake",
    "whisperkit.ratchet.messages": "wire: reading and writing",
    "whisperkit.ratchet.usual_form": "wire: reading and writing",
    "whisperkit.ratchet.protobuf": "wire: reading and writing",
    "whisperkit.ratchet.chains": "classical ratchet: states and chains",
    "whisperkit.ratchet.double_ratchet": "classical ratchet: states and chains",
    "whisperkit.ratchet.session": "session",
    "whisperkit.ratchet.sender_keys": "sender keys",
    "whisperkit.ratchet.records": "records",
    "whisperkit.ratchet.spqr.agreement": "SPQR: states and chains",
    "whisperkit.ratchet.spqr.authenticator": "SPQR: states and chains",
    "whisperkit.ratchet.spqr.chain": "SPQR: states and chains",
    "whisperkit.ratchet.spqr.derivation": "SPQR: states and chains",
    "whisperkit.ratchet.spqr.protocol": "SPQR: states and chains",
    "whisperkit.ratchet.spqr.wire": "SPQR: reading and writing",
    "whisperkit.ratchet.spqr.encapsulation": "SPQR: ML-KEM-768",
    "whisperkit.ratchet.spqr.kem": "SPQR: ML-KEM-768",
    "whisperkit.ratchet.spqr.erasure": "SPQR: chunks",
    "whisperkit.ratchet.spqr.transform": "SPQR: chunks",
    "whisperkit.ratchet.spqr.field": "SPQR: chunks",
    "whisperkit.ratchet.spqr.storage": "records",
}


def part_of(place: Place) -> str:
    """Which part of the work a line is in."""
    return PARTS.get(place.module, place.module)


def profile(*, seconds: float) -> dict[str, Json]:
    """Look at each operation for so many seconds of CPU time."""
    return {name: plain(sample(jobs(), within=_LIBRARY, seconds=seconds)) for name, jobs in OPERATIONS.items()}


def render_profile(found: Mapping[str, Json]) -> str:
    """Write it as text."""
    lines: list[str] = []
    for name, each in found.items():
        head = f"{name}: {each['plain_us']:.1f} us, {each['us']:.1f} us under observation, {each['samples']} samples"
        lines += [head, *_table(each, "parts"), "  by function", *_table(each, "functions")]
        lines += ["  by line", *_table(each, "lines"), ""]
    return "\n".join(lines)


def _table(each: Json, kind: str) -> Iterator[str]:
    for name, share in each[kind]:
        yield f"  {100 * share:5.1f} %  {each['plain_us'] * share:7.1f} us  {name}"


def plain(found: Profile) -> Json:
    """Sum up what was seen, for JSON: shares by part, by function and by line."""
    total = found.samples.total()

    def shares(name_of: Callable[[Place], str], most: int | None) -> list[tuple[str, float]]:
        counted: Counter[str] = Counter()
        for place, count in found.samples.items():
            counted[name_of(place)] += count
        return [(name, count / total) for name, count in counted.most_common(most)]

    return {
        "us": found.us,
        "plain_us": found.plain_us,
        "samples": total,
        "parts": shares(part_of, None),
        "functions": shares(lambda place: f"{place.module}.{place.function}".strip("."), 20),
        "lines": shares(_line, 20),
    }


def _line(place: Place) -> str:
    text = linecache.getline(place.file, place.line).strip()
    return f"{place.module.removeprefix(_LIBRARY)}:{place.line}: {text}" if text else place.module


# ---- what is looked at ----------------------------------------------------------------------------------------------


def _encrypt() -> Iterator[Job]:
    plaintexts = texts(_BURST, _TEXT_BYTES, mark="profile")
    for conversation in _conversations():
        yield Job(_BURST, partial(conversation.send, plaintexts))


def _decrypt() -> Iterator[Job]:
    plaintexts = texts(_BURST, _TEXT_BYTES, mark="profile")
    for conversation in _conversations():
        yield Job(_BURST, partial(conversation.receive, conversation.send(plaintexts)))


def _ping_pong() -> Iterator[Job]:
    plaintexts = texts(EPOCH_MESSAGES, _TEXT_BYTES, mark="profile")
    conversation = Sessions().meet()
    while True:
        yield Job(EPOCH_MESSAGES, partial(conversation.ping_pong, plaintexts))


def _initiate() -> Iterator[Job]:
    plaintexts = texts(_SET_UPS, _TEXT_BYTES, mark="profile")
    while True:
        yield Job(_SET_UPS, partial(Sessions().set_ups(_SET_UPS).initiate, plaintexts))


def _respond() -> Iterator[Job]:
    plaintexts = texts(_SET_UPS, _TEXT_BYTES, mark="profile")
    while True:
        devices = Sessions().set_ups(_SET_UPS)
        yield Job(_SET_UPS, partial(devices.respond, devices.initiate(plaintexts)))


def _group_encrypt() -> Iterator[Job]:
    plaintexts = texts(_BURST, _TEXT_BYTES, mark="profile")
    while True:
        yield Job(_BURST, partial(Sessions().group().send, plaintexts))


def _group_decrypt() -> Iterator[Job]:
    plaintexts = texts(_BURST, _TEXT_BYTES, mark="profile")
    while True:
        channel = Sessions().group()
        yield Job(_BURST, partial(channel.receive, channel.send(plaintexts)))


def _save() -> Iterator[Job]:
    plaintexts = texts(EPOCH_MESSAGES, _TEXT_BYTES, mark="profile")
    while True:
        records = Sessions().records(plaintexts)
        yield Job(_SAVES * EPOCH_MESSAGES, partial(records.save, records.states * _SAVES))


def _load() -> Iterator[Job]:
    records = Sessions().records(texts(EPOCH_MESSAGES, _TEXT_BYTES, mark="profile"))
    saved = records.save(records.states) * _SAVES
    while True:
        yield Job(len(saved), partial(records.load, saved))


def _conversations() -> Iterator[Conversation[CiphertextMessage]]:
    # As in the benchmark: from all over two epochs.
    for point in cycle(FULL.points):
        conversation = Sessions().meet()
        conversation.ping_pong(texts(point, _TEXT_BYTES, mark="before"))
        yield conversation


OPERATIONS: Final[Mapping[str, Callable[[], Iterator[Job]]]] = {
    "encrypt, burst of 1,000": _encrypt,
    "decrypt, burst of 1,000": _decrypt,
    "ping-pong, a message": _ping_pong,
    "set-up, initiator": _initiate,
    "set-up, responder": _respond,
    "sender key, encrypt": _group_encrypt,
    "sender key, decrypt": _group_decrypt,
    "save a session": _save,
    "load a session": _load,
}
