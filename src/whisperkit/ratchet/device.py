"""The whole ratchet of one device, as pure functions on its records.

What counts is in the records. Every operation takes those that it needs (`records_for` and its siblings say
which), and returns a named result whose first field, `save`, is what to write before anything else is done
with the result: before a message leaves, together with the history row of a message that came. An operation
that raises has nothing to save and changed nothing. A `Device` remembers the sessions that it used last, to be spared
reading them again, and takes them only where the records say the same (`whisperkit.ratchet.remembered`).

    sealed = device.encrypt(records, b"hello", remote=phone, wall_ms=now_ms())
    database.save(sealed.save)         # first save ...
    transport.send(sealed.message)     # ... then send: a key that was used is never used again

Trust is on first use: the first identity key seen for a device is trusted, another one is refused until a
person has accepted it (`accept_identity`).
"""

from __future__ import annotations

import hmac
import uuid
from hashlib import sha256
from typing import Final, NoReturn, assert_never

from whisperkit.errors import (
    CorruptStateError,
    DuplicateMessageError,
    InvalidMessageError,
    NoSenderKeyError,
    NoSessionError,
    UntrustedIdentityError,
    UsageError,
)
from whisperkit.ids import ConversationId, DeviceId, UserId
from whisperkit.partitions import Span, prefix
from whisperkit.ratchet import first_contact, sender_keys, session
from whisperkit.ratchet.curve import PUBLIC_KEY_BYTES, PublicKey, RandomBytes, decode_public, generate
from whisperkit.ratchet.kem import KEM_PUBLIC_KEY_BYTES
from whisperkit.ratchet.messages import (
    CiphertextMessage,
    MessageType,
    PreKeySignalMessage,
    SenderKeyDistributionMessage,
    SenderKeyMessage,
    SignalMessage,
)
from whisperkit.ratchet.prekeys import PreKeyBundle
from whisperkit.ratchet.records import (
    IDENTITY_KEY,
    LocalIdentity,
    Peer,
    decode_local_identity,
    decode_peer,
    decode_sender_keys,
    encode_local_identity,
    encode_peer,
    encode_sender_keys,
    kyber_prekey_key,
    one_time_prekey_key,
    own_sender_key_key,
    peer_key,
    sender_key_key,
    session_prefix,
    signed_prekey_key,
    used_key,
    user_prefix,
)
from whisperkit.ratchet.remembered import RememberedSessions
from whisperkit.ratchet.replenish import PREKEY_SPANS, PUBLISHED_SPANS, published, replenish
from whisperkit.ratchet.results import Created, Distributed, GeneratedPreKeys, Opened, Records, Save, Saved, Sealed
from whisperkit.ratchet.safety_number import SafetyNumber, fingerprint
from whisperkit.ratchet.sessions import SessionShelf
from whisperkit.ratchet.xeddsa import sign

__all__ = ["MAX_REGISTRATION_ID", "Device", "distribution_id"]

# The largest that the official library takes: 14 bits, and a few values short of that.
MAX_REGISTRATION_ID: Final = 16_380

_DISTRIBUTION_LABEL: Final = b"whisperkit distribution\n"


def distribution_id(group: ConversationId) -> uuid.UUID:
    """The distribution that a group's sender keys belong to: a UUID derived from the group's id (version 8)."""
    value = bytearray(sha256(_DISTRIBUTION_LABEL + group.encode()).digest()[:16])
    value[6] = 0x80 | value[6] & 0x0F
    value[8] = 0x80 | value[8] & 0x3F
    return uuid.UUID(bytes=bytes(value))


