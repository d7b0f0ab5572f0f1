"""What is compiled where somebody asks for it, as far as that can be looked at without a compiler."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.distribution import ROOT

_PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HOOK = _PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["mypyc"]
COMPILED: list[str] = HOOK["include"]

# What a coroutine that is compiled loses: the exception that ends it while it waits in a handler of another one.
WAITS_IN_A_HANDLER = """
async def write(door):
    try:
        await door.put()
    except OSError:
        await door.sleep(1.0)
"""
WAITS_BEHIND_IT = """
async def write(door):
    try:
        await door.put()
    except OSError:
        door.log()
    await door.sleep(1.0)
"""


def waits_in_handlers(source: str) -> Iterator[int]:
    """The lines in which something is awaited while an exception is handled."""
    for node in ast.walk(ast.parse(source)):
        handled = (
            node.body if isinstance(node, ast.ExceptHandler) else node.finalbody if isinstance(node, ast.Try) else []
        )
        for statement in handled:
            for each in ast.walk(statement):
                if isinstance(each, ast.Await | ast.AsyncFor | ast.AsyncWith):
                    yield each.lineno


def test_nobody_gets_it_who_did_not_ask() -> None:
    assert HOOK["enable-by-default"] is False


@pytest.mark.parametrize("path", COMPILED)
def test_what_is_compiled_is_there_and_awaits_nothing_while_it_handles_an_exception(path: str) -> None:
    assert list(waits_in_handlers(Path(ROOT, path).read_text(encoding="utf-8"))) == []


def test_what_awaits_while_it_handles_an_exception_is_found() -> None:
    assert list(waits_in_handlers(WAITS_IN_A_HANDLER)) == [6]
    assert list(waits_in_handlers(WAITS_BEHIND_IT)) == []
