"""What is being read stays where it is: ten thousand messages, the line above what is unread, what is new below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.examples.lab.browser import PAGE, Fake, Window

# Of the bubble at the upper edge of a list: which it is, and where.
_TOP = """(log) => {
  const edge = log.getBoundingClientRect().top;
  const top = [...log.querySelectorAll('li')].find((row) => row.lastElementChild.getBoundingClientRect().bottom > edge);
  return { id: top.dataset.id, y: top.lastElementChild.getBoundingClientRect().top - edge };
}"""
_Y = """(log, id) => log.querySelector(`li[data-id="${id}"]`).lastElementChild.getBoundingClientRect().top
  - log.getBoundingClientRect().top"""
_SCROLL = "(log, by) => { const at = log.scrollTop; log.scrollTop -= by; return at - log.scrollTop; }"
_FROM_END = "(log) => log.scrollHeight - log.scrollTop - log.clientHeight"


def list_of(window: Window, phone: int) -> Locator:
    return window.phone(phone).locator(".log")


def rows(window: Window, phone: int) -> Locator:
    return list_of(window, phone).locator("li")


def fill(fake: Fake, count: int) -> None:
    """Messages of many heights."""
    for n in range(count):
        fake.make_message(0, f"message {n} " + "and more of it " * (n * 7 % 13), mine=n % 3 == 0)


def scroll_up(window: Window, log: Locator, *, by: int, times: int) -> list[float]:
    """Scroll up; returns by how much the list has jumped each time, beyond what it was told to."""
    jumps: list[float] = []
    for _ in range(times):
        before: dict[str, Any] = log.evaluate(_TOP)
        told: float = log.evaluate(_SCROLL, by)
        window.settle()
        window.settle()
        jumps.append(abs(log.evaluate(_Y, before["id"]) - before["y"] - told))
    return jumps


# ---- ten thousand ---------------------------------------------------------------------------------------------------


def test_ten_thousand_messages_scroll_without_a_jump(fake: Fake, window: Window) -> None:
    fill(fake, 10_000)
    fake.open()
    log = list_of(window, 0)
    expect(rows(window, 0).last).to_contain_text("message 9999")

    jumps = scroll_up(window, log, by=700, times=60)

    assert max(jumps) <= 1
    assert len(fake.asked("history")) > 2
    assert rows(window, 0).count() <= 300


def test_one_can_read_all_the_way_up_and_down_again(fake: Fake, window: Window) -> None:
    fill(fake, 1_000)
    fake.open()
    log = list_of(window, 0)

    for _ in range(200):
        if rows(window, 0).first.get_attribute("data-id") == "0-1":
            break
        log.evaluate("(log) => { log.scrollTop = 0; }")
        window.settle()
    expect(rows(window, 0).first).to_contain_text("message 0")
    assert len(fake.asked("history")) == 9
    for _ in range(200):
        if rows(window, 0).last.get_attribute("data-id") == "0-1000":
            break
        log.evaluate("(log) => { log.scrollTop = log.scrollHeight; }")
        window.settle()

    expect(rows(window, 0).last).to_contain_text("message 999")
    numbers = [
        int(str(row).split("-")[1]) for row in rows(window, 0).evaluate_all("(all) => all.map((e) => e.dataset.id)")
    ]
    assert numbers == list(range(numbers[0], 1_001))


def test_a_burst_of_thousands_is_followed_to_its_end(fake: Fake, window: Window) -> None:
    fake.open()

    fake.say(*(fake.make_message(0, f"message {n}") for n in range(3_000)))

    expect(rows(window, 0).last).to_contain_text("message 2999")
    assert rows(window, 0).count() <= 300
    assert list_of(window, 0).evaluate(_FROM_END) <= 1


def test_end_goes_to_the_newest_from_wherever_one_is(fake: Fake, window: Window) -> None:
    fill(fake, 900)
    fake.open()
    log = list_of(window, 0)
    scroll_up(window, log, by=1_500, times=10)

    log.press("End")

    expect(rows(window, 0).last).to_contain_text("message 899")
    assert log.evaluate(_FROM_END) <= 1


class Jumpy:
    """The page as it would be if a list did not keep its place."""

    def __init__(self, page: Page) -> None:
        page.route("**/lab.js", self._serve)

    def _serve(self, route: Route) -> None:
        source = Path(PAGE / "lab.js").read_text(encoding="utf-8")
        kept = "if (anchor?.isConnected)"
        assert source.count(kept) == 1
        route.fulfill(body=source.replace(kept, "if (false)"), content_type="text/javascript")


def test_a_list_that_does_not_keep_its_place_is_found_out(fake: Fake, window: Window) -> None:
    Jumpy(window.page)
    fill(fake, 1_000)
    fake.open()

    jumps = scroll_up(window, list_of(window, 0), by=700, times=10)

    window.page.unroute("**/lab.js")
    assert max(jumps) > 100


# ---- what is new below ----------------------------------------------------------------------------------------------


def test_at_the_end_the_list_follows_what_comes(fake: Fake, window: Window) -> None:
    fill(fake, 100)
    fake.open()

    fake.message(0, "landed!")

    expect(rows(window, 0).last).to_contain_text("landed!")
    assert list_of(window, 0).evaluate(_FROM_END) <= 1
    expect(window.phone(0).locator(".newest")).to_be_hidden()


def test_elsewhere_it_stays_and_says_how_many_are_new(fake: Fake, window: Window) -> None:
    fill(fake, 100)
    fake.open()
    log = list_of(window, 0)
    scroll_up(window, log, by=400, times=2)
    before: dict[str, Any] = log.evaluate(_TOP)

    for n in range(3):
        fake.message(0, f"new {n}")

    button = window.phone(0).get_by_role("button", name="3 new, to the newest")
    expect(button).to_have_text("↓ 3 new")
    assert log.evaluate(_TOP) == before
    button.click()
    expect(button).to_be_hidden()
    expect(rows(window, 0).last).to_be_in_viewport()


def test_a_mark_or_a_longer_text_above_moves_nothing(fake: Fake, window: Window) -> None:
    fill(fake, 100)
    fake.open()
    log = list_of(window, 0)
    scroll_up(window, log, by=400, times=2)
    before: dict[str, Any] = log.evaluate(_TOP)

    fake.change(0, "0-60", text="much longer\nthan it was\nbefore\nby some lines")
    expect(rows(window, 0).locator("text=by some lines")).to_have_count(1)

    assert abs(log.evaluate(_TOP)["y"] - before["y"]) <= 1


def test_an_own_message_goes_to_the_end(fake: Fake, window: Window) -> None:
    fill(fake, 100)
    fake.open()
    scroll_up(window, list_of(window, 0), by=400, times=2)

    fake.message(0, "here I am", mine=True)

    expect(rows(window, 0).last).to_contain_text("here I am")
    expect(rows(window, 0).last).to_be_in_viewport()


def test_a_field_that_grows_does_not_hide_the_newest(fake: Fake, window: Window) -> None:
    fill(fake, 50)
    fake.open()

    window.phone(0).get_by_label("Message to Bob").fill("one\ntwo\nthree\nfour")

    expect(rows(window, 0).last).to_be_in_viewport(ratio=1)


# ---- what is unread -------------------------------------------------------------------------------------------------


def unread(fake: Fake, phone: int, count: int) -> str:
    """Messages that wait; returns the id of the first."""
    made = [fake.make_message(phone, f"unread {n}") for n in range(count)]
    fake.phones[phone].update(unread=count, divider=made[0]["id"])
    return str(made[0]["id"])


def test_a_conversation_opens_at_the_line_above_what_is_unread(fake: Fake, window: Window) -> None:
    fill(fake, 50)
    unread(fake, 0, 40)

    fake.open()

    expect(window.phone(0).get_by_text("40 unread")).to_be_in_viewport()
    expect(window.phone(0).locator("text=unread 0").first).to_be_in_viewport()
    expect(window.phone(0).locator("text=unread 39")).not_to_be_in_viewport()


def test_the_line_stays_while_one_is_there_and_goes_when_one_leaves(fake: Fake, window: Window) -> None:
    unread(fake, 0, 2)
    fake.open()
    line = window.phone(0).locator(".unread:visible")
    expect(line).to_have_text("2 unread")

    window.phone(0).get_by_label("Message to Bob").focus()
    fake.phone(0, unread=0, divider=None)
    fake.message(0, "a third")
    expect(rows(window, 0)).to_have_count(3)
    expect(line).to_have_text("2 unread")
    window.phone(1).get_by_label("Message to Alice").focus()

    expect(line).to_have_count(0)


def test_the_line_comes_while_nobody_is_there(fake: Fake, window: Window) -> None:
    fake.open()

    message = fake.message(1, "are you there?")
    fake.phone(1, unread=1, divider=message)

    expect(window.phone(1).locator(".unread:visible")).to_have_text("1 unread")


def test_coming_back_to_a_phone_shows_the_line(fake: Fake, window: Window) -> None:
    fill(fake, 60)
    fake.open()
    messages = [fake.message(0, f"unread {n}") for n in range(40)]
    fake.phone(0, unread=40, divider=messages[0])
    expect(rows(window, 0).last).to_contain_text("unread 39")

    window.page.keyboard.press("1")

    expect(window.phone(0).get_by_text("40 unread")).to_be_in_viewport()


# ---- what was read --------------------------------------------------------------------------------------------------


def test_nothing_is_read_while_the_phone_is_not_in_use(fake: Fake, window: Window) -> None:
    message = fake.make_message(0, "are you there?")["id"]
    fake.open()
    window.phone(1).get_by_label("Message to Alice").focus()
    window.settle()
    assert fake.asked("seen") == []

    window.phone(0).get_by_label("Message to Bob").focus()

    assert fake.until("seen") == [{"do": "seen", "phone": 0, "id": message}]


def test_only_what_is_on_the_screen_is_read(fake: Fake, window: Window) -> None:
    fill(fake, 100)
    fake.open()
    log = list_of(window, 0)
    log.focus()
    first = fake.until("seen")[-1]
    scroll_up(window, log, by=500, times=1)

    fake.message(0, "not on the screen")
    expect(window.phone(0).locator(".newest")).to_have_text("↓ 1 new")
    assert fake.asked("seen") == [first]
    log.press("End")

    assert fake.until("seen", 2)[-1]["id"] == "0-101"


@pytest.mark.parametrize("count", [1, 5])
def test_what_comes_while_one_looks_is_read_at_once(fake: Fake, window: Window, count: int) -> None:
    fake.open()
    window.phone(1).get_by_label("Message to Alice").focus()

    for n in range(count):
        fake.message(1, f"message {n}")

    expect(rows(window, 1)).to_have_count(count)
    window.settle()
    assert fake.asked("seen")[-1] == {"do": "seen", "phone": 1, "id": f"1-{count}"}
