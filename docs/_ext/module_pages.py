"""A page for each module of the package, with its docstrings, and of what is in each package.

The pages are text in Markdown; `reference` writes them into ``reference/generated`` at each build. This module knows
nothing of Sphinx.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Final

import whisperkit

__all__ = ["ASIDE", "export_line", "module_lines", "module_page", "public_modules"]

ASIDE: Final = "---\norphan: true\n---\n\n"
"""The head of a page that has no place in the tree of all pages, but is found by links and the search.

The tree is drawn beside every page: with a line for each module and each error in it, to draw it takes longer than all
the rest, and nobody finds anything in it.
"""


def public_modules() -> list[ModuleType]:
    """All modules of the package without an underscore in front, in the order of their names."""
    found = pkgutil.walk_packages(whisperkit.__path__, prefix="whisperkit.")
    names = sorted(module.name for module in found if not module.name.rpartition(".")[2].startswith("_"))
    return [whisperkit, *map(importlib.import_module, names)]


def module_page(module: ModuleType, modules: Sequence[ModuleType]) -> str:
    """A page with the docstrings of a module; for a package, its own docstring, its names and its modules."""
    name = module.__name__
    above = name.rpartition(".")[0]
    page = f"{ASIDE}# `{name}`\n\n{{py:mod}}`← {above} <{above}>`\n" if above else f"# `{name}`\n"
    members = "" if hasattr(module, "__path__") else "\n   :members:"
    page += f"\n```{{eval-rst}}\n.. automodule:: {name}{members}\n```\n"
    if members:
        return page
    exports = [export_line(module, public) for public in getattr(module, "__all__", ())]
    page += "\nIt exports:\n\n" + "\n".join(exports) + "\n" if exports else ""
    return page + "\n## Modules\n\n" + "\n".join(module_lines(name, modules)) + "\n"


def module_lines(package: str, modules: Sequence[ModuleType], indent: str = "") -> Iterator[str]:
    """A line about each module of a package, and below a package those about its own."""
    for module in modules:
        name = module.__name__
        if name.rpartition(".")[0] == package:
            first = (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")
            yield f"{indent}- {{py:mod}}`{name}`: {first}"
            yield from module_lines(name, modules, indent + "  ")


def export_line(package: ModuleType, name: str) -> str:
    """A line about a name that a package takes from one of its modules."""
    thing = getattr(package, name)
    full = f"{thing.__module__}.{name}" if hasattr(thing, "__name__") else name  # a constant has no section
    return f"- {{py:obj}}`{name} <{full}>`" if full != name else f"- `{name}`"
