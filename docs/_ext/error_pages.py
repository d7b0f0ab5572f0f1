"""A page for each error of the library, read off the exception tree: its code, what to do, and who raises it.

The pages are text in Markdown; `reference` writes them into ``reference/generated`` at each build. This module knows
nothing of Sphinx.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import whisperkit
from whisperkit import errors
from whisperkit.errors import UsageCode, UsageError, WhisperError

__all__ = [
    "Raisers",
    "attributes_of",
    "meaning_of",
    "public_errors",
    "raisers",
    "render_error",
    "render_errors",
    "render_misuse",
]

SOURCE: Final = Path(whisperkit.__file__).parent

_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef
_SECTION: Final = re.compile(r"^(Args|Attributes|Raises|Returns|Examples|Spec):\n", re.MULTILINE)
_ATTRIBUTE: Final = re.compile(r"^    (\w+): (.*(?:\n {6,}.*)*)", re.MULTILINE)
# An error that has no note: its text says it all.
_WITHOUT_ADVICE: Final[Mapping[type[WhisperError], str]] = {
    UsageError: "Fix the program: the text says what the call takes, and what it got.",
    WhisperError: "The kind of an error says whose turn it is; catch that, and this one only to report it.",
}
# What makes an object is documented with its class.
_MAKERS: Final = ("__init__", "__new__", "__attrs_post_init__")


class Raisers(NamedTuple):
    """Who raises an error.

    Attributes:
        public: Full names of functions, methods and classes that say so, or do it by their own hand.
        modules: Of functions that are not public and make the error.
    """

    public: tuple[str, ...]
    modules: tuple[str, ...]


def public_errors() -> list[type[WhisperError]]:
    """All errors, in the order of their codes."""
    return sorted((getattr(errors, name) for name in errors.__all__), key=lambda error: error.code)


def render_errors() -> dict[str, str]:
    """All pages by their paths below the folder of generated pages."""
    tree, found = public_errors(), raisers(SOURCE)
    pages = {f"errors/{error.code}.md": render_error(error, tree, found[error.__name__]) for error in tree}
    pages |= {f"errors/{code}.md": render_misuse(code, found[code]) for code in UsageError.misuses}
    return {"errors.md": _index(tree), **pages}


def _index(tree: Sequence[type[WhisperError]]) -> str:
    parts = [
        "# Errors by code",
        "Each error has a `code`, which never changes, and a page of that name.\n"
        "An error ends with it: below the traceback stand what to do, and `code: ` with the code.",
        "| code | error | happens when |\n|---|---|---|\n" + "\n".join(_rows(tree)),
    ]
    return "\n\n".join(parts) + "\n"


def _codes(tree: Sequence[type[WhisperError]]) -> list[str]:
    return sorted([*(error.code for error in tree), *UsageError.misuses])


def _rows(tree: Sequence[type[WhisperError]]) -> list[str]:
    rows = {error.code: f"| {_page(error)} | `{error.__name__}` | {_summary(error)} |" for error in tree}
    for code, (meaning, _) in UsageError.misuses.items():
        rows[code] = f"| {_link(code)} | `UsageError` | {meaning} |"
    return [rows[code] for code in _codes(tree)]


def render_error(error: type[WhisperError], tree: Sequence[type[WhisperError]], raised: Raisers) -> str:
    """The page of one error.

    Args:
        error: Of which.
        tree: All errors that have a page.
        raised: By whom.
    """
    bases = [base for base in error.__bases__ if base in tree]
    kinds = [other for other in tree if error in other.__bases__]
    parts = [
        f"({error.code})=",
        f"# `{error.code}`",
        f"{{py:exc}}`whisperkit.errors.{error.__name__}`"
        + (f", a kind of {' and '.join(_page(base) for base in bases)}." if bases else "."),
        meaning_of(error),
        "## What to do",
        _sentence(error.advice or _WITHOUT_ADVICE[error]),
    ]
    if attributes := attributes_of(error):
        parts += ["## Attributes", "\n".join(f"- `{name}`: {text}" for name, text in attributes.items())]
    below = [f"- {_page(kind)}: {_summary(kind)}" for kind in kinds]
    if error is UsageError:
        below += [f"- {_link(code)}: {meaning}" for code, (meaning, _) in UsageError.misuses.items()]
    if below:
        parts += ["## Kinds", "\n".join(below)]
    parts += ["## Raised by", *_raised(raised)]
    return "\n\n".join(parts) + "\n"


def render_misuse(code: UsageCode, raised: Raisers) -> str:
    """The page of a mistake that has a code of its own.

    Args:
        code: Of which.
        raised: By whom.
    """
    meaning, advice = UsageError.misuses[code]
    parts = [
        f"({code})=",
        f"# `{code}`",
        f"{{py:exc}}`whisperkit.errors.UsageError`, a kind of {_page(UsageError)}.",
        meaning,
        "## What to do",
        advice,
        "## Raised by",
        *_raised(raised),
    ]
    return "\n\n".join(parts) + "\n"


def _raised(raised: Raisers) -> Iterator[str]:
    if raised.public:
        yield "\n".join(f"- {{py:obj}}`{name}`" for name in raised.public)
    if raised.modules:
        inside = ", ".join(f"{{py:mod}}`{name}`" for name in raised.modules)
        yield f"{'It is also made' if raised.public else 'It is made'} inside of {inside}."
    if not raised.public and not raised.modules:
        yield "Adapters of stores and of networks raise it; the library itself never does."


def _page(error: type[WhisperError]) -> str:
    return _link(error.code)


def _link(code: str) -> str:
    return f"{{ref}}`{code} <{code}>`"


def _summary(error: type[WhisperError]) -> str:
    return meaning_of(error).partition("\n")[0]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")


# ---- docstrings -----------------------------------------------------------------------------------------------------


def meaning_of(error: type[WhisperError]) -> str:
    """What the docstring says before its sections."""
    return _SECTION.split(_doc(error))[0].strip()


def attributes_of(error: type[WhisperError]) -> dict[str, str]:
    """Names of attributes, each with its meaning; those of its bases, too, but for `code` and `advice`."""
    found: dict[str, str] = {}
    for kind in reversed(error.__mro__[: error.__mro__.index(WhisperError)]):
        found |= {name: " ".join(text.split()) for name, text in _ATTRIBUTE.findall(_section(_doc(kind), "Attributes"))}
    return found


def _doc(thing: type) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def _section(doc: str, name: str) -> str:
    """The lines of a section, without its head."""
    parts = _SECTION.split(doc)
    return next((text for head, text in zip(parts[1::2], parts[2::2], strict=True) if head == name), "")


# ---- who raises it --------------------------------------------------------------------------------------------------


def raisers(source: Path) -> Mapping[str, Raisers]:
    """Who raises each of the public errors, in the source of a package.

    They go by the names of their classes, and mistakes with a code of their own by that. What is made for tests of
    others (`testing`) does not count.
    """
    keys = (*errors.__all__, *UsageError.misuses)
    public: dict[str, set[str]] = {key: set() for key in keys}
    modules: dict[str, set[str]] = {key: set() for key in keys}
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        if parts[0] == "testing" or any(part.startswith("_") for part in parts):
            continue
        module = ".".join((source.name, *parts))
        body = ast.parse(path.read_text(encoding="utf-8"))
        exported = _exported(body)
        for name, function in _functions(body, exported):
            for error in _said(function) | _made(function):
                if name is None:
                    modules[error].add(module)
                else:
                    public[error].add(f"{module}.{name}")
    return {key: Raisers(tuple(sorted(public[key])), tuple(sorted(modules[key]))) for key in keys}


def _exported(module: ast.Module) -> frozenset[str]:
    for node in module.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return frozenset(ast.literal_eval(node.value))
    return frozenset()


def _functions(module: ast.Module, exported: frozenset[str]) -> Iterator[tuple[str | None, _Function]]:
    """All functions and methods, each with the name under which the reference has it; `None` if it has not."""
    for node in module.body:
        if isinstance(node, _Function):
            yield (node.name if node.name in exported and ast.get_docstring(node) else None), node
        elif isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, _Function):
                    yield _method_name(node, inner, is_public=node.name in exported), inner


def _method_name(owner: ast.ClassDef, method: _Function, *, is_public: bool) -> str | None:
    if is_public and method.name in _MAKERS:
        return owner.name
    if not is_public or method.name.startswith("_") or ast.get_docstring(method) is None:
        return None
    return f"{owner.name}.{method.name}"


def _said(function: _Function) -> set[str]:
    section = _section(ast.get_docstring(function) or "", "Raises")
    return {name for name, _ in _ATTRIBUTE.findall(section)} & set(errors.__all__)


def _made(function: _Function) -> set[str]:
    """Errors that are made in a body, also in the functions inside of it; with the codes that they are given."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    codes = {ast.unparse(word.value).strip("'") for call in calls for word in call.keywords if word.arg == "code"}
    return {ast.unparse(call.func) for call in calls}.intersection(errors.__all__) | codes.intersection(
        UsageError.misuses
    )
