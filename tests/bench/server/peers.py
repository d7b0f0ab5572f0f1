"""Other servers, each set as fast as it can be: how they are installed, started and told what to do.

ejabberd and prosody are Debian's packages, run as processes of this run with a configuration of their own on a free
port of loopback, and never as services. What cannot be had says why, and the others go on.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from tests.bench.packages import tried
from tests.bench.server.contestants import OURS, RELAY, Running, launched, running
from tests.bench.server.xmpp_loads import HOST, ROOMS
from whisperkit._version import __version__

__all__ = ["PEERS", "Peer"]

_START_S: Final = 30.0
_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_ACCOUNTS: Final = 2_000


class Peer(NamedTuple):
    """A server.

    Attributes:
        key: What its figures are filed under.
        title: What it is called.
        about: How it runs.
        stored: What it has stored when it says that it has a message.
        measures: What is in front of the names of its measurements in `worker.py`.
        version: Which one it is.
        missing: Why it cannot play, or `None`; told whether to install what is not there.
        running: Starts it with its files in a folder, and stops it.
        only: The rows that it plays; all, if there are none.
        window: A longer one than that of the row, where messages come in bursts: an archive that syncs each of them
            hands on hundreds together, seconds apart.
    """

    key: str
    title: str
    about: str
    stored: str
    measures: str
    version: Callable[[], str]
    missing: Callable[[bool], str | None]
    running: Callable[[Path], AbstractContextManager[Running]]
    only: Sequence[str] = ()
    window: tuple[float, float] | None = None


# ---- what is there ---------------------------------------------------------------------------------------------------


def _always_there(_install: bool) -> None:
    """They come with this repository, or with its tests."""


def _debian_missing(packages: Sequence[str], install: bool) -> str | None:
    wanted = [name for name in packages if not _debian_version(name)]
    if not wanted:
        return None
    words = " ".join(wanted)
    if not install:
        return f"{words} is not installed; `make bench-peers` installs it"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"{words} is not installed, and only root can do that, with apt"
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *wanted]
    with _no_services():
        reason = tried(f"{words} cannot be installed", command, environ=environ)
        if reason is not None and tried("", ["apt-get", "update", "-q"], environ=environ) is None:
            reason = tried(f"{words} cannot be installed", command, environ=environ)
    return reason


@contextmanager
def _no_services() -> Generator[None]:
    """Debian starts the services of what it installs, unless this file says no."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _debian_version(package: str) -> str:
    """Which one is installed, or nothing."""
    try:
        found = subprocess.run(
            ["dpkg-query", "-W", "-f", "${db:Status-Abbrev} ${Version}", package], capture_output=True, text=True
        )
    except OSError:
        return ""
    state, _, number = found.stdout.partition(" ")
    return number.strip() if state.startswith("ii") else ""


# ---- how each is started ---------------------------------------------------------------------------------------------


