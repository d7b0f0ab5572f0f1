"""The column in the middle: what the server can see, the frames on the wire, and what can be made to go wrong."""

from __future__ import annotations

from typing import Any, Final

import pytest
from playwright.sync_api import Locator, expect

from tests.examples.lab.browser import Fake, Window

Json = dict[str, Any]  # whatever JSON holds
AFTER_NOW_MS: Final = 1 << 42  # never old


def sealed(seq: int, **more: object) -> Json:
    """A row of the server."""
    fields = [["message id", "0f" * 16], ["ratchet counter", str(seq)], ["ciphertext", "64 bytes"]]
    return {"seq": seq, "sender": "alice.1", "bytes": 112, "hex": "e2d091aa" * 8, "fields": fields, **more}


def frame(number: int, **more: object) -> Json:
    made = {"kind": "frame", "id": number, "phone": 0, "way": "up", "name": "SEND", "bytes": 140, "fate": "passed"}
    return {**made, "at_ms": AFTER_NOW_MS, **more}


def middle(window: Window) -> Locator:
    return window.page.get_by_role("region", name="What the server can see")


def frames(window: Window) -> list[list[str]]:
    """The table of frames, as it is seen."""
    rows = window.page.locator("#frames tbody tr")
    return [row.locator("td").all_inner_texts() for row in rows.all()]


# ---- what the server holds ------------------------------------------------------------------------------------------


def test_ciphertexts_are_rows_of_a_table(fake: Fake, window: Window) -> None:
    fake.open()

    fake.seal(sealed(1), sealed(2, sender="bob.1", bytes=96))

    table = window.page.get_by_role("table", name="Messages as the server keeps them")
    expect(table.get_by_role("columnheader")).to_have_text(["seq", "from", "bytes", "body"])
    expect(table.locator("tr.sealed")).to_have_count(2)
    assert table.locator("tr.sealed").last.locator("td").all_inner_texts()[1:3] == ["bob.1", "96"]
    expect(window.page.locator("#facts")).to_contain_text("conversation 7f3a   head 2   fanned out 2")


def test_a_row_opens_to_all_there_is(fake: Fake, window: Window) -> None:
    fake.open()
    fake.seal(sealed(1), sealed(2))

    window.page.locator("tr.sealed").last.click()

    detail = window.page.locator("tr.detail:visible")
    for text in ("message id", "ratchet counter", "64 bytes", "first 32 bytes", "This is all there is: 112 bytes"):
        expect(detail).to_contain_text(text)
    expect(window.page.get_by_role("button", name="2, all fields")).to_have_attribute("aria-expanded", "true")
    fake.seal(sealed(1), sealed(2), sealed(3))
    expect(window.page.locator("tr.sealed")).to_have_count(3)
    expect(detail).to_have_count(1)


def test_a_row_opens_and_closes_with_the_keyboard(fake: Fake, window: Window) -> None:
    fake.open()
    fake.seal(sealed(1))
    button = window.page.get_by_role("button", name="1, all fields")

    button.press("Enter")
    expect(window.page.locator("tr.detail")).to_be_visible()
    button.press("Space")

    expect(window.page.locator("tr.detail")).to_be_hidden()


def test_inboxes_marks_and_the_counter_are_told(fake: Fake, window: Window) -> None:
    fake.open()

    fake.see(
        inboxes=[{"device": "bob.1", "held": 2, "head": 48, "cursor": 46}],
        marks=[{"user": "bob", "delivered": 17, "read": 15}],
        counter={"acknowledged": 18, "lost": 0, "doubled": 0},
    )

    holdings = window.page.locator("#holdings")
    expect(holdings).to_contain_text("inbox bob.138 ▮▮▮▮▮▮▮▮▯▯ 48   cursor 46   holds 2")
    expect(holdings).to_contain_text("marks bobdelivered 17   read 15")
    expect(window.page.locator("#counter")).to_have_text("acknowledged 18, lost 0, doubled 0")


def test_a_lost_message_is_not_told_by_colour_alone(fake: Fake, window: Window) -> None:
    fake.open()
    sign = "(e) => getComputedStyle(e, '::before').content"
    counter = window.page.locator("#counter")
    assert "✓" in counter.evaluate(sign)

    fake.see(counter={"acknowledged": 18, "lost": 1, "doubled": 0})

    expect(counter).to_have_text("acknowledged 18, lost 1, doubled 0")
    assert "✗" in counter.evaluate(sign)


# ---- no plaintext ---------------------------------------------------------------------------------------------------


