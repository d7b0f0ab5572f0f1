"""The fuzzer itself: it knows every decoder, its samples are good, and it finds what is planted."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import sys
from collections import Counter
from collections.abc import Iterator
from types import CodeType, FrameType

import msgpack
import pytest

import whisperkit
from tests.fuzz import guided
from tests.fuzz.damage import damage
from tests.fuzz.fuzz import TARGETS, chosen, fuzz, main
from tests.fuzz.target import Target, verdict
from whisperkit.errors import InvalidMessageError

# Nothing outside reaches them: the interim ratchet is for tests, and what a mirror keeps is read with its head.
NOT_FUZZED = {"whisperkit.ratchet.spqr_interim.decode"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_samples_are_taken_and_damaged_ones_taken_or_refused(target: Target) -> None:
    good = {verdict(target, target.sample(random.Random(seed))) for seed in range(5)}
    report = fuzz(target, 50, seed=7)

    assert good == {"taken"}
    assert report.find is None, report


def decoders() -> Iterator[tuple[str, CodeType]]:
    """All that is named as a reader of bytes is named, in the whole library."""
    for found in pkgutil.walk_packages(whisperkit.__path__, "whisperkit."):
        if found.name.startswith("whisperkit.testing"):
            continue
        module = importlib.import_module(found.name)
        owners = [module, *(each for each in vars(module).values() if inspect.isclass(each))]
        for owner in owners:
            for name, value in vars(owner).items():
                function = inspect.unwrap(getattr(value, "__func__", value))
                is_ours = inspect.isfunction(function) and function.__module__ == module.__name__
                is_public = is_ours and "._" not in f".{function.__qualname__}"
                if is_public and name.startswith(("decode", "parse")):
                    yield f"{module.__name__}.{function.__qualname__}", function.__code__


def test_every_decoder_of_the_library_is_reached() -> None:
    reached: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            reached.add(frame.f_code)

    for target in TARGETS:
        data = target.sample(random.Random(0))
        sys.setprofile(note)
        try:
            target.take(data)
        finally:
            sys.setprofile(None)

    assert {name for name, code in decoders() if code not in reached} - NOT_FUZZED == set()


def take_first(data: bytes) -> None:
    if data[0] != 1:  # a decoder that forgot that there may be nothing
        raise InvalidMessageError("not mine")


def test_a_decoder_that_raises_something_else_is_found() -> None:
    careless = Target("careless", take_first, lambda _: b"\x01abc", (InvalidMessageError,))
    report = fuzz(careless, 1_000, seed=1)

    assert report.find == b""
    assert str(report) == "FAIL careless: IndexError: index out of range\n  input: "


def test_a_decoder_that_forgets_a_type_is_found() -> None:
    def take(data: bytes) -> None:
        number, body = msgpack.unpackb(data)
        if number != 1:
            raise InvalidMessageError("not mine")
        len(body)  # whatever it is

    packed = msgpack.packb([1, b"body"])
    careless = Target("careless", take, lambda _: packed, (InvalidMessageError, ValueError))

    assert fuzz(careless, 1_000, seed=1).find is not None


def test_the_same_seed_makes_the_same_inputs() -> None:
    first, again = ([damage(b"\x93\x01\x02\xa1x", random.Random(seed)) for seed in range(50)] for _ in range(2))

    assert first == again
    assert len(Counter(first)) > 25


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_command_takes_names_and_says_what_came_of_it(capsys: pytest.CaptureFixture[str], workers: str) -> None:
    code = main(["--inputs", "20", "--only", "cursor,frames", "--workers", workers])

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert [line.split()[0] for line in lines] == ["cursor", "frames"]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(SystemExit, match="no target is called nobody"):
        chosen("nobody")


@pytest.mark.skipif(guided.is_available(), reason="atheris is here, and make fuzz runs it")
def test_where_there_is_no_atheris_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code = guided.main(["--inputs", "20"])

    assert code == 0
    assert "atheris is not installed" in capsys.readouterr().out
