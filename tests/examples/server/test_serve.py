"""The server as a process: what it says, how it stops, and with which code it ends when it cannot serve."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.load.device import FrameDevice
from tests.examples.processes import PATIENCE_S, Server, environment
from tests.examples.server.talker import Talker
from whisperkit.ids import ConversationId, DeviceId
from whisperkit.sync import frames
from whisperkit.sync.frames import ByeCode, RosterChange

pytestmark = pytest.mark.anyio

ALICE = DeviceId.named("alice", 1)
GROUP = ConversationId("group")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.kill()


def serve(folder: Path, settings: dict[str, str] | None = None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-m", "examples", "serve", *arguments],
        cwd=folder,
        env=environment({"WHISPERKIT_SERVER__BIND": "127.0.0.1:0", **(settings or {})}),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def ended(run: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """The code and what was said to the person; nothing else may have been."""
    assert "Traceback" not in run.stderr
    assert run.stdout == ""
    return run.returncode, "\n".join(line for line in run.stderr.splitlines() if not line.startswith("{"))


# ---- it serves, and stops -------------------------------------------------------------------------------------------


def test_it_says_where_it_listens_and_what_it_keeps(server: Server, tmp_path: Path) -> None:
    line = server.start()

    assert line == f"listening on ws://127.0.0.1:{server.port} (embedded, chat.db, schema 1)"
    assert {path.name for path in tmp_path.iterdir()} >= {"chat.db", "blobs"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_it_says_goodbye_when_it_is_told_to_stop(server: Server, number: signal.Signals, code: int) -> None:
    server.start()
    async with Talker(server.url, ALICE) as alice, Talker(server.url, DeviceId.named("bob", 1)) as bob:
        await alice.begin()
        await bob.begin()

        server.ask_to_stop(number)
        how = [await alice.end(), await bob.end()]

    byes = [frame for one in (alice, bob) for frame in one.came if isinstance(frame, frames.Bye)]
    assert [bye.code for bye in byes] == [ByeCode.NORMAL, ByeCode.NORMAL]
    assert [line.rpartition(": ")[2] for line in how] == ["1000 NORMAL"] * 2
    assert server.wait() == (code, "draining 2 links ... done, 0 unsaved\n")


async def test_who_does_not_hear_is_cut_off_after_the_patience(tmp_path: Path) -> None:
    server = Server(tmp_path, {"WHISPERKIT_LIMITS__DRAIN_S": "0.2"})
    server.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
        writer.write(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n")

        code, said = await asyncio.to_thread(server.stop)

        assert code == 0
        assert said.endswith(", 1 cut\n")
        writer.close()
    finally:
        server.kill()


async def test_nothing_is_lost_by_a_stop_in_the_middle_of_everything(server: Server) -> None:
    server.start()
    alice, bob = (FrameDevice(name, lambda: server.url) for name in ("alice", "bob"))
    running = [asyncio.create_task(device.run()) for device in (alice, bob)]
    async with asyncio.timeout(PATIENCE_S):
        while not (alice.is_live and bob.is_live):  # noqa: ASYNC110  # a device has no event for it
            await asyncio.sleep(0.01)
        await (await alice.send(GROUP, change=RosterChange((alice.id.user, bob.id.user)))).done.wait()

        for stops in range(1, 4):
            for n in range(40):
                while not alice.has_room(GROUP):  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                await alice.send(GROUP, f"{stops}.{n}".encode())
                if n == 20:
                    server.ask_to_stop()
                    code, _ = await asyncio.to_thread(server.wait)
                    assert code == 0
                    server.start()
        while len(bob.entries) < 1 + 3 * 40:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)

    texts = [entry.shared for entry in bob.entries if entry.kind is frames.EntryKind.MESSAGE]
    assert texts == [f"{stops}.{n}".encode() for stops in range(1, 4) for n in range(40)]
    assert alice.faults == bob.faults == []


# ---- it cannot serve ------------------------------------------------------------------------------------------------


def test_a_database_belongs_to_one_process(server: Server, tmp_path: Path) -> None:
    server.start()

    code, said = ended(serve(tmp_path))

    assert code == 69
    assert said.startswith("cannot serve: ")
    assert "chat.db is in use by another process" in said
    assert said.splitlines()[1:] == [
        "    note: stop the other process, or give this one a file of its own",
        "    code: store.locked",
    ]


def test_a_database_of_a_process_that_was_killed_is_free(server: Server) -> None:
    server.start()
    server.kill()

    server.start()

    assert server.stop()[0] == 0


def test_an_address_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"

        code, said = ended(serve(tmp_path, {"WHISPERKIT_SERVER__BIND": bind}))

    assert code == 69
    assert said.splitlines() == [
        f"cannot serve: {bind}: Address already in use",
        "    note: python -m examples doctor names an address that is free",
    ]


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_of_this_machine_is_told_as_it_was_written(tmp_path: Path, host: str) -> None:
    code, said = ended(serve(tmp_path, {"WHISPERKIT_SERVER__BIND": f"{host}:8080"}))

    assert code == 69
    assert said.startswith(f"cannot serve: {host}:8080: ")
    assert "doctor" in said.splitlines()[1]


@pytest.mark.parametrize("path", ["missing/chat.db", "."])
def test_a_database_that_cannot_be_made_is_told_with_its_path(tmp_path: Path, path: str) -> None:
    code, said = ended(serve(tmp_path, {"WHISPERKIT_SERVER__SQLITE_PATH": path}))

    assert code == 69
    assert said.startswith(f"cannot serve: {path}")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    path.write_bytes(b"my thesis, not a database at all. " * 100)

    code, said = ended(serve(tmp_path))

    assert code == 69
    assert "chat.db" in said
    assert path.read_bytes() == b"my thesis, not a database at all. " * 100


def test_an_older_program_does_not_touch_the_database_of_a_newer_one(server: Server, tmp_path: Path) -> None:
    server.start()
    server.stop()
    db = sqlite3.connect(tmp_path / "chat.db")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version + 1}")
    db.close()

    code, said = ended(serve(tmp_path))

    assert code == 69
    assert str(version + 1) in said


def test_a_folder_for_attachments_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("")

    code, said = ended(serve(tmp_path))

    assert code == 69
    assert "blobs" in said


# ---- its settings are wrong -----------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_the_settings_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "whisperkit.toml").write_text('[server]\nbimd = "x"\nprofile = "clustered"\n\n[sever]\n')

    code, said = ended(serve(tmp_path, {"WHISPERKIT_FANOUT__DIRECT_BELOW": "many"}))

    assert code == 78
    assert said.splitlines()[0].startswith("whisperkit.toml:2: ")
    assert "did you mean bind?" in said
    assert 'whisperkit.toml:3: profile must be "embedded", got "clustered"' in said
    assert "did you mean server" in said
    assert "WHISPERKIT_FANOUT__DIRECT_BELOW" in said
    assert [path.name for path in tmp_path.iterdir()] == ["whisperkit.toml"]


def test_a_file_of_settings_that_is_not_there_is_told(tmp_path: Path) -> None:
    code, said = ended(serve(tmp_path, None, "--config", "my.toml"))

    assert code == 78
    assert "my.toml" in said


def test_a_file_of_settings_that_is_no_toml_is_told_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "whisperkit.toml").write_text("[server]\nbind = \n")

    code, said = ended(serve(tmp_path))

    assert code == 78
    assert said == "whisperkit.toml:2: this is not TOML: Invalid value"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_in_which_nothing_may_be_written_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    code, said = ended(serve(tmp_path))

    assert code == 69
    assert "chat.db" in said
