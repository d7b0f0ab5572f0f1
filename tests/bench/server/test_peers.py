"""Other servers: that what plays against them counts right, and that one that is not there keeps no other away."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.bench.server import peers_run
from tests.bench.server.contestants import OURS, RELAY, Running
from tests.bench.server.device import faults
from tests.bench.server.peers import PEERS, Peer
from tests.bench.server.peers_run import PEER_ROWS, PeerRow, render_peers, run_peers, short
from tests.bench.server.players import BODY
from tests.bench.server.rows import ROWS
from tests.bench.server.run import FailedError
from tests.bench.server.worker import MEASURES
from tests.bench.server.xmpp_loads import XmppMember, XmppPlayer

WINDOW: Final = (0.2, 0.5)
PAIRS: Final = PeerRow("pairs", "two pairs", "pairs", {"count": 2, "in_flight": 2, "window": WINDOW}, "items")
GROUP: Final = PeerRow("group", "a group", "group", {"members": 4, "in_flight": 2, "window": WINDOW}, "items")
BY_KEY: Final = {peer.key: peer for peer in PEERS}


def play(peers: list[Peer], *rows: PeerRow, folder: Path) -> dict[str, Any]:
    return run_peers(peers, rows, rounds=1, install=False, folder=folder, say=lambda _line: None)


def test_everybody_plays_what_can_be_measured() -> None:
    for peer in PEERS:
        for row in PEER_ROWS:
            assert f"{peer.measures}{row.measure}" in MEASURES, peer.key


def test_rows_are_named_as_those_without_peers() -> None:
    keys = {row.key for row in ROWS}

    assert {row.key for row in PEER_ROWS} <= keys
    assert {key for peer in PEERS for key in peer.only} <= keys
    assert [short(row).key for row in PEER_ROWS] == [row.key for row in PEER_ROWS]


def test_python_socketio_is_played_beside_the_relay(tmp_path: Path) -> None:
    report = play([BY_KEY["socketio"], BY_KEY[RELAY]], PAIRS, GROUP, folder=tmp_path)

    for row in report["rows"]:
        assert all(found["rate"]["median"] > 0 and found["us"]["median"] > 0 for found in row["results"].values())
        assert set(row["results"]) == {"socketio", RELAY}
    shown = render_peers(report)
    assert "python-socketio" in shown
    assert "two pairs" in shown


def broken(key: str, *, reason: str | None = None) -> Peer:
    """A server that cannot be installed, or else does not start."""

    @contextmanager
    def start(_folder: Path) -> Generator[Running]:
        raise RuntimeError("line 1\nport is taken\n")
        yield Running("", 0)

    def missing(_install: bool) -> str | None:
        return reason

    return BY_KEY[key]._replace(missing=missing, running=start, version=lambda: "1")


def test_who_is_missing_is_told_with_the_reason_and_the_others_play(tmp_path: Path) -> None:
    missing = broken("ejabberd", reason="there is no such package")

    report = play([missing, BY_KEY[RELAY]], PAIRS, folder=tmp_path)

    assert report["peers"]["ejabberd"]["missing"] == "there is no such package"
    assert set(report["rows"][0]["results"]) == {RELAY}
    assert "not measured: there is no such package" in render_peers(report)


def test_who_does_not_start_is_told_with_the_reason_and_the_others_play(tmp_path: Path) -> None:
    report = play([broken("prosody"), BY_KEY[RELAY]], PAIRS, folder=tmp_path)

    assert report["peers"]["prosody"]["missing"] == "it failed at two pairs: port is taken"
    assert set(report["rows"][0]["results"]) == {RELAY}


def test_where_ours_does_not_start_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(FailedError, match="port is taken"):
        play([broken(OURS)], PAIRS, folder=tmp_path)


def test_who_plays_some_rows_only_is_not_in_the_others(tmp_path: Path) -> None:
    some = BY_KEY[RELAY]._replace(key="other", only=["group"])

    report = play([BY_KEY[RELAY], some], PAIRS, folder=tmp_path)

    assert set(report["rows"][0]["results"]) == {RELAY}
    assert report["schema"] == peers_run.SCHEMA


# ---- XMPP, as ejabberd and prosody write it --------------------------------------------------------------------------

MESSAGES: Final = {
    "ejabberd": "<message xml:lang='en' to='b@localhost/r' from='a@localhost/r' type='chat' id='{n}'>"
    "<body>{body}</body></message><r xmlns='urn:xmpp:sm:3'/>",
    "prosody": "<message type='chat' xml:lang='en' to='b@localhost/r' id='{n}' from='a@localhost/r'>"
    "<body>{body}</body><stanza-id by='b@localhost' id='99' xmlns='urn:xmpp:sid:0'/></message>"
    "<r xmlns='urn:xmpp:sm:3'/>",
}
ANSWERS: Final = {"ejabberd": "<a h='{h}' xmlns='urn:xmpp:sm:3'/>", "prosody": "<a xmlns='urn:xmpp:sm:3' h='{h}'/>"}


class Wire:
    """What a player says."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def on_wire(player: XmppPlayer) -> list[str]:
    faults.clear()
    wire = Wire()
    player._stream = wire  # type: ignore[assignment]  # pyright: ignore[reportPrivateUsage, reportAttributeAccessIssue]
    return wire.said


