"""The ratchet of one device with sealed senders: encrypt, seal; unseal, look whether to believe it, decrypt.

As with `Device`, whose records and results these are, every operation is a pure function on loaded records. Opening
takes two steps, because who sent a message, and so which records it needs, is known only when it is unsealed:

    unsealed = device.unseal(identity_rows, data, trust=trust, wall_ms=taken_at_ms)
    opened = device.decrypt(rows_of(unsealed), unsealed, wall_ms=now_ms())

If the second step fails, the first one has told whom to ask.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import NamedTuple

from whisperkit.errors import (
    AuthenticationError,
    InvalidMessageError,
    NoSessionError,
    SelfSendError,
    StaleCertificateError,
    UnsupportedVersionError,
    UntrustedIdentityError,
    UsageError,
)
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.partitions import Span
from whisperkit.ratchet.curve import KeyPair, PublicKey, RandomBytes
from whisperkit.ratchet.decryption_errors import DecryptionErrorMessage, PlaintextContent
from whisperkit.ratchet.device import Device
from whisperkit.ratchet.messages import MessageType
from whisperkit.ratchet.records import IDENTITY_KEY, decode_local_identity
from whisperkit.ratchet.redaction import redacted
from whisperkit.ratchet.results import Opened, Records, Save
from whisperkit.ratchet.sealed_sender import v1, v2
from whisperkit.ratchet.sealed_sender.certificates import SenderCertificate, SenderTrust
from whisperkit.ratchet.sealed_sender.content import ContentHint, Sealable, SealedContent
from whisperkit.ratchet.sealed_sender.fan_out import Recipient, seal_for_many
from whisperkit.ratchet.sessions import SessionShelf

__all__ = ["SealedBody", "SealingDevice", "Unsealed"]


class SealedBody(NamedTuple):
    """An encrypted message under a seal.

    Attributes:
        save: What to write before the message leaves.
        body: What to send: to a device, or, sealed for many, to the server that takes it apart.
    """

    save: Save
    body: bytes

    def __repr__(self) -> str:
        return redacted(self)


class Unsealed(NamedTuple):
    """What was under a seal, of a sender whose certificate is good.

    Attributes:
        sender: The device that sealed it.
        message: An encrypted message for `SealingDevice.decrypt`, or a plaintext content for
            `SealingDevice.decryption_error`.
        certificate: The sender's certificate.
        hint: What to do if the message does not open.
        group_id: For which group it is; empty for none. If sealed for many, this and the hint are the word of any of
            them.
    """

    sender: DeviceId
    message: Sealable
    certificate: SenderCertificate
    hint: ContentHint
    group_id: bytes

    def __repr__(self) -> str:
        return redacted(self)


class SealingDevice:
    """A `Device` that seals. All of its state is in the records; it may be shared.

    Args:
        device_id: Which device.
        random_bytes: Where randomness comes from.
        e164: The phone number of its user, if certificates name it: by it, too, a device knows itself.

    Attributes:
        device: The ratchet without seals.
    """

    def __init__(self, device_id: DeviceId, *, random_bytes: RandomBytes, e164: str | None = None) -> None:
        self.device = Device(device_id, random_bytes=random_bytes)
        self._random_bytes = random_bytes
        self._e164 = e164

    def __repr__(self) -> str:
        return f"SealingDevice({self.device.device_id!r})"

    # ---- which records an operation needs; `encrypt` and `seal` need those of `Device.records_for` ------------------

    def records_for_many(self, group: ConversationId, recipients: Collection[DeviceId]) -> tuple[Span, ...]:
        """The rows that `group_encrypt` reads."""
        spans = [*self.device.records_for_group(group)]
        for remote in recipients:
            spans += self.device.records_for(remote)
        return tuple(dict.fromkeys(spans))

    def records_for_unseal(self) -> tuple[Span, ...]:
        """The rows that `unseal` reads."""
        return (Span(IDENTITY_KEY, IDENTITY_KEY + b"\x00"),)

    def records_for_unsealed(self, unsealed: Unsealed) -> tuple[Span, ...]:
        """The rows that `decrypt` and `decryption_error` read.

        Raises:
            PeerError: The message is not of its form.
        """
        message = unsealed.message
        if isinstance(message, PlaintextContent):
            return self.device.records_for(unsealed.sender)
        if message.type == MessageType.SENDER_KEY:
            known = self.device.records_for(unsealed.sender)
            return (*known, *self.device.records_for_sender_key(message, sender=unsealed.sender))
        return self.device.records_for(unsealed.sender, message)

    # ---- sealing ----------------------------------------------------------------------------------------------------

    def encrypt(
        self,
        records: Records,
        plaintext: bytes,
        *,
        remote: DeviceId,
        certificate: SenderCertificate,
        wall_ms: int,
        hint: ContentHint = ContentHint.DEFAULT,
        group_id: bytes = b"",
    ) -> SealedBody:
        """Encrypt a message for a device, and seal it (version 1).

        Args:
            records: Loaded rows: `Device.records_for`.
            plaintext: What to say.
            remote: For which device.
            certificate: This device's.
            wall_ms: Milliseconds since 1970.
            hint: What the recipient shall do if it does not open.
            group_id: For which group it is.

        Raises:
            UsageError: The certificate is of another device, or of another identity key.
            StaleCertificateError: It has expired.
            NoSessionError: There is no session to send in, or it went unanswered for more than 30 days.
            UntrustedIdentityError: The session is with another identity key than the one that is trusted.
        """
        encrypted = self.device.encrypt(records, plaintext, remote=remote, wall_ms=wall_ms)
        body = self.seal(
            records,
            encrypted.message,
            remote=remote,
            certificate=certificate,
            wall_ms=wall_ms,
            hint=hint,
            group_id=group_id,
        )
        return SealedBody(encrypted.save, body)

    def seal(
        self,
        records: Records,
        message: Sealable,
        *,
        remote: DeviceId,
        certificate: SenderCertificate,
        wall_ms: int,
        hint: ContentHint = ContentHint.DEFAULT,
        group_id: bytes = b"",
    ) -> bytes:
        """Seal what is encrypted already, or word that something could not be decrypted (version 1).

        Args:
            records: Loaded rows: `Device.records_for`.
            message: What to seal.
            remote: For which device; its trusted identity key is what seals.
            certificate: As in `encrypt`.
            wall_ms: As in `encrypt`.
            hint: As in `encrypt`.
            group_id: As in `encrypt`.

        Raises:
            UsageError: The certificate is of another device, or of another identity key.
            StaleCertificateError: It has expired.
            NoSessionError: Nothing is known of the device.
        """
        pair = self._check_own(records, certificate, wall_ms)
        peer = self.device.peer(records, remote)
        if peer is None:
            raise NoSessionError(remote=remote)
        content = SealedContent(message, certificate, hint, group_id)
        return v1.seal(content, sender=pair, recipient=peer.identity_key, random_bytes=self._random_bytes)

    def group_encrypt(
        self,
        records: Records,
        plaintext: bytes,
        *,
        group: ConversationId,
        recipients: Collection[DeviceId],
        certificate: SenderCertificate,
        wall_ms: int,
        excluded: Collection[str] = (),
        hint: ContentHint = ContentHint.DEFAULT,
    ) -> SealedBody:
        """Encrypt one message for all readers of a group, and seal it for many devices (version 2).

        Args:
            records: Loaded rows: `records_for_many`.
            plaintext: What to say.
            group: Which group; its id is under the seal.
            recipients: The devices that get it: they have this device's sender key.
            certificate: This device's.
            wall_ms: Milliseconds since 1970.
            excluded: Users who get nothing although they are members.
            hint: What the recipients shall do if it does not open.

        Raises:
            UsageError: The certificate is not this device's, or the recipients are not of their form, see
                `whisperkit.ratchet.sealed_sender.seal_for_many`.
            StaleCertificateError: The certificate has expired.
            NoSenderKeyError: The device has no sender key for the group.
            NoSessionError: There is no session with a recipient.
            UntrustedIdentityError: A recipient's session is with another identity key than the trusted one.
            RegistrationIdError: A recipient's registration id does not fit.
        """
        pair = self._check_own(records, certificate, wall_ms)
        named = [self._recipient(records, remote) for remote in recipients]
        encrypted = self.device.group_encrypt(records, plaintext, group=group)
        content = SealedContent(encrypted.message, certificate, hint, group.encode())
        body = seal_for_many(content, sender=pair, recipients=named, excluded=excluded, random_bytes=self._random_bytes)
        return SealedBody(encrypted.save, body)

    # ---- opening ----------------------------------------------------------------------------------------------------

    def unseal(self, records: Records, data: bytes, *, trust: SenderTrust, wall_ms: int) -> Unsealed:
        """Open a seal of either version, and check who sealed it. It changes nothing.

        Args:
            records: Loaded rows: `records_for_unseal`.
            data: What came.
            trust: Whose certificates are believed.
            wall_ms: When the server took the message in, milliseconds since 1970; or now.

        Raises:
            PeerError: Altered, for another device, not of its form, or a plaintext content that is sealed for many.
            InvalidCertificateError: The sender's certificate is not good.
            SelfSendError: This very device has sealed it.
        """
        content, is_for_many = _open(data, self._pair(records))
        if is_for_many and isinstance(content.message, PlaintextContent):
            # It has no authentication of its own, and any of the recipients could have put it there.
            raise AuthenticationError("a plaintext content is sealed for many: it could be of any of them")
        certificate = content.certificate
        trust.check(certificate, wall_ms=wall_ms)
        if self._is_own(certificate):
            raise SelfSendError
        return Unsealed(certificate.sender, content.message, certificate, content.hint, content.group_id)

    def decrypt(self, records: Records, unsealed: Unsealed, *, wall_ms: int) -> Opened:
        """Decrypt what was under a seal, of a session or of a group.

        Args:
            records: Loaded rows: `records_for_unsealed`.
            unsealed: What `unseal` returned.
            wall_ms: Now, milliseconds since 1970.

        Raises:
            UntrustedIdentityError: The sender has another identity key than the one that is trusted.
            AuthenticationError: The session is with another identity key than that of the certificate.
            UsageError: It is a plaintext content.
            WhisperError: As in `Device.decrypt` and `Device.group_decrypt`.
        """
        message = unsealed.message
        if isinstance(message, PlaintextContent):
            raise UsageError(
                "a plaintext content is not encrypted: it goes to decryption_error", code="usage.message-type"
            )
        self._check_identity(records, unsealed)
        if message.type == MessageType.SENDER_KEY:
            return self.device.group_decrypt(records, message, sender=unsealed.sender)
        opened = self.device.decrypt(records, message, sender=unsealed.sender, wall_ms=wall_ms)
        # Without this a server could hand out a certificate of its own for somebody, and put it around their message.
        if not hmac.compare_digest(opened.identity_key or b"", unsealed.certificate.identity_key):
            raise AuthenticationError("a sealed message is of another identity key than its session")
        return opened

    def decryption_error(self, records: Records, unsealed: Unsealed) -> DecryptionErrorMessage:
        """Read the word of a device that it could not decrypt something.

        Args:
            records: Loaded rows: `records_for_unsealed`.
            unsealed: What `unseal` returned.

        Raises:
            UntrustedIdentityError: The device has another identity key than the one that is trusted.
            UsageError: It is an encrypted message.
            PeerError: It is not of its form.
        """
        if not isinstance(unsealed.message, PlaintextContent):
            raise UsageError("an encrypted message goes to decrypt", code="usage.message-type")
        self._check_identity(records, unsealed)
        return unsealed.message.decryption_error

    # ---- the inside -------------------------------------------------------------------------------------------------

    def _pair(self, records: Records) -> KeyPair:
        if IDENTITY_KEY not in records:
            raise UsageError(
                f"{self.device.device_id} has no identity yet, or it was not loaded", code="usage.identity"
            )
        return decode_local_identity(records[IDENTITY_KEY]).pair

    def _check_own(self, records: Records, certificate: SenderCertificate, wall_ms: int) -> KeyPair:
        pair = self._pair(records)
        if certificate.sender != self.device.device_id:
            raise UsageError(f"{self.device.device_id} cannot seal with the certificate of {certificate.sender}")
        if certificate.identity_key != pair.public:
            raise UsageError(f"the certificate of {certificate.sender} is of another identity key than the device's")
        if wall_ms > certificate.expires_at_ms:
            raise StaleCertificateError(expired_at_ms=certificate.expires_at_ms, wall_ms=wall_ms)
        return pair

    def _recipient(self, records: Records, remote: DeviceId) -> Recipient:
        current = SessionShelf(records, remote).current
        if current is None:
            raise NoSessionError(remote=remote)
        found = current.parties.remote_identity
        self._check_trusted(records, remote, found)
        return Recipient(remote, found, current.parties.remote_registration_id)

    def _check_identity(self, records: Records, unsealed: Unsealed) -> None:
        self._check_trusted(records, unsealed.sender, unsealed.certificate.identity_key)

    def _check_trusted(self, records: Records, remote: DeviceId, found: PublicKey) -> None:
        peer = self.device.peer(records, remote)
        if peer is not None and not hmac.compare_digest(peer.identity_key, found):
            raise UntrustedIdentityError(remote=remote, found=found, trusted=peer.identity_key)

    def _is_own(self, certificate: SenderCertificate) -> bool:
        local = self.device.device_id
        is_own_number = self._e164 is not None and certificate.e164 == self._e164
        is_own_user = certificate.sender.user == local.user or is_own_number
        return is_own_user and certificate.sender.number == local.number


def _open(data: bytes, recipient: KeyPair) -> tuple[SealedContent, bool]:
    """The content, and whether it is sealed for many."""
    if not data:
        raise InvalidMessageError("a sealed message is empty")
    match data[0] >> 4:
        case v2.VERSION:
            return v2.open_sealed(data, recipient=recipient), True
        case version if version in v1.VERSIONS:
            return v1.open_sealed(data, recipient=recipient), False
        case version:
            raise UnsupportedVersionError(found=version, supported=(*v1.VERSIONS, v2.VERSION))