def plaintexts_in_the_middle(window: Window, texts: list[str]) -> list[str]:
    """Which of these texts stand anywhere in the middle column: seen or not, in attributes too."""
    html: str = middle(window).evaluate("(e) => e.outerHTML")
    plain: str = middle(window).evaluate("(e) => e.textContent")
    return [text for text in texts if text in html or text in plain or text.encode().hex() in html.replace(" ", "")]


TEXTS = ["meet me at the gate", "landed, where are you"]


def test_no_plaintext_is_in_the_middle(fake: Fake, window: Window) -> None:
    fake.open()
    for phone in (0, 1):
        for text in TEXTS:
            fake.message(phone, text, mine=phone == 0)
    fake.seal(sealed(1), sealed(2))
    window.page.locator("tr.sealed").last.click()
    fake.say(*(frame(n) for n in range(5)))
    expect(window.page.locator("#ticker")).to_contain_text("SEND")

    assert plaintexts_in_the_middle(window, TEXTS) == []
    assert all(text in window.page.content() for text in TEXTS)


@pytest.mark.parametrize(
    "leak",
    [
        {"fields": [["note", TEXTS[0]]]},
        {"hex": TEXTS[0].encode().hex()},
        {"sender": TEXTS[0]},
    ],
)
def test_a_server_that_sees_a_plaintext_is_found_out(fake: Fake, window: Window, leak: Json) -> None:
    fake.open()

    fake.seal(sealed(1, **leak))
    expect(window.page.locator("tr.sealed")).to_have_count(1)

    assert plaintexts_in_the_middle(window, TEXTS) == TEXTS[:1]


# ---- the server is killed -------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_is_grey_and_says_so_and_comes_back(fake: Fake, window: Window) -> None:
    fake.open()
    state, kill = window.page.locator("#server-state"), window.page.get_by_role("button", name="Kill server")
    kill.click()
    assert fake.until("kill") == [{"do": "kill"}]

    fake.see(up=False)
    for no in (0, 1):
        fake.phone(no, state="offline", words="○ offline since 14:06, next try 1 s")
    expect(state).to_have_text("■ killed, comes back")
    expect(window.phone(0).locator(".link")).to_contain_text("○ offline")
    expect(window.page.locator("#spoken")).to_contain_text("The server is killed")
    expect(kill).to_have_attribute("aria-disabled", "true")
    window.shoot("killed")
    kill.click(force=True)
    fake.see(up=True, pid=4712)

    expect(state).to_have_text("● up, pid 4712")
    expect(window.page.locator("#spoken")).to_contain_text("The server is back")
    assert len(fake.asked("kill")) == 1


# ---- frames ---------------------------------------------------------------------------------------------------------


def test_a_frame_travels_as_a_dot_with_its_name(fake: Fake, window: Window) -> None:
    fake.open()

    fake.say(frame(1), frame(2, way="down", phone=1, name="HINT", fate="lost"), frame(3, name="PULL", fate="doubled"))

    dots = window.page.locator(".dot")
    expect(dots).to_have_text(["SEND", "HINT ✗", "PULL ×2", "PULL ×2"])
    expect(window.page.locator("#ticker")).to_contain_text("Alice SEND → ✓")
    expect(window.page.locator("#ticker")).to_contain_text("Bob ← HINT ✗ lost")
    expect(dots).to_have_count(0)


def test_a_frame_of_before_is_listed_and_does_not_travel(fake: Fake, window: Window) -> None:
    fake.open()

    fake.say(frame(1, at_ms=0))

    expect(window.page.locator("#frames tbody tr")).to_have_count(1)
    expect(window.page.locator(".dot")).to_have_count(0)


def test_with_reduced_motion_frames_are_rows(fake: Fake, window: Window) -> None:
    window.page.emulate_media(reduced_motion="reduce")
    fake.open()

    fake.say(frame(1), frame(2, way="down", phone=1, name="HINT", fate="lost", bytes=20))

    expect(window.page.get_by_role("table", name="Frames on the wire")).to_be_visible()
    expect(window.page.locator("#lane")).to_be_hidden()
    assert frames(window) == [
        ["server → Bob", "HINT", "20", "✗ lost"],
        ["Alice → server", "SEND", "140", "✓"],
    ]
    assert window.page.evaluate("document.getAnimations().length") == 0


def test_in_step_mode_a_frame_waits_as_a_row_until_it_is_let_through(fake: Fake, window: Window) -> None:
    fake.open()
    fake.answers["step"] = lambda _: fake.say(frame(1))
    window.page.get_by_role("button", name="step", exact=True).click()
    expect(window.page.locator("#lane")).to_be_hidden()

    fake.say(frame(1, fate="waiting"))
    expect(window.page.locator("#frames .fate")).to_have_text(["… waiting"])
    window.shoot("step")
    window.page.get_by_role("button", name="next frame").click()

    expect(window.page.locator("#frames .fate")).to_have_text(["✓"])
    assert fake.asked("step") == [{"do": "step"}]


