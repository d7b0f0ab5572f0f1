"""A page with every public name of the library: its shape, what it does, what it raises, and where it is written.

It is text in Markdown, read off the modules; `reference` writes it into ``reference/generated`` at each build. This
module knows nothing of Sphinx. Units are in the names of arguments and attributes, as everywhere in the library.
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from types import UnionType
from typing import Any, Final, NamedTuple, NewType, cast, get_args

import whisperkit
from whisperkit import errors

__all__ = ["MODULES", "Entry", "entries", "render_api"]

MODULES: Final = (
    "whisperkit",
    "whisperkit.errors",
    "whisperkit.service",
    "whisperkit.service.hook",
    "whisperkit.client",
    "whisperkit.client.content",
    "whisperkit.client.events",
    "whisperkit.stores",
    "whisperkit.transport",
    "whisperkit.ratchet",
    "whisperkit.ratchet.sealed_sender",
    "whisperkit.ratchet.hazmat",
    "whisperkit.ratchet.curve",
    "whisperkit.sync",
    "whisperkit.sync.codec",
    "whisperkit.sync.connection",
    "whisperkit.sync.cursor",
    "whisperkit.sync.frames",
    "whisperkit.fanout",
    "whisperkit.receipts",
    "whisperkit.presence",
    "whisperkit.keys",
    "whisperkit.accounts",
    "whisperkit.blobs",
    "whisperkit.ids",
    "whisperkit.partitions",
    "whisperkit.strategy",
    "whisperkit.packing",
    "whisperkit.runtime",
    "whisperkit.anyio_runtime",
    "whisperkit.testing",
)
"""What is public, in the order of the page: the packages, and the modules that people import from by name."""

_SOURCE: Final = Path(whisperkit.__file__).parent.parent
_RAISES: Final = re.compile(r"^Raises:\n((?:[ \t]+.*\n?|\n)*)", re.MULTILINE)
_RAISED: Final = re.compile(r"^    (\w+): ", re.MULTILINE)
_MAX_VALUE_CHARS: Final = 80


class Entry(NamedTuple):
    """A public name, or a method of one.

    Attributes:
        name: As it is written after the module: ``Device``, ``Device.encrypt``.
        full: Under which the reference has it; empty for what has no place of its own.
        shape: Its signature, its bases, or its value.
        summary: The first line of its docstring.
        raises: The errors that its docstring names.
        source: File and line, below ``src``; empty for what is only a value.
    """

    name: str
    full: str
    shape: str
    summary: str
    raises: tuple[str, ...]
    source: str


def render_api() -> str:
    """The whole page."""
    parts = [
        "# Every public name",
        "By module, with shape, errors and source; a name leads to all that is said about it.\n"
        "Units are in the names: `ttl_s` are seconds, `wall_ms` milliseconds since 1970, `max_frame_bytes` bytes; what "
        "is called `now` is in seconds on a monotonic clock of the caller.",
    ]
    for name in MODULES:
        module = importlib.import_module(name)
        parts += [f"## `{name}`", _first_line(module), "\n".join(_line(entry) for entry in entries(name))]
    return "\n\n".join(parts) + "\n"


def _line(entry: Entry) -> str:
    """An entry as an item of a list; what belongs to a class is indented below it."""
    indent = "  " if "." in entry.name else ""
    short = entry.name.rpartition(".")[2]
    text = f"{{py:obj}}`{short} <{entry.full}>`" if entry.full else f"`{short}`"
    shape = f" `{entry.shape}`" if entry.shape else ""
    summary = f": {entry.summary}" if entry.summary else ""
    raises = f" Raises {', '.join(map(_error, entry.raises))}." if entry.raises else ""
    source = f" ({entry.source})" if entry.source else ""
    return f"{indent}- {text}{shape}{summary}{raises}{source}"


def _error(name: str) -> str:
    code: str | None = getattr(getattr(errors, name, None), "code", None)
    return f"`{name}`" if code is None else f"{{ref}}`{name} <{code}>`"


def entries(module_name: str) -> Iterator[Entry]:
    """What a module makes public, in the order of its `__all__`, each class with its methods and properties."""
    module = importlib.import_module(module_name)
    for name in cast("list[str]", module.__all__):
        thing = getattr(module, name)
        if inspect.isclass(thing) and not thing.__module__.startswith(
            "builtins"
        ):  # an alias of `bytes` is none of ours
            yield _class(name, thing)
            yield from _members(name, thing)
        elif inspect.isfunction(thing):
            yield _callable(name, thing, f"{thing.__module__}.{thing.__qualname__}")
        elif inspect.ismodule(thing):
            yield Entry(name, thing.__name__, "", _first_line(thing), (), "")
        else:
            yield _constant(name, thing, module_name)


def _class(name: str, thing: Any) -> Entry:  # Any: a class of any shape
    full = f"{thing.__module__}.{thing.__qualname__}"
    if issubclass(thing, enum.Enum):
        return Entry(name, full, " | ".join(thing.__members__), _first_line(thing), (), _source(thing))
    if issubclass(thing, BaseException):
        bases = ", ".join(base.__name__ for base in thing.__bases__)
        return Entry(name, full, f"({bases})", _first_line(thing), (), _source(thing))
    return Entry(name, full, _signature(thing), _first_line(thing), _raises(thing), _source(thing))


def _members(owner: str, thing: type) -> Iterator[Entry]:
    members: dict[str, object] = dict(vars(thing))
    for name, member in members.items():
        if name.startswith("_"):
            continue
        full, bare = f"{thing.__module__}.{thing.__qualname__}.{name}", inspect.unwrap(_function(member))
        if isinstance(member, property) and inspect.getdoc(member):
            shape = str(_annotations(member.fget).get("return", ""))
            yield Entry(f"{owner}.{name}", full, shape, _first_line(member), _raises(member), _source(member.fget))
        elif inspect.isfunction(bare) and inspect.getdoc(bare):
            yield _callable(f"{owner}.{name}", bare, full, is_method=not isinstance(member, staticmethod))


def _callable(name: str, thing: Any, full: str, *, is_method: bool = False) -> Entry:  # Any: a function of any shape
    return Entry(name, full, _signature(thing, is_method=is_method), _first_line(thing), _raises(thing), _source(thing))


def _function(member: object) -> Any:  # Any: whatever a class holds
    return getattr(member, "__func__", member)


def _signature(thing: Any, *, is_method: bool = False) -> str:  # Any: whatever can be called
    try:
        signature = inspect.signature(thing)
    except ValueError:  # of those that are made by C
        return ""
    if is_method:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    text = re.sub(r"ForwardRef\('([^']*)'(?:, [^()]*)?\)", r"\1", str(signature))  # as NamedTuples have them
    text = re.sub(r"(: |-> )'([^']*)'", r"\1\2", text)
    prefix = "async " if inspect.iscoroutinefunction(thing) else ""
    text = re.sub(r"<(\w+\.\w+): [^<>]*>", r"\1", text)  # members of enums
    return prefix + re.sub(r"<function .*? at 0x[0-9a-f]+>|<[^<>]* at 0x[0-9a-f]+>", "...", text)


def _annotations(thing: Any) -> dict[str, object]:  # Any: the function of a property, or none
    return getattr(thing, "__annotations__", {})


# ---- constants and aliases ------------------------------------------------------------------------------------------


def _constant(name: str, thing: object, module_name: str) -> Entry:
    """What is only a value: its origin and its meaning are found in the source, since a value knows neither."""
    origin = _origin(name, module_name)
    path, lines, body = _read(origin)
    found = next((n for n, node in enumerate(body) if name in _assigned(node)), None)
    if found is None:
        return Entry(name, "", _value(thing), "", (), "")
    line, after = body[found].lineno, body[found + 1] if found + 1 < len(body) else None
    source = f"{path.relative_to(_SOURCE).as_posix()}:{line}"
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        text = inspect.cleandoc(after.value.value).partition("\n\n")[0].replace("\n", " ")
        return Entry(name, f"{origin}.{name}", _value(thing), text, (), source)
    return Entry(name, "", _value(thing), _comment_above(lines, line), (), source)


def _origin(name: str, module_name: str) -> str:
    """The module that defines a name which another one takes from it."""
    for node in _read(module_name)[2]:
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and name in {alias.asname or alias.name for alias in node.names}
        ):
            return _origin(name, node.module)
    return module_name


@cache
def _read(module_name: str) -> tuple[Path, list[str], list[ast.stmt]]:
    path = Path(inspect.getfile(importlib.import_module(module_name)))
    text = path.read_text(encoding="utf-8")
    return path, text.splitlines(), ast.parse(text).body


def _assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _comment_above(lines: list[str], line: int) -> str:
    """The comment that stands directly above a line, as one line; empty if there is none."""
    above = takewhile(lambda text: text.startswith("#"), reversed(lines[: line - 1]))
    return " ".join(reversed([text.removeprefix("#").strip() for text in above])).partition(" ---- ")[0]


def _value(thing: object) -> str:
    """A value, if it is short; of a type its name, of a union those of its members, and of the rest what it is."""
    if isinstance(thing, NewType):
        return cast("type", thing.__supertype__).__name__
    if isinstance(thing, type):
        return thing.__name__
    if isinstance(thing, UnionType):
        return " | ".join(getattr(kind, "__name__", str(kind)) for kind in get_args(thing))
    text = repr(thing).replace("`", "'").replace("\n", " ")
    return text if len(text) <= _MAX_VALUE_CHARS and " at 0x" not in text else type(thing).__name__


# ---- what all have --------------------------------------------------------------------------------------------------


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def _raises(thing: object) -> tuple[str, ...]:
    section = _RAISES.search(inspect.getdoc(thing) or "")
    return tuple(_RAISED.findall(section[1])) if section else ()


def _source(thing: Any) -> str:  # Any: whatever `inspect` can find
    try:
        file, line = inspect.getsourcefile(thing), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return ""
    assert file is not None  # its lines were found
    path = Path(file)
    return f"{path.relative_to(_SOURCE).as_posix()}:{line}" if path.is_relative_to(_SOURCE) else ""
