"""What the server needs: settings, an address, folders, a database that is its own, files enough.

Also the passphrase of a device, which comes from the environment, too.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shlex
import socket
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from examples.adapters.sqlite_schema import MIGRATIONS
from examples.config import Config, ConfigError, load_config
from examples.doctor.findings import Finding, bad, good, poor
from examples.doctor.machine import Machine
from examples.passphrase import NoPassphraseError, lock_for

__all__ = [
    "check_address",
    "check_database",
    "check_folder",
    "check_open_files",
    "check_passphrase",
    "check_settings",
    "serves_at",
]

_SERVE: Final = "python -m examples serve"
_EDITOR: Final = '"${EDITOR:-vi}"'
_LITTLE_BYTES, _TOO_LITTLE_BYTES = 1 << 30, 64 << 20
# A larger one would take longer than a second to read.
_MAX_READ_BYTES: Final = 64 << 20
# Beside connections: the database, its log, pipes, libraries.
_OTHER_FILES: Final = 64
_TABLES: Final = {"head", "row", "mark", "dropped", "generation"}


# ---- settings -------------------------------------------------------------------------------------------------------


def check_settings(path: Path | None, environ: Mapping[str, str]) -> tuple[Config | None, list[Finding]]:
    """Read them; returns what they are unless something is wrong."""
    try:
        config = load_config(path, environ=environ)
    except ConfigError as error:
        return None, [bad("settings", problem, fix=_settings_fix(problem)) for problem in error.problems]
    own = sum(setting.source != "default" for setting in config.settings)
    return config, [good("settings", f"{len(config.settings)}, {own} of them not the default")]


def _settings_fix(problem: str) -> str:
    if match := re.match(r"(.+?):(\d+): ", problem):
        return f"{_EDITOR} +{match[2]} {shlex.quote(match[1])}"
    if match := re.match(r"(WHISPERKIT_\w+): ", problem):
        return f"unset {match[1]}"
    return "python -m examples config"


# ---- the address ----------------------------------------------------------------------------------------------------


def check_address(host: str, port: int) -> Finding:
    """The server can listen there."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if port == 0:
        return good("address", f"any free port of {host}")
    try:
        _listen(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and serves_at(host, port):
            return poor("address", f"a whisperkit server is serving at {where}", fix=_elsewhere())
        return bad("address", f"{where}: {error.strerror}", fix=_elsewhere())
    except UnicodeError:  # of two dots in a row, and of labels that are too long
        return bad("address", f"{where}: this is no name of a host", fix=_elsewhere())
    return good("address", f"{where} is free")


def _listen(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen()


def _elsewhere() -> str:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"WHISPERKIT_SERVER__BIND=127.0.0.1:{sock.getsockname()[1]} {_SERVE}"


def serves_at(host: str, port: int) -> bool:
    """Whether a server of ours answers there."""
    with closing(http.client.HTTPConnection(host, port, timeout=1.0)) as connection:
        try:
            connection.request("GET", "/metrics")
            return b"whisperkit_build_info" in connection.getresponse().read(1 << 20)
        except (OSError, http.client.HTTPException):
            return False


# ---- folders --------------------------------------------------------------------------------------------------------


def check_folder(name: str, folder: Path, machine: Machine, *, is_made: bool) -> Finding:
    """A folder can be written to, and has room.

    Args:
        name: Of the check.
        folder: Which.
        machine: Where it is.
        is_made: The server makes it if it is not there.
    """
    there = folder
    while is_made and not there.exists():
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"whisperkit doctor")
            file.flush()
            os.fsync(file.fileno())
        free = machine.free_bytes(there)
    except NotADirectoryError:
        return bad(
            name, f"{folder}: {there} is a file", fix=f"mv {shlex.quote(str(there))} {shlex.quote(f'{there}.old')}"
        )
    except OSError as error:
        how = "chmod u+rwx" if there.exists() else "mkdir -p"
        return bad(name, f"{folder}: {error.strerror}", fix=f"{how} {shlex.quote(str(there))}")
    if free < _LITTLE_BYTES:
        say = bad if free < _TOO_LITTLE_BYTES else poor
        return say(name, f"{folder}: {free >> 20} MiB are free", fix=f"df -h {shlex.quote(str(there))}")
    return good(name, f"{folder}{'' if there == folder else ' will be made'}, {free >> 30} GiB are free")


# ---- the database ---------------------------------------------------------------------------------------------------


def check_database(path: Path, *, is_served: bool) -> Finding:
    """The database is one of ours, whole, not newer than the program, and nobody else has it.

    Args:
        path: Where it is.
        is_served: A server of ours runs at the address; then it has the database.
    """
    if not path.exists():
        return good("database", f"{path} will be made")
    if path.is_dir():
        return bad("database", f"{path} is a folder", fix=_other_database())
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=0)) as db:
            return _look_into(db, path)
    except sqlite3.Error as error:
        return _unreadable(path, error, is_served=is_served)


