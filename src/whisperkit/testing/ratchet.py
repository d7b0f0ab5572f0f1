"""Two devices that encrypt for each other, without a store and without a network.

A `Party` is a `Device` with a `dict` for its records. It saves what each operation returns, as an
application has to, so that a test of a transport or of a store can be about that. Before each operation it starts
anew, so that whatever was not saved is noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from whisperkit.ids import DeviceId
from whisperkit.ratchet import CiphertextMessage, Device, Opened, PreKeyBundle, PreKeyUpload, RandomBytes

__all__ = ["Party", "seeded_bytes"]


def seeded_bytes(seed: int) -> RandomBytes:
    """Randomness that repeats itself: for tests only."""
    return Random(seed).randbytes


class Party:
    """A device and its records.

    Args:
        device_id: Which device.
        random_bytes: Where its randomness comes from.

    Attributes:
        id: Which device this is.
        records: What it has saved. A `dict` is a store.
        wall_ms: Its clock, milliseconds since 1970; moves when a test moves it.
    """

    def __init__(self, device_id: DeviceId, *, random_bytes: RandomBytes) -> None:
        self.id = device_id
        self._random_bytes = random_bytes
        self.records: dict[bytes, bytes] = {}
        self.wall_ms = 0
        self.save(self.device.create_identity(self.records).save)

    @property
    def device(self) -> Device:
        """The pure ratchet, which remembers nothing of what it did before."""
        return Device(self.id, random_bytes=self._random_bytes)

    def save(self, rows: Mapping[bytes, bytes | None]) -> None:
        """Commit what an operation returned."""
        for key, value in rows.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def publish(self, *, one_time: int = 1) -> PreKeyUpload:
        """Make prekeys."""
        made = self.device.generate_prekeys(self.records, wall_ms=self.wall_ms, one_time=one_time)
        self.save(made.save)
        return made.upload

    def meet(self, other: Party) -> None:
        """Make a session from a fresh bundle of another party."""
        bundle = PreKeyBundle.of(other.publish())
        self.save(self.device.process_bundle(self.records, bundle, remote=other.id, wall_ms=self.wall_ms).save)

    def encrypt(self, plaintext: bytes, *, to: Party) -> CiphertextMessage:
        """Encrypt for another party, and save."""
        sealed = self.device.encrypt(self.records, plaintext, remote=to.id, wall_ms=self.wall_ms)
        self.save(sealed.save)
        return sealed.message

    def open(self, message: CiphertextMessage, *, sender: Party) -> Opened:
        """Decrypt a message of another party, and save."""
        opened = self.device.decrypt(self.records, message, sender=sender.id, wall_ms=self.wall_ms)
        self.save(opened.save)
        return opened

    def decrypt(self, message: CiphertextMessage, *, sender: Party) -> bytes:
        """Decrypt a message of another party, save, and return the plaintext."""
        return self.open(message, sender=sender).plaintext
