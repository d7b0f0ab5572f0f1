"""Keys, signatures, agreements and safety numbers: the same on both sides."""

from __future__ import annotations

import uuid
from random import Random

import pytest

from tests.interop.conftest import Sides, converse
from tests.interop.peer import OfficialError
from tests.interop.sides import Ours, Theirs
from whisperkit.errors import InvalidKeyError, InvalidSignatureError, UnsupportedVersionError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import sign, verify
from whisperkit.ratchet.curve import PublicKey, agree, generate

pytestmark = pytest.mark.interop

ROUNDS = 60


def test_each_verifies_what_the_other_signs(theirs: Theirs, rng: Random) -> None:
    for _ in range(ROUNDS):
        pair = generate(random_bytes=rng.randbytes)
        message = rng.randbytes(rng.randint(0, 300))
        ours_signed = sign(pair.private, message, random_bytes=rng.randbytes)
        theirs_signed = bytes.fromhex(theirs.ask("sign", m=message.hex())["s"])

        assert verified_by(theirs, pair.public, message, ours_signed)
        verify(theirs.identity_key, message, theirs_signed)


def test_neither_verifies_what_was_altered(theirs: Theirs, rng: Random) -> None:
    for _ in range(ROUNDS):
        message = rng.randbytes(rng.randint(1, 60))
        signature = bytes.fromhex(theirs.ask("sign", m=message.hex())["s"])
        public, altered, forged = theirs.identity_key, message, signature
        match rng.choice(("key", "message", "signature", "length")):
            case "key":
                public = public[:1] + turned(public[1:], rng)
            case "message":
                altered = turned(message, rng)
            case "signature":
                forged = turned(signature, rng)
            case _:
                forged = signature[: rng.randrange(len(signature))]
        if public[:-1] == theirs.identity_key[:-1] and public[-1] ^ theirs.identity_key[-1] == 0x80:
            continue  # the highest bit of a public key means nothing, on either side

        assert not verified_by(theirs, public, altered, forged)
        with pytest.raises(InvalidSignatureError):
            verify(public, altered, forged)


def test_both_agree_on_the_same_secret(theirs: Theirs, rng: Random) -> None:
    for _ in range(ROUNDS):
        pair = generate(random_bytes=rng.randbytes)

        assert (
            theirs.ask("agree", k=pair.public.hex())["s"] == agree(pair.private, PublicKey(theirs.identity_key)).hex()
        )


@pytest.mark.parametrize("u", [0, 1, 2**255 - 19, 2**255 - 18])
def test_neither_agrees_with_a_key_of_low_order(theirs: Theirs, rng: Random, u: int) -> None:
    public = PublicKey(b"\x05" + u.to_bytes(32, "little"))

    with pytest.raises(InvalidKeyError):
        agree(generate(random_bytes=rng.randbytes).private, public)
    with pytest.raises(OfficialError):
        theirs.ask("agree", k=public.hex())


def test_safety_numbers_are_equal_and_each_scans_the_other(sides: Sides, ours: Ours, theirs: Theirs) -> None:
    converse(*sides)
    number = ours.device.safety_number(ours.records, remote=theirs.id)
    question = {"local": user_bytes(theirs.id), "remote": user_bytes(ours.id), "k": ours.identity_key.hex()}

    official = theirs.ask("number", **question)

    assert number.digits == official["digits"]
    assert number.matches(bytes.fromhex(official["scannable"]))
    assert theirs.ask("compare", **question, other=number.scannable.hex())["ok"] is True


def test_neither_takes_the_safety_number_of_somebody_else(ours: Ours, theirs: Theirs, rng: Random) -> None:
    converse(ours, theirs)
    number = ours.device.safety_number(ours.records, remote=theirs.id)
    mallory = generate(random_bytes=rng.randbytes).public
    question = {"local": user_bytes(theirs.id), "remote": user_bytes(ours.id), "k": mallory.hex()}

    official = theirs.ask("number", **question)

    assert number.digits != official["digits"]
    assert not number.matches(bytes.fromhex(official["scannable"]))
    assert theirs.ask("compare", **question, other=number.scannable.hex())["ok"] is False


def test_neither_takes_a_safety_number_of_another_version(ours: Ours, theirs: Theirs) -> None:
    converse(ours, theirs)
    number = ours.device.safety_number(ours.records, remote=theirs.id)._replace(version=1)
    question = {"local": user_bytes(theirs.id), "remote": user_bytes(ours.id), "k": ours.identity_key.hex()}

    with pytest.raises(UnsupportedVersionError):
        number.matches(bytes.fromhex(theirs.ask("number", **question)["scannable"]))
    with pytest.raises(OfficialError):
        theirs.ask("compare", **question, other=number.scannable.hex())


def verified_by(theirs: Theirs, public: bytes, message: bytes, signature: bytes) -> bool:
    return theirs.ask("verify", k=public.hex(), m=message.hex(), s=signature.hex())["ok"] is True


def turned(data: bytes, rng: Random) -> bytes:
    """The bytes with one bit turned."""
    bit = rng.randrange(len(data) * 8)
    return data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def user_bytes(device: DeviceId) -> str:
    return uuid.UUID(device.user).hex