def _look_into(db: sqlite3.Connection, path: Path) -> Finding:
    db.isolation_level = None
    db.execute("BEGIN IMMEDIATE")  # nobody else writes, and we may
    db.execute("ROLLBACK")
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if found > len(MIGRATIONS):
        newer = f"{path} has schema {found}; this program knows schemas up to {len(MIGRATIONS)}"
        return bad("database", newer, fix="git pull && make serve")
    if tables and not tables >= _TABLES:
        return bad("database", f"{path} is the database of another program", fix=_aside(path))
    size = path.stat().st_size
    if size > _MAX_READ_BYTES:
        return good("database", f"{path}, schema {found}, {size >> 20} MiB: too large to read all of it now")
    (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        return _damaged(path, " ".join(verdict.split()))
    return good("database", f"{path}, schema {found}" + (f", becomes {len(MIGRATIONS)}" if not tables else ""))


def _unreadable(path: Path, error: sqlite3.Error, *, is_served: bool) -> Finding:
    match error.sqlite_errorcode & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED if is_served:
            return poor("database", f"{path} is in use, it seems by that server", fix=_other_database())
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            who = f"fuser -v {shlex.quote(str(path))}  # and stop it; or: {_other_database()}"
            return bad("database", f"{path} is in use by another process", fix=who)
        case sqlite3.SQLITE_NOTADB:
            return bad("database", f"{path} is no database", fix=_aside(path))
        case sqlite3.SQLITE_CORRUPT:
            return _damaged(path, str(error))
        case _:
            return bad("database", f"{path}: {error}", fix=f"chmod u+rw {shlex.quote(str(path))}")


def _damaged(path: Path, how: str) -> Finding:
    return bad("database", f"{path} is damaged: {how}", fix=f"{_aside(path)}  # and bring back the last backup")


def _aside(path: Path) -> str:
    return f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.old')}"


def _other_database() -> str:
    return f"WHISPERKIT_SERVER__SQLITE_PATH=other.db {_SERVE}"


# ---- limits and secrets ---------------------------------------------------------------------------------------------


def check_open_files(connections: int) -> Iterator[Finding]:
    """The process may open as many files as it has connections; nothing where no system limits it."""
    try:
        import resource
    except ImportError:
        return
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OTHER_FILES
    if limit in (resource.RLIM_INFINITY, -1) or limit >= needed:
        yield good("open files", f"{limit} allowed")
        return
    fix = f"ulimit -n {needed if most == resource.RLIM_INFINITY else min(most, needed)}"
    if limit == most:
        fix = f"WHISPERKIT_LIMITS__CONNECTIONS={max(1, limit - _OTHER_FILES)} {_SERVE}"
    found = f"{limit} allowed; limits.connections is {connections}"
    yield poor("open files", found, fix=fix) if limit > 2 * _OTHER_FILES else bad("open files", found, fix=fix)


def check_passphrase(environ: Mapping[str, str]) -> Finding:
    """What opens a device is usable, and other people of the machine cannot read it."""
    file = environ.get("WHISPERKIT_PASSPHRASE_FILE", "")
    try:
        lock_for("a device", is_new=False, environ=environ, ask=lambda _: "typed")
    except NoPassphraseError as error:
        names = [name for name in sorted(environ) if name.startswith(("WHISPERKIT_PASSPHRASE", "WHISPERKIT_KEY"))]
        return bad("passphrase", str(error), fix=f"unset {' '.join(names)}")
    if file and stat.S_IMODE(Path(file).stat().st_mode) & 0o077:
        return poor("passphrase", f"others may read {file}", fix=f"chmod 600 {shlex.quote(file)}")
    if environ.get("WHISPERKIT_PASSPHRASE"):
        fix = "(umask 077; printenv WHISPERKIT_PASSPHRASE > passphrase)  # unset it, and set WHISPERKIT_PASSPHRASE_FILE"
        return poor("passphrase", "the environment has it, which other programs of yours may read", fix=fix)
    return good("passphrase", "from a file" if file else "a key" if environ.get("WHISPERKIT_KEY") else "is asked for")
