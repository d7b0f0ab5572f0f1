"""Whatever is pressed, in whatever order: when it is calm again both phones have the same, once and in order."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest

from tests.examples.lab.driver import Driver, driving

pytestmark = pytest.mark.anyio

SEED: Final = 8812
PRESSES: Final = 120
# Messages that are not answered are sent again after 20 s, connections that say nothing are given up after 75.
CALM_S: Final = 240.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def press(page: Driver, random: Random, number: int) -> None:
    """Press something."""
    phone, way, is_on = random.randrange(2), random.choice(("up", "down")), random.random() < 0.5
    match random.choices(
        ("send", "flight", "lose", "disorder", "slow", "step", "next", "kill", "arm", "seen"), CHANCES
    )[0]:
        case "send":
            await page.send(phone, f"message {number}")
        case "flight":
            await page.do("flight", phone=phone, on=is_on)
        case "lose":
            await page.do("set", what="lose", to=30 if is_on else 0)
        case "disorder":
            await page.do("set", what=random.choice(("double", "reorder")), to=is_on)
        case "slow":
            await page.do("set", what="slow", to=is_on)
        case "step":
            await page.do("set", what="step", to=is_on)
        case "next":
            await page.do("step")
        case "kill":
            await page.do("kill")
        case "arm":
            await page.do(random.choice(("lose_next", "double_next")), phone=phone, way=way)
        case _:
            received = [row for row in page.shown(phone) if row["mark"] == "received"]
            if received:
                await page.do("seen", phone=phone, id=random.choice(received)["id"])
    if random.random() < 0.3:  # let something happen
        frames = len(page.frames())
        await page.until(lambda: len(page.frames()) > frames)


CHANCES: Final = (60, 6, 5, 5, 2, 2, 5, 3, 5, 7)


async def calm(page: Driver) -> None:
    """Let nothing go wrong from here on."""
    for phone in (0, 1):
        await page.do("flight", phone=phone, on=False)
    await page.set(lose=0, double=False, reorder=False, slow=False, step=False)


async def test_when_it_is_calm_again_both_have_the_same_once_and_in_order() -> None:
    random = Random(SEED)
    async with driving(seed=SEED) as (page, _):
        for number in range(PRESSES):
            await press(page, random, number)
        await calm(page)

        def is_quiet() -> bool:
            marks = {row["mark"] for phone in (0, 1) for row in page.shown(phone)}
            sent = [one for phone in (0, 1) for one in page.texts(phone, "delivered", "read")]
            received = [one for phone in (0, 1) for one in page.texts(phone, "received")]
            is_equal = sorted(sent) == sorted(received) and page.counter[0] == len(sent)
            return is_equal and marks <= {"notice", "delivered", "read", "received"}

        await page.until(is_quiet, patience_s=CALM_S)

        assert page.texts(0) == page.texts(1) != []
        assert len(set(page.texts(0))) == len(page.texts(0))
        assert page.counter[1:] == (0, 0)
