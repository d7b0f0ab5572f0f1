"""The package as a whole: what it exports, and what stays apart."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import whisperkit
from whisperkit import errors
from whisperkit.errors import WhisperError

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "whisperkit"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {contract["id"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}

MODULES = sorted(
    {"whisperkit", *(module.name for module in pkgutil.walk_packages(whisperkit.__path__, prefix="whisperkit."))}
)
# `python -m whisperkit.x` runs its `__main__`; importing it would.
IMPORTABLE = [name for name in MODULES if not name.endswith(".__main__")]
# Those of one layer of the contract that are there.
ENGINES = [
    engine
    for layer in CONTRACTS["layers"]["layers"]
    if "(ratchet)" in layer
    for part in layer.split("|")
    if (engine := f"whisperkit.{part.strip(' ()')}") in MODULES
]


def public_errors() -> list[type[WhisperError]]:
    return [getattr(errors, name) for name in errors.__all__]


def loaded_by(module: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after importing this one."""
    program = f"import sys, {module}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


# ---- modules --------------------------------------------------------------------------------------------------------


def test_every_folder_of_the_source_is_a_package() -> None:
    folders = {path.parent for path in SOURCE.rglob("*.py")}

    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


@pytest.mark.parametrize("name", IMPORTABLE)
def test_a_module_says_what_it_is_for(name: str) -> None:
    docstring = importlib.import_module(name).__doc__

    assert docstring is not None
    assert docstring.splitlines()[0].endswith((".", ":", "?"))


@pytest.mark.parametrize("name", [name for name in IMPORTABLE if not name.rpartition(".")[2].startswith("_")])
def test_a_module_lists_public_names_that_it_has(name: str) -> None:
    module = importlib.import_module(name)

    public: list[str] = module.__all__
    assert [n for n in public if not hasattr(module, n)] == []


@pytest.mark.parametrize("name", [name for name in IMPORTABLE if not name.rpartition(".")[2].startswith("_")])
def test_what_a_module_makes_public_is_documented(name: str) -> None:
    module = importlib.import_module(name)

    made_here = [getattr(module, public) for public in module.__all__]
    silent = [
        thing.__qualname__
        for thing in made_here
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == name and not thing.__doc__
    ]
    assert silent == []


@pytest.mark.parametrize("name", [name for name in IMPORTABLE if hasattr(importlib.import_module(name), "__path__")])
def test_a_package_lists_its_public_names_and_does_nothing_else(name: str) -> None:
    module = importlib.import_module(name)

    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.Expr)
    others = [type(node).__name__ for node in statements_of(module) if not isinstance(node, allowed)]
    assert others == []


def statements_of(module: ModuleType) -> list[ast.stmt]:
    assert module.__file__ is not None
    return ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body


# ---- what stays apart -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_importing_an_engine_loads_no_event_loop_and_nothing_above_it(engine: str) -> None:
    loaded = loaded_by(engine)

    others = {other for other in ENGINES if other != engine}
    above = {f"whisperkit.{name}" for name in ("stores", "transport", "service", "client", "testing", "anyio_runtime")}
    assert loaded & ({"anyio", "asyncio", "trio", "sqlite3"} | others | above) == set()


def test_importing_the_top_level_loads_the_ids_only() -> None:
    ours = {name for name in loaded_by("whisperkit") if name.startswith("whisperkit.")}

    assert ours == {"whisperkit.ids", "whisperkit.errors"}


def test_every_engine_is_held_to_the_contract_of_purity() -> None:
    assert set(ENGINES) - set(CONTRACTS["pure"]["source_modules"]) == set()


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_every_error_of_the_library_is_on_the_page_of_errors() -> None:
    found = [
        f"{name}.{class_name}"
        for name in IMPORTABLE
        for class_name, thing in vars(importlib.import_module(name)).items()
        if inspect.isclass(thing) and issubclass(thing, WhisperError) and thing.__module__ != errors.__name__
    ]
    assert found == []


def test_every_error_class_is_public() -> None:
    classes = {name for name, thing in vars(errors).items() if inspect.isclass(thing) and issubclass(thing, Exception)}

    assert classes == set(errors.__all__)


def test_an_error_code_is_of_one_error() -> None:
    codes = [error.code for error in public_errors()]

    assert sorted(codes) == sorted(set(codes))


@pytest.mark.parametrize("error", public_errors())
def test_an_error_has_a_code_of_its_own_and_says_when_it_happens(error: type[WhisperError]) -> None:
    assert "code" in vars(error)
    assert all(part.replace("-", "").isalnum() and part == part.lower() for part in error.code.split("."))
    assert error.__doc__
