"""The messages of a phone as they are drawn, written and spoken of; what the lab says of them is the test's."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.examples.lab.browser import Fake, Window

# ---- marks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "glyph", "words"),
    [
        ("pending", "◷", "waiting to send"),
        ("sent", "✓", "sent 14:02"),
        ("delivered", "✓✓", "delivered to Bob 14:02"),
        ("read", "✔✔", "read by Bob 14:05"),
    ],
)
def test_a_mark_has_a_glyph_and_says_in_words_what_it_means(
    fake: Fake, window: Window, mark: str, glyph: str, words: str
) -> None:
    fake.open()

    fake.message(0, "at the gate", mine=True, mark=mark, words=words)

    shown = window.phone(0).get_by_role("img", name=words)
    expect(shown).to_have_text(glyph)
    expect(shown).to_have_attribute("title", words)


def test_what_was_read_differs_from_what_was_delivered_in_weight_too(fake: Fake, window: Window) -> None:
    fake.open()
    for mark in ("delivered", "read"):
        fake.message(0, mark, mine=True, mark=mark, words=mark)

    weights = [
        window.phone(0).get_by_role("img", name=mark).evaluate("(e) => Number(getComputedStyle(e).fontWeight)")
        for mark in ("delivered", "read")
    ]

    assert weights[0] < weights[1]


def test_a_message_that_was_refused_says_why_and_can_be_tried_again(fake: Fake, window: Window) -> None:
    fake.open()
    message = fake.message(0, "see you", mine=True)
    fake.mark(0, message, "failed", "not sent: too big")

    expect(window.phone(0).locator(".failure p")).to_have_text("✗ not sent: too big")
    window.phone(0).get_by_role("button", name="Retry").click()

    assert fake.until("retry")[0] == {"do": "retry", "phone": 0, "id": message}


def test_a_message_that_was_given_up_is_gone(fake: Fake, window: Window) -> None:
    fake.open()
    message = fake.message(0, "see you", mine=True, mark="failed", words="not sent: too big")
    fake.answers["discard"] = lambda told: fake.say({"kind": "gone", "phone": told["phone"], "id": told["id"]})

    window.phone(0).get_by_role("button", name="Discard").click()

    expect(window.phone(0).locator("li")).to_have_count(0)
    assert fake.asked("discard") == [{"do": "discard", "phone": 0, "id": message}]


def test_what_could_not_be_read_is_replaced_in_place_when_it_comes(fake: Fake, window: Window) -> None:
    fake.open()
    lost = fake.message(1, None, mark="unreadable", words="could not be decrypted, asked Alice's phone to resend")
    fake.message(1, "second")
    texts = window.phone(1).locator(".text")
    expect(texts).to_have_text(["⧖ waiting for this message", "second"])

    fake.change(1, lost, mark="received", text="first")

    expect(texts).to_have_text(["first", "second"])


def test_a_message_takes_its_place_when_the_server_has_given_it_one(fake: Fake, window: Window) -> None:
    fake.open()
    late = fake.message(0, "late", mine=True, order=1_000_000)
    fake.message(0, "early", order=5)
    fake.message(0, "last", order=9)

    fake.change(0, late, order=7, mark="sent", words="sent 14:02")

    expect(window.phone(0).locator(".text")).to_have_text(["early", "late", "last"])


# ---- what is said aloud ---------------------------------------------------------------------------------------------


def spoken(window: Window) -> list[str]:
    return list(window.page.evaluate("window.spoken"))


def listen(window: Window) -> None:
    """Hear what the live region says, as a screen reader does."""
    window.page.evaluate(
        """() => {
          window.spoken = [];
          const region = document.querySelector('#spoken');
          new MutationObserver(() => window.spoken.push(region.textContent)).observe(region, { childList: true });
        }"""
    )


def test_a_new_mark_is_said_once(fake: Fake, window: Window) -> None:
    fake.open()
    listen(window)
    message = fake.message(0, "at the gate", mine=True)

    fake.mark(0, message, "sent", "sent 14:02")
    fake.mark(0, message, "read", "read by Bob 14:05")
    fake.mark(0, message, "read", "read by Bob 14:05")
    expect(window.page.locator("#spoken")).to_have_text("at the gate, read")
    fake.phone(0, state="offline", words="○ offline since 14:06")
    expect(window.page.locator("#spoken")).to_have_text("Alice’s phone: offline since 14:06")

    assert spoken(window) == ["at the gate, read", "Alice’s phone: offline since 14:06"]


def test_many_marks_at_once_are_said_as_a_number(fake: Fake, window: Window) -> None:
    fake.open()
    messages = [fake.message(0, str(n), mine=True) for n in range(10)]

    for message in messages:
        fake.mark(0, message, "delivered")

    expect(window.page.locator("#spoken")).to_have_text("10 messages delivered")


def test_messages_are_a_log_that_is_read_politely_and_what_is_old_is_not_read(fake: Fake, window: Window) -> None:
    for n in range(300):
        fake.make_message(0, f"message {n}")
    fake.open()
    log = window.phone(0).get_by_role("log", name="Messages with Bob")
    expect(log).to_have_attribute("aria-live", "polite")
    expect(log).to_have_attribute("aria-busy", "false")

    log.evaluate("(log) => { log.scrollTop = 0; }")
    expect(window.phone(0).locator(".text").first).to_have_text("message 200")

    log.evaluate(
        """(log) => {
          window.busy = [];
          const options = { attributes: true, attributeFilter: ['aria-busy'], childList: true, subtree: true };
          new MutationObserver(() => window.busy.push(log.getAttribute('aria-busy'))).observe(log, options);
          log.scrollTop = 0;
        }"""
    )

    expect(window.phone(0).locator(".text").first).to_have_text("message 100")
    expect(log).to_have_attribute("aria-busy", "false")
    assert "true" in window.page.evaluate("window.busy")


# ---- writing --------------------------------------------------------------------------------------------------------


def test_enter_sends_and_the_focus_stays_where_one_writes(fake: Fake, window: Window) -> None:
    fake.open()
    field = window.phone(0).get_by_label("Message to Bob")

    field.fill("at the gate")
    field.press("Enter")

    assert fake.until("send") == [{"do": "send", "phone": 0, "text": "at the gate"}]
    expect(field).to_have_value("")
    expect(field).to_be_focused()


def test_the_button_sends_too_and_gives_the_focus_back(fake: Fake, window: Window) -> None:
    fake.open()
    field = window.phone(1).get_by_label("Message to Alice")

    field.fill("landed")
    window.phone(1).get_by_role("button", name="Send", exact=True).click()

    assert fake.until("send") == [{"do": "send", "phone": 1, "text": "landed"}]
    expect(field).to_be_focused()


def test_shift_and_enter_begin_a_new_line_and_nothing_empty_is_sent(fake: Fake, window: Window) -> None:
    fake.open()
    field = window.phone(0).get_by_label("Message to Bob")
    field.press("Enter")
    height: int = field.evaluate("(e) => e.offsetHeight")

    field.press_sequentially("one")
    field.press("Shift+Enter")
    field.press_sequentially("two")

    assert field.evaluate("(e) => e.offsetHeight") > height
    field.press("Enter")
    assert fake.until("send") == [{"do": "send", "phone": 0, "text": "one\ntwo"}]


def test_the_enter_that_ends_a_composition_sends_nothing(fake: Fake, window: Window) -> None:
    fake.open()
    field = window.phone(0).get_by_label("Message to Bob")
    field.focus()
    window.command("Input.imeSetComposition", text="にほんご", selectionStart=4, selectionEnd=4)

    # As an input method does it, which keeps the key to itself.
    window.command("Input.dispatchKeyEvent", type="rawKeyDown", key="Enter", windowsVirtualKeyCode=229)

    assert fake.asked("send") == []
    window.command("Input.insertText", text="日本語")
    expect(field).to_have_value("日本語")
    field.press("Enter")
    assert fake.until("send") == [{"do": "send", "phone": 0, "text": "日本語"}]


@pytest.mark.parametrize(
    "text", ["👩‍👩‍👧‍👦 🏳️‍🌈", "مرحبا يا بوب", "שלום, Bob!", "x" * 65_536, "<script>alert(1)</script><b>&amp;"]
)
def test_whatever_is_written_is_sent_and_shown_as_it_is(fake: Fake, window: Window, text: str) -> None:
    fake.open()
    fake.answers["send"] = lambda told: fake.message(0, told["text"], mine=True)
    field = window.phone(0).get_by_label("Message to Bob")

    field.fill(text)
    field.press("Enter")

    bubble = window.phone(0).locator(".bubble")
    expect(bubble).to_be_visible()
    assert fake.asked("send") == [{"do": "send", "phone": 0, "text": text}]
    if (rest := bubble.get_by_role("button", name="Read all of it")).is_visible():
        expect(rest).to_have_text("Read all of it, 66 kB")
        rest.click()
    assert bubble.locator(".text").text_content() == text
    assert bubble.locator("script, b").count() == 0


def test_a_text_runs_in_its_own_direction(fake: Fake, window: Window) -> None:
    fake.open()
    fake.message(0, "مرحبا يا بوب")
    fake.message(0, "hello")

    directions = window.phone(0).locator(".text").evaluate_all("(all) => all.map((e) => getComputedStyle(e).direction)")

    assert directions == ["rtl", "ltr"]
    field = window.phone(0).get_by_label("Message to Bob")
    field.fill("שלום")
    assert field.evaluate("(e) => getComputedStyle(e).direction") == "rtl"


def test_a_cut_text_ends_with_a_whole_character(fake: Fake, window: Window) -> None:
    fake.open()

    fake.message(0, "x" + "🙂" * 2_000)

    text = window.phone(0).locator(".text").text_content()
    assert text == "x" + "🙂" * 749 + "…"


def test_typing_is_told_now_and_then_only(fake: Fake, window: Window) -> None:
    fake.open()

    window.phone(0).get_by_label("Message to Bob").press_sequentially("at the gate")

    assert fake.until("typing") == [{"do": "typing", "phone": 0}]


def test_what_cannot_be_sent_now_stays_in_the_field_and_over_a_reload(fake: Fake, window: Window) -> None:
    fake.open()
    field = window.phone(0).get_by_label("Message to Bob")
    assert fake.link is not None
    fake.link.close()
    expect(window.page.get_by_role("alert")).to_contain_text("cannot be reached")

    field.fill("still here")
    field.press("Enter")

    expect(window.page.get_by_text("what you wrote is still here")).to_be_visible()
    expect(field).to_have_value("still here")
    window.page.reload()
    expect(field).to_have_value("still here")


def test_the_page_comes_back_by_itself_when_the_lab_does(fake: Fake, window: Window) -> None:
    fake.open()
    assert fake.link is not None
    fake.make_message(0, "kept")
    fake.link.close()

    expect(window.phone(0).locator(".text")).to_have_text(["kept"])
    expect(window.page.get_by_role("alert")).to_be_hidden()
