"""The doctor: every check finds what it is for, and says what to do; and finds nothing where all is well."""

from __future__ import annotations

import json
import os
import re
import resource
import shlex
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from examples.__main__ import main
from examples.adapters.sqlite_schema import MIGRATIONS, connect
from examples.doctor.findings import Finding, State
from examples.doctor.machine import ROOT, Machine, check_packages, check_python, machine_here
from examples.doctor.run import examine
from examples.doctor.server import check_open_files
from tests.examples.processes import PATIENCE_S, Server, Terminal, environment

# What a fix begins with.
PROGRAMS = {
    "${EDITOR:-vi}",
    "chmod",
    "df",
    "export",
    "fuser",
    "git",
    "make",
    "mkdir",
    "mv",
    "python",
    Path(sys.executable).name,
    "timedatectl",
    "ulimit",
    "umask",
    "unset",
}

# No test asks for the port of a server that somebody runs here.
ANY_PORT = {"WHISPERKIT_SERVER__BIND": "127.0.0.1:0"}
NAMES = [
    "python",
    "sqlite",
    "terminal",
    "packages",
    "passphrase",
    "settings",
    "clock",
    "address",
    "folder",
    "database",
    "attachments",
    "open files",
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("WHISPERKIT_"):
            monkeypatch.delenv(name)
    for name, value in ANY_PORT.items():
        monkeypatch.setenv(name, value)


def room(mib: int) -> Callable[[Path], int]:
    """A disk with so much room."""

    def free_bytes(_folder: Path) -> int:
        return mib << 20

    return free_bytes


@pytest.fixture
def well() -> Machine:
    """This machine, with a terminal and a disk that will do."""
    return machine_here()._replace(encoding="utf-8", free_bytes=room(10_000))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A database as a server leaves it."""
    path = tmp_path / "chat.db"
    connect(str(path), None).close()
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


def looked(machine: Machine, **environ: str) -> dict[str, Finding]:
    """What is found, by check."""
    findings = list(examine(None, {**ANY_PORT, **environ}, machine))
    assert [finding for finding in findings if finding.state is not State.OK and not is_command(finding.fix)] == []
    return {finding.name: finding for finding in findings}


def is_command(fix: str) -> bool:
    """Whether a shell takes it for one, and begins with something that can be there: what helps can be pasted."""
    if subprocess.run(["/bin/sh", "-n", "-c", fix], capture_output=True, check=False).returncode != 0:
        return False
    words = shlex.split(fix.lstrip("("), comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    return bool(words) and Path(words[0]).name in PROGRAMS


def failed(machine: Machine, **environ: str) -> Finding:
    """The one check that fails."""
    (finding,) = [finding for finding in looked(machine, **environ).values() if finding.state is State.FAIL]
    return finding


def test_what_nobody_can_paste_is_no_command() -> None:
    assert [is_command(fix) for fix in ("", "the one above, then doctor again", "mv 'a", "X=1", "unset X")] == [
        False,
        False,
        False,
        False,
        True,
    ]


# ---- the command ----------------------------------------------------------------------------------------------------


def doctor(folder: Path, *arguments: str, options: tuple[str, ...] = (), **settings: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, *options, "-m", "examples", "doctor", *arguments],
        cwd=folder,
        env=environment({**ANY_PORT, **settings}),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert run.stderr == ""
    return run.returncode, run.stdout


def test_where_all_is_well_it_says_so_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code, out = doctor(tmp_path, WHISPERKIT_LIMITS__CONNECTIONS="10")

    *lines, counts = out.splitlines()
    assert code == 0
    assert [line[6:].split("  ")[0] for line in lines] == NAMES
    assert {line[:6] for line in lines} == {"ok    "}
    assert counts == "12 ok, 0 warnings, 0 failed"
    assert list(tmp_path.iterdir()) == []


def test_what_fails_is_told_with_a_command_and_a_code(tmp_path: Path) -> None:
    (tmp_path / "chat.db").write_bytes(b"my thesis, not a database at all. " * 100)

    code, out = doctor(tmp_path, WHISPERKIT_LIMITS__CONNECTIONS="10")

    lines = out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("FAIL"))
    assert code == 1
    assert lines[at : at + 2] == ["FAIL  database     chat.db is no database", "      fix: mv chat.db chat.db.old"]
    assert lines[-1] == "11 ok, 0 warnings, 1 failed"


def test_programs_get_the_same_as_json(tmp_path: Path) -> None:
    (tmp_path / "chat.db").write_bytes(b"my thesis, not a database at all. " * 100)

    code, out = doctor(tmp_path, "--json", WHISPERKIT_LIMITS__CONNECTIONS="10")

    told = json.loads(out)
    assert code == 1
    assert told["counts"] == {"ok": 11, "warn": 0, "fail": 1}
    assert [check["name"] for check in told["checks"]] == NAMES
    assert {
        "name": "database",
        "state": "fail",
        "found": "chat.db is no database",
        "fix": "mv chat.db chat.db.old",
    } in told["checks"]


def test_it_runs_where_no_package_is_installed_and_says_how_to_install_them(tmp_path: Path) -> None:
    code, out = doctor(tmp_path, options=("-S",))  # without the folder of packages

    assert code == 1
    assert "FAIL  packages     whisperkit is missing, anyio is missing, " in out
    assert f"      fix: {sys.executable} -m pip install --editable {ROOT} --group " in out
    assert "warn  server       not looked at, because packages are missing" in out


@pytest.mark.parametrize(
    ("settings", "is_coloured"),
    [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "", "TERM": "dumb"}, False)],
)
def test_a_terminal_has_colours_unless_they_are_not_wanted(
    tmp_path: Path, settings: dict[str, str], is_coloured: bool
) -> None:
    terminal = Terminal(["doctor"], tmp_path, {**ANY_PORT, "TERM": "xterm", **settings})
    try:
        assert terminal.end() == 0
    finally:
        terminal.close()

    assert ("\033[32mok  \033[0m  python" in terminal.screen) is is_coloured
    assert ("\033" in terminal.screen) is is_coloured


def test_a_server_that_is_running_is_seen_and_nothing_of_it_fails(server: Server, tmp_path: Path) -> None:
    server.start()

    code, out = doctor(tmp_path, WHISPERKIT_SERVER__BIND=f"127.0.0.1:{server.port}")

    assert code == 0
    assert (
        f"warn  address      a whisperkit server is serving at 127.0.0.1:{server.port}\n      fix: WHISPERKIT_" in out
    )
    assert "warn  database     chat.db is in use, it seems by that server\n      fix: WHISPERKIT_SERVER__SQLITE" in out


def test_in_this_process_it_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    Path("whisperkit.toml").write_text("[sever]\n")

    assert main(["doctor"]) == 1

    assert "\nFAIL  settings     whisperkit.toml:1: unknown section [sever]" in capsys.readouterr().out


# ---- the machine ----------------------------------------------------------------------------------------------------


def test_an_old_python_is_told(well: Machine) -> None:
    finding = failed(well._replace(python=(3, 10, 12)))

    assert finding[:3] == ("python", State.FAIL, "3.10.12; needed is 3.11 or newer")
    assert "PYTHON=" in finding.fix


def test_the_python_that_is_asked_for_is_that_of_the_package(well: Machine) -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = tuple(map(int, wanted.removeprefix(">=").split(".")))

    assert check_python(well._replace(python=oldest)).state is State.OK
    assert check_python(well._replace(python=(oldest[0], oldest[1] - 1))).state is State.FAIL


def test_an_old_sqlite_and_one_that_cannot_search_are_told(well: Machine) -> None:
    assert failed(well._replace(sqlite=(3, 34, 1))).found == "3.34.1; needed is 3.35 or newer"
    assert "without FTS5" in failed(well._replace(has_fts5=False)).found


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "no-such-encoding"])
def test_a_terminal_without_the_marks_is_told(well: Machine, encoding: str) -> None:
    finding = looked(well._replace(encoding=encoding))["terminal"]

    assert (finding.state, finding.fix) == (State.WARN, "export PYTHONUTF8=1")


@pytest.mark.parametrize(
    ("there", "problem"),
    [
        ({"one": None}, "one is missing"),
        ({"one": "0.9"}, "one is 0.9, needed is >=1.0"),
        ({"one": "2.0rc1"}, "one is 2.0rc1, needed is <2"),
        ({"two": "1.9"}, "two is 1.9, needed is ==1.9.1"),
        ({"pack": None}, "pack is missing"),
    ],
)
def test_packages_that_are_missing_or_of_another_version_are_told(
    well: Machine, tmp_path: Path, there: dict[str, str | None], problem: str
) -> None:
    project = tmp_path / "pyproject.toml"
    project.write_text(
        '[project]\nname = "pack"\ndependencies = ["one>=1.0,<2"]\n'
        '[dependency-groups]\nexamples = ["two[fast]==1.9.1 ; python_version < \'4\'", "uvloop>=0.2"]\n'
    )
    versions = {"pack": "0", "one": "1.0.0", "two": "1.9.1", "uvloop": "0.21"}

    def look(**others: str | None) -> Finding:
        return check_packages(well._replace(version_of={**versions, **others}.get), project)

    assert look() == Finding("packages", State.OK, "4 are there", "")
    assert look(**there)[1:3] == (State.FAIL, problem)
    assert f"pip install --editable {tmp_path} --group " in look(**there).fix
    optional = look(uvloop=None)
    assert (optional.state, optional.found.partition(";")[0]) == (State.WARN, "uvloop is missing")


def test_a_clock_that_has_gone_back_is_told(well: Machine, database: Path) -> None:
    os.utime(database, (time.time() + 3_600, time.time() + 3_600))

    finding = failed(well)

    assert finding.name == "clock"
    assert "chat.db was written 36" in finding.found
    assert finding.fix == "timedatectl set-ntp true"


def test_a_clock_that_never_was_set_is_told(well: Machine) -> None:
    assert failed(well._replace(wall_s=lambda: 0.0)).found.startswith("1970-01-01 00:00:00 UTC, and ")


# ---- settings and secrets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environ", "fix"),
    [
        ('[server]\nbimd = "x"\n', {}, '"${EDITOR:-vi}" +2 whisperkit.toml'),
        ("", {"WHISPERKIT_SERVER__BIMD": "x"}, "unset WHISPERKIT_SERVER__BIMD"),
        ("[presence]\nbeat_s = 100\n", {}, "python -m examples config"),
    ],
)
def test_settings_that_are_wrong_are_told_with_the_place_to_go_to(
    well: Machine, text: str, environ: dict[str, str], fix: str
) -> None:
    Path("whisperkit.toml").write_text(text)

    found = looked(well, **environ)

    assert (found["settings"].state, found["settings"].fix) == (State.FAIL, fix)
    assert found["server"].found == "not looked at, because settings are wrong"


@pytest.mark.parametrize(
    ("environ", "fix"),
    [
        ({"WHISPERKIT_KEY": "5e"}, "unset WHISPERKIT_KEY"),
        ({"WHISPERKIT_KEY": "xyz"}, "unset WHISPERKIT_KEY"),
        ({"WHISPERKIT_PASSPHRASE_FILE": "nowhere"}, "unset WHISPERKIT_PASSPHRASE_FILE"),
        ({"WHISPERKIT_KEY": "5e" * 32, "WHISPERKIT_PASSPHRASE": "x"}, "unset WHISPERKIT_KEY WHISPERKIT_PASSPHRASE"),
    ],
)
def test_a_passphrase_that_opens_nothing_is_told_and_not_shown(
    well: Machine, environ: dict[str, str], fix: str
) -> None:
    finding = failed(well, **environ)

    assert (finding.name, finding.fix) == ("passphrase", fix)
    assert "5e5e" not in finding.found
    assert "xyz" not in finding.found


def test_a_passphrase_that_others_can_read_is_told(well: Machine) -> None:
    file = Path("secret words")
    file.write_text("correct horse\n")
    file.chmod(0o644)

    finding = looked(well, WHISPERKIT_PASSPHRASE_FILE=str(file))["passphrase"]
    assert finding[1:] == (State.WARN, "others may read secret words", "chmod 600 'secret words'")

    file.chmod(0o600)
    assert looked(well, WHISPERKIT_PASSPHRASE_FILE=str(file))["passphrase"].found == "from a file"
    assert looked(well, WHISPERKIT_PASSPHRASE="x")["passphrase"].state is State.WARN
    assert looked(well, WHISPERKIT_KEY="5e" * 32)["passphrase"].found == "a key"


# ---- the address ----------------------------------------------------------------------------------------------------


def answering(sock: socket.socket, answer: bytes) -> None:
    connection, _ = sock.accept()
    with connection:
        connection.recv(1_000)
        connection.sendall(answer)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.0 404 Not Found\r\n\r\n"])
def test_an_address_that_somebody_else_has_is_told_with_one_that_is_free(well: Machine, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        other = threading.Thread(target=answering, args=(taken, answer))
        other.start()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        finding = failed(well, WHISPERKIT_SERVER__BIND=bind)
        other.join()

    assert (finding.name, finding.found) == ("address", f"{bind}: Address already in use")
    assert finding.fix.startswith("WHISPERKIT_SERVER__BIND=127.0.0.1:")
    assert finding.fix.endswith(" python -m examples serve")
    assert bind not in finding.fix


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b"])
def test_an_address_that_is_not_of_this_machine_is_told(well: Machine, host: str) -> None:
    finding = failed(well, WHISPERKIT_SERVER__BIND=f"{host}:8080")

    assert finding.name == "address"
    assert finding.found.startswith(f"{host}:8080: ")


def test_an_address_that_is_free_is_found_so(well: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]

    finding = looked(well, WHISPERKIT_SERVER__BIND=f"127.0.0.1:{port}")["address"]
    assert finding == Finding("address", State.OK, f"127.0.0.1:{port} is free", "")


# ---- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_told(well: Machine) -> None:
    finding = failed(well, WHISPERKIT_SERVER__SQLITE_PATH="my data/chat.db")

    assert finding == Finding("folder", State.FAIL, "my data: No such file or directory", "mkdir -p 'my data'")


def test_a_folder_in_which_nothing_can_be_written_is_told(well: Machine) -> None:
    finding = failed(well, WHISPERKIT_SERVER__SQLITE_PATH="/proc/chat.db")  # not even by root

    assert (finding.name, finding.fix) == ("folder", "chmod u+rwx /proc")


def test_a_file_in_the_place_of_a_folder_is_told(well: Machine) -> None:
    Path("blobs").write_text("")

    finding = failed(well)

    assert finding == Finding("attachments", State.FAIL, "blobs: blobs is a file", "mv blobs blobs.old")


@pytest.mark.parametrize(("mib", "state"), [(1_023, State.WARN), (63, State.FAIL), (1_024, State.OK)])
def test_a_disk_that_is_nearly_full_is_told(well: Machine, mib: int, state: State) -> None:
    found = looked(well._replace(free_bytes=room(mib)))

    for name in ("folder", "attachments"):
        assert found[name].state is state
        assert found[name].fix == ("" if state is State.OK else "df -h .")


# ---- the database ---------------------------------------------------------------------------------------------------


def test_a_database_of_ours_is_found_well_and_left_as_it_was(well: Machine, database: Path) -> None:
    before = database.read_bytes()

    finding = looked(well)["database"]

    assert finding == Finding("database", State.OK, f"chat.db, schema {len(MIGRATIONS)}", "")
    assert (database.read_bytes(), list(database.parent.iterdir())) == (before, [database])


def test_a_database_that_another_process_has_is_told(well: Machine, database: Path) -> None:
    with closing(connect(str(database), None)):
        finding = failed(well)

    assert (finding.name, finding.found) == ("database", "chat.db is in use by another process")
    assert finding.fix.startswith("fuser -v chat.db  # and stop it; or: WHISPERKIT_SERVER__SQLITE_PATH=")


def test_a_database_of_a_newer_program_is_told(well: Machine, database: Path) -> None:
    newer = len(MIGRATIONS) + 1
    with closing(sqlite3.connect(database)) as db:
        db.execute(f"PRAGMA user_version = {newer}")

    finding = failed(well)

    assert finding.found == f"chat.db has schema {newer}; this program knows schemas up to {newer - 1}"
    assert finding.fix == "git pull && make serve"


def test_a_database_of_another_program_is_told(well: Machine) -> None:
    with closing(sqlite3.connect("chat.db")) as db:
        db.execute("CREATE TABLE bookmark (url TEXT)")

    assert failed(well)[2:] == ("chat.db is the database of another program", "mv chat.db chat.db.old")


def test_a_database_without_anything_in_it_is_one_to_be(well: Machine) -> None:
    Path("chat.db").touch()

    assert looked(well)["database"].found == f"chat.db, schema 0, becomes {len(MIGRATIONS)}"


def test_a_damaged_database_is_told(well: Machine, database: Path) -> None:
    with closing(connect(str(database), None)) as db:
        db.executemany("INSERT INTO head VALUES (?, ?, 1, ?)", [(n, f"p{n}", b"x" * 100) for n in range(500)])
    whole = bytearray(database.read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 3_000] = b"\xff" * 3_000
    database.write_bytes(whole)

    finding = failed(well)

    assert finding.found.startswith("chat.db is damaged: ")
    assert finding.fix == "mv chat.db chat.db.old  # and bring back the last backup"


def test_a_folder_in_the_place_of_the_database_is_told(well: Machine) -> None:
    Path("chat.db").mkdir()

    assert failed(well).found == "chat.db is a folder"


def test_a_large_database_is_not_read_to_its_end(well: Machine, database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(65 << 20)

    assert "too large to read all of it now" in looked(well)["database"].found


# ---- open files -----------------------------------------------------------------------------------------------------


def test_fewer_files_than_connections_are_told() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    (enough,) = check_open_files(limit - 64)
    (one_short,) = check_open_files(limit - 63)

    assert (enough.state, enough.found) == (State.OK, f"{limit} allowed")
    assert (one_short.state, one_short.found) == (State.WARN, f"{limit} allowed; limits.connections is {limit - 63}")


@pytest.mark.parametrize(
    ("limits", "start"),
    [("-S -n 100", "ulimit -n 164"), ("-n 100", "WHISPERKIT_LIMITS__CONNECTIONS=36 python -m examples serve")],
)
def test_hardly_any_files_are_a_failure_and_the_fix_is_one_that_works(tmp_path: Path, limits: str, start: str) -> None:
    run = subprocess.run(
        ["/bin/sh", "-c", f'ulimit {limits}; exec "$0" -m examples doctor', sys.executable],
        cwd=tmp_path,
        env=environment({**ANY_PORT, "WHISPERKIT_LIMITS__CONNECTIONS": "100"}),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert run.returncode == 1
    assert f"FAIL  open files   100 allowed; limits.connections is 100\n      fix: {start}\n" in run.stdout
