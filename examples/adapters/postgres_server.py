"""A PostgreSQL server of one's own, in a folder and on a free port of the loopback: for tests, and to try an example.

The programs of the Debian and Ubuntu package `postgresql` are found where it puts them, without being on the path.
PostgreSQL refuses to run as root; then it runs as the user that the package made.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from whisperkit.errors import StoreError

__all__ = ["find_programs", "run_postgres"]

_OWNER: Final = "chat"
_SERVICE_USERS: Final = ("postgres", "nobody")
# Between the look for a free port and its use somebody else may take it.
_ATTEMPTS: Final = 5
_START_S: Final = 60


def find_programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, of the newest version that is installed; `None` if there is none."""
    installed = Path("/usr/lib/postgresql")
    versions = sorted(installed.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True)
    on_path = shutil.which("initdb")
    found = [*versions, *([Path(on_path).resolve()] if on_path else [])]
    return found[0].parent if found else None


@contextmanager
def run_postgres(folder: Path, *, durable: bool = True) -> Generator[str]:
    """Run a server until the block ends.

    Args:
        folder: Where the database is, made if it is not there; every part of its path can be entered by others.
        durable: Whether what is committed survives a power cut; tests do without.

    Yields:
        A URL with a password that only this run knows.

    Raises:
        StoreError: PostgreSQL is not installed or does not start, or one runs there already.
    """
    programs = find_programs()
    if programs is None:
        raise StoreError("PostgreSQL is not installed; on Debian and Ubuntu: apt-get install postgresql")
    server = _Server(programs, folder)
    server.prepare()
    server.check_free()
    port = server.start(durable=durable)
    try:
        yield f"postgresql://{_OWNER}:{server.new_password(port)}@127.0.0.1:{port}/postgres"
    finally:
        how = "fast" if durable else "immediate"
        server.run("pg_ctl", "stop", f"--mode={how}", "--silent", f"--pgdata={server.data}")


class _Server:
    def __init__(self, programs: Path, folder: Path) -> None:
        self.data = folder / "data"
        self._programs = programs
        self._folder = folder
        self._user = _service_user() if os.geteuid() == 0 else None

    def prepare(self) -> None:
        """Make the database, if it is not there."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        if not (self.data / "PG_VERSION").exists():
            # Who may enter the folder, which is nobody else, may enter the database by its socket.
            self._folder.chmod(0o700)
            login = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--username={_OWNER}"]
            self.run("initdb", "--encoding=UTF8", "--locale=C", "--no-sync", *login, f"--pgdata={self.data}")

    def check_free(self) -> None:
        """Refuse a database that a server has: starting another one would say so in a page of its log."""
        try:
            self.run("pg_ctl", "status", f"--pgdata={self.data}")
        except StoreError:
            return
        (pid, *_) = (self.data / "postmaster.pid").read_text().splitlines()
        raise StoreError(f"a server runs in {self.data} already; if nobody needs it: kill -INT {pid}")

    def start(self, *, durable: bool) -> int:
        """Start on a free port, and return that."""
        settings = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder}"
        if not durable:
            settings += " -c fsync=off -c full_page_writes=off"
        for attempt in range(1, _ATTEMPTS + 1):
            port = _free_port()
            try:
                self.run(
                    "pg_ctl",
                    "start",
                    "--wait",
                    "--silent",
                    f"--timeout={_START_S}",
                    f"--pgdata={self.data}",
                    f"--log={self._folder / 'log'}",
                    f"--options={settings} -c port={port}",
                )
            except StoreError:
                if attempt == _ATTEMPTS:
                    raise
            else:
                return port
        raise AssertionError("unreachable")  # pragma: no cover

    def new_password(self, port: int) -> str:
        """Give the owner another password, by the socket that only its user reaches."""
        password = secrets.token_hex(16)
        where = [f"--host={self._folder}", f"--port={port}", f"--username={_OWNER}", "--dbname=postgres"]
        # By standard input: arguments of a program can be seen by everybody.
        self.run("psql", *where, "--quiet", text=f"ALTER ROLE {_OWNER} PASSWORD '{password}'")
        return password

    def run(self, program: str, *arguments: str, text: str = "") -> None:
        user = self._user
        done = subprocess.run(
            [self._programs / program, *arguments],
            input=text,
            # A server goes on for longer than the call that starts it, and would hold a pipe open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            text=True,
            check=False,
            cwd="/",
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )
        if done.returncode != 0:
            log = self._folder / "log"
            said = done.stderr or (log.read_text(errors="replace")[-2_000:] if log.exists() else "")
            raise StoreError(f"{program} ended with {done.returncode}: {said.strip()}")


def _service_user() -> pwd.struct_passwd:
    for name in _SERVICE_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise StoreError("PostgreSQL does not run as root, and there is no other user to run it as")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
