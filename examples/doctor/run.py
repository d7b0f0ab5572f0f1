"""`python -m examples doctor`: look at everything that a server and a client need, and say what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from examples.doctor.findings import Finding, State, is_coloured, poor, show, show_json
from examples.doctor.machine import (
    Machine,
    check_clock,
    check_packages,
    check_python,
    check_sqlite,
    check_terminal,
    machine_here,
)
from examples.exits import EXIT_FAILED, EXIT_OK
from examples.waiting import waiting

__all__ = ["examine", "run_doctor"]


def run_doctor(config_path: Path | None, *, is_json: bool) -> int:
    """Look at everything; returns the exit code: 1 if something fails."""
    looking = examine(config_path, os.environ, machine_here())
    if is_json:
        findings = list(looking)
        show_json(findings, sys.stdout)
    else:
        findings = show(_one_by_one(looking), sys.stdout, is_coloured=is_coloured(sys.stdout))
    return EXIT_FAILED if any(finding.state is State.FAIL for finding in findings) else EXIT_OK


def _one_by_one(findings: Iterator[Finding]) -> Iterator[Finding]:
    """Each as soon as it is found: on a slow disk one may be waited for."""
    while True:
        with waiting("looking"):
            found = next(findings, None)
        if found is None:
            return
        yield found


def examine(config_path: Path | None, environ: Mapping[str, str], machine: Machine) -> Iterator[Finding]:
    """Make all checks that can be made: those of the server want its packages, and most of them its settings."""
    yield check_python(machine)
    yield check_sqlite(machine)
    yield check_terminal(machine)
    packages = check_packages(machine)
    yield packages
    if packages.state is State.FAIL:
        yield check_clock(machine, ())
        yield poor(
            "server",
            "not looked at, because packages are missing",
            fix="python -m examples doctor  # again, after the one above",
        )
        return
    yield from _examine_server(config_path, environ, machine)


def _examine_server(config_path: Path | None, environ: Mapping[str, str], machine: Machine) -> Iterator[Finding]:
    from examples.doctor import server  # here, because it imports what may not be installed

    yield server.check_passphrase(environ)
    config, findings = server.check_settings(config_path, environ)
    yield from findings
    if config is None:
        yield check_clock(machine, ())
        yield poor(
            "server",
            "not looked at, because settings are wrong",
            fix="python -m examples doctor  # again, after the one above",
        )
        return
    database = Path(config.server.sqlite_path)
    yield check_clock(machine, (database, Path(f"{database}-wal")))
    address = server.check_address(*config.server.address)
    yield address
    yield server.check_folder("folder", database.parent, machine, is_made=False)
    yield server.check_database(database, is_served=address.state is State.WARN)
    yield server.check_folder("attachments", Path(config.server.blob_path), machine, is_made=True)
    yield from server.check_open_files(config.limits.connections)
