"""What tests import of the documentation's extensions needs nothing of Sphinx, which is not installed for them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EXTENSIONS: Final = {path.stem: path for path in (ROOT / "docs" / "_ext").glob("*.py")}
MISSING: Final = ("docutils", "sphinx")


def imported(path: Path) -> Iterator[str]:
    """The first part of the name of each module that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module.partition(".")[0]


def needed(path: Path) -> set[str]:
    """What a file imports, and what the extensions that it imports do."""
    found = set(imported(path))
    for name in found & set(EXTENSIONS) - {path.stem}:
        found |= needed(EXTENSIONS[name])
    return found


def test_tests_need_no_sphinx() -> None:
    tests = [*(ROOT / "tests").rglob("*.py")]

    guilty = {f"{path.relative_to(ROOT)}" for path in tests if needed(path) & set(MISSING)}

    assert guilty == set()


def test_an_extension_that_needs_it_would_be_found() -> None:
    assert needed(EXTENSIONS["examples_tables"]) & set(MISSING)
    assert not needed(EXTENSIONS["examples_rows"]) & set(MISSING)
