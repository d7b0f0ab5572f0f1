"""Every public module has a page, and the page of the package leads to all of them."""

from __future__ import annotations

import re

import pytest
from module_pages import ASIDE, module_page, public_modules

MODULES = public_modules()
PAGES = {module.__name__: module_page(module, MODULES) for module in MODULES}


def listed(page: str) -> list[str]:
    """The modules of which a page has a line."""
    return re.findall(r"^ *- \{py:mod\}`([\w.]+)`: \S", page, re.MULTILINE)


def test_the_page_of_the_package_leads_to_the_page_of_each_module_once() -> None:
    assert sorted(listed(PAGES["whisperkit"])) == sorted(PAGES.keys() - {"whisperkit"})


def test_a_module_that_is_not_listed_is_found() -> None:
    page = module_page(MODULES[0], [module for module in MODULES if module.__name__ != "whisperkit.fanout"])

    assert "whisperkit.fanout" not in listed(page)
    assert "whisperkit.fanout" in listed(PAGES["whisperkit"])


@pytest.mark.parametrize("name", sorted(PAGES.keys() - {"whisperkit"}))
def test_a_page_leads_up_and_shows_its_docstrings(name: str) -> None:
    above = name.rpartition(".")[0]

    assert PAGES[name].startswith(f"{ASIDE}# `{name}`\n\n{{py:mod}}`← {above} <{above}>`\n")
    assert f"\n.. automodule:: {name}\n" in PAGES[name]
    assert (":members:" in PAGES[name]) != ("## Modules" in PAGES[name])
