"""One session between two devices: encrypt in it, decrypt in it.

A session is a frozen value. `encrypt` and `decrypt` return the next one beside their result, and a
decryption that fails returns nothing, so a forged message cannot leave a trace.

Until the first message of the peer is decrypted, everything the initiator sends is wrapped as a first
message that repeats the handshake, so that any one of them is enough.
"""

from __future__ import annotations

import hmac
from typing import Final, NamedTuple

from whisperkit._named_tuples import make
from whisperkit.errors import AuthenticationError
from whisperkit.ratchet import double_ratchet, spqr
from whisperkit.ratchet.body import decrypt_body, encrypt_body
from whisperkit.ratchet.chains import next_root
from whisperkit.ratchet.curve import KeyPair, PublicKey, RandomBytes, agree, generate
from whisperkit.ratchet.double_ratchet import (
    MAX_FORWARD_JUMP,
    MAX_SELF_FORWARD_JUMP,
    RatchetState,
    ReceivingChain,
    SendingChain,
)
from whisperkit.ratchet.messages import (
    CiphertextMessage,
    MessageType,
    PreKeySignalMessage,
    SignalMessage,
    encode_signal_message,
)
from whisperkit.ratchet.pqxdh import FirstKeys
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.spqr import ML_KEM_768, Kem

__all__ = [
    "UNACKNOWLEDGED_LIFE_MS",
    "Decrypted",
    "Encrypted",
    "Parties",
    "Pending",
    "Session",
    "decrypt",
    "encrypt",
    "is_stale",
    "start_as_initiator",
    "start_as_responder",
    "steps",
]

# How long a session may go unanswered before it is refused for sending, in whole seconds of age: 30 days.
UNACKNOWLEDGED_LIFE_MS: Final = 30 * 24 * 3600 * 1000


class Parties(NamedTuple):
    """Who talks to whom.

    Attributes:
        local_identity: Own identity key.
        remote_identity: The peer's identity key.
        local_registration_id: Own registration id.
        remote_registration_id: The peer's, as it said.
        local_address: Own address, 18 bytes, or `None` if the name is no service id.
        remote_address: The peer's address, likewise.
    """

    local_identity: PublicKey
    remote_identity: PublicKey
    local_registration_id: int
    remote_registration_id: int
    local_address: bytes | None
    remote_address: bytes | None

    @property
    def is_self(self) -> bool:
        """Whether both sides are devices of one user with one identity key: there, jumps may be longer."""
        return (
            self.local_identity == self.remote_identity
            and self.local_address is not None
            and self.remote_address is not None
            and self.local_address[:-1] == self.remote_address[:-1]
        )

    @property
    def max_jump(self) -> int:
        """How far a message may be ahead of its chain."""
        if self.local_identity != self.remote_identity:
            return MAX_FORWARD_JUMP
        return MAX_SELF_FORWARD_JUMP if self.is_self else MAX_FORWARD_JUMP


class Pending(NamedTuple):
    """What each message repeats until the peer has answered.

    Attributes:
        pre_key_id: The one-time prekey used, or `None`.
        signed_pre_key_id: The signed prekey used.
        kyber_pre_key_id: The Kyber prekey used.
        kyber_ciphertext: 1,569 bytes.
        made_at_ms: When the session was made, milliseconds since 1970.
    """

    pre_key_id: int | None
    signed_pre_key_id: int
    kyber_pre_key_id: int
    kyber_ciphertext: bytes
    made_at_ms: int


class Session(NamedTuple):
    """A session.

    Attributes:
        parties: Who talks to whom.
        base_key: The initiator's base key, which names the session.
        ratchet: The keys.
        pending: What to repeat until the peer has answered; `None` once it has, and at the responder.
    """

    parties: Parties
    base_key: PublicKey
    ratchet: RatchetState
    pending: Pending | None = None

    def __repr__(self) -> str:
        return redacted(self)


class Encrypted(NamedTuple):
    """A message to send, and the session after it."""

    session: Session
    message: CiphertextMessage


class Decrypted(NamedTuple):
    """What a message said, and the session after it."""

    session: Session
    plaintext: bytes

    def __repr__(self) -> str:
        return redacted(self)


def start_as_initiator(
    parties: Parties,
    keys: FirstKeys,
    *,
    base_key: PublicKey,
    signed_prekey: PublicKey,
    pending: Pending,
    random_bytes: RandomBytes,
) -> Session:
    """Begin the session of the side that had the bundle.

    Args:
        parties: Who talks to whom.
        keys: From the handshake.
        base_key: The public half of the base key.
        signed_prekey: The peer's signed prekey, which is its first ratchet key.
        pending: What the messages repeat until the peer answers.
        random_bytes: Asked for 32 bytes, for the first ratchet key.

    Spec:
        Double Ratchet rev. 4, "Initialization", ``RatchetInitAlice``; "Integration with PQXDH".
    """
    ratchet = generate(random_bytes=random_bytes)
    root_key, sending_key = next_root(keys.root_key, agree(ratchet.private, signed_prekey))
    state = RatchetState(
        root_key=root_key,
        sending=SendingChain(ratchet, sending_key, 0),
        receiving=(ReceivingChain(0, signed_prekey, keys.chain_key, 0),),
        previous_counter=0,
        spqr=spqr.initial_state(keys.spqr_auth_key, is_initiator=True),
    )
    return Session(parties, base_key, state, pending)


