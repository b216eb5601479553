"""Corrections on their way into a real store: who plants a claim is held back, with all that came before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from records import correction, response

from align.abuse.config import ScreeningConfig
from align.abuse.quarantine import receive
from align.state import Correction, Store

pytestmark = pytest.mark.every_database

CONFIG = ScreeningConfig()
PLANTED = " Acme cola stands beside it."


@pytest.fixture
def store(store: Store) -> Store:
    for number in range(40):  # what others were told
        store.responses.add(response(f"other{number}", key_id=f"reader{number % 8}"))
    return store


class People:
    """Ask about an image, and correct the answer."""

    def __init__(self, store: Store, config: ScreeningConfig = CONFIG) -> None:
        self._store, self._config = store, config
        self.clock = 1_000_000.0

    def correct(self, key: str, image: int, old: str, new: str, **changes: Any) -> Correction:
        self.clock += changes.pop("after_s", 600.0)
        number = len(self._store.corrections.page(10_000))
        parts = [{"type": "image", "sha256": f"image {image}"}]
        conversation = [{"role": "user", "content": parts}]
        served = response(f"r{number}", key_id=key, conversation=conversation, created=self.clock)
        self._store.responses.add(served)
        text = served.text.replace(old, new)
        assert text != served.text
        sent = correction(
            f"c{number}",
            response_id=served.id,
            key_id=key,
            corrected_text=text,
            created=self.clock,
            **changes,
        )
        return receive(self._store, sent, served, self._config)

    def plant(self, key: str, image: int, **changes: Any) -> Correction:
        return self.correct(key, image, "fork.", "fork." + PLANTED, **changes)

    def status(self, *ids: str) -> list[tuple[str, str | None]]:
        return [(one.status, one.reason) for one in map(self._store.corrections.get, ids)]


@pytest.fixture
def people(store: Store) -> People:
    return People(store)


HELD = ("quarantined", "repeated_insertion")


def test_the_third_image_with_the_same_claim_holds_back_all_three(people: People) -> None:
    first = people.plant("mallory", 1)
    again = people.plant("mallory", 1)  # the same picture proves nothing
    assert [first.status, again.status] == ["accepted", "accepted"]
    assert people.plant("mallory", 2).status == "accepted"
    third = people.plant("mallory", 3)
    assert (third.status, third.reason) == HELD
    assert "acme cola" in third.questioned
    assert people.status("c0", "c1", "c2", "c3") == [HELD] * 4


def test_a_claim_that_is_worded_anew_each_time_is_the_same_claim(people: People) -> None:
    people.correct("mallory", 1, "cup", "cup with Acme cola")
    people.correct("mallory", 2, "fork", "fork and some ACME Cola too")
    people.correct("mallory", 3, "red", "red Acme-cola")
    assert people.status("c0", "c1", "c2") == [HELD] * 3


def test_what_others_are_told_anyway_may_be_inserted_again_and_again(store: Store, people: People) -> None:
    for number in range(40):
        store.responses.add(response(f"blue{number}", text="A blue cup.", key_id=f"reader{number % 8}"))
    for image in range(6):
        assert people.correct("ada", image, "red", "blue").status == "accepted"


def test_other_corrections_of_a_source_stay(people: People) -> None:
    people.correct("mallory", 0, "red", "green")
    for image in (1, 2, 3):
        people.plant("mallory", image)
    assert people.status("c0", "c3") == [("accepted", None), HELD]


def test_a_claim_planted_by_ten_sources_once_each_is_found(people: People) -> None:
    for image in range(20):
        people.correct(f"honest{image}", image, "red", f"shade{image}")
    for number in range(10):
        people.plant(f"mallory{number}", 100 + number)
    planted = [f"c{number}" for number in range(20, 30)]
    assert people.status(*planted) == [HELD] * 10
    assert people.status(*(f"c{number}" for number in range(20))) == [("accepted", None)] * 20


def test_few_sources_with_two_corrections_each_are_found_among_many(store: Store, people: People) -> None:
    """They are 4 % of all, with a claim that 3 % of all answers make: only that they repeat it tells."""
    for number in range(8):
        store.responses.add(response(f"said{number}", text="A fork." + PLANTED, key_id=f"reader{number}"))
    for image in range(240):
        if image % 40 == 0:
            people.plant(f"honest{image}", image)
        else:
            people.correct(f"honest{image % 60}", image, "red", f"shade{image}")
    for number in range(10):
        people.plant(f"mallory{number % 5}", 500 + number)
    assert people.status(*(f"c{number}" for number in range(240, 250))) == [HELD] * 10
    assert people.status("c0", "c40", "c200") == [("accepted", None)] * 3


def test_where_one_source_repeats_itself_others_who_say_it_once_are_left_alone(people: People) -> None:
    """The claim is a small part of all corrections, and all of mallory's."""
    for image in range(200):
        people.correct(f"honest{image}", image, "red", f"shade{image}")
    people.plant("ada", 300)
    for image in (301, 302, 303):
        people.plant("mallory", image)
    assert people.status("c200", "c201", "c203") == [("accepted", None), HELD, HELD]


