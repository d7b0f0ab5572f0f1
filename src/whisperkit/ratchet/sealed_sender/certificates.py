"""Certificates: the server's word on which identity key a device has, for who opens a message that hides its sender.

A *trust root*, a key that is known to every device and kept off the net, signs the key of a server. The server signs
for each of its devices: this user, this device, this identity key, until then. The device puts that certificate into
what it seals, so that the recipient learns who wrote from the sealed message, and not from the server.

Decoding checks form only; `SenderTrust.check` is what makes a certificate worth something.

Spec:
    Nothing is published for certificates; ``docs/explanation/security.md``, "Sealed sender", says what this does.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Final, NamedTuple

import attrs

from whisperkit.errors import InvalidCertificateError, InvalidMessageError, InvalidSignatureError, UsageError
from whisperkit.ids import MAX_DEVICE_NUMBER, DeviceId, UserId
from whisperkit.ratchet.curve import PrivateKey, PublicKey, RandomBytes, decode_public
from whisperkit.ratchet.protobuf import BYTES, FIXED64, UINT32, Fields, Fixed64, read, write
from whisperkit.ratchet.xeddsa import SIGNATURE_BYTES, sign, verify

__all__ = ["REVOKED_TEST_ID", "SenderCertificate", "SenderTrust", "ServerCertificate"]

# The number that stands for a revoked server on the official wire: no server may have it.
REVOKED_TEST_ID: Final = 0xDEADC357

_MAX_UINT32: Final = (1 << 32) - 1
_MAX_UINT64: Final = (1 << 64) - 1
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

_ENVELOPE: Final = {1: BYTES, 2: BYTES}
_SERVER_FIELDS: Final = {1: UINT32, 2: BYTES}
_SENDER_FIELDS: Final = {1: BYTES, 2: UINT32, 3: FIXED64, 4: BYTES, 5: BYTES, 6: BYTES, 7: BYTES, 8: UINT32}


class ServerCertificate(NamedTuple):
    """The key of a server that signs for its devices.

    Attributes:
        number: Its number, by which it can be referred to and revoked.
        key: What it signs with, 33 bytes.
        signed: The bytes under the signature, as they came.
        signature: By a trust root.
    """

    number: int
    key: PublicKey
    signed: bytes
    signature: bytes

    @classmethod
    def issue(
        cls, *, number: int, key: PublicKey, trust_root: PrivateKey, random_bytes: RandomBytes
    ) -> ServerCertificate:
        """Sign the key of a server.

        Args:
            number: One of its own, 32 bits.
            key: The public key of the server, 33 bytes.
            trust_root: The private key of the trust root.
            random_bytes: Where randomness comes from.

        Raises:
            UsageError: The number does not fit.
        """
        if not 0 <= number <= _MAX_UINT32:
            raise UsageError(f"the number of a server certificate is 0 to {_MAX_UINT32}, got {number}")
        signed = write(((1, number), (2, key)))
        return cls(number, key, signed, sign(trust_root, signed, random_bytes=random_bytes))

    def encode(self) -> bytes:
        """Write the certificate; the part under the signature as it came."""
        return write(((1, self.signed), (2, self.signature)))

    @classmethod
    def decode(cls, data: bytes) -> ServerCertificate:
        """Read a certificate. It is not trusted yet.

        Raises:
            InvalidMessageError: No protobuf, or a field is missing or of a wrong size.
            InvalidKeyError: Its key is none.
        """
        signed, signature = _signed(data)
        fields = read(signed, _SERVER_FIELDS)
        return cls(fields.number(1), decode_public(fields.blob(2)), signed, signature)


class SenderCertificate(NamedTuple):
    """Who a device is, as a server says; the device puts it into what it seals.

    Attributes:
        sender: Which device.
        e164: The phone number of its user, if the server knows one.
        identity_key: Its identity key, 33 bytes.
        expires_at_ms: The last millisecond at which it is good, milliseconds since 1970.
        signer: The certificate of the server that signed; or, where that is known to everybody, only its number.
        signed: The bytes under the signature, as they came.
        signature: By the server's key.
    """

    sender: DeviceId
    e164: str | None
    identity_key: PublicKey
    expires_at_ms: int
    signer: ServerCertificate | int
    signed: bytes
    signature: bytes

    def __repr__(self) -> str:
        # Not the phone number, nor what is signed, which has it inside.
        return f"<SenderCertificate of {self.sender} until {self.expires_at_ms}>"

    @classmethod
    def issue(
        cls,
        *,
        sender: DeviceId,
        identity_key: PublicKey,
        expires_at_ms: int,
        signer: ServerCertificate,
        signer_private: PrivateKey,
        random_bytes: RandomBytes,
        e164: str | None = None,
        is_signer_embedded: bool = True,
    ) -> SenderCertificate:
        """Sign for a device that has proved to be what the certificate says.

        Args:
            sender: Which device.
            identity_key: Its identity key, 33 bytes.
            expires_at_ms: The last millisecond at which it shall be good. A day is usual: that is how long a device
                that was unlinked can still seal.
            signer: The server's certificate.
            signer_private: The private half of the key in it.
            random_bytes: Where randomness comes from.
            e164: The phone number of the user, if recipients shall see it.
            is_signer_embedded: Whether to carry the server's certificate. Without it, some 100 bytes shorter, only
                those can check who have that certificate in their `SenderTrust`.

        Raises:
            UsageError: The time does not fit.
        """
        if not 0 <= expires_at_ms <= _MAX_UINT64:
            raise UsageError(f"a certificate ends at 0 to {_MAX_UINT64}, got {expires_at_ms}")
        signed = write(
            (
                (1, None if e164 is None else e164.encode()),
                (2, sender.number),
                (3, Fixed64(expires_at_ms)),
                (4, identity_key),
                (5, signer.encode() if is_signer_embedded else None),
                (6, sender.user.encode()),
                (8, None if is_signer_embedded else signer.number),
            )
        )
        signature = sign(signer_private, signed, random_bytes=random_bytes)
        named: ServerCertificate | int = signer if is_signer_embedded else signer.number
        return cls(sender, e164, identity_key, expires_at_ms, named, signed, signature)

    def encode(self) -> bytes:
        """Write the certificate; the part under the signature as it came."""
        return write(((1, self.signed), (2, self.signature)))

    @classmethod
    def decode(cls, data: bytes) -> SenderCertificate:
        """Read a certificate. It is not trusted yet.

        Raises:
            InvalidMessageError: No protobuf, a field is missing or of a wrong size, or it says one thing twice.
            InvalidKeyError: A key is none.
        """
        signed, signature = _signed(data)
        fields = read(signed, _SENDER_FIELDS)
        e164 = fields.blobs.get(1)
        return cls(
            sender=_sender(fields),
            e164=None if e164 is None else _text("phone number", e164),
            identity_key=decode_public(fields.blob(4)),
            expires_at_ms=fields.number(3),
            signer=_signer(fields),
            signed=signed,
            signature=signature,
        )


def _keys(roots: Iterable[bytes]) -> tuple[PublicKey, ...]:
    return tuple(map(decode_public, roots))


def _certificates(servers: Iterable[ServerCertificate]) -> tuple[ServerCertificate, ...]:
    return tuple(servers)


def _numbers(revoked: Iterable[int]) -> frozenset[int]:
    return frozenset(revoked)


@attrs.frozen(kw_only=True)
class SenderTrust:
    """Whom a device believes who somebody is.

    Attributes:
        roots: Public keys of trust roots, 33 bytes each; the signature of one of them is enough.
        servers: Server certificates that senders may refer to by number. They are checked like any other.
        revoked: Numbers of server certificates that are not believed any more, whoever signed them.

    Raises:
        InvalidKeyError: A trust root is no key.
    """

    roots: tuple[PublicKey, ...] = attrs.field(converter=_keys)
    servers: tuple[ServerCertificate, ...] = attrs.field(default=(), converter=_certificates)
    revoked: frozenset[int] = attrs.field(factory=frozenset[int], converter=_numbers)

    def check(self, certificate: SenderCertificate, *, wall_ms: int) -> None:
        """Check a certificate. Returning is the good news.

        Args:
            certificate: What came inside a sealed message.
            wall_ms: When, milliseconds since 1970. For a message that waited on a server, when that took it in: a
                certificate that has expired since was good.

        Raises:
            InvalidCertificateError: It is forged, revoked, expired, or of a server that is not known.
        """
        server = self._server_of(certificate)
        if server.number == REVOKED_TEST_ID or server.number in self.revoked:
            raise InvalidCertificateError(f"the server certificate {server.number} is revoked")
        if not any(_is_signed_by(root, server.signed, server.signature) for root in self.roots):
            raise InvalidCertificateError(f"the server certificate {server.number} is signed by no trust root")
        if not _is_signed_by(server.key, certificate.signed, certificate.signature):
            raise InvalidCertificateError(f"the sender certificate is not signed by server {server.number}")
        if wall_ms > certificate.expires_at_ms:
            raise InvalidCertificateError(
                f"the sender certificate was good until {certificate.expires_at_ms}; the message is of {wall_ms}"
            )

    def _server_of(self, certificate: SenderCertificate) -> ServerCertificate:
        match certificate.signer:
            case ServerCertificate() as embedded:
                return embedded
            case number:
                for server in self.servers:
                    if server.number == number:
                        return server
                raise InvalidCertificateError(f"the server certificate {number} is not known")


def _is_signed_by(key: PublicKey, signed: bytes, signature: bytes) -> bool:
    try:
        verify(key, signed, signature)
    except InvalidSignatureError:
        return False
    return True


def _signed(data: bytes) -> tuple[bytes, bytes]:
    fields = read(data, _ENVELOPE)
    return fields.blob(1), fields.blob(2, SIGNATURE_BYTES)


def _sender(fields: Fields) -> DeviceId:
    # Two names would let two readers take one certificate for two users.
    match fields.blobs.get(6), fields.blobs.get(7):
        case bytes(text), None:
            name = _text("name of a sender", text)
            if not _UUID.fullmatch(name):
                raise InvalidMessageError("the name of a sender is no UUID")
            user = UserId(name.lower())
        case None, bytes(packed) if len(packed) == 16:
            user = UserId(uuid.UUID(bytes=packed))
        case _:
            raise InvalidMessageError("a sender certificate has one name: a text, or 16 bytes")
    number = fields.number(2)
    if not 1 <= number <= MAX_DEVICE_NUMBER:
        raise InvalidMessageError(f"a device has number 1 to {MAX_DEVICE_NUMBER}, got {number}")
    return DeviceId(user, number)


def _signer(fields: Fields) -> ServerCertificate | int:
    match fields.blobs.get(5), fields.numbers.get(8):
        case bytes(embedded), None:
            return ServerCertificate.decode(embedded)
        case None, int(number):
            return number
        case _:
            raise InvalidMessageError("a sender certificate has one signer: embedded, or by its number")


def _text(what: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InvalidMessageError(f"the {what} in a sender certificate is no UTF-8") from None
