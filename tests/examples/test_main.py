"""The command line of the examples."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.__main__ import main
from tests.examples.processes import PATIENCE_S, Terminal, environment


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.startswith("WHISPERKIT_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: command"),
        (["dance"], "invalid choice: 'dance'"),
        (["serv"], "; did you mean serve?"),
        (["chat"], "required: name"),
        (["chat", "../alice"], "a name has letters"),
        (["chat", "alice", "--device", "0"], "a device has a number from 1 to 127"),
        (["chat", "alice", "--device", "128"], "a device has a number from 1 to 127"),
        (["chat", "alice", "--url", "http://127.0.0.1"], "a server is at ws://"),
        (["chat", "alice", "--wait", "-1"], "seconds are a number from 0 on"),
        (["chat", "alice", "--wait", "soon"], "seconds are a number from 0 on"),
        (["config", "--jason"], "config: error: unrecognized arguments: --jason; did you mean --json?"),
        (["doctor", "now"], "unrecognized arguments: now"),
        (["demo", "--fats", "x"], "unrecognized arguments: --fats x; did you mean --fast?"),
        (["bot"], "required: name"),
        (["bot", "../pingbot"], "a name has letters"),
        (["bot", "pingbot", "--greet", "no/body"], "a name has letters"),
        (["bot", "pingbot", "--url", "127.0.0.1:8080"], "a server is at ws://"),
    ],
)
def test_wrong_usage_is_told_and_leaves_nothing_behind(
    arguments: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_config_shows_every_setting_with_its_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "my.toml"
    path.write_text('[server]\nbind = "127.0.0.1:8081"\n')

    code = main(["config", "--config", str(path)])

    assert code == 0
    assert f"server.bind = 127.0.0.1:8081    ({path}:2)" in capsys.readouterr().out.splitlines()


def test_config_shows_of_secrets_that_they_are_there_and_from_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHISPERKIT_KEY", "5e" * 32)
    monkeypatch.setenv("WHISPERKIT_PASSPHRASE", "correct horse")
    monkeypatch.setenv("WHISPERKIT_PASSPHRASE_FILE", "words.txt")

    for arguments in (["config"], ["config", "--json"]):
        assert main(arguments) == 0

    out = capsys.readouterr().out
    assert "device.key = ***    (WHISPERKIT_KEY)\n" in out
    assert "device.passphrase = ***    (WHISPERKIT_PASSPHRASE)\n" in out
    assert "device.passphrase_file = words.txt    (WHISPERKIT_PASSPHRASE_FILE)\n" in out
    assert "5e5e" not in out
    assert "horse" not in out


def test_config_tells_programs_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("whisperkit.toml").write_text("[presence]\nbeat_s = 3\n")

    assert main(["config", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["settings"]
    assert main(["config"]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert [f"{setting['name']} = {setting['value']}    ({setting['source']})" for setting in told] == lines
    assert {"name": "presence.beat_s", "value": 3.0, "source": "whisperkit.toml:2"} in told


def test_config_tells_programs_what_is_wrong_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("whisperkit.toml").write_text("[sever]\n[presence]\nbead_s = 3\n")

    code = main(["config", "--json"])

    said = capsys.readouterr()
    assert code == 78
    assert json.loads(said.out) == {"problems": said.err.splitlines()}
    assert len(said.err.splitlines()) == 2


def test_config_tells_what_is_wrong_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "whisperkit.toml").write_text('[server]\nbimd = "x"\n')

    code = main(["config"])

    assert code == 78
    assert "whisperkit.toml:2: " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["config", "doctor"])
def test_whoever_reads_only_the_beginning_ends_it(command: str, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)  # nobody reads at all
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "examples", command],
            cwd=tmp_path,
            env=environment({"WHISPERKIT_SERVER__BIND": "127.0.0.1:0"}),
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    finally:
        os.close(writing)

    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("command", ["config", "doctor", "serve"])
def test_a_terminal_that_lacks_a_glyph_has_a_question_mark(command: str, tmp_path: Path) -> None:
    settings = {"WHISPERKIT_SERVER__SQLITE_PATH": "ä.db", "WHISPERKIT_SERVER__BIND": "127.0.0.1:0"}
    with subprocess.Popen(
        [sys.executable, "-m", "examples", command],
        cwd=tmp_path,
        env=environment({"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", **settings}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None  # pipes were asked for
        assert running.stderr is not None
        said = next(line for line in running.stdout if "?.db" in line)
        running.terminate()
        assert "Traceback" not in running.stderr.read()

    assert said.isascii()


def test_ctrl_c_ends_the_doctor_in_the_middle_of_a_check(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "words")  # reading it waits for whoever writes
    terminal = Terminal(["doctor"], tmp_path, {"WHISPERKIT_KEY": "", "WHISPERKIT_PASSPHRASE_FILE": "words"})
    try:
        terminal.until("packages")
        terminal.press(b"\x03")

        assert terminal.end() == 130
        assert "Traceback" not in terminal.screen
    finally:
        terminal.close()


def test_a_file_of_settings_that_means_nothing_is_told_before_a_passphrase_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "chat-data").mkdir()
    (tmp_path / "chat-data" / "chat.toml").write_text('theme = "pink"\n')
    terminal = Terminal(["chat", "alice"], tmp_path, {"WHISPERKIT_KEY": ""})
    try:
        assert terminal.end() == 78
        assert "theme is one of terminal" in terminal.screen
        assert "passphrase" not in terminal.screen
    finally:
        terminal.close()
