"""Settings: where each comes from, and what is said about those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.config import Config, ConfigError, load_config
from whisperkit.fanout import Limits

EVERYTHING = """\
# all of it
[server]
bind = "[::1]:0"
profile = "embedded"
sqlite_path = "/data/chat.db"
blob_path = "/data/blobs"

[presence]
beat_s = 3        # whole numbers are numbers
ttl_s = 4.5
grace_s = 0

[fanout]
direct_below = 30
queued_upto = 250

[limits]
connections = 10
handshake_s = 1
idle_s = 7.5
drain_s = 2
blob_bytes = 1_000_000
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("whisperkit.toml")


def load(path: Path, text: str, **environ: str) -> Config:
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ=environ)


def problems(path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, text, **environ)
    return list(caught.value.problems)


def sources(config: Config) -> dict[str, str]:
    return {setting.name: setting.source for setting in config.settings}


# ---- what is right --------------------------------------------------------------------------------------------------


def test_without_a_file_everything_has_its_default(path: Path) -> None:
    config = load_config(environ={})

    assert config.server.address == ("127.0.0.1", 8080)
    assert set(sources(config).values()) == {"default"}
    assert config.fanout.limits == Limits()


def test_every_value_of_a_file_is_taken_and_knows_its_line(path: Path) -> None:
    config = load(path, EVERYTHING)

    assert config.server.address == ("::1", 0)
    assert (config.presence.beat_s, config.presence.ttl_s, config.presence.grace_s) == (3.0, 4.5, 0.0)
    assert config.fanout.limits == Limits(direct_below=30, queued_upto=250, direct_again_at=27, queued_again_at=225)
    assert (config.limits.edge.max_connections, config.limits.edge.ping_after_s) == (10, 4.0)
    lines = EVERYTHING.splitlines()
    for name, source in sources(config).items():
        line = int(source.removeprefix("whisperkit.toml:"))
        assert lines[line - 1].startswith(name.partition(".")[2] + " =")


def test_the_file_in_the_working_directory_is_found_by_itself(path: Path) -> None:
    path.write_text('[server]\nsqlite_path = "here.db"\n', encoding="utf-8")

    assert load_config(environ={}).server.sqlite_path == "here.db"


def test_the_environment_wins_over_the_file_and_says_so(path: Path) -> None:
    config = load(
        path,
        EVERYTHING,
        WHISPERKIT_SERVER__BIND="0.0.0.0:80",
        WHISPERKIT_LIMITS__IDLE_S="60",
        WHISPERKIT_FUZZ_INPUTS="9",
    )

    assert config.server.address == ("0.0.0.0", 80)
    assert config.limits.idle_s == 60.0
    assert sources(config)["server.bind"] == "WHISPERKIT_SERVER__BIND"
    assert sources(config)["server.profile"] == "whisperkit.toml:4"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('server.bind = "h:1"', 1),
        ('\n[ server ]\n"bind"="h:1"', 3),
        ('server = { bind = "h:1" }', 1),
        ('[presence]\n# [server]\n# bind = "x"\n[server]\n  bind = "h:1" # bind = 2', 5),
    ],
)
def test_a_line_is_found_however_it_is_written(path: Path, text: str, line: int) -> None:
    assert sources(load(path, text))["server.bind"] == f"whisperkit.toml:{line}"


