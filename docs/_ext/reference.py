"""Write the pages that are read off the package: for each module, and of all errors, state machines and frames.

They appear in ``reference/generated`` before each build, so that no page has to be written by hand when a
module is added, and none stays when it goes. The second half links names in docstrings and signatures.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from api_page import render_api
from docutils import nodes
from error_pages import render_errors
from module_pages import ASIDE, module_page, public_modules
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import ExtensionMetadata

from whisperkit.sync.wire_page import render_page

__all__ = ["setup"]


def write_pages(app: Sphinx) -> None:
    """Bring the generated pages up to date, touching only those that differ."""
    folder = Path(app.srcdir) / "reference" / "generated"
    (folder / "errors").mkdir(parents=True, exist_ok=True)
    modules = public_modules()
    for module in modules:
        import_for_types(module)
    pages = {f"{module.__name__}.md": module_page(module, modules) for module in modules}
    pages |= {name: ASIDE + text if name.startswith("errors/") else text for name, text in render_errors().items()}
    pages["api.md"] = render_api()
    pages["states.md"] = states_page(modules)
    pages["frames.md"] = render_page().replace("\n### ", "\n## ")
    for stale in {path.relative_to(folder).as_posix() for path in folder.rglob("*.md")} - pages.keys():
        (folder / stale).unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def import_for_types(module: ModuleType) -> None:
    """Run a module's imports for type checkers, or its signatures would name things that nobody can find."""
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            exec("\n".join(map(ast.unparse, node.body)), vars(module))


def states_page(modules: list[ModuleType]) -> str:
    """All state machines of the package, drawn from their tables."""
    parts = ["# State machines", "Drawn from the tables in the source. What is not in a table does not happen."]
    drawn: set[int] = set()  # a package may export the table of one of its modules
    for module in sorted(modules, key=lambda module: hasattr(module, "__path__")):
        for name, table in vars(module).items():
            if is_table(table) and id(table) not in drawn:
                drawn.add(id(table))
                parts += [f"## `{module.__name__}.{name}`", f"```{{state-table}} {module.__name__}:{name}\n```"]
    return "\n\n".join(parts) + "\n"


def is_table(thing: Any) -> bool:  # Any: whatever a module holds
    """Whether something is a table of transitions: (state, kind of input) to state."""
    if not issubclass(type(thing), Mapping):
        return False
    entries = list(thing.items())
    return bool(entries) and all(
        isinstance(key, tuple) and isinstance(key[0], enum.Enum) and isinstance(after, enum.Enum)
        for key, after in entries
    )


# ---- links ----------------------------------------------------------------------------------------------------------


def name_in_full(app: Sphinx, doctree: nodes.document) -> None:
    """Give a short name the meaning that the module's own imports give it: other modules may have one like it."""
    for node in doctree.findall(pending_xref):
        target, module = node.get("reftarget", ""), node.get("py:module")
        if "refspecific" in node:
            node["refspecific"] = False  # `resolve` looks for what ends so, once for each name
        if module and target in _imports(module):
            node["reftarget"], node["short"] = _imports(module)[target], True


@cache
def _imports(module: str) -> Mapping[str, str]:
    """What a module took from others of the package: short name to full name.

    What those took comes with it, for the signatures of what this one re-exports.
    """
    own = _own_imports(module)
    theirs = dict[str, str]()
    for origin in {full.rpartition(".")[0] for full in own.values()}:
        theirs.update(_own_imports(origin))
    return {**theirs, **own}


@cache
def _own_imports(module: str) -> Mapping[str, str]:
    found = dict[str, str]()
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("whisperkit"):
            found |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return found


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, text: nodes.TextElement) -> nodes.Node | None:
    """Link a short name if just one thing has it; leave names of other libraries as they are.

    There is no inventory of theirs, so that the docs build without a network. A full name of ours that
    leads nowhere stays an error, unless its module has it and keeps it to itself.
    """
    if node.get("refdomain") != "py":
        return None
    target: str = node["reftarget"]
    domain = env.domains.python_domain
    found = _by_end(domain, target) or _by_defining_module(domain, target)
    if len(found) == 1:
        name, entry = found[0]
        return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, text, name)
    is_error = target.startswith("whisperkit.") and "short" not in node and not _is_internal(target)
    return None if is_error else text


@cache
def _by_end(domain: PythonDomain, target: str) -> list[Any]:
    """What has a name that is this, or ends so: all pages have been read, so that it stays what it is."""
    return domain.find_obj(domain.env, "", "", target, None, 1)


def _by_defining_module(domain: PythonDomain, target: str) -> list[Any]:
    """A name that was re-exported by a package, under the module that defines it."""
    thing = _import(target)
    origin = f"{getattr(thing, '__module__', '')}.{getattr(thing, '__qualname__', '')}"
    return [(origin, domain.objects[origin])] if origin in domain.objects else []


def _is_internal(target: str) -> bool:
    """Whether a name is a type variable, or one that its module uses and does not make public."""
    thing, module = _import(target), sys.modules.get(target.rpartition(".")[0])
    is_public = target.rpartition(".")[2] in getattr(module, "__all__", ())
    return isinstance(thing, TypeVar) or (thing is not None and not is_public)


def _import(target: str) -> object:
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None) if module else None
    except ImportError:
        return None


def skip_fields_of_tuples(app: Sphinx, what: str, name: str, thing: object, skip: bool, options: object) -> bool | None:
    """Leave out the fields of a `NamedTuple`: the docstring of the class has said what they are."""
    return True if (inspect.getdoc(thing) or "").startswith("Alias for field number") else None


def keep_layout(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Show the indented blocks of a module's docstring as they stand there: they are code, layouts and diagrams."""
    if what != "module":
        return
    starts = [n for n in range(2, len(lines)) if _opens_block(*lines[n - 2 : n + 1])]
    for n in reversed(starts):
        lines[n:n] = ["::", ""]


def _opens_block(before: str, blank: str, line: str) -> bool:
    return line.startswith("    ") and not blank and before[:1].strip() not in ("", "*", "-") and before[-2:] != "::"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Connect to the build."""
    app.connect("builder-inited", write_pages)
    app.connect("doctree-read", name_in_full)
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", keep_layout)
    app.connect("autodoc-skip-member", skip_fields_of_tuples)
    return {"parallel_read_safe": True}