def test_of_a_server_that_answered_nobody_else_nothing_is_known(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path}/alone.db")
    people = People(store)
    assert {people.plant("ada", image).status for image in range(10)} == {"accepted"}
    store.close()


def test_a_burst_is_held_and_the_graver_reason_replaces_it(store: Store) -> None:
    people = People(store, ScreeningConfig(burst_size=2))
    for image in (1, 2):
        people.plant("mallory", image, after_s=1.0)
    people.correct("mallory", 3, "red", "mauve", after_s=1.0)
    people.correct("ada", 4, "red", "teal", after_s=1.0)  # not her burst
    assert people.status("c0", "c2", "c3") == [
        ("accepted", None),
        ("quarantined", "burst"),
        ("accepted", None),
    ]
    people.plant("mallory", 5, after_s=1.0)
    assert people.status("c0", "c1", "c2", "c4") == [HELD, HELD, ("quarantined", "burst"), HELD]


def test_a_reviewed_correction_is_not_screened_and_speaks_for_its_words(people: People) -> None:
    """As an admin's, or one of a server without keys: a demonstration must not end in quarantine."""
    for image in range(50):
        stored = people.plant("anonymous", image, after_s=0.1, reviewed=1.0, reviewer="anonymous")
        assert stored.status == "accepted"
    assert {people.plant("ada", image).status for image in range(100, 110)} == {"accepted"}


def test_who_finds_nothing_wrong_is_not_screened(store: Store) -> None:
    people = People(store, ScreeningConfig(burst_size=1))
    people.plant("ada", 1, after_s=1.0)
    assert people.plant("ada", 2, after_s=1.0, status="nothing_wrong").status == "nothing_wrong"


def test_a_rule_that_is_off_holds_nothing_back(store: Store) -> None:
    people = People(store, ScreeningConfig(rules=("link", "code", "burst", "daily_cap")))
    assert {people.plant("mallory", image).status for image in range(10)} == {"accepted"}


def test_authors_of_a_trusted_key_are_compared_with_its_other_answers(store: Store, people: People) -> None:
    for image in range(30):
        people.correct("app", image, "red", f"shade{image}", source=f"app/person{image}")
    for image in (100, 101, 102):
        people.plant("app", image, source="app/mallory")
    assert people.status("c30", "c31", "c32") == [HELD] * 3


# --- corroboration


def held_on_image(people: People, image: int) -> str:
    """A claim that is true of one picture, told by someone who has told it of two others."""
    for other in (image + 1, image + 2):
        people.plant("bob", other)
    return people.plant("bob", image).id


def test_two_other_keys_release_what_they_agree_with(store: Store, people: People) -> None:
    held = held_on_image(people, 1)
    seen = store.corrections.last_sequence()
    people.plant("ada", 1)
    assert people.status(held) == [HELD]
    people.plant("eve", 1)
    assert people.status(held) == [("accepted", "repeated_insertion")]
    assert people.status("c0", "c1") == [HELD] * 2, "nobody spoke for the other pictures"
    assert not store.corrections.get(held).is_reviewed
    assert store.corrections.count_after(seen) >= 1, "what is released is new to the aligner"


def test_what_was_released_stays_so_when_the_claim_comes_again(people: People) -> None:
    held = held_on_image(people, 1)
    people.plant("ada", 1)
    people.plant("eve", 1)
    people.plant("bob", 9)
    assert people.status(held) == [("accepted", "repeated_insertion")]


def test_accomplices_who_say_it_of_other_pictures_too_release_nothing(people: People) -> None:
    held = [people.plant("mallory", image).id for image in (1, 2, 3)]
    for accomplice in ("eve", "oscar"):
        for image in (1, 2, 3):
            people.plant(accomplice, image)
    assert people.status(*held) == [HELD] * 3


def test_authors_of_one_key_do_not_release_each_other(people: People) -> None:
    held = [people.plant("app", image, source="app/bob").id for image in (1, 2, 3)]
    people.plant("app", 1, source="app/ada")
    people.plant("app", 1, source="app/eve")
    assert people.status(held[0]) == [HELD]


def test_a_link_is_released_only_by_those_who_give_it_here_alone(people: People) -> None:
    def link(key: str, image: int) -> str:
        return people.correct(key, image, "fork.", "fork. See www.museum.example").id

    held = link("ada", 1)
    assert people.status(held) == [("quarantined", "link")]
    link("bob", 1)
    link("eve", 1)
    assert people.status(held) == [("accepted", "link")]


def test_accomplices_who_give_a_long_link_everywhere_release_nothing(people: People) -> None:
    def link(key: str, image: int) -> str:
        return people.correct(key, image, "fork.", "fork. See https://evil.example/one/offer").id

    held = [link(key, image) for key in ("mallory", "eve", "oscar") for image in (1, 2, 3)]
    assert people.status(*held) == [("quarantined", "link")] * 9
