"""The servers of the framework examples: wrong arguments, an address that is taken, a database that is away."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from examples.adapters.sqlite_schema import connect
from examples.uvicorn_site import port_of
from tests.examples.processes import PATIENCE_S, environment

NOWHERE = "postgresql://nobody:secret@127.0.0.1:1/none"


def port(*arguments: str) -> int:
    return port_of(arguments, program="examples.a_site", about="A site.", default=8_090)


def serve(module: str, folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", f"examples.{module}", *arguments],
        cwd=folder,
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_the_port_is_that_of_the_command_line_or_the_default() -> None:
    assert port() == 8_090
    assert (port("0"), port("65535")) == (0, 65_535)


@pytest.mark.parametrize("wrong", [["-1"], ["65536"], ["http"], ["8090", "8091"], ["--port", "8090"]])
def test_what_is_no_port_is_told(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        port(*wrong)

    assert ended.value.code == 2
    assert "usage: python -m examples.a_site [-h] [PORT]" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["django_channels", "socketio_chat"])
def test_an_address_that_is_taken_is_told_and_has_a_code_of_its_own(module: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = serve(module, tmp_path, f"{taken.getsockname()[1]}")

    assert ended.returncode == 69
    assert "address already in use" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("name", ["django", "socketio"])
def test_a_file_that_another_process_has_is_told_in_two_lines(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "chat-data" / name
    folder.mkdir(parents=True)
    module = {"django": "django_channels", "socketio": "socketio_chat"}[name]
    with closing(connect(str(folder / "messages.db"), None)):
        ended = serve(module, tmp_path, "0")

    assert ended.returncode == 69
    assert ended.stderr.splitlines() == [
        f"chat-data/{name}/messages.db is in use by another process",
        "    note: stop the other process, or give this one a file of its own",
    ]


@pytest.mark.parametrize("url", [NOWHERE, "not a url", "mysql://127.0.0.1/chat"])
def test_a_database_that_is_away_is_told_once_and_without_its_password(url: str, tmp_path: Path) -> None:
    ended = serve("fastapi_postgres", tmp_path, "0", DATABASE_URL=url)

    assert ended.returncode == 69
    assert ended.stderr.startswith("the database at DATABASE_URL cannot be reached: ")
    assert len(ended.stderr.splitlines()) == 1
    assert "secret" not in ended.stderr


@pytest.mark.parametrize("module", ["django_channels", "fastapi_postgres", "socketio_chat"])
def test_wrong_usage_starts_nothing(module: str, tmp_path: Path) -> None:
    ended = serve(module, tmp_path, "eight")

    assert ended.returncode == 2
    assert "a port is a number from 0 to 65535, got eight" in ended.stderr
    assert list(tmp_path.iterdir()) == []
