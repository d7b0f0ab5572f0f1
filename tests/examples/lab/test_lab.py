"""The whole lab without a browser: whatever is pressed, nothing is lost and nothing doubled, and the numbers say so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.lab.lab import Lab
from examples.lab.phones import LabPhone
from tests.examples.lab.driver import Driver, driving
from whisperkit.client.content import Text
from whisperkit.testing.__main__ import main as simulator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_message_has_all_four_marks_one_after_the_other() -> None:
    async with driving() as (page, _):
        await page.send(0, "boarding now")
        await page.until(lambda: page.has(0, "boarding now", "delivered"))
        await page.until(lambda: page.phone(1)["unread"] == 1)
        received = page.row(1, "boarding now")
        divider = page.phone(1)["divider"]
        await page.do("seen", phone=1, id=received["id"])
        await page.until(lambda: page.has(0, "boarding now", "read"))
        await page.until(lambda: page.phone(1)["unread"] == 0)

        own = [told for told in page.told if told["kind"] == "message" and told["phone"] == 0 and told["text"]]
        marks = dict.fromkeys(row["mark"] for row in own if row["text"] == "boarding now")
        assert list(marks) == ["pending", "sent", "delivered", "read"]
        assert divider == received["id"]
        assert page.row(0, "boarding now")["words"].startswith("read by Bob ")
        assert page.row(1, "boarding now")["mark"] == "received"
        assert not page.row(1, "boarding now")["mine"]
        assert page.phone(1)["divider"] is None


async def test_somebody_who_types_is_seen_typing() -> None:
    async with driving() as (page, _):
        await page.until(lambda: page.phone(1)["peer"] == {"name": "Alice", "words": "online"})
        await page.do("typing", phone=0)
        await page.until(lambda: page.phone(1)["peer"]["words"] == "typing …")
        await page.send(0, "there it is")
        await page.until(lambda: page.has(1, "there it is"))
        await page.until(lambda: page.phone(1)["peer"]["words"] == "online")


async def test_ten_messages_of_a_flight_come_in_order_and_once() -> None:
    texts = [f"message {number}" for number in range(10)]
    async with driving() as (page, _):
        await page.send(0, "before")
        await page.until_all_is_well(0, "before")
        await page.do("flight", phone=1, on=True)
        await page.until(lambda: page.phone(1)["state"] == "offline" and page.phone(1)["flight"])
        await page.send(0, *texts)
        await page.send(1, "written in the air")
        await page.until(lambda: page.has(0, texts[-1], "sent"))
        await page.until(lambda: page.server["inboxes"][1]["held"] == 10)
        await page.until(lambda: page.phone(1)["words"] == "○ offline, 1 waiting")
        in_the_air = page.texts(1)
        await page.do("flight", phone=1, on=False)
        await page.until_all_is_well(0, texts[-1])
        await page.until_all_is_well(1, "written in the air")

        assert in_the_air == ["before", "written in the air"]
        assert page.texts(1, "received") == ["before", *texts]
        assert page.texts(0) == page.texts(1)
        assert page.counter == (12, 0, 0)


async def test_a_killed_server_comes_back_and_has_all_that_it_acknowledged() -> None:
    async with driving() as (page, _):
        await page.send(0, "before")
        await page.until_all_is_well(0, "before")
        pid = page.server["pid"]
        await page.do("kill")
        await page.until(lambda: not page.server["up"])
        await page.do("kill")
        await page.until(lambda: page.said()[-1] == "the server is down already")
        await page.send(0, "into the dark")
        await page.send(1, "from the other side")
        await page.until(lambda: page.phone(0)["state"] == page.phone(1)["state"] == "offline")
        await page.until(lambda: page.server["up"])
        await page.until_all_is_well(0, "into the dark")
        await page.until_all_is_well(1, "from the other side")

        assert page.said()[0] == f"SIGKILL to the server, pid {pid}"
        assert page.server["pid"] != pid
        assert page.texts(0) == page.texts(1)
        assert page.counter == (3, 0, 0)


async def test_a_push_that_is_lost_is_fetched() -> None:
    async with driving() as (page, _):
        await page.do("lose_next", phone=1, way="down")
        await page.send(0, "lost on its way")
        await page.until_all_is_well(0, "lost on its way")

        (lost,) = page.frames(fate="lost")
        assert lost | {"phone": 1, "way": "down", "name": "ENTRY"} == lost
        assert "PULL" in [frame["name"] for frame in page.frames(phone=1, way="up") if frame["id"] > lost["id"]]
        assert page.texts(1) == ["lost on its way"]
        assert page.counter == (1, 0, 0)


async def test_a_message_that_is_sent_twice_is_there_once() -> None:
    async with driving() as (page, _):
        await page.do("double_next", phone=0, way="up")
        await page.do("double_next", phone=1, way="down")
        await page.send(0, "twice")
        await page.send(0, "once")
        await page.until_all_is_well(0, "once")

        assert [(frame["phone"], frame["name"]) for frame in page.frames(fate="doubled")] == [(0, "SEND"), (1, "ENTRY")]
        assert page.texts(1) == ["twice", "once"]
        assert page.counter == (2, 0, 0)


async def test_disorder_of_every_kind_at_once_loses_nothing() -> None:
    texts = [f"message {number}" for number in range(20)]
    async with driving(seed=7) as (page, _):
        await page.set(lose=30, double=True, reorder=True)
        for number, text in enumerate(texts):
            await page.send(number % 2, text)
        await page.do("kill")
        await page.until(lambda: bool(page.frames(fate="lost")) and bool(page.frames(fate="late")))
        await page.set(lose=0, double=False, reorder=False)
        await page.until_all_is_well(0, texts[-2])
        await page.until_all_is_well(1, texts[-1])

        assert page.texts(0) == page.texts(1)
        assert page.texts(0, "received") == texts[1::2]
        assert page.texts(1, "received") == texts[0::2]
        assert page.counter == (20, 0, 0)


async def test_in_steps_a_frame_goes_on_when_a_person_lets_it() -> None:
    async with driving() as (page, _):
        await page.send(0, "before")
        await page.until_all_is_well(0, "before")
        await page.do("step")
        await page.until(lambda: page.said() == ["nothing waits to be let through"])
        await page.set(step=True)
        await page.send(0, "by hand")
        await page.until(lambda: bool(page.frames(fate="waiting", name="SEND")))
        waiting = page.frames(fate="waiting", name="SEND")[0]
        is_sent = page.has(0, "by hand", "sent")
        # Something else may have begun to wait before it.
        for _ in range(1 + sum(one["id"] < waiting["id"] for one in page.frames(fate="waiting"))):
            await page.do("step")
        await page.until(lambda: bool(page.frames(fate="passed", id=waiting["id"])))
        await page.until(lambda: page.frames(fate="waiting", name="ENTRY", phone=1) != [])
        await page.set(step=False)
        await page.until_all_is_well(0, "by hand")

        assert not is_sent


async def test_a_new_page_is_told_what_waits_for_it() -> None:
    async with driving() as (page, _):
        await page.set(step=True)
        await page.send(0, "by hand")
        await page.until(lambda: bool(page.frames(fate="waiting")))
        newer = await Driver.of(page.port)
        await page.until(lambda: page.closed == 4001)
        await newer.until(lambda: bool(newer.frames(fate="waiting")))

        assert page.told[-1] == {"kind": "replaced"}
        assert newer.part("controls")["step"]
        assert newer.texts(0) == page.texts(0)
        await newer.close()


async def test_whoever_is_removed_reads_nothing_new_and_can_send_nothing() -> None:
    async with driving() as (page, lab):
        await page.do("add")
        await page.until(lambda: page.said() == ["Bob is in the group already"])
        await page.send(0, "before")
        await page.until_all_is_well(0, "before")
        await page.do("remove")
        await page.until(lambda: page.phone(1)["removed"])
        await page.send(0, "not for Bob")
        await page.send(1, "let me in")
        await page.until(lambda: page.has(0, "not for Bob", "sent") and page.has(1, "let me in", "failed"))
        failed = page.row(1, "let me in")
        await page.do("add")
        await page.until(lambda: not page.phone(1)["removed"])
        await page.do("retry", phone=1, id=failed["id"])
        await page.until_all_is_well(1, "let me in")
        await page.send(0, "after")
        await page.until_all_is_well(0, "after")

        assert failed["words"] == "not sent: not member"
        assert failed["id"] not in page.rows[1]
        assert page.texts(1) == ["before", "let me in", "after"]
        assert page.texts(0) == ["before", "not for Bob", "let me in", "after"]
        assert page.counter == (4, 0, 0)
        members = [line for line in lab.recorder.dump().splitlines() if "add" in line or "remove" in line]
        assert [line.partition(" ")[2] for line in members] == ["remove alice.1 team bob", "add alice.1 team bob"]


async def test_what_failed_can_be_thrown_away() -> None:
    async with driving() as (page, _):
        await page.do("remove")
        await page.until(lambda: page.phone(1)["removed"])
        await page.send(1, "let me in")
        await page.until(lambda: page.has(1, "let me in", "failed"))
        await page.do("discard", phone=1, id=page.row(1, "let me in")["id"])
        await page.until(lambda: page.texts(1) == [])
        await page.do("discard", phone=1, id="nothing")
        await page.until(lambda: page.said() == ["there is no such message"])


async def test_a_new_phone_is_told_of_and_nothing_is_sent_to_it_before_its_number_is_compared() -> None:
    async with driving() as (page, lab):
        await page.send(0, "hello")
        await page.until_all_is_well(0, "hello")
        await page.do("verify", phone=0)
        await page.until(lambda: page.phone(0)["verified"])
        number = page.phone(0)["number"]
        await page.do("reinstall", phone=1)
        await page.until(lambda: {"kind": "empty", "phone": 1} in page.told)
        await page.until(lambda: page.phone(1)["state"] == "live" and page.texts(1) == [])
        await page.send(1, "it is me")
        await page.until(lambda: page.phone(0)["changed"])
        await page.until(lambda: page.has(0, "waiting for this message", "unreadable"))
        notice = next(row["text"] for row in page.shown(0) if "safety number" in row["text"])
        await page.send(0, "who?")
        await page.until(lambda: page.said() == ["not sent: choose first what to do about the new safety number"])
        await page.do("verify", phone=0)
        await page.until(lambda: page.has(0, "it is me", "received"))
        await page.send(0, "ah, you")
        await page.until_all_is_well(0, "ah, you")

        assert len(number) == 60
        assert page.phone(0)["number"] != number
        assert page.phone(0)["verified"]
        assert not page.phone(0)["changed"]
        assert notice.startswith("⚠ Bob has a new safety number. ")
        assert notice.endswith("nothing is sent until you compare this one")
        assert page.texts(1) == ["it is me", "ah, you"]
        assert page.counter == (3, 0, 0)
        assert "# " in lab.recorder.dump().splitlines()[1]


async def test_whoever_does_not_compare_can_go_on_without() -> None:
    async with driving() as (page, _):
        await page.send(0, "hello")
        await page.until_all_is_well(0, "hello")
        await page.do("verify", phone=0)
        await page.until(lambda: page.phone(0)["verified"])
        await page.do("reinstall", phone=1)
        await page.until(lambda: page.phone(1)["state"] == "live" and page.texts(1) == [])
        await page.send(1, "it is me")
        await page.until(lambda: page.phone(0)["changed"])
        await page.do("accept", phone=0)
        await page.until(lambda: page.has(0, "it is me", "received"))
        await page.until(lambda: not page.phone(0)["changed"])

        assert not page.phone(0)["verified"]


class _LabThatIsKilledMeanwhile(Lab):
    async def _let_in(self, phone: LabPhone) -> None:
        await self.server.kill()
        await super()._let_in(phone)


async def test_a_new_phone_is_let_in_though_the_server_is_killed_just_then() -> None:
    async with driving(lab_type=_LabThatIsKilledMeanwhile) as (page, _):
        await page.send(0, "hello")
        await page.until_all_is_well(0, "hello")
        await page.do("reinstall", phone=1)
        await page.until(lambda: {"kind": "empty", "phone": 1} in page.told)
        await page.until(lambda: page.phone(1)["state"] == "live" and page.texts(1) == [])
        await page.send(1, "it is me")
        await page.until(lambda: page.has(0, "it is me", "received"))
        await page.until(lambda: page.counter == (2, 0, 0))


async def test_a_phone_that_has_not_everything_is_not_thrown_away() -> None:
    async with driving() as (page, _):
        await page.do("flight", phone=1, on=True)
        await page.do("reinstall", phone=1)
        await page.until(lambda: len(page.said()) == 1)

        assert page.said()[0].startswith("Bob's old phone has to have and to have sent everything first")


def leaks(page: Driver, lab: Lab, text: str) -> bool:
    """Whether a text is in what the middle of the page is told, or in the server's files."""
    seen = json.dumps([told for told in page.told if told["kind"] in ("server", "frame")], ensure_ascii=False)
    kept = b"".join(path.read_bytes() for path in lab.server.folder.rglob("*") if path.is_file())
    return text in seen or text.encode().hex() in seen or text.encode() in kept


