"""Real people: clients in terminals of their own, on a real server."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.examples.processes import PATIENCE_S, Server, Terminal, environment

Open = Callable[..., Terminal]

CTRL_C, CTRL_D = b"\x03", b"\x04"
PHOTO = Path(__file__).parents[3] / "examples" / "media" / "runway.jpg"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    server = Server(folder)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def client(server: Server, tmp_path: Path) -> Iterator[Open]:
    """Start a client in a terminal, in a folder of its own."""
    terminals: list[Terminal] = []

    def start(name: str, *arguments: str, is_live: bool = True, settings: Mapping[str, str] | None = None) -> Terminal:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        terminal = Terminal(["chat", name, "--plain", "--url", server.url, *arguments], folder, settings)
        terminals.append(terminal)
        if is_live:
            terminal.until("● live")
        return terminal

    yield start
    for terminal in terminals:
        terminal.close()


def script(server: Server, folder: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Pipe lines into a client."""
    return subprocess.run(
        [sys.executable, "-m", "examples", "chat", "--plain", "--url", server.url, *arguments],
        cwd=folder,
        env=environment(),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def meet(one: Terminal, name: str, other: Terminal, other_name: str) -> None:
    one.type(f"/to {other_name}", "hello")
    one.until("you, sent: hello")
    other.until(": hello")
    other.type(f"/to {name}", "hi")
    other.until("you, sent: hi")
    one.until(f"{other_name}: hi")


def test_two_people_chat_and_compare_their_safety_numbers(client: Open) -> None:
    alice, bob = client("alice"), client("bob")

    meet(alice, "alice", bob, "bob")
    alice.type("/verify")
    bob.type("/verify")
    hers = alice.until(r"safety number with bob: ([\d ]{71})\n")[1]
    his = bob.until(r"safety number with alice: ([\d ]{71})\n")[1]
    alice.type(f"/verify {his}", "/who", "/quit")

    assert hers == his
    alice.until("✔ the same: bob is verified")
    alice.until("bob, ✔ verified: online")
    assert alice.end() == 0


def test_a_group_of_three_hears_everything_and_who_came_and_went(client: Open) -> None:
    alice, bob, carol = client("alice"), client("bob"), client("carol")
    meet(alice, "alice", bob, "bob")
    meet(alice, "alice", carol, "carol")

    alice.type("/group bob carol", "hello all")
    label = alice.until(r"writing to group (#\w{4}) with bob, carol")[1]
    bob.until(f"alice in group {label}: hello all")
    carol.until(f"alice in group {label}: hello all")
    bob.type(f"/to {label}", "hello both")
    alice.until(f"bob in group {label}: hello both")
    carol.until(rf"@\w{{8}} in group {label}: hello both")
    alice.type("/remove carol", "only for bob")
    bob.until(f"alice in group {label}: only for bob")
    carol.until(f"group {label}: alice removed you")

    assert "only for bob" not in carol.screen


def test_a_photo_arrives_as_it_was_and_replaces_no_file(client: Open, tmp_path: Path) -> None:
    alice, bob = client("alice"), client("bob")
    meet(alice, "alice", bob, "bob")

    alice.type(f"/file {PHOTO} look, a runway")
    alice.until(r"you, sent: ▤ runway.jpg, [\d,]+ bytes  look, a runway")
    bob.until("alice: ▤ runway.jpg")
    bob.type("/save", "/save", "/save 1 again.jpg")
    bob.until(f"saved runway.jpg, {PHOTO.stat().st_size:,} bytes")
    bob.until("runway.jpg is there already")
    bob.until("saved again.jpg")

    saved = [(tmp_path / "bob" / name).read_bytes() for name in ("runway.jpg", "again.jpg")]
    assert {hashlib.sha256(data).digest() for data in saved} == {hashlib.sha256(PHOTO.read_bytes()).digest()}


def test_a_second_device_is_linked_by_its_code_and_gets_everything_from_then_on(client: Open) -> None:
    alice, bob = client("alice"), client("bob")
    meet(alice, "alice", bob, "bob")

    tablet = client("alice", "--device", "2", is_live=False)
    code = tablet.until(r"/link ([\w-]+)\n")[1]
    alice.type(f"/link {code}")
    alice.until("alice.2 is linked")
    tablet.until("● live")
    bob.type("to both")
    alice.until("bob: to both")
    tablet.until(": to both")
    tablet.type("/to bob", "from the tablet")
    bob.until("alice: from the tablet")
    alice.until("you, sent: from the tablet")


def test_ctrl_c_ends_a_client_at_once_and_nothing_is_lost_by_it(client: Open) -> None:
    alice, bob = client("alice"), client("bob")
    meet(alice, "alice", bob, "bob")

    alice.press(CTRL_C)

    assert alice.end() == 130
    assert "Traceback" not in alice.screen
    bob.type("did you go?")
    bob.until("you, sent: did you go")
    again = client("alice", is_live=False)
    again.until("chat with bob")
    again.until("bob: did you go?")


def test_ctrl_c_does_not_wait_for_a_server_that_hangs(client: Open, server: Server) -> None:
    alice = client("alice")
    server.process.send_signal(signal.SIGSTOP)
    alice.type("/help")
    alice.until("/quit")

    alice.press(CTRL_C)

    assert alice.end() == 130


def test_what_is_written_while_the_server_is_away_waits_and_is_sent_once(client: Open, server: Server) -> None:
    alice, bob = client("alice"), client("bob")
    meet(alice, "alice", bob, "bob")

    server.kill()
    alice.until("○ offline")
    alice.type("the server is gone")
    alice.until("you, waiting to send: the server is gone")
    alice.type("/state")
    alice.until("○ offline since .*, 1 waiting to be sent")
    server.start()
    alice.until("● live")
    alice.until("you, sent: the server is gone")
    bob.until("alice: the server is gone")
    bob.type("/search gone")

    bob.until(r"found: .* alice: the server is \[gone\]")
    assert bob.screen.count("alice: the server is gone") == 1


def test_the_end_of_the_input_ends_a_client_as_quit_does(client: Open) -> None:
    alice = client("alice")

    alice.press(CTRL_D)

    assert alice.end() == 0


def test_whose_name_is_taken_is_told_so_and_goes(client: Open, tmp_path: Path) -> None:
    client("alice")

    mallory = client("alice", "--data", "elsewhere", is_live=False)

    mallory.until("alice is another device's name")
    assert mallory.end() == 1


def test_a_device_that_is_open_already_is_not_opened_twice(client: Open) -> None:
    client("alice")

    again = client("alice", is_live=False)

    again.until(r"cannot open alice\.1 in chat-data: .* in use")
    assert again.end() == 69


def test_a_script_ends_well_once_all_of_it_is_sent(server: Server, client: Open, tmp_path: Path) -> None:
    bob = client("bob")

    ended = script(server, tmp_path, "/to bob\nfrom a script\nand its last line", "alice")

    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.count("you, sent: ") == 2
    assert ended.stderr == ""
    bob.until(": from a script")
    bob.until(": and its last line")


def test_a_script_without_a_line_shows_what_has_come(server: Server, client: Open, tmp_path: Path) -> None:
    alice, bob = client("alice"), client("bob")
    meet(alice, "alice", bob, "bob")
    bob.type("/quit")
    assert bob.end() == 0
    alice.type("are you", "there?")
    alice.until("you, sent: there")

    shown = script(server, tmp_path / "bob", "", "bob")
    server.kill()
    away = script(server, tmp_path / "bob", "", "bob", "--wait", "0")

    assert shown.returncode == 0
    assert [line.partition(": ")[2] for line in shown.stdout.splitlines() if "alice: " in line] == ["are you", "there?"]
    assert (away.returncode, away.stderr) == (69, "no connection within 0 s, so nothing came\n")


def test_a_script_of_which_something_could_not_be_done_says_so(server: Server, tmp_path: Path) -> None:
    ended = script(server, tmp_path, "/to nobody\nhello?\n", "alice")

    assert ended.returncode == 1
    assert "/to: there is no nobody yet" in ended.stdout
    assert "not sent: to whom?" in ended.stdout


def test_a_script_whose_message_could_not_be_sent_says_so_and_sends_it_the_next_time(
    server: Server, client: Open, tmp_path: Path
) -> None:
    bob = client("bob")
    assert script(server, tmp_path, "/to bob\nhello\n", "alice").returncode == 0
    server.kill()

    ended = script(server, tmp_path, "/to bob\nno connection\n", "alice", "--wait", "0")
    server.start()
    again = script(server, tmp_path, "", "alice")

    assert ended.returncode == 69
    assert ended.stderr == "1 not sent yet; they go out the next time\n"
    assert "you, sent" not in ended.stdout.partition("writing to bob")[2]
    assert again.returncode == 0
    bob.until(": no connection")


def test_a_terminal_that_lacks_the_glyphs_is_no_reason_to_end(server: Server, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "examples", "chat", "alice", "--plain", "--url", server.url],
        cwd=tmp_path,
        env=environment({"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}),
        input="/to nobody\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert "? live\n" in ended.stdout
    assert ended.stderr == ""


def test_whoever_reads_only_the_beginning_ends_it(server: Server, tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "examples", "chat", "alice", "--plain", "--url", server.url],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("alice.1")
        process.stdout.close()
        process.stdin.write("/help\n")
        process.stdin.flush()

        assert (process.wait(timeout=PATIENCE_S), process.stderr.read()) == (0, "")


def test_a_passphrase_is_asked_for_and_another_one_opens_nothing(client: Open) -> None:
    asking = {"WHISPERKIT_KEY": ""}
    first = client("alice", is_live=False, settings=asking)
    first.until("a passphrase for alice.1, which is made now")
    first.type("horse")
    first.until("once more: ")
    first.type("horse")
    first.until("● live")
    first.type("/quit")
    assert first.end() == 0
    assert "horse" not in first.screen

    wrong = client("alice", is_live=False, settings=asking)
    wrong.until("passphrase of alice.1: ")
    wrong.type("house")
    wrong.until("the store does not open: it is another passphrase")
    assert wrong.end() == 1

    right = client("alice", is_live=False, settings=asking)
    right.until("passphrase of alice.1: ")
    right.type("horse")
    right.until("● live")


@pytest.mark.parametrize(
    ("key", "code", "said"), [(CTRL_C, 130, ""), (CTRL_D, 78, "no passphrase of alice.1 was typed")]
)
def test_whoever_leaves_where_the_passphrase_is_asked_for_is_let_go(
    client: Open, key: bytes, code: int, said: str
) -> None:
    alice = client("alice", is_live=False, settings={"WHISPERKIT_KEY": ""})
    alice.until("a passphrase for alice.1")

    alice.press(key)

    assert alice.end() == code
    assert said in alice.screen
    assert "Traceback" not in alice.screen


def test_a_script_without_a_passphrase_is_told_how_to_give_one(server: Server, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "examples", "chat", "alice", "--plain", "--url", server.url],
        cwd=tmp_path,
        env=environment({"WHISPERKIT_KEY": ""}),
        input="hello\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert ended.returncode == 78
    assert "no terminal to ask for the passphrase of alice.1; set WHISPERKIT_PASSPHRASE_FILE" in ended.stderr
