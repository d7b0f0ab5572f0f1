"""How a door is checked: a maker, a list of checks, and a lab in which each runs.

A maker is a function without arguments that returns an async context manager, and is all that an adapter's
author writes. The same maker feeds a pytest class (`Conformance`), a plain call (`run_conformance`) and the
simulator. Each check opens what the maker makes, under names that nobody used before, so a database that is
still full of yesterday's run is no obstacle, and a check that needs what the maker's thing cannot do is skipped
with the reason.
"""

from __future__ import annotations

import unittest
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import TYPE_CHECKING, ClassVar, Final, Generic, NamedTuple, TypeAlias, TypeVar, cast
from uuid import uuid4

import anyio
import anyio.lowlevel

from whisperkit.errors import WhisperError
from whisperkit.partitions import Head, Partition, Row

if TYPE_CHECKING:
    import pytest

__all__ = [
    "Check",
    "Conformance",
    "Lab",
    "LawBrokenError",
    "Maker",
    "NotApplicable",
    "Report",
    "expect",
    "in_lab",
    "patiently",
    "run_conformance",
]

T = TypeVar("T")
Maker: TypeAlias = Callable[[], AbstractAsyncContextManager[T]]


class LawBrokenError(AssertionError):
    """What was checked does not keep a promise of its door."""


class NotApplicable(unittest.SkipTest):  # no error: pytest and unittest take it as a skip
    """The check is about something that this implementation does not claim."""


def expect(found: object, wanted: object, law: str) -> None:
    """Compare, types too: two NamedTuples with equal fields are equal whatever their class.

    Raises:
        LawBrokenError: They differ; the text names the law.
    """
    if not _is_same(found, wanted):
        raise LawBrokenError(f"{law}: expected {_short(wanted)}, found {_short(found)}")


def _is_same(found: object, wanted: object) -> bool:
    if not isinstance(found, type(wanted)) or found != wanted:
        return False
    if isinstance(wanted, dict):
        # Equal dictionaries have equal keys. The casts say what the checks above have found.
        there = cast("dict[object, object]", found)
        return all(_is_same(there[key], value) for key, value in cast("dict[object, object]", wanted).items())
    if isinstance(wanted, list | tuple):
        pairs = zip(cast("Sequence[object]", found), cast("Sequence[object]", wanted), strict=True)
        return all(_is_same(one, other) for one, other in pairs)
    return True


def _short(value: object) -> str:
    text = _shown(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)} characters)"


def _shown(value: object) -> str:
    """Rows and heads with what they hold, which they do not print themselves: here it is the kit's own."""
    if isinstance(value, Head | Row):
        return f"{type(value).__name__}{tuple(value)!r}"
    if type(value) is list:
        return f"[{', '.join(map(_shown, cast('list[object]', value)))}]"
    if type(value) is tuple:
        return f"({', '.join(map(_shown, cast('tuple[object, ...]', value)))})"
    return repr(value)


async def patiently(call: Callable[[], Awaitable[None]]) -> None:
    """Repeat a call until it is answered, as every caller of a door does."""
    while True:
        try:
            return await call()
        except WhisperError:
            await anyio.lowlevel.checkpoint()


class Lab(Generic[T]):
    """Where one check runs.

    Args:
        make: Makes what is checked.
        backend: ``asyncio`` or ``trio``.
        survives_restart: Whether what was written is there when the maker is called again.
    """

    def __init__(self, make: Maker[T], *, backend: str, survives_restart: bool) -> None:
        self.make = make
        self.backend = backend
        self.survives_restart = survives_restart
        self._run = uuid4().hex[:12]

    def partition(self, name: str) -> Partition:
        """The name of a partition that no other check uses."""
        return Partition(f"kit/{self._run}/{name}")

    def name(self, name: str) -> str:
        """A name that no other check uses, fit for a conversation or a user."""
        return f"kit-{self._run}-{name}"

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run on a new event loop."""
        anyio.run(work, backend=self.backend)


Check: TypeAlias = Callable[[Lab[T]], None]


def in_lab(check: Callable[[Lab[T]], Awaitable[None]]) -> Check[T]:
    """Make a check of a coroutine function."""

    @wraps(check)
    def run(lab: Lab[T]) -> None:
        lab.run(lambda: check(lab))

    return run


class Conformance(Generic[T]):
    """The base of the pytest classes, one for each door. A subclass named ``Test...`` says what to check.

    Attributes:
        make_store: The maker, as a static method or a method.
        backends: The event loops that the implementation runs on.
        survives_restart: Whether what was written is there when the maker is called again.
    """

    make_store: Callable[[], AbstractAsyncContextManager[T]]
    checks: Sequence[Check[T]]
    backends: ClassVar[Sequence[str]] = ("asyncio", "trio")
    survives_restart: ClassVar[bool] = False

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make one test of each check on each backend."""
        metafunc.parametrize("check", self.checks, ids=[name_of(check) for check in self.checks])
        metafunc.parametrize("backend", self.backends)

    def test_law(self, check: Check[T], backend: str) -> None:
        """Run one check."""
        check(Lab(self.make_store, backend=backend, survives_restart=self.survives_restart))


class Report(NamedTuple):
    """What `run_conformance` found.

    Attributes:
        passed: Checks that held.
        skipped: Checks that say nothing about this implementation, with the reason.
    """

    passed: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]


_COLUMN: Final = 8


def run_conformance(
    make: Maker[T],
    checks: Sequence[Check[T]],
    *,
    backends: Sequence[str] = ("asyncio",),
    survives_restart: bool = False,
    print_line: Callable[[str], None] = print,
) -> Report:
    """Check without pytest; prints one line for each check.

    Args:
        make: Makes what is checked.
        checks: The checks of its door, such as `PARTITION_CHECKS`.
        backends: The event loops to run on.
        survives_restart: Whether what was written is there when `make` is called again.
        print_line: Takes the lines.

    Raises:
        LawBrokenError: A promise is not kept.
    """
    passed: list[str] = []
    skipped: list[tuple[str, str]] = []
    for backend in backends:
        for check in checks:
            name = f"{name_of(check)} [{backend}]"
            try:
                check(Lab(make, backend=backend, survives_restart=survives_restart))
            except NotApplicable as reason:
                skipped.append((name, str(reason)))
                print_line(f"{'skipped':{_COLUMN}}{name}: {reason}")
            else:
                passed.append(name)
                print_line(f"{'ok':{_COLUMN}}{name}")
    return Report(tuple(passed), tuple(skipped))


def name_of(check: Callable[..., object]) -> str:
    """The name of a check, which is a sentence."""
    return getattr(check, "__name__", repr(check)).replace("_", " ").strip()
