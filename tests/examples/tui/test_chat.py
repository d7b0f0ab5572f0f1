"""Two people talk: what one of them sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.tui.stage import on_stage
from whisperkit.testing.sim_phone import ChatNet

pytestmark = pytest.mark.anyio


async def test_what_is_written_and_what_comes_is_shown_with_how_far_it_came(net: ChatNet, tmp_path: Path) -> None:
    bob = net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.go_to("bob")
        await alice.write("are you there?")
        bob.send(bob.direct(alice.sim), "boarding now")
        await alice.wait(20.0)

        assert alice.line_with("are you there?").endswith("✓✓")
        assert "bob" in alice.line_with("boarding now")
        assert "● live" in alice.lines[0]
