"""Where the passphrase of a device comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from examples.adapters.sealed_lock import Cost, KeyLock, Lock, Passphrase
from examples.passphrase import NoPassphraseError, lock_for


def never_asked(prompt: str) -> str:
    raise AssertionError(f"asked: {prompt}")


def answering(*answers: str, shown: list[str] | None = None) -> Callable[[str], str]:
    left = list(answers)

    def ask(prompt: str) -> str:
        if shown is not None:
            shown.append(prompt)
        return left.pop(0)

    return ask


def lock(
    environ: Mapping[str, str] | None = None, *, ask: Callable[[str], str] | None = never_asked, is_new: bool = False
) -> Lock:
    return lock_for("alice.1", is_new=is_new, environ=environ or {}, ask=ask)


def test_a_person_is_asked_and_the_dear_cost_is_taken() -> None:
    assert lock(ask=answering("horse")) == Passphrase("horse", Cost.MODERATE)


def test_a_new_passphrase_is_typed_twice_until_both_are_the_same() -> None:
    shown: list[str] = []

    assert lock(ask=answering("horse", "horse", shown=shown), is_new=True) == Passphrase("horse")

    assert "alice.1" in shown[0]
    shown.clear()
    assert lock(ask=answering("horse", "house", "mouse", "mouse", shown=shown), is_new=True) == Passphrase("mouse")
    assert shown[2:] == ["the two are not the same; a passphrase: ", "once more: "]


def test_the_environment_has_it_as_text_in_a_file_or_as_a_key(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text(" correct horse \nnot this\n")

    assert lock({"WHISPERKIT_PASSPHRASE": "horse"}) == Passphrase("horse")
    assert lock({"WHISPERKIT_PASSPHRASE_FILE": str(file)}) == Passphrase(" correct horse ")
    assert lock({"WHISPERKIT_KEY": "ab" * 32}) == KeyLock(b"\xab" * 32)


def test_an_empty_variable_counts_as_none() -> None:
    assert lock({"WHISPERKIT_PASSPHRASE": "", "WHISPERKIT_KEY": ""}, ask=answering("horse")) == Passphrase("horse")


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        (
            {"WHISPERKIT_PASSPHRASE": "a", "WHISPERKIT_KEY": "b"},
            "one of WHISPERKIT_PASSPHRASE and WHISPERKIT_KEY",
        ),
        ({"WHISPERKIT_KEY": "ab" * 31}, "WHISPERKIT_KEY: a key has 32 bytes, got 31"),
        ({"WHISPERKIT_KEY": "secret"}, "WHISPERKIT_KEY: 64 hex digits"),
        ({"WHISPERKIT_PASSPHRASE_FILE": "/nowhere/at/all"}, "/nowhere/at/all cannot be read"),
    ],
)
def test_what_is_wrong_with_the_environment_is_told(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(NoPassphraseError, match=reason) as caught:
        lock(environ)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\n"])
def test_a_file_without_a_passphrase_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_bytes(content)

    with pytest.raises(NoPassphraseError, match="WHISPERKIT_PASSPHRASE_FILE: "):
        lock({"WHISPERKIT_PASSPHRASE_FILE": str(file)})


def test_nothing_is_taken_for_a_passphrase_where_nobody_can_be_asked() -> None:
    with pytest.raises(NoPassphraseError, match=r"no terminal to ask for the passphrase of alice\.1; set"):
        lock(ask=None)
    with pytest.raises(NoPassphraseError, match="at least one character"):
        lock(ask=answering(""))