async def test_nothing_that_was_written_is_in_what_the_server_sees() -> None:
    text = "gate changed to B12"
    async with driving() as (page, lab):
        await page.send(0, text)
        await page.until_all_is_well(0, text)
        row = page.server["rows"][-1]
        kept = b"".join(path.read_bytes() for path in lab.server.folder.rglob("*") if path.is_file())

        assert not leaks(page, lab, text)
        assert row["sender"] == "alice.1"
        assert bytes.fromhex(row["hex"]) in kept
        assert ["type", "PREKEY: it begins a session"] in row["fields"]
        assert ["ratchet counter", "0"] in row["fields"]
        assert page.server["marks"][0] | {"user": "bob"} == page.server["marks"][0]


async def test_what_was_pressed_is_a_run_that_the_simulator_plays_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with driving(seed=8812) as (page, _):
        await page.do("flight", phone=1, on=True)
        await page.send(0, "one", "two")
        await page.send(1, "three")
        await page.do("kill")
        await page.until(lambda: not page.server["up"])
        await page.until(lambda: page.server["up"])
        await page.do("flight", phone=1, on=False)
        await page.until_all_is_well(0, "two")
        await page.until_all_is_well(1, "three")
        await page.do("seen", phone=1, id=page.row(1, "two")["id"])
        await page.set(slow=True)
        await page.do("lose_next", phone=0, way="up")
        await page.send(0, "four")
        await page.until(lambda: bool(page.frames(fate="lost")))
        await page.set(slow=False)
        await page.do("remove")
        await page.do("run")
        await page.until(lambda: page.told[-1]["kind"] == "run" or any(t["kind"] == "run" for t in page.told))
        run = page.part("run")

    path = tmp_path / run["name"]
    path.write_text(run["text"])
    verbs = [line.split()[1] for line in run["text"].splitlines() if line[0].isdigit()]

    assert run["name"] == "lab-8812.run"
    assert set(verbs) == {"send", "die", "crash", "read", "slow", "wire", "remove"}
    assert simulator(["replay", str(path)]) == 0
    assert capsys.readouterr().out.startswith("held       seed 8812")