def test_the_log_shows_every_frame_and_is_remembered(fake: Fake, window: Window) -> None:
    fake.open()
    log, table = window.page.get_by_role("button", name="log"), window.page.locator("#frames-scroll")
    expect(table).to_be_hidden()

    log.click()

    expect(log).to_have_attribute("aria-pressed", "true")
    expect(table).to_be_visible()
    window.page.reload()
    expect(table).to_be_visible()


def test_only_the_newest_frames_are_kept(fake: Fake, window: Window) -> None:
    fake.open()

    fake.say(*(frame(n, at_ms=0) for n in range(250)))

    expect(window.page.locator("#frames tbody tr")).to_have_count(200)


# ---- controls -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "what", "on", "off"),
    [
        ("lose 30 %", "lose", 30, 0),
        ("double", "double", True, False),
        ("reorder", "reorder", True, False),
        ("slow", "slow", True, False),
        ("step", "step", True, False),
    ],
)
def test_a_fault_is_switched_on_and_off(
    fake: Fake, window: Window, name: str, what: str, on: object, off: object
) -> None:
    fake.open()
    button = window.page.get_by_role("button", name=name, exact=True)

    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "false")

    assert fake.asked("set") == [{"do": "set", "what": what, "to": on}, {"do": "set", "what": what, "to": off}]


def test_a_button_is_pressed_when_the_lab_says_so_and_not_before(fake: Fake, window: Window) -> None:
    fake.open()
    del fake.answers["set"]
    button = window.page.get_by_role("button", name="double", exact=True)

    button.click()

    fake.until("set")
    expect(button).to_have_attribute("aria-pressed", "false")


def test_one_of_three_speeds_is_pressed(fake: Fake, window: Window) -> None:
    fake.open()

    window.page.get_by_role("button", name="speed 3, fast").click()

    speeds = window.page.get_by_role("group", name="Speed").get_by_role("button", pressed=True)
    expect(speeds).to_have_count(1)
    expect(speeds).to_have_text("▇")
    assert fake.asked("set") == [{"do": "set", "what": "speed", "to": 3}]


def test_a_phone_takes_off_and_lands(fake: Fake, window: Window) -> None:
    fake.open()
    fake.answers["flight"] = lambda told: fake.phone(told["phone"], flight=told["on"])
    button = window.page.get_by_role("button", name="Bob in the air")

    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(window.phone(1).get_by_text("in the air")).to_be_visible()
    button.click()

    expect(window.phone(1).get_by_text("in the air")).to_be_hidden()
    assert [told["on"] for told in fake.asked("flight")] == [True, False]


def test_what_the_lab_says_is_shown(fake: Fake, window: Window) -> None:
    fake.open()

    fake.say({"kind": "said", "text": "nothing waits to be let through", "bad": True})

    toast = window.page.locator("#toast")
    expect(toast).to_have_text("⚠ nothing waits to be let through")
    expect(toast).to_have_attribute("role", "status")


# ---- a run as a test ------------------------------------------------------------------------------------------------

RUN = {"kind": "run", "name": "lab-8812.run", "text": "seed 8812\n0.250 send alice.1 bob\n"}


def test_a_run_is_copied_and_shown(fake: Fake, window: Window) -> None:
    window.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    fake.open()
    fake.answers["run"] = lambda _: fake.say(RUN)

    window.page.get_by_role("button", name="Copy as test").click()

    dialog = window.page.get_by_role("dialog", name="This run as a test")
    expect(dialog).to_contain_text("It is on your clipboard")
    expect(dialog).to_contain_text("python -m whisperkit.testing replay lab-8812.run")
    expect(dialog.get_by_label("The decisions of this run")).to_have_value(RUN["text"])
    assert window.page.evaluate("navigator.clipboard.readText()") == RUN["text"]
    window.page.context.clear_permissions()


def test_a_run_can_be_copied_by_hand_where_there_is_no_clipboard(fake: Fake, window: Window) -> None:
    fake.open()
    window.page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('denied')); }")
    fake.answers["run"] = lambda _: fake.say(RUN)

    window.page.get_by_role("button", name="Copy as test").click()

    dialog = window.page.get_by_role("dialog", name="This run as a test")
    expect(dialog).to_contain_text("Copy it from here")
    chosen = dialog.get_by_label("The decisions of this run").evaluate(
        "(e) => e.value.slice(e.selectionStart, e.selectionEnd)"
    )
    assert chosen == RUN["text"]
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()
