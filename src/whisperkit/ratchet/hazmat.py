"""Doors that skip a safety check. Each says what can go wrong; none is needed to send and receive messages."""

from __future__ import annotations

from whisperkit.errors import UsageError
from whisperkit.ratchet.curve import KeyPair, key_pair
from whisperkit.ratchet.device import MAX_REGISTRATION_ID
from whisperkit.ratchet.records import IDENTITY_KEY, LocalIdentity, decode_local_identity, encode_local_identity
from whisperkit.ratchet.results import Created, Records

__all__ = ["export_identity", "import_identity"]


def export_identity(records: Records) -> KeyPair:
    """Take out the device's identity keys, private half included.

    Whoever gets them can speak for the device until each of its peers has accepted another key. Meant for a
    backup that the person encrypts.

    Raises:
        UsageError: There is no identity, or it was not loaded.
    """
    if IDENTITY_KEY not in records:
        raise UsageError("there is no identity to export", code="usage.identity")
    return decode_local_identity(records[IDENTITY_KEY]).pair


def import_identity(records: Records, private: bytes, *, registration_id: int, next_prekey: int) -> Created:
    """Set up a device with identity keys from elsewhere.

    Two devices with one identity cannot be told apart by safety numbers. Sessions are never part of it: a
    session that runs twice uses message keys twice, which gives plaintexts away.

    Args:
        records: The records of the new device.
        private: 32 bytes.
        registration_id: A new one, 1 to `MAX_REGISTRATION_ID`.
        next_prekey: Above every number that was used under this identity and may still be asked for.

    Raises:
        UsageError: The device has an identity, or the registration id is out of range.
        InvalidKeyError: The key is none.
    """
    if IDENTITY_KEY in records:
        raise UsageError("the device has an identity already", code="usage.identity")
    if not 1 <= registration_id <= MAX_REGISTRATION_ID:
        raise UsageError(f"a registration id is 1 to {MAX_REGISTRATION_ID}, got {registration_id}")
    identity = LocalIdentity(key_pair(private), registration_id, next_prekey)
    return Created({IDENTITY_KEY: encode_local_identity(identity)}, identity.pair.public, registration_id)