def start_as_responder(parties: Parties, keys: FirstKeys, *, base_key: PublicKey, signed_prekey: KeyPair) -> Session:
    """Begin the session of the side that received the first message.

    Args:
        parties: Who talks to whom.
        keys: From the handshake.
        base_key: From the message.
        signed_prekey: Own signed prekey, which serves as first ratchet key.

    Spec:
        Double Ratchet rev. 4, "Initialization", ``RatchetInitBob``; "Integration with PQXDH".
    """
    state = RatchetState(
        root_key=keys.root_key,
        sending=SendingChain(signed_prekey, keys.chain_key, 0),
        receiving=(),
        previous_counter=0,
        spqr=spqr.initial_state(keys.spqr_auth_key, is_initiator=False),
    )
    return Session(parties, base_key, state)


def is_stale(session: Session, *, wall_ms: int) -> bool:
    """Whether the session went unanswered for more than `UNACKNOWLEDGED_LIFE_MS`; exactly that is still fresh."""
    return session.pending is not None and wall_ms - session.pending.made_at_ms > UNACKNOWLEDGED_LIFE_MS


def encrypt(session: Session, plaintext: bytes, *, random_bytes: RandomBytes, kem: Kem = ML_KEM_768) -> Encrypted:
    """Encrypt a message.

    Args:
        session: The session before it.
        plaintext: Of any length.
        random_bytes: Asked for what the post-quantum ratchet needs, two times in an epoch.
        kem: The KEM of that ratchet.
    """
    parties, base_key, ratchet, pending = session
    after_ratchet, ratchet_key, counter, pq_ratchet, keys = double_ratchet.send(
        ratchet, random_bytes=random_bytes, kem=kem
    )
    body = encode_signal_message(
        ratchet_key,
        counter,
        ratchet.previous_counter,
        encrypt_body(keys, plaintext),
        pq_ratchet,
        _addresses(parties.local_address, parties.remote_address) if pending else None,
        mac_key=keys.mac_key,
        sender=parties.local_identity,
        receiver=parties.remote_identity,
    )
    after = make(Session, (parties, base_key, after_ratchet, pending))
    if pending is None:
        return make(Encrypted, (after, make(CiphertextMessage, (MessageType.WHISPER, body))))
    first = make(
        PreKeySignalMessage,
        (
            pending.pre_key_id,
            base_key,
            parties.local_identity,
            body,
            parties.local_registration_id,
            pending.signed_pre_key_id,
            pending.kyber_pre_key_id,
            pending.kyber_ciphertext,
        ),
    )
    return make(Encrypted, (after, make(CiphertextMessage, (MessageType.PREKEY, first.encode()))))


def decrypt(session: Session, message: SignalMessage, *, random_bytes: RandomBytes, kem: Kem = ML_KEM_768) -> Decrypted:
    """Decrypt a message.

    Args:
        session: The session before it.
        message: As it came.
        random_bytes: Asked for 32 bytes if the message brings a new ratchet key.
        kem: The KEM of the post-quantum ratchet.

    Raises:
        DuplicateMessageError: It was decrypted before, or its key was given up.
        SkippedTooFarError: It is too far ahead.
        AuthenticationError: It was altered, is of another session, or is addressed to another device.
        InvalidMessageError: It is none that an honest peer sends.
        UnsupportedVersionError: It is of another version of the post-quantum ratchet, or has none.
        InvalidKeyError: Its ratchet key is of low order.
    """
    parties = session.parties
    received = double_ratchet.receive(
        session.ratchet, message, random_bytes=random_bytes, max_jump=parties.max_jump, kem=kem
    )
    message.verify_mac(received.keys.mac_key, sender=parties.remote_identity, receiver=parties.local_identity)
    if message.addresses is not None:
        _check_addresses(parties, message.addresses)
    plaintext = decrypt_body(received.keys, message.ciphertext)
    return make(Decrypted, (make(Session, (parties, session.base_key, received.state, None)), plaintext))


def steps(session: Session, message: SignalMessage) -> int:
    """How many keys `decrypt` derives on the way to those of a message: what a forged one can cost."""
    return double_ratchet.steps(session.ratchet, message, max_jump=session.parties.max_jump)


def _addresses(sender: bytes | None, recipient: bytes | None) -> bytes | None:
    return None if sender is None or recipient is None else sender + recipient


def _check_addresses(parties: Parties, found: bytes) -> None:
    # A relay that readdresses a first message would make the recipient file it under the wrong sender.
    expected = _addresses(parties.remote_address, parties.local_address)
    if expected is None or not hmac.compare_digest(expected, found):
        raise AuthenticationError("a first message is addressed to another device, or comes from another")
