"""Keys, plaintexts and tokens are in no repr: every value class that could hold one is made, printed and searched.

The classes are found, not listed: whoever adds one with a field of bytes or text must hide it, or say below why it may
be seen. `tests/ratchet/test_secrets.py` does the same with real keys, and `tests/client/test_secrets.py` with the log.
"""

from __future__ import annotations

import enum
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from operator import ne
from typing import Any, Final, TypeGuard

import attrs
import pytest

import whisperkit
from whisperkit.ids import BlobId, ConversationId, DeviceId, MessageId, UserId

# Where keys, plaintexts and tokens pass. Of the rest, `sync`, `keys` and `fanout` know ciphertexts and public keys.
PACKAGES: Final = ("accounts", "anyio_runtime", "client", "partitions", "ratchet", "service", "stores", "transport")

CANARY: Final = b"CANARY" * 6

# What may be seen: names of fields, wherever they are, or of a class with its field.
PUBLIC: Final = {
    "public halves of keys, signatures, and hashes of them": {
        "identity_key", "public", "signature", "ratchet_key", "base_key", "signing_key",
        "local_identity", "remote_identity", "local_address", "remote_address", "SafetyNumber.local",
        "SafetyNumber.remote", "Collected.data", "ServerCertificate.key", "SenderTrust.roots", "_Known.keys",
    },
    "what travels: sealed, or the seal of it": {
        "ciphertext", "kyber_ciphertext", "pq_ratchet", "authenticated", "mac", "addresses", "signed",
        "CiphertextMessage.body", "PreKeySignalMessage.message", "GroupEncrypted.body", "SealedPost.shared",
        "SealedPost.own", "Gifts.own", "PostRow.shared", "PostRow.own", "Message.chunk", "Part.own",
        "SentMessage.shared", "Sealed.parts", "Sealed.shared",
    },
    "said without encryption, and says nothing but which message did not open": {"PlaintextContent.body"},
    "tables of arithmetic": {
        "ProductTable.low_to_low", "ProductTable.low_to_high", "ProductTable.high_to_low", "ProductTable.high_to_high",
        "Coefficients.planes",
    },
    "names and places": {
        "partition", "boxes", "start", "stop", "delete", "tag", "floor_tag", "recent", "Row.key", "Load.keys",
        "Mark.name", "Shape.holds", "Shape.carries", "SentMessage.excluded",
    },
    "names of leases and connections among our own processes": {
        "claim", "Claim.token", "Binding.token",
    },
}  # fmt: skip
# These are in classes of other packages, which are inside of ours.
OUTSIDE: Final = {"floor_tag", "recent", "PostRow.shared", "PostRow.own"}
NOT_SECRET: Final = frozenset(name for names in PUBLIC.values() for name in names)

IDS: Final[Mapping[object, object]] = {
    UserId: UserId.named("alice"),
    DeviceId: DeviceId.named("alice", 1),
    ConversationId: ConversationId("chat"),
    MessageId: MessageId(bytes(16)),
    BlobId: BlobId("b" * 32),
}


def fields_of(cls: type[Any]) -> list[str]:
    return [field.name for field in attrs.fields(cls)] if attrs.has(cls) else list(cls._fields)


def is_value(cls: object) -> TypeGuard[type[Any]]:
    return isinstance(cls, type) and (attrs.has(cls) or (tuple in cls.__mro__ and hasattr(cls, "_fields")))


def value_classes() -> Iterator[type[Any]]:
    for found in pkgutil.walk_packages(whisperkit.__path__, "whisperkit."):
        if found.name.split(".")[1] in PACKAGES:
            for value in vars(importlib.import_module(found.name)).values():
                if is_value(value) and value.__module__ == found.name:
                    yield value


def hints_of(cls: type[Any]) -> dict[str, Any]:
    """The types of the fields; `None` for one that has no name at run time."""
    scope = vars(importlib.import_module(cls.__module__))
    found: dict[str, Any] = {}
    for name, hint in cls.__annotations__.items():
        text = hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else hint
        try:
            found[name] = eval(text, dict(scope)) if isinstance(text, str) else text
        except (NameError, TypeError):
            found[name] = None
    return found


def is_public(cls: type[Any], field: str) -> bool:
    return field in NOT_SECRET or f"{cls.__name__}.{field}" in NOT_SECRET


def filled(hint: Any, blank: bool) -> Any:
    """A value of a type, with canaries wherever there may be a secret, or without."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case typing.Union | types.UnionType:
            return filled(next(each for each in arguments if each is not type(None)), blank)
        case origin if origin is tuple:
            return tuple(filled(each, blank) for each in arguments if each is not ...)
        case origin if inspect.isclass(origin) and issubclass(origin, Mapping):
            return {filled(arguments[0], True): filled(arguments[1], blank)}
        case origin if inspect.isclass(origin) and issubclass(origin, Collection):
            item = filled(arguments[0], blank)
            return frozenset([item]) if issubclass(origin, frozenset) else [item]
        case _:
            return plain(hint, blank)


def plain(hint: Any, blank: bool) -> Any:
    if isinstance(hint, typing.NewType):
        return filled(hint.__supertype__, blank)
    if isinstance(hint, type) and hint in IDS:
        return IDS[hint]
    if hint is bytes or hint is str:
        return hint() if blank else CANARY if hint is bytes else CANARY.decode()
    if is_value(hint):
        return made(hint, lambda name: blank or is_public(hint, name))
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    return hint() if hint in (int, bool, float) else None


def made(cls: type[Any], is_blank: Callable[[str], bool]) -> Any:
    """An object as it would be, without asking its constructor what it thinks of canaries."""
    values = {name: filled(hints_of(cls).get(name), is_blank(name)) for name in fields_of(cls)}
    if not attrs.has(cls):
        return cls(**values)
    found = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(found, name, value)
    return found


def shown(value: object) -> str:
    return f"{value!r} {value} {value:}" if type(value).__format__ is object.__format__ else f"{value!r} {value}"


def leaks(cls: type[Any]) -> list[str]:
    """The fields of a class that are printed and may be secret."""
    found: list[str] = []
    for field in fields_of(cls):
        if not is_public(cls, field):
            value = made(cls, partial(ne, field))
            if any(form in shown(value) for form in (CANARY.decode(), CANARY.hex())):
                found.append(f"{cls.__name__}.{field}")
    return found


CLASSES: Final = sorted(value_classes(), key=lambda cls: f"{cls.__module__}.{cls.__qualname__}")


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__[11:]}.{cls.__qualname__}")
def test_no_secret_is_printed(cls: type[Any]) -> None:
    assert leaks(cls) == []


class Careless(typing.NamedTuple):
    """What somebody might add."""

    number: int
    secret: bytes
    inner: Mapping[str, tuple[bytes, ...]]


@attrs.frozen
class Careful:
    number: int
    secret: bytes = attrs.field(repr=False)


def test_a_class_that_prints_what_it_holds_is_found() -> None:
    assert leaks(Careless) == ["Careless.secret", "Careless.inner"]
    assert leaks(Careful) == []


def test_all_that_is_excused_is_there() -> None:
    pairs = [(cls, name) for cls in CLASSES for name in fields_of(cls)]
    names = {name for _, name in pairs} | {f"{cls.__name__}.{name}" for cls, name in pairs}

    assert NOT_SECRET - names - OUTSIDE == set()
