"""Responses and their corrections: what is stored comes back, once, and what teaches is read in pages."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from records import correction, response

from align.errors import Conflict, NotFound
from align.state import Store

pytestmark = pytest.mark.every_database


def test_a_response_comes_back_as_it_was_stored(store: Store) -> None:
    original = response("r1", text="Ein rotes Ei 🥚, e\u0301!", token_ids=[5, 0, 2**31])
    store.responses.add(original)
    assert store.responses.get("r1") == original


def test_an_unknown_response_is_not_found(store: Store) -> None:
    for act in (store.responses.get, store.erasures.response):
        with pytest.raises(NotFound, match="no response 'r9'"):
            act("r9")


def test_the_same_key_with_the_same_body_gives_the_same_record(store: Store) -> None:
    store.responses.add(response("r1"))
    first = store.corrections.add(correction("c1", idempotency_key="k"))
    again = store.corrections.add(correction("c2", idempotency_key="k"))
    assert again == first == store.corrections.get("c1")
    assert len(store.corrections.page(10)) == 1


def test_the_same_key_with_another_body_is_a_conflict(store: Store) -> None:
    store.responses.add(response("r1"))
    store.corrections.add(correction("c1", idempotency_key="k"))
    with pytest.raises(Conflict, match="idempotency key 'k' was used with another body"):
        store.corrections.add(correction("c2", idempotency_key="k", body_sha256="other"))
    store.corrections.add(correction("c3", idempotency_key="k", body_sha256="other", key_id="another caller"))
    store.corrections.add(correction("c4", idempotency_key=None))
    store.corrections.add(correction("c5", idempotency_key=None))
    assert [one.id for one in store.corrections.page(10)] == ["c1", "c3", "c4", "c5"]


def test_many_threads_with_one_key_make_one_record(store: Store) -> None:
    store.responses.add(response("r1"))
    barrier = threading.Barrier(12)

    def add(index: int) -> str:
        body = "even" if index % 2 == 0 else "odd"
        barrier.wait()
        try:
            return store.corrections.add(correction(f"c{index}", idempotency_key="k", body_sha256=body)).id
        except Conflict:
            return "conflict"

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(add, range(12)))
    (stored,) = store.corrections.page(10)
    assert sorted(answers) == sorted([stored.id] * 6 + ["conflict"] * 6)


def test_a_correction_of_an_unknown_response_is_refused(store: Store) -> None:
    with pytest.raises(NotFound, match="no response 'r1'"):
        store.corrections.add(correction("c1", response_id="r1"))


def test_pages_follow_the_order_of_arrival(store: Store) -> None:
    store.responses.add(response("r1"))
    for index in range(5):
        store.corrections.add(correction(f"c{index}", created=100.0 - index))
    assert [one.id for one in store.corrections.page(2)] == ["c0", "c1"]
    assert [one.id for one in store.corrections.page(9, after=2)] == ["c2", "c3", "c4"]
    assert store.corrections.last_sequence() == 5


def trainable_ids(store: Store, page_size: int = 256) -> list[str]:
    return [correction.id for correction, _ in store.corrections.trainable(page_size)]


def test_of_several_corrections_of_a_response_the_newest_counts(store: Store) -> None:
    for name in ("r1", "r2"):
        store.responses.add(response(name))
    store.corrections.add(correction("c1", response_id="r1"))
    store.corrections.add(correction("c2", response_id="r2"))
    store.corrections.add(correction("c3", response_id="r1"))
    assert trainable_ids(store) == ["c2", "c3"]
    assert [store.corrections.count_after(n) for n in range(4)] == [2, 2, 1, 0]


@pytest.mark.parametrize("page_size", [1, 2, 3, 5, 7])
def test_pages_of_any_size_hold_each_trainable_correction_once_with_its_response(
    store: Store, page_size: int
) -> None:
    for index in range(6):
        store.responses.add(response(f"r{index}", text=f"answer {index}"))
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))
    store.erasures.correction("c1")
    store.erasures.correction("c2")
    found = [(one.id, about.text) for one, about in store.corrections.trainable(page_size)]
    assert found == [(f"c{index}", f"answer {index}") for index in (0, 3, 4, 5)]


def test_what_arrives_while_pages_are_read_is_left_out_and_replaces_nothing(store: Store) -> None:
    for index in range(3):
        store.responses.add(response(f"r{index}"))
        store.corrections.add(correction(f"c{index}", response_id=f"r{index}"))
    pages = store.corrections.trainable(page_size=1)
    assert next(pages)[0].id == "c0"
    store.corrections.add(correction("late", response_id="r2"))
    assert [one.id for one, _ in pages] == ["c1", "c2"]
    assert trainable_ids(store) == ["c0", "c1", "late"]


def test_who_finds_nothing_wrong_in_the_end_takes_the_correction_back(store: Store) -> None:
    store.responses.add(response("r1"))
    store.corrections.add(correction("c1"))
    assert store.responses.uncorrected("base") == []
    store.corrections.add(correction("c2", status="nothing_wrong", spans=[]))
    assert trainable_ids(store) == []
    assert store.corrections.count_after(0) == 0, "it must not make a run due that has nothing to learn"


def test_quarantined_and_erased_corrections_do_not_teach(store: Store) -> None:
    for name in ("r1", "r2", "r3"):
        store.responses.add(response(name))
    store.corrections.add(correction("c1", response_id="r1"))
    store.corrections.add(correction("c2", response_id="r1", status="quarantined"))
    store.corrections.add(correction("c3", response_id="r2"))
    store.erasures.correction("c3")
    store.corrections.add(correction("c4", response_id="r3"))
    assert trainable_ids(store) == ["c1", "c4"]
    assert store.corrections.count_by_status() == {"accepted": 2, "quarantined": 1, "erased": 1}
    with pytest.raises(NotFound, match="no correction 'c9'"):
        store.erasures.correction("c9")


def test_an_answer_that_was_found_right_counts_as_uncorrected(store: Store) -> None:
    store.responses.add(response("right", created=1.0))
    store.responses.add(response("wrong", created=2.0))
    store.responses.add(response("newer", created=3.0))
    store.responses.add(response("cut off", created=4.0, finish_reason="length"))
    store.corrections.add(correction("c1", response_id="right", status="nothing_wrong", spans=[]))
    store.corrections.add(correction("c2", response_id="wrong"))
    store.responses.add(response("of another version", adapter="v0001"))
    assert set(store.responses.uncorrected("base")) == {"newer", "right"}
    assert store.responses.uncorrected("v0001") == ["of another version"]


def test_responses_are_counted_by_adapter(store: Store) -> None:
    for name, adapter in (("r1", "base"), ("r2", "v0001"), ("r3", "v0001")):
        store.responses.add(response(name, adapter=adapter))
    assert store.responses.count_by_adapter() == {"base": 1, "v0001": 2}