@contextmanager
def _listening(
    command: Sequence[str], folder: Path, port: int, *, url: str, environ: Mapping[str, str] | None = None
) -> Generator[Running]:
    """Start a command and wait until it takes connections."""
    with launched(command, folder, environ or {}) as (process, log):
        deadline = time.monotonic() + _START_S
        while not _takes_connections(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start: {log.read_text(encoding='utf-8')[-2_000:]}")
            time.sleep(0.1)
        yield Running(url, process.pid)


def _takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as some:
        some.bind(("127.0.0.1", 0))
        port: int = some.getsockname()[1]
    return port


_EJABBERD: Final = """\
hosts: [{host}]
loglevel: error
listen:
  - port: {port}
    ip: "127.0.0.1"
    module: ejabberd_c2s
    max_stanza_size: 262144
auth_method: [anonymous]
anonymous_protocol: login_anon
acl: {{}}
modules:
  mod_stream_mgmt: {{}}
  mod_muc:
    host: {rooms}
    access: all
    access_create: all
    history_size: 0
    max_users: 1000
    default_room_options:
      max_users: 1000
"""
_EJABBERD_ARCHIVE: Final = """\
  mod_mam:
    default: always
    db_type: sql
sql_type: sqlite
sql_database: "{folder}/archive.db"
"""


def _ejabberd(archive: bool, folder: Path) -> AbstractContextManager[Running]:
    # One scheduler for one core, which waits without spinning: what it would burn while it waits is no work.
    port = _free_port()
    config = (_EJABBERD + _EJABBERD_ARCHIVE * archive).format(host=HOST, rooms=ROOMS, port=port, folder=folder)
    (folder / "ejabberd.yml").write_text(config, encoding="ascii")
    environ = {
        "EJABBERD_CONFIG_PATH": str(folder / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
        "ERL_CRASH_DUMP": str(folder / "crash"),
        "ERL_LIBS": str(_libraries()),
        "ERL_MAX_PORTS": "32000",
        "HOME": str(folder),
    }
    options = ["+S", "1:1", "+sbwt", "none", "+K", "true", "+P", "250000", "-mnesia", "dir", f'"{folder / "mnesia"}"']
    command = ["erl", "-noinput", *options, "-s", "ejabberd"]
    return _listening(command, folder, port, url=f"xmpp://127.0.0.1:{port}", environ=environ)


def _libraries() -> Path:
    """Where Debian has put ejabberd's own modules."""
    (found, *_) = sorted(Path("/usr/lib").glob("*/ejabberd-*")) or [Path("/usr/lib/ejabberd")]
    return found.parent


_PROSODY: Final = """\
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}"
run_as_root = true
daemonize = false
log = {{ error = "*console" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{ "saslauth", "smacks"{archive} }}
modules_disabled = {{ "s2s", "s2s_auth_certs", "offline", "tls", "admin_shell", "posix" }}
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"
limits = {{}}
storage = {{ archive = "{storage}" }}
sql = {{ driver = "SQLite3", database = "{folder}/archive.db" }}
default_archive_policy = true
VirtualHost "{host}"
Component "{rooms}" "muc"
  muc_room_locking = false
"""


def _prosody(archive: bool, folder: Path) -> AbstractContextManager[Running]:
    port = _free_port()
    modules, storage = (', "mam"', "sql") if archive else ("", "none")
    config = _PROSODY.format(host=HOST, rooms=ROOMS, port=port, folder=folder, archive=modules, storage=storage)
    (folder / "prosody.cfg.lua").write_text(config, encoding="ascii")
    accounts = folder / "data" / HOST / "accounts"
    accounts.mkdir(parents=True)
    for name in (f"{role}{n}" for role in ("writer", "reader") for n in range(_ACCOUNTS)):
        (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{name}"; }};\n', encoding="ascii")
    command = ["prosody", "--config", str(folder / "prosody.cfg.lua"), "-F"]
    return _listening(command, folder, port, url=f"xmpp://127.0.0.1:{port}")


def _socketio(folder: Path) -> AbstractContextManager[Running]:
    port = _free_port()
    command = [sys.executable, "-m", "tests.bench.server.socketio_server", f"{port}"]
    url = f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket"
    environ = {"PYTHONPATH": str(Path(__file__).parents[3])}
    return _listening(command, folder, port, url=url, environ=environ)


_NOTHING: Final = "nothing"
_ARCHIVED: Final = "the message in an archive in SQLite, as the server sets SQLite"
_ARCHIVES: Final = ("pairs-50",)
_BURSTS: Final = (5.0, 20.0)

PEERS: Final = (
    Peer(
        OURS,
        "whisperkit",
        "the reference server",
        "the message and the copy of each device, synced",
        "",
        lambda: __version__,
        _always_there,
        partial(running, OURS),
    ),
    Peer(
        RELAY,
        "relay",
        "the floor of the tables above",
        "one row for each message, synced",
        "relay_",
        lambda: "",
        _always_there,
        partial(running, RELAY),
    ),
    Peer(
        "ejabberd",
        "ejabberd",
        "one scheduler; no archive, no TLS, no shapers",
        _NOTHING,
        "xmpp_",
        partial(_debian_version, "ejabberd"),
        partial(_debian_missing, ["ejabberd"]),
        partial(_ejabberd, False),
    ),
    Peer(
        "ejabberd-archive",
        "ejabberd, archive",
        "the same with mod_mam in SQLite",
        _ARCHIVED,
        "xmpp_",
        partial(_debian_version, "ejabberd"),
        partial(_debian_missing, ["ejabberd", "erlang-p1-sqlite3"]),
        partial(_ejabberd, True),
        only=_ARCHIVES,
        window=_BURSTS,
    ),
    Peer(
        "prosody",
        "prosody",
        "no archive, no TLS, no limits",
        _NOTHING,
        "xmpp_",
        partial(_debian_version, "prosody"),
        partial(_debian_missing, ["prosody"]),
        partial(_prosody, False),
    ),
    Peer(
        "prosody-archive",
        "prosody, archive",
        "the same with mod_mam in SQLite",
        _ARCHIVED,
        "xmpp_",
        partial(_debian_version, "prosody"),
        partial(_debian_missing, ["prosody", "lua-dbi-sqlite3"]),
        partial(_prosody, True),
        only=_ARCHIVES,
        window=_BURSTS,
    ),
    Peer(
        "socketio",
        "python-socketio",
        "behind uvicorn with uvloop; no task for an event, nothing compressed",
        _NOTHING,
        "socketio_",
        partial(version, "python-socketio"),
        _always_there,
        _socketio,
    ),
)
