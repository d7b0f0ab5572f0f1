"""What runs the code of the pages is itself held to what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from code_blocks import Block, PageError, blocks, run_page

from examples.config import ConfigError


def run(page: str, folder: Path) -> dict[str, object]:
    path = folder / "page.md"
    path.write_text(page, encoding="utf-8")
    return run_page(path, folder=folder)


def test_blocks_are_found_with_their_lines_and_directives_are_left_out() -> None:
    page = "# Title\n\n```python\nx = 1\n```\n\n```{doctest}\n>>> 1\n1\n```\n\n```text\nout\n```\n"

    assert blocks(page) == [Block("python", "x = 1\n", 4), Block("text", "out\n", 13)]


def test_the_blocks_of_a_page_go_on_from_one_another(tmp_path: Path) -> None:
    found = run("```python\nx = 1\n```\n```python\nx += 1\n```\n", tmp_path)

    assert found["x"] == 2


def test_an_await_may_stand_anywhere(tmp_path: Path) -> None:
    found = run("```python\nimport anyio\nx = await anyio.lowlevel.checkpoint()\n```\n", tmp_path)

    assert found["x"] is None


def test_a_block_with_the_name_of_a_file_becomes_one(tmp_path: Path) -> None:
    run("```python\n# hello.py\nprint('hello')\n```\n```console\n$ python hello.py\nhello\n```\n", tmp_path)

    assert (tmp_path / "hello.py").read_text(encoding="utf-8") == "# hello.py\nprint('hello')\n"


def test_three_dots_stand_for_anything(tmp_path: Path) -> None:
    run("```python\nprint('one\\ntwo 2\\nthree')\n```\n```text\none\n...\nthree\n```\n", tmp_path)


@pytest.mark.parametrize(
    "page",
    [
        "```python\nprint(1)\n```\n```text\n2\n```\n",
        "```console\n$ echo 1\n2\n```\n",
        "```console\n$ python -c 'raise SystemExit(\"oh\")'\n```\n",
        "```rust\nfn main() {}\n```\n",
        "```\nwhatever\n```\n",
        "- see\n\n  ```python\n  x = 1\n  ```\n",
        "> ```python\n> x = 1\n> ```\n",
        "~~~python\nx = 1\n~~~\n",
        "```python\nx = 1\n",
        "```{code-block} python\nx = 1\n```\n",
    ],
    ids=[
        "printed",
        "console",
        "stderr",
        "language",
        "no language",
        "indented",
        "quoted",
        "tildes",
        "never closed",
        "in a directive",
    ],
)
def test_what_is_not_as_the_page_shows_it_is_noticed(page: str, tmp_path: Path) -> None:
    with pytest.raises(PageError):
        run(page, tmp_path)


def test_code_that_raises_fails_the_page_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        run("# Title\n\n```python\n1 / 0\n```\n", tmp_path)

    assert raised.traceback[-1].lineno == 3  # counted from 0


def test_settings_that_the_server_refuses_are_noticed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run('```toml\n[server]\nbing = "127.0.0.1:1"\n```\n', tmp_path)