# ---- what is wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[server]\n\n\nprofile = "clustered"', ':4: profile must be "embedded", got "clustered"'),
        ("[presence]\nbead_s = 3", ":2: unknown key bead_s in [presence]; did you mean beat_s?"),
        ("[presence]\nx = 3", ":2: unknown key x in [presence]; there is beat_s, ttl_s, grace_s"),
        ("\n[presense]\nbeat_s = 3", ":2: unknown section [presense]; did you mean presence?"),
        ("[presence]\n[cassandra]\n", ":2: unknown section [cassandra]; there is server, presence, fanout, limits"),
        ("server = 3", ":1: server is a section: write [server]"),
        ("[limits]\nconnections = true", ":2: connections must be a whole number, got true"),
        ("[limits]\nconnections = 1.5", ":2: connections must be a whole number, got 1.5"),
        ("[limits]\nconnections = 0", ":2: connections must be 1 to 10000000, got 0"),
        ("[presence]\nbeat_s = nan", ":2: beat_s must be 0.1 to 3600, got nan"),
        ('[presence]\nbeat_s = "3"', ':2: beat_s must be a number, got "3"'),
        ("[server]\nsqlite_path = 3", ":2: sqlite_path must be text in quotes, got 3"),
        ('[server]\nblob_path = ""', ':2: blob_path must not be empty, got ""'),
        ("[presence]\nttl_s = 30", ":2: ttl_s must be more than beat_s, which is 30, got 30"),
        ("[fanout]\nqueued_upto = 200", ":2: queued_upto must be well above direct_below, which is 200, got 200"),
        ("[server]\nbind = ", ":2: this is not TOML: Invalid value"),
        ("[server]\nbind = 'a:1'\nbind = 'b:2'", ":3: this is not TOML: Cannot overwrite a value"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(path: Path, text: str, problem: str) -> None:
    assert problems(path, text) == [f"whisperkit.toml{problem}"]


@pytest.mark.parametrize("bind", ["8080", "host", ":80", "host:65536", "host:-1", "a b:1", "::1:80"])
def test_an_address_that_is_none_is_refused(path: Path, bind: str) -> None:
    found = problems(path, f'[server]\nbind = "{bind}"')

    assert found == [
        f'whisperkit.toml:2: bind must be "host:port", such as "127.0.0.1:8080" or "[::1]:8080", got "{bind}"'
    ]


def test_all_that_is_wrong_is_told_at_once(path: Path) -> None:
    found = problems(path, '[server]\nbind = 3\nprofile = "x"\n[fanot]\n', WHISPERKIT_PRESENCE__TTL_S="soon")

    assert len(found) == 4


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("WHISPERKIT_SERVER__BNID", "WHISPERKIT_SERVER__BNID: unknown setting; did you mean WHISPERKIT_SERVER__BIND?"),
        ("WHISPERKIT_SERVR__BIND", "WHISPERKIT_SERVR__BIND: unknown setting; did you mean WHISPERKIT_SERVER__BIND?"),
        ("WHISPERKIT_SERVER_BIND", "WHISPERKIT_SERVER_BIND: unknown setting; did you mean WHISPERKIT_SERVER__BIND?"),
        ("WHISPERKIT_LIMITS__IDLE_S", 'WHISPERKIT_LIMITS__IDLE_S: idle_s must be a number, got "x"'),
    ],
)
def test_what_is_wrong_in_the_environment_is_told_with_its_name(path: Path, variable: str, problem: str) -> None:
    assert problems(path, "", **{variable: "x"}) == [problem]


def test_variables_that_others_set_are_left_alone(path: Path) -> None:
    others = {"WHISPERKIT_SERVER_PORT": "tcp://10.0.0.1:8080", "WHISPERKIT_KEY": "5e", "WHISPERKIT_FUZZ_INPUTS": "9"}

    assert set(sources(load(path, "", **others)).values()) == {"default"}


def test_a_limit_that_disagrees_with_a_default_is_told(path: Path) -> None:
    assert problems(path, "[presence]\nbeat_s = 100") == [
        "[presence]: ttl_s must be more than beat_s, which is 100, got 40"
    ]


def test_a_file_that_was_named_has_to_be_there_and_readable(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^elsewhere\.toml: there is no such file$"):
        load_config(Path("elsewhere.toml"), environ={})
    with pytest.raises(ConfigError, match=r"^\.: cannot be read: IsADirectoryError$"):
        load_config(Path(), environ={})
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read: UnicodeDecodeError"):
        load_config(environ={})
