"""Run the code on a page of the documentation, so that no page shows what does not work.

Every fenced block of a page is one of these:

- ``python``: all of a page run in order, in one namespace and one folder of their own; ``await`` may stand anywhere.
  One that begins with a comment that is a name, such as ``# test_store.py``, is not run but written to a file.
- ``text``: what the block before it printed, to the letter.
- ``console``: commands after ``$``, run in that folder, and what they print, where ``...`` stands for anything.
- ``toml``: settings of the reference server, which it has to take; of the terminal client, if it begins with
  ``# chat.toml``.
- ``sh``: commands for the reader's own terminal, which are too long or too interactive to run here.

Anything else is refused: also a fence that is indented or made of tildes, which nobody would run, and a directive that
shows code as if it were a block. What a `code-block` without a language shows is a session in terminals, and a test of
that page plays it; other directives show what is read from elsewhere.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from examples.config import load_config
from examples.tui.settings import load_settings

__all__ = ["Block", "PageError", "blocks", "check_fences", "run_page"]

Namespace: TypeAlias = dict[str, Any]
"""What the code of a page has defined; `Any`, because it may be anything."""

_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ANY_FENCE = re.compile(r"^[ \t>]*(`{3,}|~{3,})", re.MULTILINE)
_CODE_DIRECTIVE = re.compile(r"^```\{(?:code-block|code-cell|code|sourcecode|parsed-literal)\} *(.*)$", re.MULTILINE)
_FILE = re.compile(r"# ([\w.]+)\n")
_ROOT = Path(__file__).parent.parent.parent
_PATIENCE_S = 120


class PageError(AssertionError):
    """A page shows something that is not so."""


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        language: What stands behind the fence.
        text: What is in it.
        line: Of the page, the number of its first line.
    """

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, without directives."""
    found = (Block(m[1], m[2], page.count("\n", 0, m.start()) + 2) for m in _FENCE.finditer(page))
    return [block for block in found if not block.language.startswith("{")]


def check_fences(page: str) -> None:
    """Refuse what looks like a block to a reader, and is none to what runs the blocks.

    Raises:
        PageError: A fence is indented, of tildes, or never closed; or a directive shows code.
    """
    run = [found.span() for found in _FENCE.finditer(page)]
    for fence in _ANY_FENCE.finditer(page):
        if not any(start <= fence.start() < stop for start, stop in run):
            raise PageError(f"line {page.count(chr(10), 0, fence.start()) + 1}: nobody runs a block like this one")
    for directive in _CODE_DIRECTIVE.finditer(page):
        if directive[1] != "none":
            line = page.count("\n", 0, directive.start()) + 1
            raise PageError(f"line {line}: what a directive shows is not run; write ```{directive[1]} instead")


def run_page(path: Path, *, folder: Path) -> Namespace:
    """Run all that is on a page.

    Args:
        path: The page.
        folder: An empty one, in which the code runs.

    Returns:
        What the code has defined.

    Raises:
        PageError: Something is not as the page shows it.
    """
    namespace: Namespace = {"__name__": "page"}
    printed = ""
    page = path.read_text(encoding="utf-8")
    check_fences(page)
    with chdir(folder), asyncio.Runner() as runner:
        for block in blocks(page):
            where = f"{path.name}:{block.line}"
            match block.language:
                case "python" if name := _FILE.match(block.text):
                    Path(name[1]).write_text(block.text, encoding="utf-8")
                case "python":
                    printed = _run_python(block, path, namespace, runner)
                case "text":
                    _compare(block.text, printed, where)
                case "console":
                    _run_console(block, where)
                case "toml" if block.text.startswith("# chat.toml"):
                    Path("chat.toml").write_text(block.text, encoding="utf-8")
                    load_settings(Path("chat.toml"))
                case "toml":
                    Path("whisperkit.toml").write_text(block.text, encoding="utf-8")
                    load_config(environ={})
                case "sh":
                    pass
                case _:
                    raise PageError(f"{where}: a block is python, text, console, toml or sh, got {block.language!r}")
    return namespace


def _run_python(block: Block, path: Path, namespace: Namespace, runner: asyncio.Runner) -> str:
    """Run a block; returns what it printed. Its lines keep their numbers, for tracebacks."""
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, str(path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    with redirect_stdout(io.StringIO()) as output:
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(eval(code, namespace))
        else:
            exec(code, namespace)
    return output.getvalue()


def _run_console(block: Block, where: str) -> None:
    environ = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(_ROOT),
        "NO_COLOR": "1",
    }
    for command, expected in _commands(block.text):
        run = subprocess.run(
            command, shell=True, env=environ, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        _compare(expected, run.stdout + run.stderr, f"{where}: {command}")


def _commands(text: str) -> Iterator[tuple[str, str]]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def _compare(expected: str, found: str, where: str) -> None:
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
    if re.fullmatch(pattern, found.strip(), re.DOTALL) is None:
        raise PageError(f"{where}: the page shows\n{expected}\nbut it is\n{found}")