# ---- broken variants ------------------------------------------------------------------------------------------------


class _SendsTwice(LabPhone):
    """Takes each message for lost, and writes it again as another one."""

    async def write(self, text: str) -> None:
        await super().write(text)
        await self.client.send(self.conv, text)


class _LabThatDoubles(Lab):
    def make_phone(self, number: int, folder: Path) -> LabPhone:
        return _SendsTwice(number, folder, self.wires[number], counter=self.counter, tell=self._tell)


async def test_a_phone_that_sends_again_instead_of_repeating_is_counted() -> None:
    async with driving(lab_type=_LabThatDoubles) as (page, _):
        await page.send(0, "twice")
        await page.until(lambda: page.counter[2] == 1)

        assert page.texts(1) == ["twice", "twice"]


class _LabThatForgets(Lab):
    """Its server loses what it has acknowledged when it is killed, as one does that does not wait for its disk."""

    def forget(self) -> None:
        for path in self.server.folder.glob("server.db*"):
            path.write_bytes(self.kept[path.name]) if path.name in self.kept else path.unlink()

    def keep(self) -> None:
        self.kept = {path.name: path.read_bytes() for path in self.server.folder.glob("server.db*")}


async def test_a_server_that_forgets_what_it_acknowledged_is_counted() -> None:
    async with driving(lab_type=_LabThatForgets) as (page, lab):
        assert isinstance(lab, _LabThatForgets)
        await page.send(0, "kept")
        await page.until_all_is_well(0, "kept")
        lab.keep()
        await page.do("flight", phone=1, on=True)
        await page.send(0, "forgotten")
        await page.until(lambda: page.has(0, "forgotten", "sent"))
        await page.do("kill")
        await page.until(lambda: not page.server["up"])
        lab.forget()
        await page.until(lambda: page.counter[1] > 0)

        assert page.counter[0] == 2


class _LabThatLeaks(Lab):
    """Shows what it should not even have."""

    async def look(self) -> None:
        await super().look()
        for row, text in zip(
            self.seen["rows"], reversed(self.phones[0].hearing.bubbles.records.values()), strict=False
        ):
            match text.what:
                case Text(words, _):
                    row["fields"].append(["text", words])
                case _:
                    pass


async def test_a_view_that_shows_what_was_written_is_found_out() -> None:
    async with driving(lab_type=_LabThatLeaks) as (page, lab):
        await page.send(0, "gate changed to B12")
        await page.until_all_is_well(0, "gate changed to B12")
        await page.until(lambda: leaks(page, lab, "gate changed to B12"))
