"""The doors that skip a safety check."""

from __future__ import annotations

import pytest

from whisperkit.errors import InvalidKeyError, UsageError
from whisperkit.ids import DeviceId
from whisperkit.ratchet import hazmat
from whisperkit.testing.ratchet import Party, seeded_bytes


def test_an_exported_identity_can_be_imported_elsewhere() -> None:
    alice = Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(1))
    pair = hazmat.export_identity(alice.records)

    created = hazmat.import_identity({}, pair.private, registration_id=7, next_prekey=1)

    assert created.identity_key == alice.device.identity_key(alice.records)
    assert hazmat.export_identity({key: value for key, value in created.save.items() if value}) == pair


def test_an_identity_is_not_replaced_or_made_up() -> None:
    alice = Party(DeviceId.named("alice", 1), random_bytes=seeded_bytes(1))

    with pytest.raises(UsageError, match="no identity"):
        hazmat.export_identity({})
    with pytest.raises(UsageError, match="already"):
        hazmat.import_identity(alice.records, bytes(32), registration_id=1, next_prekey=1)
    with pytest.raises(UsageError, match="1 to 16380, got 0"):
        hazmat.import_identity({}, bytes(32), registration_id=0, next_prekey=1)
    with pytest.raises(InvalidKeyError):
        hazmat.import_identity({}, bytes(31), registration_id=1, next_prekey=1)
