"""Messages that do not say who writes: sealed by one library, opened by the other, for one device and for many."""

from __future__ import annotations

from random import Random

import pytest

from tests.interop.conftest import converse
from tests.interop.peer import OfficialError
from tests.interop.sides import NOW_MS, REFUSED, Ours, Side, Theirs
from whisperkit.ids import ConversationId
from whisperkit.ratchet import DecryptionErrorMessage, distribution_id
from whisperkit.ratchet.curve import generate
from whisperkit.ratchet.sealed_sender import ContentHint, SenderTrust, SentMessage

pytestmark = pytest.mark.interop

GROUP = ConversationId("climbing")
UNTIL_MS = NOW_MS + 86_400_000


class Server:
    """Vouches for devices: a trust root and a server, whose certificates the official library writes."""

    def __init__(self, scribe: Theirs, *, rng: Random) -> None:
        self._scribe = scribe
        self._root, self._signer = (generate(random_bytes=rng.randbytes) for _ in range(2))
        self.root = self._root.public.hex()
        self.trust = SenderTrust(roots=[self._root.public])

    def certify(self, side: Side, *, until_ms: int = UNTIL_MS) -> bytes:
        answer = self._scribe.ask(
            "issue",
            root=self._root.private.hex(),
            server=self._signer.private.hex(),
            id=7,
            name=side.id.user,
            device=side.id.number,
            k=side.identity_key.hex(),
            until=until_ms,
        )
        return bytes.fromhex(answer["cert"])


@pytest.fixture
def server(theirs: Theirs, rng: Random) -> Server:
    return Server(theirs, rng=rng)


def sealed_by_theirs(theirs: Theirs, plaintext: bytes, *, to: Side, certificate: bytes) -> bytes:
    address = (to.id.user, to.id.number)
    return bytes.fromhex(theirs.ask("seal", addr=address, pt=plaintext.hex(), cert=certificate.hex())["m"])


def opened_by_theirs(theirs: Theirs, body: bytes, server: Server, *, now_ms: int = NOW_MS) -> tuple[str, int, bytes]:
    opened = theirs.ask("unseal", m=body.hex(), root=server.root, now=now_ms)
    return opened["name"], opened["device"], bytes.fromhex(opened["pt"])


def test_what_one_seals_the_other_opens_and_learns_who_wrote(
    ours: Ours, theirs: Theirs, server: Server, rng: Random
) -> None:
    converse(ours, theirs)
    our_certificate, their_certificate = server.certify(ours), server.certify(theirs)

    for _ in range(40):
        plaintext = rng.randbytes(rng.randint(0, 300))
        if rng.random() < 0.5:
            body = ours.seal(plaintext, remote=theirs.id, certificate=our_certificate)
            assert opened_by_theirs(theirs, body, server) == (ours.id.user, ours.id.number, plaintext)
        else:
            body = sealed_by_theirs(theirs, plaintext, to=ours, certificate=their_certificate)
            unsealed, opened = ours.unseal(body, trust=server.trust)
            assert (unsealed.sender, opened) == (theirs.id, plaintext)


def test_first_messages_can_be_sealed(ours: Ours, theirs: Theirs, server: Server) -> None:
    ours.begin(theirs.bundle(one_time=True), remote=theirs.id)

    body = ours.seal(b"hello", remote=theirs.id, certificate=server.certify(ours))
    assert opened_by_theirs(theirs, body, server)[2] == b"hello"

    answer = sealed_by_theirs(theirs, b"hi", to=ours, certificate=server.certify(theirs))
    assert ours.unseal(answer, trust=server.trust)[1] == b"hi"


def test_a_certificate_is_good_to_the_millisecond_of_its_end(ours: Ours, theirs: Theirs, server: Server) -> None:
    converse(ours, theirs)
    body = ours.seal(b"to theirs", remote=theirs.id, certificate=server.certify(ours))
    back = sealed_by_theirs(theirs, b"to ours", to=ours, certificate=server.certify(theirs))

    with pytest.raises(OfficialError):
        opened_by_theirs(theirs, body, server, now_ms=UNTIL_MS + 1)
    with pytest.raises(REFUSED):
        ours.unseal(back, trust=server.trust, wall_ms=UNTIL_MS + 1)

    assert opened_by_theirs(theirs, body, server, now_ms=UNTIL_MS)[2] == b"to theirs"
    assert ours.unseal(back, trust=server.trust, wall_ms=UNTIL_MS)[1] == b"to ours"


