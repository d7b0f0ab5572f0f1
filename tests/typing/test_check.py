"""What asks the type checkers: that it finds the wrong uses, and reads what each checker prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.typing.check import CHECKERS, WrongUses, faults, reported, wrong_uses

# An error in line 3 of wrong.py, as each of them prints it, with what else it prints.
PRINTED = {
    "mypy": "wrong.py:3:7: error: Missing argument  [call-arg]\nwrong.py:4:1: note: see\nFound 1 error in 1 file\n",
    "pyright": "/t/wrong.py\n  /t/wrong.py:3:7 - error: Argument missing (reportCallIssue)\n1 error, 0 warnings\n",
    "pyrefly": "ERROR wrong.py:3:7-10: Missing argument `x` [missing-argument]\n INFO 1 error\n",
    "ty": "wrong.py:3:7: error[missing-argument] No argument\nwrong.py:4:1: warning[x] y\nFound 2 diagnostics\n",
}


def test_each_checker_has_an_example_of_what_it_prints() -> None:
    assert list(PRINTED) == [checker.name for checker in CHECKERS]


@pytest.mark.parametrize("printed", PRINTED.values(), ids=PRINTED)
def test_the_line_of_an_error_is_read_off(printed: str) -> None:
    assert reported(printed, "wrong.py") == {3}
    assert reported(printed, "right.py") == set()


def test_a_wrong_use_takes_the_place_of_its_comment() -> None:
    page = "x = 1\nif x:\n    # refused! f(x)\n    # why\n# refused! g()\n"

    assert wrong_uses(page) == WrongUses("x = 1\nif x:\n    f(x)\n    # why\ng()\n", frozenset({3, 5}))


def test_the_page_has_wrong_uses_and_is_still_python_with_them() -> None:
    page = Path(__file__).with_name("public_api.py")
    wrong = wrong_uses(page.read_text(encoding="utf-8"))

    compile(wrong.text, str(page), "exec")
    assert len(wrong.lines) > 30


WRONG = WrongUses("", frozenset({3}))


def test_a_checker_that_refuses_just_the_wrong_uses_has_no_fault() -> None:
    assert faults(PRINTED["mypy"], WRONG) == []


def test_a_checker_that_takes_everything_for_any_is_found() -> None:
    assert faults("Success: no issues found\n", WRONG) == ["accepts the wrong uses of line 3"]


def test_a_checker_that_does_not_find_the_library_is_found() -> None:
    output = (
        "right.py:1:1: error: Cannot find module\nwrong.py:1:1: error: Cannot find module\nwrong.py:3:1: error: x\n"
    )

    assert faults(output, WRONG) == ["refuses public_api.py, line 1"]


def test_an_error_beside_the_wrong_uses_is_found() -> None:
    output = PRINTED["mypy"] + "wrong.py:9:1: error: other\n"

    assert faults(output, WRONG) == ["refuses beside the wrong uses line 9"]
