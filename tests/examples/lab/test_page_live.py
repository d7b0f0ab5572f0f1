"""The page with a real lab behind it: real phones, a real server that is really killed, a wire that really loses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.examples.lab.browser import Window, new_window, run_lab

# For tests that fail: nothing waits that long in one that passes.
_PATIENCE_MS = 60_000
ALICE, BOB = 0, 1


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with run_lab("--seed", "8812") as url:
        yield url


@pytest.fixture
def live(window: Window, url: str) -> Window:
    """The page of a lab in which all is well, with what the tests before left on the phones."""
    expect.set_options(timeout=_PATIENCE_MS)
    window.page.goto(url)
    press(window, "speed 3, fast")
    for phone in (ALICE, BOB):
        expect(window.phone(phone).locator(".link")).to_contain_text("● live")
    return window


def press(window: Window, name: str, *, is_on: bool = True) -> None:
    """Switch something on, or off."""
    button = window.page.get_by_role("button", name=name, exact=True)
    if button.get_attribute("aria-pressed") != str(is_on).lower():
        button.click()
    expect(button).to_have_attribute("aria-pressed", str(is_on).lower())


def write(window: Window, phone: int, *texts: str) -> None:
    field = window.phone(phone).locator("textarea")
    for text in texts:
        field.fill(text)
        field.press("Enter")


def leave(window: Window) -> None:
    """Use neither phone."""
    window.page.get_by_role("button", name="Tour").focus()


def bubble(window: Window, phone: int, text: str) -> Locator:
    return window.phone(phone).locator(".bubble").filter(has=window.page.get_by_text(text, exact=True))


def mark(window: Window, phone: int, text: str) -> Locator:
    return bubble(window, phone, text).locator(".mark")


def texts(window: Window, phone: int, beginning: str) -> list[str]:
    """What a phone shows, of what begins so."""
    shown = window.phone(phone).locator(".bubble .text").all_inner_texts()
    return [text for text in shown if text.startswith(beginning)]


def numbers(page: Page) -> tuple[int, int, int]:
    """Acknowledged, lost, doubled."""
    found = re.findall(r"\d+", page.locator("#counter").inner_text())
    return int(found[0]), int(found[1]), int(found[2])


@pytest.mark.parametrize(("writer", "reader"), [(ALICE, BOB), (BOB, ALICE)])
def test_a_message_gets_all_four_marks(live: Window, writer: int, reader: int) -> None:
    names = ("Alice", "Bob")
    text = f"{names[writer]} is at the gate"
    leave(live)
    for name in names:
        press(live, f"{name} in the air")

    write(live, writer, text)
    expect(mark(live, writer, text)).to_have_text("◷")
    leave(live)
    press(live, f"{names[writer]} in the air", is_on=False)
    expect(mark(live, writer, text)).to_have_text("✓")
    press(live, f"{names[reader]} in the air", is_on=False)
    expect(mark(live, writer, text)).to_have_text("✓✓")
    expect(live.phone(reader).locator(".unread:visible")).to_have_text("1 unread")
    live.page.keyboard.press(str(reader + 1))

    expect(mark(live, writer, text)).to_have_text("✔✔")
    expect(mark(live, writer, text)).to_have_attribute("aria-label", re.compile(f"read by {names[reader]}"))
    expect(bubble(live, reader, text)).to_have_count(1)


def test_ten_messages_of_a_flight_arrive_in_order_once(live: Window) -> None:
    written = [f"flight {n}" for n in range(10)]
    press(live, "Bob in the air")

    write(live, ALICE, *written)
    expect(mark(live, ALICE, "flight 9")).to_have_text("✓")
    assert texts(live, BOB, "flight") == []
    press(live, "Bob in the air", is_on=False)

    expect(mark(live, ALICE, "flight 9")).to_have_text("✓✓")
    assert texts(live, BOB, "flight") == texts(live, ALICE, "flight") == written


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(live: Window) -> None:
    before = numbers(live.page)
    pid = live.page.locator("#server-state").inner_text()
    write(live, ALICE, "killed 0", "killed 1")

    live.page.get_by_role("button", name="Kill server").click()
    expect(live.page.locator("#server-state")).to_contain_text("■ killed")
    expect(live.page.locator("#server")).to_have_class(re.compile("down"))
    expect(live.phone(ALICE).locator(".link")).to_contain_text("○ offline")
    write(live, BOB, "killed 2")
    expect(mark(live, BOB, "killed 2")).to_have_text("◷")

    expect(live.page.locator("#server-state")).to_contain_text("● up")
    assert live.page.locator("#server-state").inner_text() != pid
    for phone, text in ((ALICE, "killed 0"), (ALICE, "killed 1"), (BOB, "killed 2")):
        expect(mark(live, phone, text)).to_have_text(re.compile("✓✓|✔✔"))
    expect(live.page.locator("#counter")).to_have_text(f"acknowledged {before[0] + 3}, lost 0, doubled 0")


def test_on_the_worst_wire_everything_arrives_in_order_once(live: Window) -> None:
    faults = ("lose 30 %", "double", "reorder")
    for fault in faults:
        press(live, fault)
    before = numbers(live.page)

    for n in range(4):
        write(live, ALICE, f"worst A{n}")
        write(live, BOB, f"worst B{n}")

    for fault in faults:
        press(live, fault, is_on=False)
    for phone, text in ((ALICE, "worst A3"), (BOB, "worst B3")):
        expect(mark(live, phone, text)).to_have_text(re.compile("✓✓|✔✔"))
    expect(live.page.locator("#counter")).to_have_text(f"acknowledged {before[0] + 8}, lost 0, doubled 0")
    shown = texts(live, ALICE, "worst")
    assert shown == texts(live, BOB, "worst")
    assert sorted(shown) == sorted([f"worst {who}{n}" for who in "AB" for n in range(4)])
    assert [text for text in shown if text.startswith("worst A")] == [f"worst A{n}" for n in range(4)]


def test_a_slow_wire_shows_how_a_message_is_not_there_yet(live: Window) -> None:
    press(live, "slow")

    write(live, ALICE, "slowly")

    expect(mark(live, ALICE, "slowly")).to_have_text("◷")
    press(live, "slow", is_on=False)
    expect(mark(live, ALICE, "slowly")).to_have_text(re.compile("✓✓|✔✔"))


def test_step_by_step_a_message_goes_on_when_one_says_so(live: Window) -> None:
    press(live, "step")
    write(live, ALICE, "step by step")
    waiting = live.page.locator("#frames tr[data-fate='waiting']")
    expect(waiting.filter(has_text="SEND")).to_have_count(1)
    expect(mark(live, ALICE, "step by step")).to_have_text("◷")
    live.page.keyboard.press("Escape")
    leave(live)
    live.page.evaluate("() => document.activeElement.blur()")

    for _ in range(100):
        if bubble(live, BOB, "step by step").count():
            break
        live.page.keyboard.press("Space")
        live.settle()
    expect(bubble(live, BOB, "step by step")).to_have_count(1)
    press(live, "step", is_on=False)

    expect(mark(live, ALICE, "step by step")).to_have_text("✓✓")


def test_a_reload_in_the_middle_keeps_everything(live: Window) -> None:
    press(live, "double")
    press(live, "Bob in the air")
    write(live, ALICE, "kept 0", "kept 1")
    expect(mark(live, ALICE, "kept 1")).to_have_text("✓")
    live.phone(BOB).locator("textarea").fill("half a sen")
    before = [live.phone(phone).locator(".bubble .text").all_inner_texts() for phone in (ALICE, BOB)]
    counter = live.page.locator("#counter").inner_text()
    press(live, "log")
    frames = live.page.locator("#frames tr[data-fate]").count()

    live.page.reload()

    for phone in (ALICE, BOB):
        expect(live.phone(phone).locator(".bubble .text")).to_have_text(before[phone])
    expect(live.page.locator("#counter")).to_have_text(counter)
    assert live.page.locator("#frames tr[data-fate]").count() >= min(frames, 50)
    expect(live.phone(BOB).locator("textarea")).to_have_value("half a sen")
    for name in ("double", "Bob in the air"):
        expect(live.page.get_by_role("button", name=name, exact=True)).to_have_attribute("aria-pressed", "true")
        press(live, name, is_on=False)
    expect(mark(live, ALICE, "kept 1")).to_have_text("✓✓")


def test_of_two_tabs_the_older_one_says_that_it_was_replaced(live: Window, url: str) -> None:
    with new_window(live.page.context.browser or pytest.fail("there is no browser")) as other:
        other.page.goto(url)

        expect(live.page.get_by_role("alert")).to_contain_text("This tab was replaced by a newer one")
        write(other, ALICE, "from the newer tab")
        expect(bubble(other, ALICE, "from the newer tab")).to_have_count(1)
        assert texts(live, ALICE, "from the newer tab") == []
        live.page.get_by_role("button", name="Use this tab").click()

        expect(bubble(live, ALICE, "from the newer tab")).to_have_count(1)
        expect(other.page.get_by_role("alert")).to_contain_text("This tab was replaced by a newer one")
        other.check()


def test_a_file_that_was_chosen_dropped_or_pasted_arrives_as_it_was(live: Window, tmp_path: Path) -> None:
    chosen = tmp_path / "route.txt"
    chosen.write_bytes(b"left, then right\n" * 10_000)
    with live.page.expect_file_chooser() as chooser:
        live.phone(ALICE).get_by_role("button", name="Send a file").click()
    chooser.value.set_files(chosen)
    live.phone(BOB).evaluate(_GIVE, ["drop", "dropped.txt", "text/plain"])
    live.phone(ALICE).locator("textarea").evaluate(_GIVE, ["paste", "pasted.png", "image/png"])

    for phone, name in ((BOB, "route.txt"), (ALICE, "dropped.txt"), (BOB, "pasted.png")):
        arrived = live.phone(phone).locator(".bubble.theirs").filter(has_text=name)
        with live.page.expect_download() as download:
            arrived.get_by_role("link", name="Save").click()
        data = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename == name
        assert data == (chosen.read_bytes() if name == "route.txt" else _GIVEN)
    picture = live.phone(BOB).get_by_role("img", name="pasted.png")
    expect(picture).to_be_visible()
    live.page.wait_for_function("(e) => e.complete && e.naturalWidth === 1", arg=picture.element_handle())


# A picture of one pixel.
_GIVEN = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000000301010018dd8db0"
    "0000000049454e44ae426082"
)
_GIVE = (
    """(element, [kind, name, type]) => {
      const data = new DataTransfer();
      data.items.add(new File([Uint8Array.from("""
    + str(list(_GIVEN))
    + """)], name, { type }));
      const options = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
      element.dispatchEvent(kind === 'drop' ? new DragEvent(kind, options) : new ClipboardEvent(kind, options));
    }"""
)


def test_files_come_and_go_after_the_server_was_killed(live: Window) -> None:
    live.phone(ALICE).locator("textarea").evaluate(_GIVE, ["paste", "before.txt", "text/plain"])
    arrived = live.phone(BOB).locator(".bubble.theirs")
    expect(arrived.filter(has_text="before.txt")).to_have_count(1)
    live.page.get_by_role("button", name="Kill server").click()
    expect(live.page.locator("#server-state")).to_contain_text("■ killed")
    for phone in (ALICE, BOB):
        expect(live.phone(phone).locator(".link")).to_contain_text("● live")

    live.phone(ALICE).locator("textarea").evaluate(_GIVE, ["paste", "after.txt", "text/plain"])

    for name in ("before.txt", "after.txt"):
        with live.page.expect_download() as download:
            arrived.filter(has_text=name).get_by_role("link", name="Save").click()
        assert Path(download.value.path()).read_bytes() == _GIVEN


def test_a_file_that_cannot_leave_waits_and_can_be_cancelled(live: Window, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(3 << 20))
    press(live, "Alice in the air")

    live.phone(ALICE).locator(".picker").set_input_files(big)
    row = live.phone(ALICE).locator(".bubble").filter(has_text="big.bin")
    expect(row.get_by_role("progressbar", name="Sending big.bin")).to_be_visible()
    row.get_by_role("button", name="Cancel").click()

    expect(row.get_by_role("progressbar")).to_have_count(0)
    press(live, "Alice in the air", is_on=False)
    expect(live.phone(BOB).locator(".bubble").filter(has_text="big.bin")).to_have_count(0)


def test_no_plaintext_reaches_the_middle(live: Window) -> None:
    secret = "nobody in between reads this"
    write(live, ALICE, secret)
    expect(mark(live, ALICE, secret)).to_have_text(re.compile("✓✓|✔✔"))
    row = live.page.locator("tr.sealed").last
    row.click()
    expect(live.page.locator("tr.detail:visible")).to_contain_text("ratchet counter")
    expect(live.page.locator("tr.detail:visible")).to_contain_text("This is all there is")

    html: str = live.page.locator("#server").evaluate("(e) => e.outerHTML")

    assert secret not in html
    assert secret.encode().hex() not in html.replace(" ", "")


def test_the_tour_shows_what_it_says(live: Window) -> None:
    live.page.get_by_role("button", name="Tour").click()
    tour = live.page.locator("#tour")

    for _ in range(5):
        for step in tour.locator("#tour-steps button").all():
            step.click()
        tour.get_by_role("button", name="Next", exact=True).click()
    for last in ("at the gate", "ten", "did you get this?", "only once, please", "while it was gone"):
        expect(mark(live, ALICE, last)).to_have_text(re.compile("✓✓|✔✔"))
        expect(bubble(live, BOB, last)).to_have_count(1)

    remove, say, add = tour.locator("#tour-steps button").all()
    remove.click()
    expect(live.phone(BOB).locator("p.removed")).to_be_visible()
    say.click()
    expect(mark(live, ALICE, "without Bob")).to_have_text(re.compile("✓"))
    add.click()
    expect(live.phone(BOB).locator("p.removed")).to_be_hidden()
    assert texts(live, BOB, "without Bob") == []
    tour.get_by_role("button", name="Next", exact=True).click()

    greet, verify, exchange, ask = tour.locator("#tour-steps button").all()
    greet.click()
    expect(mark(live, ALICE, "it was good to see you")).to_have_text(re.compile("✓✓|✔✔"))
    verify.click()
    expect(live.phone(ALICE).get_by_role("button", name="✔ verified")).to_be_visible()
    exchange.click()
    ask.click()
    expect(live.phone(ALICE).locator(".changed")).to_be_visible()
    live.phone(ALICE).get_by_role("button", name="Compare the numbers").click()
    live.page.get_by_role("button", name="The numbers are equal: mark verified").click()

    expect(live.phone(ALICE).locator(".changed")).to_be_hidden()
    exchange.click()
    ask.click()
    live.phone(ALICE).get_by_role("button", name="Go on without comparing").click()
    expect(live.phone(ALICE).locator(".changed")).to_be_hidden()
    expect(live.phone(ALICE).get_by_role("button", name="Safety number")).to_be_visible()
    expect(live.page.locator("#counter")).to_contain_text("lost 0, doubled 0")


def test_a_run_is_shown_as_a_test(live: Window) -> None:
    live.page.get_by_role("button", name="Copy as test").click()

    expect(live.page.get_by_label("The decisions of this run")).to_have_value(re.compile("seed 8812\n"))


def test_the_policy_allows_nothing_inline(live: Window, url: str) -> None:
    policy = live.page.request.get(url).headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