def test_who_trusts_another_root_opens_nothing(ours: Ours, theirs: Theirs, server: Server, rng: Random) -> None:
    converse(ours, theirs)
    stranger = Server(theirs, rng=rng)
    body = ours.seal(b"to theirs", remote=theirs.id, certificate=stranger.certify(ours))
    back = sealed_by_theirs(theirs, b"to ours", to=ours, certificate=stranger.certify(theirs))

    with pytest.raises(OfficialError):
        opened_by_theirs(theirs, body, server)
    with pytest.raises(REFUSED):
        ours.unseal(back, trust=server.trust)


def test_what_was_altered_opens_on_neither_side(ours: Ours, theirs: Theirs, server: Server, rng: Random) -> None:
    converse(ours, theirs)
    body = ours.seal(b"to theirs", remote=theirs.id, certificate=server.certify(ours))
    back = sealed_by_theirs(theirs, b"to ours", to=ours, certificate=server.certify(theirs))

    for _ in range(60):
        with pytest.raises(OfficialError):
            opened_by_theirs(theirs, damaged(body, rng), server)
        with pytest.raises(REFUSED):
            ours.unseal(damaged(back, rng), trust=server.trust)

    assert opened_by_theirs(theirs, body, server)[2] == b"to theirs"
    assert ours.unseal(back, trust=server.trust)[1] == b"to ours"


def test_one_seal_for_many_opens_with_the_part_of_each(ours: Ours, theirs: Theirs, server: Server) -> None:
    converse(ours, theirs)
    theirs.take_distribution(ours.distribution(GROUP), sender=ours.id)

    body = ours.seal_for_group(
        b"up at ten", group=GROUP, to=[theirs.id], certificate=server.certify(ours), hint=ContentHint.RESENDABLE
    )
    (part,) = SentMessage.decode(body).parts
    received = SentMessage.decode(body).received_by(part)
    split_by_theirs = bytes.fromhex(theirs.ask("single", m=body.hex())["m"])
    seen = theirs.ask("peek", m=received.hex(), root=server.root, now=NOW_MS)

    assert received == split_by_theirs
    assert (seen["name"], seen["device"], seen["hint"]) == (ours.id.user, ours.id.number, ContentHint.RESENDABLE)
    assert theirs.group_decrypt(bytes.fromhex(seen["m"]), sender=ours.id) == b"up at ten"


def test_what_theirs_seals_for_many_opens_here(ours: Ours, theirs: Theirs, server: Server) -> None:
    converse(ours, theirs)
    ours.take_distribution(theirs.distribution(GROUP), sender=theirs.id)

    body = bytes.fromhex(
        theirs.ask(
            "sealmany",
            d=str(distribution_id(GROUP)),
            pt=b"up at ten".hex(),
            cert=server.certify(theirs).hex(),
            to=[(ours.id.user, ours.id.number)],
        )["m"]
    )
    sent = SentMessage.decode(body)
    (part,) = sent.parts
    unsealed, opened = ours.unseal(sent.received_by(part), trust=server.trust)

    assert part.device == ours.id
    assert (unsealed.sender, opened) == (theirs.id, b"up at ten")


def test_word_that_something_did_not_open_is_understood(ours: Ours, theirs: Theirs, server: Server) -> None:
    converse(ours, theirs)
    lost = ours.encrypt(b"lost", remote=theirs.id)

    body = bytes.fromhex(
        theirs.ask(
            "sealplain",
            addr=(ours.id.user, ours.id.number),
            m={"m": lost.body.hex(), "t": lost.type},
            cert=server.certify(theirs).hex(),
            now=NOW_MS,
        )["m"]
    )
    error = ours.decryption_error(body, trust=server.trust)

    assert error == DecryptionErrorMessage.about(lost, sent_at_ms=NOW_MS, sender=ours.id)


def damaged(body: bytes, rng: Random) -> bytes:
    """A byte altered behind the version, whose lower half means nothing; or the end cut off."""
    if rng.random() < 0.3:
        return body[: rng.randrange(len(body))]
    position = rng.randrange(1, len(body))
    return body[:position] + bytes([body[position] ^ rng.randint(1, 255)]) + body[position + 1 :]
