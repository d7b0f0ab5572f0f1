"""For everybody: with the keyboard alone, read aloud, large, narrow, calm, dark, and in somebody else's colours."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

import pytest
from playwright.sync_api import expect

from tests.examples.lab.browser import PAGE, Fake, Window

_NAMED = "() => document.activeElement.dataset.tab ??= Math.random()"
_FOCUSED = "() => document.activeElement?.id || document.activeElement?.className || document.activeElement?.tagName"


def furnish(fake: Fake) -> None:
    """Some of everything."""
    for phone in (0, 1):
        for mark in ("pending", "sent", "delivered", "read"):
            fake.message(phone, f"{mark} by now", mine=True, mark=mark, words=f"{mark} 14:02")
        fake.message(phone, "see you", mine=True, mark="failed", words="not sent: too big")
        fake.message(phone, None, mark="unreadable", words="could not be decrypted")
        fake.message(phone, "Carol joined", mark="notice")
        file = {"name": "cat.jpg", "type": "image/jpeg", "size": 1_200_000, "moved": 800_000, "total": 1_200_000}
        fake.message(phone, None, mine=True, file={**file, "state": "moving"})
        last = fake.message(phone, "landed! where are you?")
        fake.phone(phone, unread=1, divider=last)
    rows = [
        {"seq": n, "sender": "alice.1", "bytes": 112, "hex": "e2d091aa" * 8, "fields": [["ratchet counter", str(n)]]}
        for n in range(1, 19)
    ]
    fake.see(
        rows=rows,
        head=18,
        fanned_out=18,
        inboxes=[{"device": f"{name}.1", "held": 2, "head": 48, "cursor": 46} for name in ("alice", "bob")],
        marks=[{"user": "bob", "delivered": 17, "read": 15}],
        counter={"acknowledged": 18, "lost": 0, "doubled": 0},
    )
    for n, fate in enumerate(("passed", "lost", "doubled", "late", "waiting")):
        frame = {"kind": "frame", "id": n, "phone": n % 2, "way": "up", "name": "SEND", "bytes": 140, "at_ms": 0}
        fake.say({**frame, "fate": fate})


# ---- axe ------------------------------------------------------------------------------------------------------------


def plain(fake: Fake, window: Window) -> str:
    return "html"


def all_at_once(fake: Fake, window: Window) -> str:
    for name in ("Tour", "log"):
        window.page.get_by_role("button", name=name).click()
    window.page.locator("tr.sealed").last.click()
    fake.see(up=False, counter={"acknowledged": 18, "lost": 1, "doubled": 1})
    for phone in (0, 1):
        fake.phone(phone, state="offline", words="○ offline since 14:06", flight=True, changed=True, removed=True)
    fake.say({"kind": "said", "text": "nothing waits", "bad": True}, {**fake.controls, "lose": 30, "step": True})
    expect(window.page.locator("#toast")).to_be_visible()
    return "html"


def help_is_open(fake: Fake, window: Window) -> str:
    window.page.keyboard.press("?")
    return "#help"


def number_is_open(fake: Fake, window: Window) -> str:
    window.phone(0).get_by_role("button", name="Safety number").click()
    return "#number-dialog"


def replaced(fake: Fake, window: Window) -> str:
    fake.replace()
    expect(window.page.get_by_role("alert")).to_be_visible()
    return "html"


@pytest.mark.parametrize("state", [plain, all_at_once, help_is_open, number_is_open, replaced])
def test_axe_finds_nothing_in_light_and_dark(fake: Fake, window: Window, state: Callable[[Fake, Window], str]) -> None:
    fake.open()
    furnish(fake)
    expect(window.page.locator("#ticker span")).to_have_count(4)
    part = state(fake, window)

    assert window.violations(part) == []
    window.page.emulate_media(color_scheme="dark")
    assert window.violations(part, runOnly=["color-contrast"]) == []


def test_axe_would_find_something(fake: Fake, window: Window) -> None:
    fake.open()

    window.page.locator(".send").first.evaluate("(button) => button.removeAttribute('aria-label')")
    window.page.locator(".send").first.evaluate("(button) => { button.textContent = ''; button.title = ''; }")

    assert [found.split(":")[0] for found in window.violations(".composer")] == ["button-name"]


# ---- what it looks like ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system(fake: Fake, window: Window, scheme: Literal["light", "dark"]) -> None:
    window.page.emulate_media(color_scheme=scheme)
    fake.open()
    furnish(fake)
    expect(window.page.locator("#theme")).to_have_text("Dark" if scheme == "light" else "Light")

    light = window.page.evaluate(_LIGHTNESS)

    assert light > 200 if scheme == "light" else light < 50
    window.shoot(scheme)


_LIGHTNESS = "() => Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"


def test_a_button_overrides_the_system_and_is_remembered(fake: Fake, window: Window) -> None:
    fake.open()

    window.page.get_by_role("button", name="Dark").click()

    assert window.page.evaluate(_LIGHTNESS) < 50
    window.page.reload()
    expect(window.page.get_by_role("button", name="Light")).to_be_visible()
    assert window.page.evaluate(_LIGHTNESS) < 50
    window.page.get_by_role("button", name="Light").click()
    assert window.page.evaluate(_LIGHTNESS) > 200


@pytest.mark.parametrize(("width", "height"), [(320, 640), (640, 400), (1024, 768), (1280, 800)])
def test_nothing_scrolls_sideways(fake: Fake, window: Window, width: int, height: int) -> None:
    """At 640 by 400 as in a window of 1280 by 800 at 200 %."""
    window.page.set_viewport_size({"width": width, "height": height})
    fake.open()
    furnish(fake)
    window.page.get_by_role("button", name="Tour").click()
    window.page.get_by_role("button", name="log").click()
    fake.message(0, "Donaudampfschifffahrtsgesellschaftskapitänsmütze" * 4)
    window.settle()

    wide = """() => [...document.querySelectorAll('body, body *')]
      .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !e.closest('.away'))
      .map((e) => e.outerHTML.slice(0, 80))"""
    assert window.page.evaluate("document.documentElement.scrollWidth") == width
    assert window.page.evaluate(wide) == []
    window.page.get_by_role("button", name="Close the tour").click()
    window.shoot(f"width-{width}")


def test_phones_stack_with_the_server_between_them(fake: Fake, window: Window) -> None:
    window.page.set_viewport_size({"width": 320, "height": 640})
    fake.open()

    tops = [
        window.page.locator(part).evaluate("(e) => e.getBoundingClientRect().top")
        for part in (".phone[data-phone='0']", "#server", ".phone[data-phone='1']", ".controls")
    ]

    assert tops == sorted(tops)


def test_forced_colours_keep_what_is_pressed_and_read_apart(fake: Fake, window: Window) -> None:
    window.page.emulate_media(forced_colors="active")
    fake.open()
    furnish(fake)
    fake.say({**fake.controls, "lose": 30})

    pressed, other = (window.page.locator(f"[data-set='{what}']") for what in ("lose", "double"))
    expect(pressed).to_have_attribute("aria-pressed", "true")
    colour = "(e) => getComputedStyle(e).backgroundColor"
    assert pressed.evaluate(colour) != other.evaluate(colour)
    assert "●" in pressed.evaluate("(e) => getComputedStyle(e, '::before').content")
    window.shoot("forced-colours")


# ---- structure ------------------------------------------------------------------------------------------------------


def test_landmarks_have_names(fake: Fake, window: Window) -> None:
    fake.open()

    expect(window.page.get_by_role("main")).to_have_count(1)
    names = ("Alice’s phone alice.1", "What the server can see", "Bob’s phone bob.1", "What can go wrong")
    for name in names:
        expect(window.page.get_by_role("region", name=name, exact=True)).to_have_count(1)
    expect(window.page.get_by_role("heading", level=2)).to_have_text(names)
    expect(window.page.get_by_text("your browser only draws")).to_be_visible()


def test_no_style_no_handler_and_no_script_is_in_the_markup_and_nothing_is_from_elsewhere() -> None:
    html = (PAGE / "index.html").read_text(encoding="utf-8")

    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?! type=\"module\" src=\"lab.js\"></script>)", html) == []
    assert re.findall(r"//|data:", html) == []
    assert re.findall(r"url\(|@import", (PAGE / "lab.css").read_text(encoding="utf-8")) == []


# ---- the keyboard ---------------------------------------------------------------------------------------------------


def test_keys_lead_to_a_phone_and_to_help(fake: Fake, window: Window) -> None:
    fake.open()
    keyboard = window.page.keyboard

    keyboard.press("2")
    expect(window.phone(1).get_by_label("Message to Alice")).to_be_focused()
    keyboard.press("Escape")
    keyboard.press("1")
    expect(window.phone(0).get_by_label("Message to Bob")).to_be_focused()
    keyboard.press("Escape")
    keyboard.press("?")
    expect(window.page.get_by_role("dialog", name="Keys")).to_be_visible()
    keyboard.press("Escape")

    expect(window.page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_in_a_field_keys_are_letters(fake: Fake, window: Window) -> None:
    fake.open()
    fake.controls["step"] = True
    fake.say(fake.controls)
    window.page.keyboard.press("1")

    window.page.keyboard.type("12 ?")

    expect(window.phone(0).get_by_label("Message to Bob")).to_have_value("12 ?")
    expect(window.page.get_by_role("dialog")).to_have_count(0)
    assert fake.asked("step") == []


def test_space_steps_in_step_mode_only(fake: Fake, window: Window) -> None:
    fake.open()
    window.page.keyboard.press("Space")
    fake.controls["step"] = True
    fake.say(fake.controls)
    expect(window.page.locator("#next")).to_have_attribute("aria-disabled", "false")
    assert fake.asked("step") == []

    window.page.keyboard.press("Space")

    assert fake.until("step") == [{"do": "step"}]


def test_space_on_a_button_presses_the_button(fake: Fake, window: Window) -> None:
    fake.open()
    fake.controls["step"] = True
    fake.say(fake.controls)
    expect(window.page.locator("#next")).to_have_attribute("aria-disabled", "false")

    window.page.get_by_role("button", name="double").press("Space")

    assert fake.until("set") == [{"do": "set", "what": "double", "to": True}]
    assert fake.asked("step") == []


def test_tab_reaches_everything_and_is_held_nowhere(fake: Fake, window: Window) -> None:
    fake.open()
    furnish(fake)
    expect(window.page.locator("tr.sealed")).to_have_count(18)
    buttons = window.page.locator("button:visible, textarea:visible, .log, .scroll:visible").count()
    seen: list[str] = []

    for _ in range(buttons + 5):
        window.page.keyboard.press("Tab")
        seen.append(window.page.evaluate(_NAMED))

    assert len(set(seen)) >= buttons


def test_what_has_the_focus_is_seen_to_have_it(fake: Fake, window: Window) -> None:
    fake.open()

    for _ in range(12):
        window.page.keyboard.press("Tab")
        outline = window.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", window.page.evaluate(_FOCUSED)


# ---- two tabs -------------------------------------------------------------------------------------------------------


def test_a_tab_that_was_replaced_says_so_does_nothing_and_can_take_over(fake: Fake, window: Window) -> None:
    fake.make_message(0, "at the gate", mine=True)
    fake.open()

    fake.replace()

    alert = window.page.get_by_role("alert")
    expect(alert).to_contain_text("This tab was replaced by a newer one")
    expect(window.page.get_by_role("button", name="Use this tab")).to_be_focused()
    window.page.keyboard.press("1")
    expect(window.page.get_by_role("button", name="Use this tab")).to_be_focused()
    window.page.keyboard.press("Enter")

    expect(alert).to_be_hidden()
    expect(window.phone(0).locator(".text")).to_have_text(["at the gate"])
    window.page.keyboard.press("1")
    expect(window.phone(0).get_by_label("Message to Bob")).to_be_focused()


# ---- safety numbers -------------------------------------------------------------------------------------------------


def test_a_safety_number_is_twelve_groups_and_can_be_verified(fake: Fake, window: Window) -> None:
    fake.open()
    fake.answers["verify"] = lambda told: fake.phone(told["phone"], verified=True)

    window.phone(0).get_by_role("button", name="Safety number").click()
    dialog = window.page.get_by_role("dialog", name="Safety number")
    expect(dialog.locator(".digits span")).to_have_text(["01234", "56789"] * 6)
    dialog.get_by_role("button", name="mark verified").click()

    expect(window.phone(0).get_by_role("button", name="✔ verified")).to_be_visible()
    assert fake.asked("verify") == [{"do": "verify", "phone": 0}]


def test_a_number_that_changed_says_what_that_means_and_leaves_the_choice(fake: Fake, window: Window) -> None:
    fake.open()
    fake.answers["accept"] = lambda told: fake.phone(told["phone"], changed=False)

    fake.phone(0, changed=True)

    warning = window.phone(0).locator(".changed")
    expect(warning).to_contain_text("⚠ Bob’s safety number has changed. Most often it is a new phone")
    expect(window.page.locator("#spoken")).to_have_text("Bob’s safety number has changed")
    warning.get_by_role("button", name="Compare the numbers").click()
    window.page.get_by_role("dialog").get_by_role("button", name="Close").click()
    warning.get_by_role("button", name="Go on without comparing").click()

    expect(warning).to_be_hidden()
    assert fake.asked("accept") == [{"do": "accept", "phone": 0}]
    assert fake.asked("verify") == []


def test_who_was_removed_is_told(fake: Fake, window: Window) -> None:
    fake.open()

    fake.phone(1, removed=True)

    expect(window.phone(1).get_by_text("Bob is out of the group")).to_be_visible()


# ---- the tour -------------------------------------------------------------------------------------------------------


def test_the_tour_has_seven_cards_and_each_ends_with_a_dare(fake: Fake, window: Window) -> None:
    fake.open()
    window.page.get_by_role("button", name="Tour").click()
    tour = window.page.locator("#tour")
    title = tour.get_by_role("heading")
    titles: list[str] = []

    for _ in range(7):
        titles.append(title.inner_text())
        expect(tour.locator("p").last).to_contain_text("Now try to break it: ")
        for step in tour.locator("#tour-steps button").all():
            step.click()
        tour.get_by_role("button", name="Next", exact=True).press("Enter")

    assert [name.split(" · ")[1] for name in titles] == [
        *("A message", "A flight", "A lost push", "A double", "A kill", "A removed member", "A changed key")
    ]
    assert titles[0].startswith("1 of 7")
    did = {told["do"] for told in fake.told}
    assert {"send", "flight", "lose_next", "double_next", "kill", "remove", "add", "verify", "reinstall"} <= did
    tour.get_by_role("button", name="Back").click()
    expect(title).to_contain_text("6 of 7")
    expect(title).to_be_focused()
    tour.get_by_role("button", name="Close the tour").click()
    expect(tour).to_be_hidden()
    expect(window.page.get_by_role("button", name="Tour")).to_be_focused()
