"""What a public function raises by its own hand, its docstring says.

The scope is what can be read off the source: a `raise` of one of our errors in the body of a public function, or of a
public method of a public class. What comes from the functions it calls is not looked at; nor is the library for
testing, nor a method that points to the promise it keeps ("see `PartitionStore.commit`").
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from whisperkit import errors

SOURCE = Path(__file__).parent.parent / "src" / "whisperkit"
MODULES = sorted(
    path for path in SOURCE.rglob("*.py") if not path.relative_to(SOURCE).parts[0].startswith(("testing", "_"))
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(body: list[ast.stmt]) -> Iterator[Function]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if isinstance(node, Function):
                yield node
            else:
                yield from public_functions(node.body)


def raised_by(function: Function) -> set[str]:
    """The names of our errors that are raised in a body, not in the functions inside of it."""
    found: set[str] = set()
    todo: list[ast.AST] = [*function.body]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Raise):
            what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            found |= {what.id} if isinstance(what, ast.Name) else set()
        if not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)
    return found & set(errors.__all__)


def undocumented(source: str) -> list[str]:
    """Functions with what their section `Raises` leaves out: an error, and each of its bases."""
    found: list[str] = []
    for function in public_functions(ast.parse(source).body):
        doc = ast.get_docstring(function) or ""
        if "see `" in doc:
            continue
        said = doc.partition("Raises:")[2]
        for name in sorted(raised_by(function)):
            bases = {base.__name__ for base in getattr(errors, name).__mro__}
            if not any(f"{base}:" in said for base in bases):
                found.append(f"{function.name}: {name}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_what_is_raised_is_documented(path: Path) -> None:
    assert undocumented(path.read_text(encoding="utf-8")) == []


PLANTED = '''
class Thing:
    async def do(self):
        """Do it."""
        if not self:
            raise UsageError("no")

    def read(self):
        """Read it.

        Raises:
            PeerError: It is none.
        """
        raise MalformedFrameError("none") from None

    def keep(self):
        """Keep it; see `PartitionStore.commit`."""
        raise ConflictError("x")

    def wrap(self):
        """Make another."""
        def inner():
            raise UsageError("later")
        raise KeyError(3)
'''


def test_an_error_left_out_is_found_and_one_that_is_covered_is_not() -> None:
    assert undocumented(PLANTED) == ["do: UsageError"]
