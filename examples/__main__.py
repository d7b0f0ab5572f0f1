"""The command line of the examples: ``python -m examples COMMAND``; `make` wraps it.

Exit codes: 0 done; 1 a check or claim failed; 2 wrong usage; 69 something needed cannot be reached; 78 the
configuration is wrong; 130 Ctrl-C. Results go to stdout, logs to stderr.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from getpass import getpass
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from examples.exits import EXIT_CONFIG, EXIT_INTERRUPTED, EXIT_OK
from examples.printing import nobody_reads, replace_what_is_missing

_URL: Final = "ws://127.0.0.1:8080/ws"
_LAB_PORT: Final = 8081


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    replace_what_is_missing()
    asked = _parsed(arguments)
    try:
        code = _run(asked)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        nobody_reads()
        return EXIT_OK
    return code


def _run(asked: argparse.Namespace) -> int:
    match asked.command:
        case "serve":
            from examples.server.serve import serve

            return serve(asked.config)
        case "config":
            return _show_config(asked.config, is_json=asked.json)
        case "doctor":
            from examples.doctor.run import run_doctor

            return run_doctor(asked.config, is_json=asked.json)
        case "chat":
            return _chat(asked)
        case "bot":
            from examples.bot.bot import run_bot

            return run_bot(
                asked.name, url=asked.url, folder=asked.data, friends=asked.greet or (), is_serving=asked.serve
            )
        case "lab":
            from examples.lab.run import run_lab

            return run_lab(port=asked.port, seed=asked.seed)
        case _:
            from examples.demo import run_demo

            return run_demo(is_fast=asked.fast, is_stepped=asked.step, keep=asked.keep, is_json=asked.json)


def _chat(asked: argparse.Namespace) -> int:
    from examples.device import device_file
    from examples.passphrase import NoPassphraseError, lock_for

    settings = None
    if not asked.plain and sys.stdin.isatty() and sys.stdout.isatty():
        from examples.tui.settings import SettingsError, load_settings

        try:  # before anybody types a passphrase for nothing
            settings = load_settings(asked.data / "chat.toml")
        except SettingsError as error:
            print(error, file=sys.stderr)
            return EXIT_CONFIG
    is_new = not device_file(asked.data, asked.name, asked.device).exists()
    ask = getpass if sys.stdin.isatty() else None
    try:
        lock = lock_for(f"{asked.name}.{asked.device}", is_new=is_new, environ=os.environ, ask=ask)
    except NoPassphraseError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except KeyboardInterrupt:  # where the passphrase was asked for
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    if settings is None:
        from examples.chat.plain import chat

        return chat(asked.name, url=asked.url, folder=asked.data, number=asked.device, lock=lock, wait_s=asked.wait)
    from examples.tui.run import chat_on_screen

    return chat_on_screen(
        asked.name,
        url=asked.url,
        folder=asked.data,
        number=asked.device,
        lock=lock,
        wait_s=asked.wait,
        settings=settings,
    )


class _Parser(argparse.ArgumentParser):
    """Says of a command that nobody knows the nearest one that somebody does."""

    def error(self, message: str) -> NoReturn:
        match = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        super().error(message + (_near(match[1], re.findall(r"[\w-]+", match[2])) if match else ""))


def _near(word: str, known: Iterable[str]) -> str:
    found = get_close_matches(word, list(known), n=1)
    return f"; did you mean {found[0]}?" if found else ""


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser, commands = _parsers()
    asked, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = commands[asked.command]
        near = _near(unknown[0], re.findall(r"--[a-z-]+", command.format_help()))
        command.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
    return asked


def _parsers() -> tuple[_Parser, Mapping[str, _Parser]]:
    """That of the whole line, and those of the commands by their names."""
    parser = _Parser(prog="python -m examples", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the reference server")
    serve.add_argument("--config", type=Path, help="a whisperkit.toml; the one in this folder if there is one")
    config = commands.add_parser("config", help="show every setting, its value and where it came from")
    config.add_argument("--config", type=Path, help="another file than whisperkit.toml")
    config.add_argument("--json", action="store_true", help="for programs")
    doctor = commands.add_parser("doctor", help="find out what would keep server and client from running")
    doctor.add_argument("--config", type=Path, help="another file than whisperkit.toml")
    doctor.add_argument("--json", action="store_true", help="for programs")
    chat = commands.add_parser("chat", help="chat in this terminal")
    chat.add_argument("name", type=_name, help="who you are")
    chat.add_argument("--plain", action="store_true", help="whole lines only: for pipes and screen readers")
    chat.add_argument("--url", type=_url, default=_URL, help="the server (default: %(default)s)")
    chat.add_argument("--data", type=Path, default=Path("chat-data"), help="where your device is kept")
    chat.add_argument(
        "--wait",
        type=_seconds,
        default=10.0,
        metavar="S",
        help="how many seconds the end of the input waits until all is sent (default: 10)",
    )
    chat.add_argument("--device", type=_device, metavar="N", default=1, help="which of your devices (default: 1)")
    bot = commands.add_parser("bot", help="run a bot that answers whoever writes to it")
    bot.add_argument("name", type=_name, help="what it is called")
    bot.add_argument("--url", type=_url, default=_URL, help="the server (default: %(default)s)")
    bot.add_argument("--data", type=Path, default=Path("chat-data"), help="where its file is")
    bot.add_argument(
        "--greet", type=_name, action="append", metavar="NAME", help="write to NAME first; may be repeated"
    )
    bot.add_argument(
        "--serve", action="store_true", help="run the reference server in the same process, and be on that"
    )
    lab = commands.add_parser("lab", help="two phones and the server between them, in a browser")
    lab.add_argument(
        "--port",
        type=_port,
        default=_LAB_PORT,
        metavar="N",
        help="of the page; 0 for a free one (default: %(default)s)",
    )
    lab.add_argument("--seed", type=_seed, metavar="N", help="what becomes of frames; drawn if there is none")
    demo = commands.add_parser("demo", help="a story in ten chapters; every claim is checked")
    demo.add_argument("--fast", action="store_true", help="without pauses for the reader")
    demo.add_argument("--step", action="store_true", help="wait for a key after each chapter")
    demo.add_argument("--keep", action="store_true", help="keep the data that it made")
    demo.add_argument("--json", action="store_true", help="the claims for programs; the story goes to standard error")
    return parser, commands.choices


def _name(text: str) -> str:
    from examples.chat.names import check_name

    try:
        return check_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _device(text: str) -> int:
    from whisperkit.ids import MAX_DEVICE_NUMBER  # here, because `doctor` runs where nothing is installed

    if not text.isdecimal() or not 1 <= int(text) <= MAX_DEVICE_NUMBER:
        raise argparse.ArgumentTypeError(f"a device has a number from 1 to {MAX_DEVICE_NUMBER}")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) > 65_535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise argparse.ArgumentTypeError("a seed is a number from 0 to 999999999")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError("seconds are a number from 0 on")
    return seconds


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("ws", "wss") or not parts.netloc:
        raise argparse.ArgumentTypeError("a server is at ws://HOST:PORT/ws or wss://HOST/ws")
    return text


def _show_config(path: Path | None, *, is_json: bool) -> int:
    from examples.config import ConfigError, load_config, secrets

    try:
        settings = [*load_config(path, environ=os.environ).settings, *secrets(os.environ)]
    except ConfigError as error:
        print(error, file=sys.stderr)
        if is_json:
            print(json.dumps({"problems": error.problems}, indent=2))
        return EXIT_CONFIG
    if is_json:
        print(json.dumps({"settings": [setting._asdict() for setting in settings]}, indent=2))
        return 0
    for setting in settings:
        print(f"{setting.name} = {setting.value}    ({setting.source})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