def hear(player: XmppPlayer, text: str, *, bytes_at_once: int) -> None:
    data = text.encode()
    for first in range(0, len(data), bytes_at_once):
        player._receive(data[first : first + bytes_at_once])  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("bytes_at_once", [1, 7, 100, 10_000])
@pytest.mark.parametrize("server", MESSAGES)
def test_a_reader_counts_messages_however_they_are_cut_and_answers_the_server(server: str, bytes_at_once: int) -> None:
    reader = XmppPlayer("b")
    said = on_wire(reader)

    hear(reader, "".join(MESSAGES[server].format(n=n, body=BODY) for n in (1, 2, 3)), bytes_at_once=bytes_at_once)

    assert reader.came == 3
    assert [re.findall(r"<a h='(\d)'", text) for text in said] == [["1"], ["2"], ["3"]]
    assert not faults


@pytest.mark.parametrize("server", ANSWERS)
def test_a_writer_learns_how_far_the_server_has_come(server: str) -> None:
    writer = XmppPlayer("a")
    said = on_wire(writer)
    numbers: list[int] = []
    writer.on_sent = lambda player: numbers.append(player.sent)
    for _ in range(3):
        writer.post("b")

    hear(writer, ANSWERS[server].format(h=2) + ANSWERS[server].format(h=3), bytes_at_once=11)

    assert numbers == [1, 2, 3]
    assert len(said) == 3
    assert said[0].endswith("<r xmlns='urn:xmpp:sm:3'/>")


def test_a_message_that_is_left_out_is_found() -> None:
    reader = XmppPlayer("b")
    on_wire(reader)

    hear(reader, MESSAGES["prosody"].format(n=2, body=BODY), bytes_at_once=10_000)

    assert "message 2 came as number 1" in faults[0]


def test_a_message_with_another_body_is_found() -> None:
    reader = XmppPlayer("b")
    on_wire(reader)

    hear(reader, MESSAGES["prosody"].format(n=1, body="other"), bytes_at_once=10_000)

    assert "has another body" in faults[0]


def test_in_a_group_the_writer_knows_by_its_own_copy() -> None:
    writer, reader = XmppMember("a"), XmppMember("b")
    for member in (writer, reader):
        on_wire(member)
    writer.post(None)

    for member in (writer, reader):
        hear(member, MESSAGES["ejabberd"].format(n=1, body=BODY).partition("<r ")[0], bytes_at_once=50)

    assert (writer.sent, writer.came) == (1, 0)
    assert (reader.sent, reader.came) == (0, 1)
