"""What opens a device: a passphrase that is asked for, or what the environment says.

WHISPERKIT_PASSPHRASE_FILE   a file whose first line is the passphrase
WHISPERKIT_PASSPHRASE        the passphrase itself, which other programs of the same user may be able to read
WHISPERKIT_KEY               64 hex digits, such as a system's keyring keeps: no passphrase, and no derivation

One of them; a variable that is empty counts as none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from examples.adapters.sealed_lock import KeyLock, Lock, Passphrase
from whisperkit.errors import UsageError

__all__ = ["NoPassphraseError", "lock_for"]

_FILE: Final = "WHISPERKIT_PASSPHRASE_FILE"
_TEXT: Final = "WHISPERKIT_PASSPHRASE"
_KEY: Final = "WHISPERKIT_KEY"


class NoPassphraseError(Exception):
    """There is nothing to open a device with."""


def lock_for(device: str, *, is_new: bool, environ: Mapping[str, str], ask: Callable[[str], str] | None) -> Lock:
    """Find out what opens a device.

    Args:
        device: What to call it.
        is_new: It is made now, so a person types the passphrase twice.
        environ: The environment.
        ask: Shows a prompt and reads without an echo; `None` if nobody can be asked.

    Raises:
        NoPassphraseError: There is none, or it cannot be one.
    """
    given = [name for name in (_FILE, _TEXT, _KEY) if environ.get(name)]
    if len(given) > 1:
        raise NoPassphraseError(f"set one of {' and '.join(given)}, not {len(given)}")
    try:
        match given:
            case [name] if name == _FILE:
                return Passphrase(_first_line(Path(environ[_FILE])))
            case [name] if name == _TEXT:
                return Passphrase(environ[_TEXT])
            case [_]:
                return KeyLock(_from_hex(environ[_KEY]))
            case _ if ask is not None:
                try:
                    return Passphrase(_asked(device, ask, is_new=is_new))
                except EOFError as error:
                    raise NoPassphraseError(f"no passphrase of {device} was typed") from error
            case _:
                raise NoPassphraseError(f"no terminal to ask for the passphrase of {device}; set {_FILE}")
    except UsageError as error:
        raise NoPassphraseError(f"{' '.join(given) or device}: {error}") from error


def _asked(device: str, ask: Callable[[str], str], *, is_new: bool) -> str:
    if not is_new:
        return ask(f"passphrase of {device}: ")
    prompt = f"a passphrase for {device}, which is made now; nobody can read it without: "
    while True:
        text = ask(prompt)
        if ask("once more: ") == text:
            return text
        prompt = "the two are not the same; a passphrase: "


def _first_line(path: Path) -> str:
    try:
        # Editors end a file with a line break, which belongs to no passphrase.
        return next(iter(path.read_text(encoding="utf-8").splitlines()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise NoPassphraseError(f"{_FILE}: {path} cannot be read: {error}") from error


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        # Not the digits that were found: they are most of a key. Nor as the cause, which names one.
        raise NoPassphraseError(f"{_KEY}: 64 hex digits are needed, and these are none") from None
