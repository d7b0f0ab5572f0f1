"""Every public error has a page, which says what to do and who raises it."""

from __future__ import annotations

from pathlib import Path

import pytest
from error_pages import Raisers, attributes_of, meaning_of, public_errors, raisers, render_error, render_errors

from whisperkit import errors
from whisperkit.errors import (
    DuplicateMessageError,
    MalformedIdError,
    NoSessionError,
    PeerError,
    StoreError,
    UsageCode,
    UsageError,
    WhisperError,
)

PAGES = render_errors()


def without_page(pages: dict[str, str], names: list[str]) -> list[str]:
    """Errors of which no page tells."""
    return [name for name in names if not pages.get(f"errors/{getattr(errors, name).code}.md", "").strip()]


def test_every_public_error_has_a_page() -> None:
    assert without_page(PAGES, errors.__all__) == []
    assert len(PAGES) == 1 + len(errors.__all__) + len(UsageError.misuses)


def test_an_error_without_a_page_is_found() -> None:
    pages = {path: text for path, text in PAGES.items() if path != "errors/ratchet.duplicate.md"}

    assert without_page(pages, errors.__all__) == ["DuplicateMessageError"]


@pytest.mark.parametrize("error", public_errors(), ids=lambda error: error.code)
def test_a_page_has_the_code_the_meaning_what_to_do_and_who_raises_it(error: type[WhisperError]) -> None:
    page = PAGES[f"errors/{error.code}.md"]

    parts = page.split("\n\n")
    assert parts[:2] == [f"({error.code})=", f"# `{error.code}`"]
    assert f"whisperkit.errors.{error.__name__}`" in parts[2]
    assert meaning_of(error) in page
    assert page.count("## What to do\n\n") == page.count("## Raised by\n\n") == 1
    assert (error.advice or "")[1:] in page
    assert all(f"- `{name}`: " in page for name in attributes_of(error))


def test_the_list_leads_to_every_page() -> None:
    index = PAGES["errors.md"]

    for error in public_errors():
        assert f"{{ref}}`{error.code} <{error.code}>` | `{error.__name__}` | " in index


@pytest.mark.parametrize("code", UsageError.misuses)
def test_a_mistake_that_is_looked_up_has_a_page_of_its_own(code: UsageCode) -> None:
    meaning, advice = UsageError.misuses[code]
    page = PAGES[f"errors/{code}.md"]

    assert page.startswith(f"({code})=\n\n# `{code}`\n\n{{py:exc}}`whisperkit.errors.UsageError`")
    assert f"\n\n{meaning}\n\n## What to do\n\n{advice}\n\n## Raised by\n\n" in page
    assert f"- {{ref}}`{code} <{code}>`: {meaning}" in PAGES["errors/usage.md"]
    assert f"| {{ref}}`{code} <{code}>` | `UsageError` | {meaning} |" in PAGES["errors.md"]


@pytest.mark.parametrize("code", UsageError.misuses)
def test_a_code_of_its_own_is_of_a_mistake_that_can_be_made(code: UsageCode) -> None:
    assert "the library itself never does" not in PAGES[f"errors/{code}.md"]


def test_the_page_of_a_mistake_names_who_finds_it() -> None:
    assert "- {py:obj}`whisperkit.service.service.MessageService.send`\n" in PAGES["errors/usage.outbox-seq.md"]


def test_attributes_are_told_with_their_meaning_and_nothing_else_is() -> None:
    assert attributes_of(NoSessionError) == {
        "remote": "The device.",
        "known": "Devices of the same user with which there is one.",
    }
    assert attributes_of(UsageError) == {}
    assert meaning_of(NoSessionError) == "There is no session with the device."


def test_a_page_names_the_kinds_of_an_error_and_of_which_it_is_one() -> None:
    page = PAGES["errors/ids.malformed.md"]

    assert "a kind of {ref}`peer <peer>` and {ref}`usage <usage>`." in page
    assert f"- {{ref}}`ids.malformed <ids.malformed>`: {meaning_of(MalformedIdError)}" in PAGES["errors/usage.md"]


def test_an_error_that_only_adapters_raise_says_so() -> None:
    page = render_error(StoreError, public_errors(), Raisers((), ()))

    assert "## Raised by\n\nAdapters of stores and of networks raise it; the library itself never does." in page


# ---- who raises it --------------------------------------------------------------------------------------------------

MODULE = '''
__all__ = ["Thing", "read"]


def read():
    """Read it.

    Raises:
        PeerError: It is
            none.
        KeyError: It is not ours.

    Spec:
        UsageError: not this.
    """


def _check():
    raise UsageError("no")


class Thing:
    """A thing."""

    def __init__(self):
        raise NoSessionError(remote=self)

    def count(self, number):
        """Count it."""
        raise UsageError(f"got {number}", code="usage.outbox-seq")

    def turn(self):
        """Turn it."""
        def inner():
            return StoreError("no")
        return inner

    def undocumented(self):
        raise ConflictError("x")

    def _hidden(self):
        raise TransportError("no")


class _Other:
    def act(self):
        """Act."""
        raise DuplicateMessageError(counter=1, chain_index=2)
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    package = tmp_path / "pack"
    for path in ("one.py", "testing/kit.py", "_hidden.py", "deep/__init__.py"):
        (package / path).parent.mkdir(exist_ok=True, parents=True)
        (package / path).write_text(MODULE)
    return package


def test_who_says_it_or_does_it_is_found_and_private_ones_by_their_module(source: Path) -> None:
    found = {name: raised for name, raised in raisers(source).items() if raised != Raisers((), ())}

    assert found == {
        "PeerError": Raisers(("pack.one.read",), ()),
        "NoSessionError": Raisers(("pack.one.Thing",), ()),
        "StoreError": Raisers(("pack.one.Thing.turn",), ()),
        "UsageError": Raisers(("pack.one.Thing.count",), ("pack.one",)),
        "usage.outbox-seq": Raisers(("pack.one.Thing.count",), ()),
        "ConflictError": Raisers((), ("pack.one",)),
        "TransportError": Raisers((), ("pack.one",)),
        "DuplicateMessageError": Raisers((), ("pack.one",)),
    }


def test_the_pages_name_who_raises_an_error() -> None:
    page = PAGES[f"errors/{DuplicateMessageError.code}.md"]

    assert "- {py:obj}`whisperkit.ratchet.device.Device.decrypt`\n" in page
    assert "{py:mod}`whisperkit.ratchet.double_ratchet`" in page
    assert PAGES[f"errors/{PeerError.code}.md"].count("\n- {py:obj}`whisperkit.") > 5
