"""Devices that seal for each other, and a server that vouches for them, without a store and without a network."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet import CiphertextMessage, KeyPair, Opened, RandomBytes
from whisperkit.ratchet.curve import decode_public, generate
from whisperkit.ratchet.sealed_sender import (
    ContentHint,
    Sealable,
    SealingDevice,
    SenderCertificate,
    SenderTrust,
    ServerCertificate,
    Unsealed,
)
from whisperkit.testing.ratchet import Party

__all__ = ["Authority", "SealingParty"]

_DAY_MS: Final = 86_400_000


class Authority:
    """A trust root and one server.

    Args:
        random_bytes: Where its keys come from.
        number: Of the server's certificate.

    Attributes:
        root: The keys of the trust root.
        signer: The keys of the server.
        server: The server's certificate.
        trust: What a device believes that has heard of this root only.
    """

    def __init__(self, *, random_bytes: RandomBytes, number: int = 1) -> None:
        self.root: KeyPair = generate(random_bytes=random_bytes)
        self.signer: KeyPair = generate(random_bytes=random_bytes)
        self._random_bytes = random_bytes
        self.server = ServerCertificate.issue(
            number=number, key=self.signer.public, trust_root=self.root.private, random_bytes=random_bytes
        )
        self.trust = SenderTrust(roots=[self.root.public])

    def certify(
        self,
        device: DeviceId,
        identity_key: bytes,
        *,
        expires_at_ms: int = _DAY_MS,
        e164: str | None = None,
        is_signer_embedded: bool = True,
    ) -> SenderCertificate:
        """Vouch for a device: any, for nothing is asked here."""
        return SenderCertificate.issue(
            sender=device,
            identity_key=decode_public(identity_key),
            expires_at_ms=expires_at_ms,
            signer=self.server,
            signer_private=self.signer.private,
            random_bytes=self._random_bytes,
            e164=e164,
            is_signer_embedded=is_signer_embedded,
        )


class SealingParty(Party):
    """A party with a certificate.

    Args:
        device_id: Which device.
        authority: Who vouches for it, and whom it believes.
        random_bytes: Where its randomness comes from.

    Attributes:
        sealing: The pure ratchet with seals.
        certificate: Its certificate.
        trust: Whom it believes.
    """

    def __init__(self, device_id: DeviceId, *, authority: Authority, random_bytes: RandomBytes) -> None:
        super().__init__(device_id, random_bytes=random_bytes)
        self.sealing = SealingDevice(device_id, random_bytes=random_bytes)
        self.certificate = authority.certify(device_id, self.device.identity_key(self.records))
        self.trust = authority.trust

    def seal(self, message: Sealable, *, to: Party) -> bytes:
        """Seal what is there already for another party."""
        return self.sealing.seal(
            self.records, message, remote=to.id, certificate=self.certificate, wall_ms=self.wall_ms
        )

    def encrypt_sealed(self, plaintext: bytes, *, to: Party, hint: ContentHint = ContentHint.DEFAULT) -> bytes:
        """Encrypt for another party, seal, and save."""
        made = self.sealing.encrypt(
            self.records, plaintext, remote=to.id, certificate=self.certificate, wall_ms=self.wall_ms, hint=hint
        )
        self.save(made.save)
        return made.body

    def group_encrypt_sealed(
        self, plaintext: bytes, *, group: ConversationId, to: Collection[Party], excluded: Collection[str] = ()
    ) -> bytes:
        """Encrypt for a group, seal for the devices of some, and save."""
        made = self.sealing.group_encrypt(
            self.records,
            plaintext,
            group=group,
            recipients=[each.id for each in to],
            certificate=self.certificate,
            wall_ms=self.wall_ms,
            excluded=excluded,
        )
        self.save(made.save)
        return made.body

    def hand_out(self, group: ConversationId, *, to: Collection[Party]) -> None:
        """Give others this party's sender key for a group."""
        made = self.device.create_distribution(self.records, group)
        self.save(made.save)
        for each in to:
            each.save(each.device.process_distribution(each.records, made.message, sender=self.id).save)

    def unseal(self, data: bytes) -> Unsealed:
        """Open a seal."""
        return self.sealing.unseal(self.records, data, trust=self.trust, wall_ms=self.wall_ms)

    def open_sealed(self, data: bytes) -> Opened:
        """Open a seal, decrypt what is in it, and save."""
        opened = self.sealing.decrypt(self.records, self.unseal(data), wall_ms=self.wall_ms)
        self.save(opened.save)
        return opened

    def sealed_message(self, data: bytes) -> CiphertextMessage:
        """The encrypted message under a seal."""
        message = self.unseal(data).message
        assert isinstance(message, CiphertextMessage)
        return message
