"""What a page says may be pasted into a prompt is taken by one: there an empty line ends each block, and only there."""

from __future__ import annotations

import ast
from codeop import CommandCompiler
from pathlib import Path

import pytest
from code_blocks import Block, blocks

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if not {"_build", "generated"} & set(page.parts) and "python -m asyncio`" in page.read_text(encoding="utf-8")
]


def pasted(block: Block) -> str | None:
    """What a prompt says of a block that is pasted and followed by Enter; `None` if it takes it."""
    compiler = CommandCompiler()
    compiler.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    waiting: list[str] = []
    for number, line in enumerate([*block.text.splitlines(), ""], start=block.line):
        waiting.append(line)
        try:
            if compiler("\n".join(waiting)) is not None or not line.strip():
                waiting = []
        except SyntaxError as error:
            return f"line {number}: {error.msg}"
    return None


def shown(page: Path) -> list[Block]:
    """The blocks behind the sentence that says so."""
    text = page.read_text(encoding="utf-8")
    begin = text.count("\n", 0, text.index("python -m asyncio`"))
    return [block for block in blocks(text) if block.language == "python" and block.line > begin]


def test_there_are_such_pages() -> None:
    assert {page.name for page in PAGES} >= {"README.md", "first-message.md", "encrypt.md", "errors.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_block_is_taken_by_a_prompt(page: Path) -> None:
    assert [told for block in shown(page) if (told := pasted(block)) is not None] == []


@pytest.mark.parametrize(
    "text",
    [
        "for n in (1, 2):\n    print(n)\nprint(3)\n",
        "if True:\n\n    print(1)\n",
        "async def f():\n    await g()\nx = 1\n",
    ],
)
def test_a_block_that_a_prompt_does_not_take_is_found(text: str) -> None:
    assert pasted(Block("python", text, 1)) is not None
