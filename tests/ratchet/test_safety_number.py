"""Safety numbers, against the vectors of the official library."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whisperkit.errors import InvalidMessageError, PeerError, UnsupportedVersionError
from whisperkit.ids import DeviceId
from whisperkit.ratchet.curve import PublicKey, decode_public, key_pair
from whisperkit.ratchet.protobuf import write
from whisperkit.ratchet.safety_number import SafetyNumber, fingerprint

# Vectors are JSON of many shapes, hence `Any`.
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors/signal/keys.json").read_text())
ALICE, BOB = key_pair(b"\x01" * 32).public, key_pair(b"\x02" * 32).public
DEVICE = DeviceId.named("bob", 1)


def number(local: PublicKey, remote: PublicKey, *, version: int = 2) -> SafetyNumber:
    ours = fingerprint(local[:5], local, iterations=2)
    theirs = fingerprint(remote[:5], remote, iterations=2)
    return SafetyNumber(ours, theirs, DEVICE, remote, version)


@pytest.mark.parametrize("case", VECTORS["fingerprints"], ids=lambda case: f"version {case['version']}")
def test_a_safety_number_is_that_of_the_official_library(case: dict[str, Any]) -> None:
    local, remote = (
        fingerprint(
            bytes.fromhex(case[f"{side}_id"]),
            decode_public(bytes.fromhex(case[f"{side}_key"])),
            iterations=case["iterations"],
        )
        for side in ("local", "remote")
    )

    found = SafetyNumber(local, remote, DEVICE, ALICE, case["version"])

    assert found.digits == case["displayable"]
    assert found.scannable.hex() == case["scannable"]
    assert found.matches(bytes.fromhex(case["scannable_other_side"]))


def test_both_sides_see_the_same_60_digits() -> None:
    one, other = number(ALICE, BOB), number(BOB, ALICE)

    assert one.digits == other.digits
    assert len(one.digits) == 60
    assert one.digits.isdigit()


def test_one_s_own_code_does_not_match() -> None:
    one = number(ALICE, BOB)

    assert not one.matches(one.scannable)


@pytest.mark.parametrize(("local", "remote"), [(ALICE, ALICE), (BOB, BOB)])
def test_the_code_of_a_third_party_does_not_match(local: PublicKey, remote: PublicKey) -> None:
    assert not number(ALICE, BOB).matches(number(local, remote).scannable)


def test_the_code_of_another_version_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError) as caught:
        number(ALICE, BOB).matches(number(BOB, ALICE, version=1).scannable)

    assert (caught.value.found, caught.value.supported) == (1, (2,))


@pytest.mark.parametrize(
    "scanned", [b"", b"\x08", b"https://example.org", write(((1, 2),)), write(((1, 2), (2, b""), (3, b"")))]
)
def test_what_is_no_safety_number_is_refused(scanned: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        number(ALICE, BOB).matches(scanned)


@given(st.binary(max_size=90))
def test_whatever_is_scanned_ends_in_no_match_or_a_peer_error(scanned: bytes) -> None:
    with suppress(PeerError):
        assert not number(ALICE, BOB).matches(scanned)
