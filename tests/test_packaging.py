"""What users install: a wheel and an sdist that hold the same, and that work where nothing else is installed."""

from __future__ import annotations

import os
import subprocess
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.distribution import ROOT, UNREACHABLE, build_sdist, build_wheel, install, new_environment, unpack
from whisperkit._version import __version__

SOURCE = ROOT / "src" / "whisperkit"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]

# What each import may not bring with it: an event loop, or what the importer did not ask for.
APART = [
    (
        "whisperkit.ratchet",
        {"anyio", "asyncio", "trio", "whisperkit.service", "whisperkit.client", "whisperkit.stores"},
    ),
    ("whisperkit.sync", {"anyio", "asyncio", "whisperkit.ratchet", "whisperkit.service", "cryptography", "nacl"}),
    ("whisperkit.receipts", {"anyio", "asyncio", "whisperkit.ratchet", "whisperkit.service", "cryptography", "nacl"}),
    ("whisperkit.service", {"trio", "hypothesis", "pytest", "whisperkit.client", "whisperkit.testing"}),
    ("whisperkit.client", {"trio", "hypothesis", "pytest", "whisperkit.service", "whisperkit.testing"}),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sdist(tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel and what it asked for."""
    return with_installed(str(wheel), tmp_path_factory.mktemp("environment"))


@pytest.fixture(scope="module")
def author(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of one that has also what authors of adapters ask for."""
    return with_installed(f"{wheel}[testing]", tmp_path_factory.mktemp("author"))


def with_installed(requirement: str, folder: Path) -> Path:
    python = new_environment(folder)
    if not install(requirement, python):
        if os.environ.get("CI"):
            pytest.fail(UNREACHABLE)
        pytest.skip(UNREACHABLE)
    return python


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel: Path) -> Message:
    return message_from_bytes(contents(wheel)[f"whisperkit-{__version__}.dist-info/METADATA"])


def run_in(python: Path, program: str, folder: Path) -> str:
    """Run a program where only what is installed can be imported, and tell what it printed."""
    run = subprocess.run([python, "-I", "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


# ---- what is in them ------------------------------------------------------------------------------------------------


def test_the_installed_version_is_the_one_in_the_source() -> None:
    assert version("whisperkit") == __version__


def test_the_wheel_has_the_types_the_licence_and_all_of_the_source(wheel: Path) -> None:
    names = set(contents(wheel))

    expected = {path.relative_to(SOURCE.parent).as_posix() for path in SOURCE.rglob("*.py")}
    assert "whisperkit/py.typed" in names
    assert f"whisperkit-{__version__}.dist-info/licenses/LICENSE" in names
    assert {name for name in names if name.endswith(".py")} == expected


def test_the_wheel_has_the_package_and_nothing_beside_it(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in contents(wheel)}

    assert tops == {"whisperkit", f"whisperkit-{__version__}.dist-info"}


def test_the_wheel_installs_no_command(wheel: Path) -> None:
    assert not [name for name in contents(wheel) if name.endswith("entry_points.txt")]


def test_the_wheel_asks_for_what_the_project_names_and_no_more(wheel: Path) -> None:
    said = metadata(wheel)

    needed = [line for line in said.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert needed == PROJECT["dependencies"]
    assert said["Requires-Python"] == PROJECT["requires-python"]
    assert said.get_all("Provides-Extra") == ["testing"]


def test_the_wheel_is_for_every_platform(wheel: Path) -> None:
    assert wheel.name == f"whisperkit-{__version__}-py3-none-any.whl"


def test_the_sdist_has_what_a_packager_needs_and_nothing_that_was_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert names >= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "tests/test_packaging.py"}
    built = (".venv/", "build/", "dist/", "docs/_build/", "docs/reference/generated/", ".git/")
    assert [name for name in names if name.startswith(built) or name.endswith((".pyc", ".db", ".whl"))] == []


def test_the_wheel_that_is_built_from_the_sdist_is_the_same(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    again = build_wheel(tmp_path, source=unpack(sdist, tmp_path))

    assert contents(again) == contents(wheel)


# ---- installed where nothing else is --------------------------------------------------------------------------------


def test_the_installed_package_is_the_wheel_with_its_types(python: Path, tmp_path: Path) -> None:
    program = "import pathlib, whisperkit; print(pathlib.Path(whisperkit.__file__).parent)"
    folder = Path(run_in(python, program, tmp_path).strip())

    assert folder.is_relative_to(python.parent.parent)
    assert (folder / "py.typed").exists()


def test_every_module_but_the_kit_for_authors_imports_with_the_dependencies_alone(python: Path, tmp_path: Path) -> None:
    program = """
import importlib, pkgutil, whisperkit
names = [module.name for module in pkgutil.walk_packages(whisperkit.__path__, "whisperkit.")]
ours = [name for name in names if not name.startswith("whisperkit.testing") and not name.endswith("__main__")]
for name in ours:
    importlib.import_module(name)
print(len(ours))
"""
    assert int(run_in(python, program, tmp_path)) > 100


def test_a_message_is_delivered_with_the_dependencies_alone(python: Path, tmp_path: Path) -> None:
    example = (ROOT / "README.md").read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]

    assert run_in(python, example, tmp_path).splitlines() == ["[b'A', b'B']", "DELIVERED"]


@pytest.mark.parametrize(("module", "unwanted"), APART, ids=[module for module, _ in APART])
def test_an_import_brings_only_what_it_needs(module: str, unwanted: set[str], python: Path, tmp_path: Path) -> None:
    loaded = set(run_in(python, f"import sys, {module}; print(*sys.modules)", tmp_path).split())

    assert module in loaded
    assert loaded & unwanted == set()


# ---- for authors of adapters ----------------------------------------------------------------------------------------


def test_the_kit_comes_with_the_extra_of_its_name(author: Path, tmp_path: Path) -> None:
    program = """
from contextlib import asynccontextmanager
from whisperkit.stores import MemoryPartitions
from whisperkit.testing import PARTITION_CHECKS, run_conformance

@asynccontextmanager
async def make():
    yield MemoryPartitions()

report = run_conformance(make, PARTITION_CHECKS, backends=("asyncio", "trio"), print_line=lambda line: None)
print(len(report.passed) + len(report.skipped) - 2 * len(PARTITION_CHECKS))
"""
    assert run_in(author, program, tmp_path).split() == ["0"]


def test_the_simulator_comes_with_the_extra_of_its_name(author: Path, tmp_path: Path) -> None:
    arguments = ["-I", "-m", "whisperkit.testing", "simulate", "--seed", "7"]
    run = subprocess.run([author, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (run.returncode, run.stdout.split()[:3]) == (0, ["held", "seed", "7,"])


def test_the_lab_brings_what_the_simulator_needs() -> None:
    """It is not in the dependencies of the examples, and an import of the lab ends without it."""
    lab = {one for one in PYPROJECT["dependency-groups"]["lab"] if isinstance(one, str)}

    assert lab >= set(PROJECT["optional-dependencies"]["testing"])