class Device:
    """The ratchet of one device. All of its state is in the records; it may be shared.

    Args:
        device_id: Which device; bound into first messages.
        random_bytes: Where randomness comes from: `os.urandom`, or a seeded source to replay a run.
    """

    def __init__(self, device_id: DeviceId, *, random_bytes: RandomBytes) -> None:
        self.device_id = device_id
        self._random_bytes = random_bytes
        self._remembered = RememberedSessions()

    def __repr__(self) -> str:
        return f"Device({self.device_id!r})"

    # ---- which records an operation needs -----------------------------------------------------------------------

    def records_for(self, remote: DeviceId, message: CiphertextMessage | None = None) -> tuple[Span, ...]:
        """The rows that any operation with a device reads.

        Args:
            remote: The device.
            message: The message to decrypt, if that is the operation: a first message names prekeys.

        Raises:
            PeerError: The message is not of its form.
        """
        spans = (_exactly(IDENTITY_KEY), _exactly(peer_key(remote)), prefix(session_prefix(remote)))
        if message is None or message.type != MessageType.PREKEY:
            return spans
        first = PreKeySignalMessage.decode(message.body)
        named = [
            signed_prekey_key(first.signed_pre_key_id),
            kyber_prekey_key(first.kyber_pre_key_id),
            used_key(first.kyber_pre_key_id, first.signed_pre_key_id),
        ]
        if first.pre_key_id is not None:
            named.append(one_time_prekey_key(first.pre_key_id))
        return (*spans, *map(_exactly, named))

    def records_for_user(self, user: UserId) -> tuple[Span, ...]:
        """The rows from which a `NoSessionError` tells with how many devices of a user there is a session."""
        return (prefix(user_prefix(user)),)

    def records_for_prekeys(self) -> tuple[Span, ...]:
        """The rows that `generate_prekeys` reads."""
        return (_exactly(IDENTITY_KEY), *PREKEY_SPANS)

    def records_for_published(self) -> tuple[Span, ...]:
        """The rows that `prekeys_published` reads."""
        return PUBLISHED_SPANS

    def records_for_group(self, group: ConversationId) -> tuple[Span, ...]:
        """The rows that `create_distribution`, `rotate_sender_key` and `group_encrypt` read."""
        return (_exactly(own_sender_key_key(distribution_id(group))),)

    def records_for_sender_key(
        self, message: CiphertextMessage | SenderKeyDistributionMessage, *, sender: DeviceId
    ) -> tuple[Span, ...]:
        """The rows that `group_decrypt` and `process_distribution` read.

        Raises:
            PeerError: The message is not of its form.
        """
        if isinstance(message, CiphertextMessage):
            return (_exactly(sender_key_key(_sender_key_message(message).distribution_id, sender)),)
        return (_exactly(sender_key_key(message.distribution_id, sender)),)

    # ---- who the device is --------------------------------------------------------------------------------------

    def create_identity(self, records: Records) -> Created:
        """Make the device's identity keys, once in its life.

        Raises:
            UsageError: It has some.
        """
        if IDENTITY_KEY in records:
            raise UsageError(f"{self.device_id} has an identity already", code="usage.identity")
        pair = generate(random_bytes=self._random_bytes)
        registration_id = int.from_bytes(self._random_bytes(4), "big") % MAX_REGISTRATION_ID + 1
        identity = LocalIdentity(pair, registration_id, next_prekey=1)
        return Created({IDENTITY_KEY: encode_local_identity(identity)}, pair.public, registration_id)

    def identity_key(self, records: Records) -> PublicKey:
        """The device's public identity key, 33 bytes."""
        return self._identity(records).pair.public

    def registration_id(self, records: Records) -> int:
        """The number that changes when the device is set up anew: 1 to `MAX_REGISTRATION_ID`."""
        return self._identity(records).registration_id

    def sign(self, records: Records, message: bytes) -> bytes:
        """Sign with the identity key; `whisperkit.ratchet.verify` checks it.

        Args:
            records: Loaded rows.
            message: Begins with a label that says what is being signed.

        Raises:
            UsageError: The message could pass for a prekey, which the identity key signs as well: whoever
                got that signed could publish a prekey of their own for the device.
        """
        if len(message) in (PUBLIC_KEY_BYTES, KEM_PUBLIC_KEY_BYTES):
            raise UsageError(f"a message of {len(message)} bytes could be a prekey; put a label in front")
        return sign(self._identity(records).pair.private, message, random_bytes=self._random_bytes)

    def generate_prekeys(self, records: Records, *, wall_ms: int, one_time: int = 100) -> GeneratedPreKeys:
        """Make one-time prekeys, and renew the signed and the last-resort prekey when they are due.

        Args:
            records: Loaded rows: `records_for_prekeys`.
            wall_ms: Milliseconds since 1970.
            one_time: How many of each of the two one-time kinds.
        """
        made = replenish(
            records, self._identity(records), wall_ms=wall_ms, one_time=one_time, random_bytes=self._random_bytes
        )
        return GeneratedPreKeys(made.save, made.upload)

    def prekeys_published(self, records: Records, *, one_time_left: int, wall_ms: int) -> Saved:
        """Note that the server has what was generated last, and forget one-time prekeys that nobody will use any more.

        Args:
            records: Loaded rows: `records_for_published`.
            one_time_left: How many one-time prekeys the server has left of this device.
            wall_ms: Milliseconds since 1970.

        Raises:
            UsageError: None were ever generated.
        """
        return Saved(published(records, one_time_left=one_time_left, wall_ms=wall_ms))

    # ---- who the others are -------------------------------------------------------------------------------------

    def peer(self, records: Records, remote: DeviceId) -> Peer | None:
        """Whom a device is taken for; `None` if nothing was ever heard of it."""
        stored = records.get(peer_key(remote))
        return None if stored is None else decode_peer(stored)

    def accept_identity(self, records: Records, identity_key: bytes, *, remote: DeviceId, wall_ms: int) -> Saved:
        """Trust another identity key of a device from now on. It counts as not verified.

        The current session is put aside if it was made with the former key, so that nothing more is sent to
        whoever holds that one.

        Raises:
            InvalidKeyError: The key is none.
        """
        key = decode_public(identity_key)
        peer = self.peer(records, remote)
        if peer is not None and peer.identity_key == key:
            return Saved({})
        shelf = self._shelf(records, remote)
        if shelf.current is not None and shelf.current.parties.remote_identity != key:
            shelf.archive()
        return Saved({**shelf.save, peer_key(remote): encode_peer(Peer(key, wall_ms))})

    def safety_number(self, records: Records, *, remote: DeviceId) -> SafetyNumber:
        """The safety number with a device. It takes about 10 ms to compute.

        Raises:
            NoSessionError: Nothing is known of the device.
        """
        peer = self.peer(records, remote)
        if peer is None:
            raise NoSessionError(remote=remote)
        return SafetyNumber(
            local=fingerprint(_user_bytes(self.device_id), self.identity_key(records)),
            remote=fingerprint(_user_bytes(remote), peer.identity_key),
            device=remote,
            identity_key=peer.identity_key,
        )

    def mark_verified(self, records: Records, number: SafetyNumber, *, wall_ms: int) -> Saved:
        """Note that a person compared a safety number.

        Raises:
            NoSessionError: The device was never met, so there is nobody to verify.
            UntrustedIdentityError: The device has another key by now than the one that was compared.
        """
        peer = self.peer(records, number.device)
        if peer is None:
            raise NoSessionError(remote=number.device)
        if peer.identity_key != number.identity_key:
            raise UntrustedIdentityError(remote=number.device, found=peer.identity_key, trusted=number.identity_key)
        return Saved({peer_key(number.device): encode_peer(peer._replace(verified_at_ms=wall_ms))})

    # ---- sessions -----------------------------------------------------------------------------------------------

    def has_session(self, records: Records, *, remote: DeviceId, wall_ms: int) -> bool:
        """Whether `encrypt` would find a session: there is a current one, and it did not go unanswered too long."""
        current = self._shelf(records, remote).current
        return current is not None and not session.is_stale(current, wall_ms=wall_ms)

    def archive_session(self, records: Records, *, remote: DeviceId) -> Saved:
        """Put the current session aside: messages in it still open, but none is sent in it."""
        shelf = self._shelf(records, remote)
        shelf.archive()
        return Saved(shelf.save)

    def process_bundle(self, records: Records, bundle: PreKeyBundle, *, remote: DeviceId, wall_ms: int) -> Saved:
        """Make a session from a bundle; a current session is put aside.

        Raises:
            UntrustedIdentityError: The bundle has another identity key than the one that is trusted.
            InvalidSignatureError: A prekey is not the device's.
            InvalidKeyError: A key is none.
            InvalidMessageError: The bundle says that it is another device's.
        """
        if bundle.device is not None and bundle.device != remote:
            raise InvalidMessageError(f"a bundle is of {bundle.device}, asked for was {remote}")
        remote_identity = decode_public(bundle.identity_key)
        self._check_trusted(records, remote, remote_identity)
        bundle.check()
        identity = self._identity(records)
        initiated = first_contact.initiate(
            identity,
            bundle,
            local=self.device_id,
            remote=remote,
            wall_ms=wall_ms,
            random_bytes=self._random_bytes,
        )
        shelf = self._shelf(records, remote)
        shelf.start(initiated)
        return Saved({**shelf.save, **self._trust(records, remote, remote_identity, wall_ms)})

    def encrypt(self, records: Records, plaintext: bytes, *, remote: DeviceId, wall_ms: int) -> Sealed:
        """Encrypt a message for a device.

        Raises:
            NoSessionError: There is no session to send in, or it went unanswered for more than 30 days.
            UntrustedIdentityError: The session is with another identity key than the one that is trusted.
        """
        shelf = self._shelf(records, remote)
        current = shelf.current
        if current is None or session.is_stale(current, wall_ms=wall_ms):
            self._refuse_no_session(records, remote)
        encrypted = session.encrypt(current, plaintext, random_bytes=self._random_bytes)
        self._check_trusted(records, remote, current.parties.remote_identity)
        shelf.replace_current(encrypted.session)
        return Sealed(shelf.save, encrypted.message)

    def decrypt(self, records: Records, message: CiphertextMessage, *, sender: DeviceId, wall_ms: int) -> Opened:
        """Decrypt a message of type `WHISPER` or `PREKEY`.

        Args:
            records: Loaded rows: `records_for` with the message.
            message: What came.
            sender: The device it came from, as the transport says; first messages prove it.
            wall_ms: Milliseconds since 1970.

        Raises:
            NoSessionError: There is no session with the sender, and the message does not make one.
            UntrustedIdentityError: The sender has another identity key than the one that is trusted.
            DuplicateMessageError: It was decrypted before, or is too old.
            PeerError: It opens in no session. If there are several, it is the current one's reason that is
                raised, and a note says how many were tried.
            UsageError: It is of type `SENDER_KEY`, which goes to `group_decrypt`.
        """
        try:
            match message.type:
                case MessageType.PREKEY:
                    return self._open_first(records, message.body, sender, wall_ms)
                case MessageType.WHISPER:
                    return self._open(records, message.body, sender, wall_ms)
                case MessageType.SENDER_KEY:
                    raise UsageError("a group message goes to group_decrypt", code="usage.message-type")
                case _:
                    assert_never(message.type)
        except DuplicateMessageError as error:
            raise _from_sender(error, sender) from None

    # ---- groups -------------------------------------------------------------------------------------------------

    def create_distribution(self, records: Records, group: ConversationId) -> Distributed:
        """Say what a reader of the group needs; makes the device's sender key if there is none.

        Made again later it gives the same chain from its present position on: who joins late reads from there.
        """
        distribution = distribution_id(group)
        key = own_sender_key_key(distribution)
        if key in records:
            (state, *_) = decode_sender_keys(records[key])
            return Distributed({}, sender_keys.distribution_of(state, distribution))
        return self.rotate_sender_key(records, group)

    def rotate_sender_key(self, records: Records, group: ConversationId) -> Distributed:
        """Make a new sender key, because somebody left; hand what it returns to those who stay."""
        distribution = distribution_id(group)
        state = sender_keys.new_state(random_bytes=self._random_bytes)
        save = {own_sender_key_key(distribution): encode_sender_keys((state,))}
        return Distributed(save, sender_keys.distribution_of(state, distribution))

    def process_distribution(
        self, records: Records, message: SenderKeyDistributionMessage, *, sender: DeviceId
    ) -> Saved:
        """Take in the sender key of a device.

        Args:
            records: Loaded rows: `records_for_sender_key`.
            message: As it came inside an encrypted message.
            sender: The device whose encrypted message that was; nobody else may speak for it.
        """
        key = sender_key_key(message.distribution_id, sender)
        known = decode_sender_keys(records[key]) if key in records else ()
        return Saved({key: encode_sender_keys(sender_keys.process(known, message))})

    def group_encrypt(self, records: Records, plaintext: bytes, *, group: ConversationId) -> Sealed:
        """Encrypt one message for all readers of the group.

        Raises:
            NoSenderKeyError: The device has no sender key for the group: `create_distribution` makes one.
            CorruptStateError: The stored key cannot sign.
        """
        distribution = distribution_id(group)
        key = own_sender_key_key(distribution)
        if key not in records:
            raise NoSenderKeyError(remote=self.device_id, distribution=str(distribution))
        (state, *_) = decode_sender_keys(records[key])
        if state.signing_private is None:
            raise CorruptStateError(kind="sender keys", reason="the device's own key has no private half")
        encrypted = sender_keys.encrypt(
            state,
            state.signing_private,
            plaintext,
            distribution_id=distribution,
            random_bytes=self._random_bytes,
        )
        message = CiphertextMessage(MessageType.SENDER_KEY, encrypted.body)
        return Sealed({key: encode_sender_keys((encrypted.state,))}, message)

    def group_decrypt(self, records: Records, message: CiphertextMessage, *, sender: DeviceId) -> Opened:
        """Decrypt a message of type `SENDER_KEY`.

        Args:
            records: Loaded rows: `records_for_sender_key`.
            message: What came.
            sender: The device it came from; its signature proves it.

        Raises:
            NoSenderKeyError: The sender's key for it has not come yet.
            DuplicateMessageError: It was decrypted before, is too old, or was sent before this device was let in.
            PeerError: It is altered, or not of its form.
        """
        decoded = _sender_key_message(message)
        key = sender_key_key(decoded.distribution_id, sender)
        states = decode_sender_keys(records[key]) if key in records else ()
        state = sender_keys.find_state(states, decoded.chain_id)
        if state is None:
            raise NoSenderKeyError(remote=sender, distribution=str(decoded.distribution_id))
        try:
            decrypted = sender_keys.decrypt(state, decoded)
        except DuplicateMessageError as error:
            raise _from_sender(error, sender) from None
        after = tuple(decrypted.state if each is state else each for each in states)
        return Opened({key: encode_sender_keys(after)}, decrypted.plaintext)

    # ---- the inside ---------------------------------------------------------------------------------------------

    def _shelf(self, records: Records, remote: DeviceId) -> SessionShelf:
        return SessionShelf(records, remote, self._remembered)

    def _identity(self, records: Records) -> LocalIdentity:
        if IDENTITY_KEY not in records:
            raise UsageError(
                f"{self.device_id} has no identity yet, or it was not loaded; create_identity makes it",
                code="usage.identity",
            )
        return decode_local_identity(records[IDENTITY_KEY])

    def _check_trusted(self, records: Records, remote: DeviceId, found: PublicKey) -> None:
        peer = self.peer(records, remote)
        if peer is not None and not hmac.compare_digest(peer.identity_key, found):
            raise UntrustedIdentityError(remote=remote, found=found, trusted=peer.identity_key)

    def _trust(self, records: Records, remote: DeviceId, identity_key: PublicKey, wall_ms: int) -> Save:
        if peer_key(remote) in records:
            return {}
        return {peer_key(remote): encode_peer(Peer(identity_key, wall_ms))}

    def _open_first(self, records: Records, body: bytes, sender: DeviceId, wall_ms: int) -> Opened:
        first = PreKeySignalMessage.decode(body)
        inner = SignalMessage.decode(first.message)
        self._check_trusted(records, sender, first.identity_key)
        shelf = self._shelf(records, sender)
        number = shelf.find(first.base_key)
        # A repeated first message finds its session: its one-time prekey is gone, and not looked for.
        begun = shelf.load(number) if number is not None else self._respond(records, first, sender)
        opened = session.decrypt(begun, inner, random_bytes=self._random_bytes)
        # Where the message found its session, the identity key in it was read by nothing but the first check.
        remote_identity = opened.session.parties.remote_identity
        self._check_trusted(records, sender, remote_identity)
        spent: Save = {}
        if number is None:
            spent = first_contact.spend(records, first)
            shelf.start(opened.session)
        else:
            shelf.advance(number, opened.session)
        return Opened(
            save={**shelf.save, **spent, **self._trust(records, sender, remote_identity, wall_ms)},
            plaintext=opened.plaintext,
            identity_key=remote_identity,
            is_new_session=number is None,
            one_time_prekey=first.pre_key_id if number is None else None,
        )

    def _respond(self, records: Records, first: PreKeySignalMessage, sender: DeviceId) -> session.Session:
        identity = self._identity(records)
        return first_contact.respond(records, identity, first, local=self.device_id, remote=sender)

    def _open(self, records: Records, body: bytes, sender: DeviceId, wall_ms: int) -> Opened:
        message = SignalMessage.decode(body)
        shelf = self._shelf(records, sender)
        found = shelf.decrypt(message, random_bytes=self._random_bytes)
        if found is None:
            self._refuse_no_session(records, sender)
        number, opened = found
        remote_identity = opened.session.parties.remote_identity
        self._check_trusted(records, sender, remote_identity)
        shelf.advance(number, opened.session)
        return Opened(
            save={**shelf.save, **self._trust(records, sender, remote_identity, wall_ms)},
            plaintext=opened.plaintext,
            identity_key=remote_identity,
        )

    def _refuse_no_session(self, records: Records, remote: DeviceId) -> NoReturn:
        # The list of a device's sessions ends with a slash; what follows it would be one session.
        known = sum(1 for key in records if key.startswith(user_prefix(remote.user)) and key.endswith(b"/"))
        raise NoSessionError(remote=remote, known=known)


def _exactly(key: bytes) -> Span:
    return Span(key, key + b"\x00")


def _user_bytes(device: DeviceId) -> bytes:
    return uuid.UUID(device.user).bytes


def _from_sender(error: DuplicateMessageError, sender: DeviceId) -> DuplicateMessageError:
    return DuplicateMessageError(counter=error.counter, chain_index=error.chain_index, remote=sender)


def _sender_key_message(message: CiphertextMessage) -> SenderKeyMessage:
    if message.type != MessageType.SENDER_KEY:
        raise UsageError("only a group message goes to group_decrypt", code="usage.message-type")
    return SenderKeyMessage.decode(message.body)
