"""Making named tuples by `make`."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from whisperkit._named_tuples import make

ROOT = Path(__file__).parent.parent / "src"
FILES = sorted(path for path in ROOT.rglob("*.py") if "named_tuples import make" in path.read_text(encoding="utf-8"))


class Point(NamedTuple):
    x: int
    y: int = 0


def test_what_is_made_is_what_the_class_makes() -> None:
    made = make(Point, (1, 2))

    assert made == Point(1, 2)
    assert type(made) is Point
    assert made.y == 2


def makings(source: str) -> Iterator[tuple[str, int | None]]:
    """The class and the number of fields of each call of `make`; `None` if the fields are not written out."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="make"), args=[ast.Name(id=kind), ast.Tuple(elts=fields)]):
                is_written_out = not any(isinstance(field, ast.Starred) for field in fields)
                yield kind, len(fields) if is_written_out else None
            case ast.Call(func=ast.Name(id="make"), args=[ast.Name(id=kind), *_]):
                yield kind, None
            case _:
                pass


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_field_is_left_out(path: Path) -> None:
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))

    # A type checker counts what is passed on whole, and in a class method, as long as no field has a default.
    found = [(kind, size) for kind, size in makings(path.read_text(encoding="utf-8")) if kind != "cls"]

    assert [(kind, size) for kind, size in found if size != len(vars(module)[kind]._fields)] == []


def test_a_field_that_is_left_out_is_noticed() -> None:
    assert list(makings("make(Point, (1,))\nmake(Point, (*p, 1))\nmake(cls, p)\n")) == [
        ("Point", 1),
        ("Point", None),
        ("cls", None),
    ]
