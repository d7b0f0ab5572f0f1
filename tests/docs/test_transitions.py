from __future__ import annotations

import enum
import re
import xml.etree.ElementTree as ET

from transitions import Arrow, Table, Transition, arrows, draw, transitions


class State(enum.Enum):
    OFFLINE = enum.auto()
    CATCHING_UP = enum.auto()
    LIVE = enum.auto()
    NEVER = enum.auto()


class Attached: ...


class PageArrived: ...


class Detached: ...


class Told(enum.Enum):
    SUPERSEDED = enum.auto()


TABLE: Table = {
    (State.OFFLINE, Attached): State.CATCHING_UP,
    (State.CATCHING_UP, PageArrived): State.LIVE,
    (State.LIVE, PageArrived): State.LIVE,
    (State.LIVE, Detached): State.OFFLINE,
    (State.LIVE, Told.SUPERSEDED): State.OFFLINE,
    (State.LIVE, "a & <b>"): State.CATCHING_UP,
}


def texts_of(picture: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_the_entries_of_a_table_are_named_in_its_order() -> None:
    named = transitions(TABLE)

    assert named[0] == Transition("OFFLINE", "Attached", "CATCHING_UP")
    assert [step.cause for step in named[3:]] == ["Detached", "SUPERSEDED", "a & <b>"]


def test_all_that_leads_from_one_state_to_another_is_one_arrow() -> None:
    found = arrows(transitions(TABLE))

    assert Arrow("LIVE", ("Detached", "SUPERSEDED"), "OFFLINE") in found
    assert len(found) == len(TABLE) - 1


def test_of_very_many_causes_an_arrow_names_some_and_counts_the_rest() -> None:
    busy: Table = {(State.LIVE, f"Frame{number}"): State.LIVE for number in range(30)}

    [loop] = arrows(transitions(busy))

    assert loop.causes == ("Frame0", "Frame1", "Frame2", "Frame3", "Frame4", "and 25 more")


def test_a_picture_is_well_formed_and_says_each_state_once_and_each_cause() -> None:
    texts = texts_of(draw(TABLE, title="A <mirror>"))

    assert texts[:3] == ["OFFLINE", "CATCHING_UP", "LIVE"]
    assert sorted(texts[3:]) == sorted(step.cause for step in transitions(TABLE))


def test_a_picture_has_a_name_for_those_who_cannot_see_it() -> None:
    picture = ET.fromstring(draw(TABLE, title="A <mirror>"))

    assert (picture.get("role"), picture.get("aria-label")) == ("img", "A <mirror>")


def test_no_two_texts_of_a_picture_stand_in_the_same_place() -> None:
    picture = draw(TABLE, title="A mirror")

    places = re.findall(r'<text x="(\d+)" y="(\d+)"', picture)
    assert len(set(places)) == len(places) == 3 + len(TABLE)


def test_a_machine_of_one_state_has_a_picture_too() -> None:
    lonely: Table = {(State.LIVE, PageArrived): State.LIVE}

    assert texts_of(draw(lonely, title="One")) == ["LIVE", "PageArrived"]
