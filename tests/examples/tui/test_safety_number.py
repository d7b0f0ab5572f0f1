"""Rows "safety number" and "number changed"."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.widgets import Input

from examples.chat.qr import qr_lines
from examples.tui.glyphs import ASCII
from tests.examples.chat.test_qr import HALVES, modules, scan
from tests.examples.tui.stage import Stage, on_stage
from whisperkit.client import Client
from whisperkit.testing.sim_phone import ChatNet, SimPhone

pytestmark = pytest.mark.anyio


async def meet(net: ChatNet, alice: Stage) -> SimPhone:
    bob = net.phone("bob")
    await alice.go_to("bob")
    await alice.write("hello")
    bob.send(bob.direct(alice.sim), "hi")
    await alice.wait(5.0)
    return bob


def number(bob: SimPhone, alice: Stage) -> str:
    return bob.do(lambda client: client.safety_number(alice.sim.device)).digits


def set_up_anew(net: ChatNet, old: SimPhone) -> SimPhone:
    """The same person on a phone that knows nothing of before."""
    new = net.add(old.device)
    net.wait(5.0)

    async def identity(client: Client) -> tuple[bytes, int]:
        return await client.identity()

    net.server.replace(old.device, *new.do(identity))
    old.crash()
    new.restart()
    net.until(lambda: new.is_live)
    net.wait(12.0)
    return new


async def test_twelve_groups_of_five_digits_and_a_code_are_those_of_the_other_side_and_v_notes_that(
    net: ChatNet, tmp_path: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, size=(100, 40)) as alice:
        bob = await meet(net, alice)
        await alice.press("ctrl+s")

        groups = re.findall(r"\b\d{5}\b", alice.screen)
        assert len(groups) == 12
        assert "".join(groups) == number(bob, alice)
        assert "with bob  not compared yet" in alice.screen
        assert sum("▄" in line or "▀" in line for line in alice.lines) > 15

        await alice.press("v")
        assert "with bob  ✔ verified" in alice.screen
        await alice.press("escape")
        assert "✔ verified" in alice.lines[1]


async def test_pasted_digits_are_compared_and_the_header_says_verified(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await meet(net, alice)
        digits = number(bob, alice)
        wrong = digits[:-1] + ("0" if digits[-1] != "0" else "1")
        await alice.press("ctrl+s", "c")
        alice.app.screen.query_one("#pasted", Input).value = wrong
        await alice.press("enter")
        assert "✗ not the same" in alice.screen
        assert "verified" not in alice.lines[1]

        await alice.press("c")
        alice.app.screen.query_one("#pasted", Input).value = " ".join(digits[n : n + 5] for n in range(0, 60, 5))
        await alice.press("enter")
        assert "✔ the same: bob is verified" in alice.screen
        await alice.press("escape")

        assert "✔ verified" in alice.lines[1]


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (120, 40)])
async def test_the_code_is_on_the_screen_as_a_whole_and_can_be_scanned(
    net: ChatNet, tmp_path: Path, size: tuple[int, int]
) -> None:
    async with on_stage(net, "alice", tmp_path, size=size) as alice:
        bob = await meet(net, alice)
        await alice.press("ctrl+s")
        number = alice.sim.do(lambda client: client.safety_number(bob.device))
        scanned = scan(modules(qr_lines(number.scannable, columns=41)))
        drawn = ["".join(block for block in line if block in HALVES) for line in qr_lines(number.scannable, columns=41)]

        assert scanned == [number.scannable]
        shown = "\n".join(alice.lines)
        assert all(re.search(re.escape(line.strip()), shown) for line in drawn if line.strip())
        assert sum(line.count("▀▀▀▀▀▀▀") for line in alice.lines) >= 3  # the corners by which it is found


async def test_digits_of_another_device_than_the_one_that_is_shown_verify_that_one_alone(
    net: ChatNet, tmp_path: Path
) -> None:
    async with on_stage(net, "alice", tmp_path, size=(100, 40)) as alice:
        bob = await meet(net, alice)
        tablet = net.linked(bob, name="bob")
        await alice.write("to both of you")
        tablet.send(tablet.direct(alice.sim), "from the tablet")
        await alice.wait(30.0)
        await alice.press("ctrl+s", "c")
        assert "with bob.1  not compared yet  (1 of 2)" in alice.screen
        alice.app.screen.query_one("#pasted", Input).value = number(tablet, alice)
        await alice.press("enter")

        assert "✔ the same: bob.2 is verified" in alice.screen
        assert "with bob.1  not compared yet  (1 of 2)" in alice.screen
        await alice.press("n")
        assert "with bob.2  ✔ verified  (2 of 2)" in alice.screen


async def test_a_terminal_with_ascii_is_told_of_it_in_ascii(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path, glyphs=ASCII) as alice:
        bob = await meet(net, alice)
        for digits, said in (("0" * 60, "x not the same"), (number(bob, alice), "v the same: bob is verified")):
            await alice.press("ctrl+s", "c")
            alice.app.screen.query_one("#pasted", Input).value = digits
            await alice.press("enter")
            assert said in alice.screen
            assert alice.screen.isascii()
            await alice.press("escape")
        await alice.write("/state")
        assert "* live" in alice.screen
        assert alice.screen.isascii()


async def test_without_colours_there_is_no_code(net: ChatNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with on_stage(net, "alice", tmp_path, has_no_color=True) as alice:
        await meet(net, alice)
        await alice.press("ctrl+s")

        assert len(re.findall(r"\b\d{5}\b", alice.screen)) == 12
        assert "▄" not in alice.screen


async def test_without_a_connection_it_is_said_that_the_devices_cannot_be_asked_for(
    net: ChatNet, tmp_path: Path
) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        await meet(net, alice)
        alice.sim.fly()
        await alice.wait(700.0)  # how long a list of devices is believed
        await alice.press("ctrl+s")

        assert "there is no connection now" in " ".join(alice.screen.split())
        assert "nobody is here" not in alice.screen


async def test_a_key_that_is_not_here_yet_is_said_to_be_missing(net: ChatNet, tmp_path: Path) -> None:
    net.phone("bob")
    async with on_stage(net, "alice", tmp_path) as alice:
        await alice.go_to("bob")
        await alice.press("ctrl+s")

        assert "Their key is not here yet" in alice.screen


async def test_a_new_number_is_told_in_the_conversation_and_others_go_on(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await meet(net, alice)
        new = set_up_anew(net, bob)
        await alice.write("are you there?")
        await alice.wait(60.0)

        told = " ".join(" ".join(line.split()) for line in alice.messages)
        assert "⚠ bob has a new safety number (bob.1). Most of the time that is a new phone" in told
        assert "v compare the safety number · a go on without" in told
        assert "⚠" in alice.lines[2]
        assert "are you there?" in new.texts(new.direct(alice.sim))

        alice.app.view.focus()
        await alice.press("end", "up", "a")
        await alice.wait()
        assert "new safety number" not in " ".join(alice.messages)
        assert "⚠" not in alice.lines[2]


async def test_nothing_is_sent_to_somebody_who_was_verified_until_the_person_chooses(
    net: ChatNet, tmp_path: Path
) -> None:
    async with on_stage(net, "alice", tmp_path) as alice:
        bob = await meet(net, alice)
        await alice.press("ctrl+s", "v", "escape")
        new = set_up_anew(net, bob)
        await alice.write("only for the old bob")
        await alice.wait(60.0)
        assert "Nothing is sent until you choose" in alice.screen
        assert "✔ verified" not in alice.lines[1]

        await alice.write("nor this")
        assert alice.app.composer.text == "nor this"
        chat = new.direct(alice.sim)
        assert not set(new.texts(chat)) & {"only for the old bob", "nor this"}

        alice.app.view.focus()
        await alice.press("end", "up", "a")
        await alice.wait(60.0)
        assert "Nothing is sent until you choose" not in alice.screen
        alice.app.composer.focus()
        await alice.press("enter")
        await alice.wait(10.0)
        assert new.texts(chat)[-2:] == ["only for the old bob", "nor this"]


async def test_what_was_not_chosen_blocks_after_a_restart_too(net: ChatNet, tmp_path: Path) -> None:
    phone = net.phone("alice")
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        bob = await meet(net, alice)
        await alice.press("ctrl+s", "v", "escape")
        set_up_anew(net, bob)
        await alice.write("are you there?")
        await alice.wait(60.0)
    phone.restart()
    net.until(lambda: phone.is_live)

    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        await alice.go_to("bob")

        assert "Nothing is sent until you choose" in alice.screen


async def test_a_new_device_of_somebody_is_told_and_after_a_restart_not_again(net: ChatNet, tmp_path: Path) -> None:
    phone = net.phone("alice")
    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        bob = await meet(net, alice)
        net.linked(bob, name="bob")
        await alice.write("to both of you")
        await alice.wait(60.0)

        told = " ".join(" ".join(line.split()) for line in alice.messages)
        assert told.count("⚠ bob has a new device (bob.2).") == 1
        assert phone.client.notices == ()
    phone.restart()
    net.until(lambda: phone.is_live)

    async with on_stage(net, "alice", tmp_path, sim=phone) as alice:
        await alice.go_to("bob")
        assert "new device" not in " ".join(alice.messages)


async def test_what_is_told_of_a_device_below_the_view_was_not_seen(net: ChatNet, tmp_path: Path) -> None:
    async with on_stage(net, "alice", tmp_path, size=(100, 12)) as alice:
        bob = await meet(net, alice)
        for n in range(20):
            bob.send(bob.direct(alice.sim), f"line {n}")
        await alice.wait(10.0)
        await alice.press("pageup", "pageup")
        new = net.linked(bob, name="bob")
        new.send(new.direct(alice.sim), "from my new phone")
        await alice.wait(60.0)
        assert [notice.device.number for notice in alice.sim.client.notices] == [2]

        await alice.press("end")
        await alice.wait(1.0)
        assert alice.sim.client.notices == ()


async def test_a_new_device_of_ones_own_is_told_at_once_wherever_one_is(net: ChatNet, tmp_path: Path) -> None:
    phone = net.phone("alice")
    other = net.linked(phone, name="alice")
    async with on_stage(net, "alice", tmp_path, sim=other) as alice:
        net.linked(phone, 3, name="alice")
        await alice.wait(700.0)

        assert "you have a new device (alice.3)" in " ".join(alice.screen.split())
        assert alice.sim.client.notices == ()
