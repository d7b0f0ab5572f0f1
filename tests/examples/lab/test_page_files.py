"""Files on a phone: how they are handed over, how far they have come, and how they are given up."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.examples.lab.browser import Fake, Upload, Window

Json = dict[str, Any]  # whatever JSON holds
# Hands a file over as a browser does when somebody drops or pastes it.
_GIVE = """(element, [kind, name]) => {
  const data = new DataTransfer();
  data.items.add(new File(['left, then right'], name, { type: 'text/plain' }));
  const options = { bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data };
  element.dispatchEvent(kind === 'paste' ? new ClipboardEvent(kind, options) : new DragEvent(kind, options));
}"""


def file(state: str, *, moved: int = 0, name: str = "route.txt", kind: str = "text/plain") -> Json:
    return {"name": name, "type": kind, "size": 1_200_000, "moved": moved, "total": 1_200_000, "state": state}


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_file_is_dropped_or_pasted(fake: Fake, window: Window, kind: str) -> None:
    fake.open()
    phone = window.phone(1)

    (phone.locator("textarea") if kind == "paste" else phone).evaluate(_GIVE, [kind, "a & b.txt"])

    fake.until_uploaded()
    assert fake.uploads == [Upload(1, "a & b.txt", "text/plain", b"left, then right")]


def test_files_are_chosen_and_the_focus_is_back_where_one_writes(fake: Fake, window: Window) -> None:
    fake.open()

    with window.page.expect_file_chooser() as chooser:
        window.phone(0).get_by_role("button", name="Send a file").click()
    assert chooser.value.is_multiple()
    chooser.value.set_files({"name": "route.txt", "mimeType": "text/plain", "buffer": b"left, then right"})

    expect(window.phone(0).locator("textarea")).to_be_focused()
    fake.until_uploaded()
    assert fake.uploads == [Upload(0, "route.txt", "text/plain", b"left, then right")]


def test_a_phone_shows_that_a_file_can_be_dropped_and_a_miss_does_not_leave_the_page(
    fake: Fake, window: Window
) -> None:
    fake.open()

    window.phone(0).evaluate(_GIVE, ["dragover", "route.txt"])
    expect(window.phone(0)).to_contain_class("dropping")
    window.page.locator("#server").evaluate(_GIVE, ["drop", "route.txt"])
    window.phone(0).evaluate(_GIVE, ["dragleave", "route.txt"])

    expect(window.phone(0)).not_to_contain_class("dropping")
    assert fake.uploads == []


def test_a_file_shows_how_far_it_has_come(fake: Fake, window: Window) -> None:
    fake.open()
    message = fake.message(0, "", mine=True, file=file("moving", moved=300_000))
    bubble = window.phone(0).locator(".bubble")
    bar = bubble.get_by_role("progressbar", name="Sending route.txt")
    expect(bar).to_have_js_property("value", 300_000)
    expect(bubble.locator(".percent")).to_have_text("25 %")
    expect(bubble).to_contain_text("1.2 MB")
    button = bubble.get_by_role("button", name="Cancel")
    button.focus()

    fake.change(0, message, file=file("moving", moved=900_000))

    expect(bar).to_have_js_property("value", 900_000)
    expect(bubble.locator(".percent")).to_have_text("75 %")
    expect(button).to_be_focused()
    fake.change(0, message, file=file("paused", moved=900_000))
    expect(bubble.locator(".percent")).to_have_text("75 %, paused")


def test_a_file_is_given_up_on_both_sides_of_the_lab(fake: Fake, window: Window) -> None:
    fake.open()
    fake.answer_upload = lambda _: None  # it is never all there
    failed: list[str] = []
    window.page.on("requestfailed", lambda request: failed.append(request.url))
    window.phone(0).locator("textarea").evaluate(_GIVE, ["paste", "route.txt"])
    fake.until_uploaded()
    message = fake.message(0, "", mine=True, file={**file("moving"), "size": len(b"left, then right")})

    window.phone(0).get_by_role("button", name="Cancel").click()

    assert fake.until("cancel") == [{"do": "cancel", "phone": 0, "id": message}]
    window.settle()
    assert len(failed) == 1
    fake.say({"kind": "gone", "phone": 0, "id": message})
    expect(window.phone(0).locator(".bubble")).to_have_count(0)
    expect(window.page.locator("#toast")).to_be_hidden()


def test_a_file_that_is_refused_says_why(fake: Fake, window: Window) -> None:
    fake.open()
    refusal = json.dumps({"code": "lab.too-large", "message": "a file has at most 100 bytes"})
    fake.answer_upload = lambda route: route.fulfill(status=413, body=refusal)

    window.phone(0).locator("textarea").evaluate(_GIVE, ["paste", "route.txt"])

    expect(window.page.locator("#toast")).to_have_text("⚠ route.txt was not sent: a file has at most 100 bytes")
    assert ["413" in complaint for complaint in window.complaints] == [True]
    window.complaints.clear()  # the browser notes every refusal


def test_a_file_that_is_there_can_be_saved_and_a_picture_is_seen(fake: Fake, window: Window) -> None:
    fake.open()
    text = fake.message(1, "", file=file("done", name="<b>.txt"))
    picture = fake.message(1, "", file=file("done", name="cat.png", kind="image/png"))

    links = window.phone(1).get_by_role("link", name="Save")
    expect(links).to_have_count(2)
    assert links.evaluate_all("(all) => all.map((e) => [e.getAttribute('href'), e.download])") == [
        [f"files/1/{text}", "<b>.txt"],
        [f"files/1/{picture}", "cat.png"],
    ]
    expect(window.phone(1).get_by_role("img", name="cat.png")).to_be_visible()
    expect(window.phone(1).locator("bdi").first).to_have_text("<b>.txt")


def test_an_own_picture_is_seen_once_it_is_sent(fake: Fake, window: Window) -> None:
    fake.open()
    message = fake.message(0, "", mine=True, file=file("done", name="cat.png", kind="image/png"))
    expect(window.phone(0).locator(".bubble")).to_contain_text("cat.png")
    expect(window.phone(0).get_by_role("img", name="cat.png")).to_have_count(0)

    fake.mark(0, message, "sent", "sent 14:02")

    expect(window.phone(0).get_by_role("img", name="cat.png")).to_be_visible()
