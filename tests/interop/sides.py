"""A device of this library and one of the official one, behind the same methods.

`Ours` uses `SealingDevice` as an application would: it loads the rows that an operation says it needs, saves what it
returns, and only then lets the message out. Both note in a `Transcript` what they did, bytes included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Protocol

import msgpack

from tests.interop.peer import Answer, OfficialDuplicateError, OfficialError, OfficialUntrustedError, Peer
from whisperkit.errors import ActionRequiredError, DuplicateMessageError, PeerError, UntrustedIdentityError
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.partitions import Span
from whisperkit.ratchet import (
    CiphertextMessage,
    DecryptionErrorMessage,
    Device,
    MessageType,
    PreKeyBundle,
    PublicPreKey,
    SenderKeyDistributionMessage,
    distribution_id,
)
from whisperkit.ratchet.sealed_sender import ContentHint, SealingDevice, SenderCertificate, SenderTrust, Unsealed
from whisperkit.ratchet.session import Session
from whisperkit.ratchet.sessions import SessionShelf

__all__ = ["DUPLICATE", "NOW_MS", "REFUSED", "UNTRUSTED", "Ours", "Side", "Theirs", "Transcript"]

# What a message that cannot be opened ends in, on either side; nothing else may come out.
REFUSED = (PeerError, ActionRequiredError, OfficialError)
DUPLICATE = (DuplicateMessageError, OfficialDuplicateError)
UNTRUSTED = (UntrustedIdentityError, OfficialUntrustedError)

NOW_MS = 1_800_000_000_000


class Transcript:
    """What both sides did, in order, to be looked at when they disagree.

    Attributes:
        events: One dictionary each; bytes are hexadecimal.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []

    def note(self, who: str, did: str, **fields: object) -> None:
        """Add an event."""
        shown = {name: value.hex() if isinstance(value, bytes) else value for name, value in fields.items()}
        self.events.append({"n": len(self.events), "who": who, "did": did, **shown})

    def write(self, path: Path) -> None:
        """Write all events, one JSON object per line."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(event) + "\n" for event in self.events), encoding="ascii")


class Side(Protocol):
    """What both can do. Whatever takes a message raises one of `REFUSED` if it cannot open it."""

    @property
    def id(self) -> DeviceId: ...

    @property
    def identity_key(self) -> bytes: ...

    def restart(self) -> None: ...

    def bundle(self, *, one_time: bool) -> PreKeyBundle: ...

    def begin(self, bundle: PreKeyBundle, *, remote: DeviceId) -> None: ...

    def encrypt(self, plaintext: bytes, *, remote: DeviceId) -> CiphertextMessage: ...

    def encrypt_many(self, plaintext: bytes, count: int, *, remote: DeviceId) -> list[CiphertextMessage]: ...

    def decrypt(self, message: CiphertextMessage, *, sender: DeviceId) -> bytes: ...

    def archive(self, remote: DeviceId) -> None: ...

    def accept(self, identity_key: bytes, *, remote: DeviceId) -> None: ...

    def has_session(self, remote: DeviceId, *, wall_ms: int = NOW_MS) -> bool: ...

    def distribution(self, group: ConversationId) -> bytes: ...

    def rotate(self, group: ConversationId) -> bytes: ...

    def take_distribution(self, message: bytes, *, sender: DeviceId) -> None: ...

    def group_encrypt(self, plaintext: bytes, *, group: ConversationId) -> bytes: ...

    def group_encrypt_many(self, plaintext: bytes, count: int, *, group: ConversationId) -> list[bytes]: ...

    def group_decrypt(self, body: bytes, *, sender: DeviceId) -> bytes: ...


class Ours:
    """A device of this library.

    Attributes:
        records: What it has saved.
    """

    def __init__(self, device_id: DeviceId, *, rng: Random, transcript: Transcript) -> None:
        self._rng = rng
        self._transcript = transcript
        self.records: dict[bytes, bytes] = {}
        self.sealing = SealingDevice(device_id, random_bytes=rng.randbytes)
        self._save(self.device.create_identity(self.records).save)

    @property
    def device(self) -> Device:
        """The library."""
        return self.sealing.device

    @property
    def id(self) -> DeviceId:
        return self.device.device_id

    @property
    def identity_key(self) -> bytes:
        return self.device.identity_key(self.records)

    def restart(self) -> None:
        """Lose everything but the bytes that were saved."""
        saved = msgpack.packb(self.records)
        assert saved is not None  # the stubs allow None, which packb returns for no input
        self.records = msgpack.unpackb(saved)
        self.sealing = SealingDevice(self.id, random_bytes=self._rng.randbytes)

    def session(self, remote: DeviceId) -> Session:
        """The session in which it would send."""
        current = SessionShelf(self.records, remote).current
        assert current is not None
        return current

    def epochs(self, remote: DeviceId) -> int:
        """How many post-quantum secrets both sides have agreed on and gone on from, in the current session."""
        return self.session(remote).ratchet.spqr.agreement.epoch - 1

    def bundle(self, *, one_time: bool) -> PreKeyBundle:
        records = self._load(self.device.records_for_prekeys())
        made = self.device.generate_prekeys(records, wall_ms=NOW_MS, one_time=1)
        self._save(made.save)
        return PreKeyBundle.of(made.upload, index=0 if one_time else None)

    def begin(self, bundle: PreKeyBundle, *, remote: DeviceId) -> None:
        records = self._load(self.device.records_for(remote))
        self._save(self.device.process_bundle(records, bundle, remote=remote, wall_ms=NOW_MS).save)
        self._transcript.note(self._name, "begin", remote=remote, identity=bundle.identity_key)

    def encrypt(self, plaintext: bytes, *, remote: DeviceId) -> CiphertextMessage:
        records = self._load(self.device.records_for(remote))
        sealed = self.device.encrypt(records, plaintext, remote=remote, wall_ms=NOW_MS)
        self._save(sealed.save)
        self._transcript.note(
            self._name, "encrypt", plaintext=plaintext, type=sealed.message.type, body=sealed.message.body
        )
        return sealed.message

    def encrypt_many(self, plaintext: bytes, count: int, *, remote: DeviceId) -> list[CiphertextMessage]:
        return [self.encrypt(plaintext, remote=remote) for _ in range(count)]

    def decrypt(self, message: CiphertextMessage, *, sender: DeviceId) -> bytes:
        self._transcript.note(self._name, "decrypt", type=message.type, body=message.body)
        records = self._load(self.device.records_for(sender, message))
        opened = self.device.decrypt(records, message, sender=sender, wall_ms=NOW_MS)
        self._save(opened.save)
        return opened.plaintext

    def archive(self, remote: DeviceId) -> None:
        self._save(self.device.archive_session(self._load(self.device.records_for(remote)), remote=remote).save)
        self._transcript.note(self._name, "archive", remote=remote)

    def accept(self, identity_key: bytes, *, remote: DeviceId) -> None:
        records = self._load(self.device.records_for(remote))
        self._save(self.device.accept_identity(records, identity_key, remote=remote, wall_ms=NOW_MS).save)
        self._transcript.note(self._name, "accept", remote=remote, identity=identity_key)

    def has_session(self, remote: DeviceId, *, wall_ms: int = NOW_MS) -> bool:
        records = self._load(self.device.records_for(remote))
        return self.device.has_session(records, remote=remote, wall_ms=wall_ms)

    def distribution(self, group: ConversationId) -> bytes:
        made = self.device.create_distribution(self._load(self.device.records_for_group(group)), group)
        self._save(made.save)
        return made.message.encode()

    def rotate(self, group: ConversationId) -> bytes:
        made = self.device.rotate_sender_key(self._load(self.device.records_for_group(group)), group)
        self._save(made.save)
        return made.message.encode()

    def take_distribution(self, message: bytes, *, sender: DeviceId) -> None:
        decoded = SenderKeyDistributionMessage.decode(message)
        records = self._load(self.device.records_for_sender_key(decoded, sender=sender))
        self._save(self.device.process_distribution(records, decoded, sender=sender).save)

    def group_encrypt(self, plaintext: bytes, *, group: ConversationId) -> bytes:
        sealed = self.device.group_encrypt(self._load(self.device.records_for_group(group)), plaintext, group=group)
        self._save(sealed.save)
        self._transcript.note(self._name, "group_encrypt", plaintext=plaintext, body=sealed.message.body)
        return sealed.message.body

    def group_encrypt_many(self, plaintext: bytes, count: int, *, group: ConversationId) -> list[bytes]:
        return [self.group_encrypt(plaintext, group=group) for _ in range(count)]

    def group_decrypt(self, body: bytes, *, sender: DeviceId) -> bytes:
        self._transcript.note(self._name, "group_decrypt", sender=sender, body=body)
        message = CiphertextMessage(MessageType.SENDER_KEY, body)
        records = self._load(self.device.records_for_sender_key(message, sender=sender))
        opened = self.device.group_decrypt(records, message, sender=sender)
        self._save(opened.save)
        return opened.plaintext

    def seal(self, plaintext: bytes, *, remote: DeviceId, certificate: bytes) -> bytes:
        """Encrypt and seal for one device."""
        made = self.sealing.encrypt(
            self._load(self.device.records_for(remote)),
            plaintext,
            remote=remote,
            certificate=SenderCertificate.decode(certificate),
            wall_ms=NOW_MS,
        )
        self._save(made.save)
        self._transcript.note(self._name, "seal", plaintext=plaintext, body=made.body)
        return made.body

    def unseal(self, body: bytes, *, trust: SenderTrust, wall_ms: int = NOW_MS) -> tuple[Unsealed, bytes]:
        """Unseal and decrypt, of a session or of a group."""
        self._transcript.note(self._name, "unseal", body=body)
        unsealed = self.sealing.unseal(
            self._load(self.sealing.records_for_unseal()), body, trust=trust, wall_ms=wall_ms
        )
        records = self._load(self.sealing.records_for_unsealed(unsealed))
        opened = self.sealing.decrypt(records, unsealed, wall_ms=NOW_MS)
        self._save(opened.save)
        return unsealed, opened.plaintext

    def decryption_error(self, body: bytes, *, trust: SenderTrust) -> DecryptionErrorMessage:
        """Unseal the word of a device that it could not decrypt something."""
        records = self._load(self.sealing.records_for_unseal())
        unsealed = self.sealing.unseal(records, body, trust=trust, wall_ms=NOW_MS)
        return self.sealing.decryption_error(self._load(self.sealing.records_for_unsealed(unsealed)), unsealed)

    def seal_for_group(
        self, plaintext: bytes, *, group: ConversationId, to: list[DeviceId], certificate: bytes, hint: ContentHint
    ) -> bytes:
        """Encrypt for a group and seal for many devices."""
        made = self.sealing.group_encrypt(
            self._load(self.sealing.records_for_many(group, to)),
            plaintext,
            group=group,
            recipients=to,
            certificate=SenderCertificate.decode(certificate),
            wall_ms=NOW_MS,
            hint=hint,
        )
        self._save(made.save)
        return made.body

    @property
    def _name(self) -> str:
        return f"ours {self.id}"

    def _load(self, spans: tuple[Span, ...]) -> dict[bytes, bytes]:
        return {key: value for key, value in self.records.items() if any(s.start <= key < s.stop for s in spans)}

    def _save(self, rows: Mapping[bytes, bytes | None]) -> None:
        for key, value in rows.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value


class Theirs:
    """A device of the official library, in a process of its own."""

    def __init__(self, device_id: DeviceId, *, registration_id: int, transcript: Transcript) -> None:
        self._id = device_id
        self._transcript = transcript
        self._peer = Peer()
        made = self._peer.ask("init", who=_WHO, addr=_address(device_id), reg=registration_id)
        self._identity_key = bytes.fromhex(made["ident"])

    def close(self) -> None:
        """End the process."""
        self._peer.close()

    def ask(self, op: str, **fields: object) -> Answer:
        """Ask for an operation of peer.mjs."""
        return self._peer.ask(op, who=_WHO, **fields)

    @property
    def id(self) -> DeviceId:
        return self._id

    @property
    def identity_key(self) -> bytes:
        return self._identity_key

    def restart(self) -> None:
        """End the process, and begin another one with what the device had saved."""
        state = self.ask("save")["state"]
        self._peer.close()
        self._peer = Peer()
        self.ask("load", state=state)

    def bundle(self, *, one_time: bool) -> PreKeyBundle:
        b = self.ask("bundle", otp=one_time)
        return PreKeyBundle(
            registration_id=b["reg"],
            identity_key=bytes.fromhex(b["ident"]),
            signed=_prekey(b["spkid"], b["spk"], b["spksig"]),
            kyber=_prekey(b["kpkid"], b["kpk"], b["kpksig"]),
            one_time=_prekey(b["pkid"], b["pk"], "") if one_time else None,
            device=self.id,
        )

    def begin(self, bundle: PreKeyBundle, *, remote: DeviceId) -> None:
        b: dict[str, object] = {
            "reg": bundle.registration_id,
            "dev": remote.number,
            "ident": bundle.identity_key.hex(),
            "spkid": bundle.signed.number,
            "spk": bundle.signed.public.hex(),
            "spksig": bundle.signed.signature.hex(),
            "kpkid": bundle.kyber.number,
            "kpk": bundle.kyber.public.hex(),
            "kpksig": bundle.kyber.signature.hex(),
        }
        if bundle.one_time is not None:
            b |= {"pkid": bundle.one_time.number, "pk": bundle.one_time.public.hex()}
        self.ask("process", addr=_address(remote), b=b, now=NOW_MS)
        self._transcript.note(self._name, "begin", remote=remote, identity=bundle.identity_key)

    def encrypt(self, plaintext: bytes, *, remote: DeviceId) -> CiphertextMessage:
        answer = self.ask("enc", addr=_address(remote), pt=plaintext.hex(), now=NOW_MS)
        message = CiphertextMessage.of(answer["t"], bytes.fromhex(answer["m"]))
        self._transcript.note(self._name, "encrypt", plaintext=plaintext, type=message.type, body=message.body)
        return message

    def encrypt_many(self, plaintext: bytes, count: int, *, remote: DeviceId) -> list[CiphertextMessage]:
        answer = self.ask("encmany", addr=_address(remote), pt=plaintext.hex(), n=count)
        return [CiphertextMessage(MessageType.WHISPER, bytes.fromhex(body)) for body in answer["ms"]]

    def decrypt(self, message: CiphertextMessage, *, sender: DeviceId) -> bytes:
        self._transcript.note(self._name, "decrypt", type=message.type, body=message.body)
        return bytes.fromhex(self.ask("dec", addr=_address(sender), t=message.type, m=message.body.hex())["pt"])

    def archive(self, remote: DeviceId) -> None:
        self.ask("archive", addr=_address(remote))
        self._transcript.note(self._name, "archive", remote=remote)

    def accept(self, identity_key: bytes, *, remote: DeviceId) -> None:
        self.ask("trust", addr=_address(remote), k=identity_key.hex())
        self._transcript.note(self._name, "accept", remote=remote, identity=identity_key)

    def has_session(self, remote: DeviceId, *, wall_ms: int = NOW_MS) -> bool:
        return self.ask("sessions", addr=_address(remote), now=wall_ms)["current"] is True

    def distribution(self, group: ConversationId) -> bytes:
        return bytes.fromhex(self.ask("skdm", d=str(distribution_id(group)))["m"])

    def rotate(self, group: ConversationId) -> bytes:
        self.ask("rotate", d=str(distribution_id(group)))
        return self.distribution(group)

    def take_distribution(self, message: bytes, *, sender: DeviceId) -> None:
        self.ask("skproc", addr=_address(sender), m=message.hex())

    def group_encrypt(self, plaintext: bytes, *, group: ConversationId) -> bytes:
        body = bytes.fromhex(self.ask("genc", d=str(distribution_id(group)), pt=plaintext.hex())["m"])
        self._transcript.note(self._name, "group_encrypt", plaintext=plaintext, body=body)
        return body

    def group_encrypt_many(self, plaintext: bytes, count: int, *, group: ConversationId) -> list[bytes]:
        answer = self.ask("gencmany", d=str(distribution_id(group)), pt=plaintext.hex(), n=count)
        return [bytes.fromhex(body) for body in answer["ms"]]

    def group_decrypt(self, body: bytes, *, sender: DeviceId) -> bytes:
        self._transcript.note(self._name, "group_decrypt", sender=sender, body=body)
        return bytes.fromhex(self.ask("gdec", addr=_address(sender), m=body.hex())["pt"])

    @property
    def _name(self) -> str:
        return f"theirs {self.id}"


_WHO = "me"


def _address(device: DeviceId) -> tuple[str, int]:
    return device.user, device.number


def _prekey(number: int, public: str, signature: str) -> PublicPreKey:
    return PublicPreKey(number, bytes.fromhex(public), bytes.fromhex(signature))
