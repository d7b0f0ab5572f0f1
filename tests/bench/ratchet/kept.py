"""Devices of this library whose rows are in a dictionary."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from whisperkit.ids import ConversationId, DeviceId
from whisperkit.ratchet import CiphertextMessage, Device, PreKeyBundle

__all__ = ["GROUP", "NOW_MS", "Kept", "introduce", "publish"]

GROUP: Final = ConversationId("group")
NOW_MS: Final = 1_800_000_000_000


class Kept:
    """A device whose rows are in a dictionary.

    Attributes:
        id: Which device.
        device: The library.
        records: The rows.
    """

    def __init__(self, device_id: DeviceId) -> None:
        self.id = device_id
        self.device = Device(device_id, random_bytes=os.urandom)
        self.records: dict[bytes, bytes] = {}
        self.save(self.device.create_identity(self.records).save)

    def save(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Write what an operation says."""
        for key, value in rows.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def begin(self, bundle: PreKeyBundle, *, remote: DeviceId) -> None:
        """Make a session."""
        self.save(self.device.process_bundle(self.records, bundle, remote=remote, wall_ms=NOW_MS).save)

    def encrypt(self, plaintext: bytes, *, remote: DeviceId) -> CiphertextMessage:
        """Encrypt, and save."""
        sealed = self.device.encrypt(self.records, plaintext, remote=remote, wall_ms=NOW_MS)
        self.save(sealed.save)
        return sealed.message

    def decrypt(self, message: CiphertextMessage, *, sender: DeviceId) -> bytes:
        """Decrypt, and save."""
        opened = self.device.decrypt(self.records, message, sender=sender, wall_ms=NOW_MS)
        self.save(opened.save)
        return opened.plaintext


def publish(kept: Kept, count: int) -> list[PreKeyBundle]:
    """Make one-time prekeys, and the bundles that a server makes of them."""
    made = kept.device.generate_prekeys(kept.records, wall_ms=NOW_MS, one_time=count)
    kept.save(made.save)
    return [PreKeyBundle.of(made.upload, index=n) for n in range(count)]


def introduce() -> tuple[Kept, Kept]:
    """Alice, who has written a message, and Bob, who has read it."""
    alice, bob = Kept(DeviceId.named("alice", 1)), Kept(DeviceId.named("bob", 1))
    (bundle,) = publish(bob, 1)
    alice.begin(bundle, remote=bob.id)
    assert bob.decrypt(alice.encrypt(b"hello", remote=bob.id), sender=alice.id) == b"hello"
    return alice, bob
