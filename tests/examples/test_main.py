"""The command line of the examples."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.__main__ import main


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required: command"),
        (["dance"], "invalid choice: 'dance'"),
        (["chat"], "required: name"),
        (["chat", "../alice"], "a name has letters"),
        (["chat", "alice", "--device", "0"], "a device has a number from 1 to 127"),
        (["chat", "alice", "--device", "128"], "a device has a number from 1 to 127"),
        (["chat", "alice", "--url", "http://127.0.0.1"], "a server is at ws://"),
        (["chat", "alice", "--wait", "-1"], "seconds are a number from 0 on"),
        (["chat", "alice", "--wait", "soon"], "seconds are a number from 0 on"),
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


def test_config_tells_what_is_wrong_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "whisperkit.toml").write_text('[server]\nbimd = "x"\n')

    code = main(["config"])

    assert code == 78
    assert "whisperkit.toml:2: " in capsys.readouterr().err
