"""Who looks at which answer: never two at the same one, whoever asks at once, and nobody for ever."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from records import correction, response
from sqlalchemy import insert, select, text

from align.errors import Conflict, NotFound
from align.state import Store, schema
from align.state.claims import Claims, Direction, Holder
from align.state.responses import Place, in_order
from align.state.wanted_responses import WantedResponses

pytestmark = pytest.mark.every_database

ADA, BOB = Holder("key-1", "ada"), Holder("key-1", "bob")
ANY, UNCORRECTED = WantedResponses(), WantedResponses(corrected=False)


@pytest.fixture
def filled(store: Store) -> Store:
    """r1, the oldest, to r5, the newest; r4 and r5 came at the same moment."""
    for number, created in enumerate((1.0, 2.0, 3.0, 4.0, 4.0), 1):
        store.responses.add(
            response(f"r{number}", created=created, adapter="base" if number < 4 else "v0001")
        )
    return store


def take(
    store: Store,
    holder: Holder,
    wanted: WantedResponses = ANY,
    *,
    now: float = 100.0,
    after: str | None = None,
    direction: Direction = "next",
) -> str | None:
    found = store.claims.take_next(
        holder, wanted, now=now, until=now + 10.0, after=after, direction=direction
    )
    if found is None:
        return None
    claim, answer = found
    assert (claim.response_id, claim.key_id, claim.holder) == (answer.id, holder.key_id, holder.name)
    assert claim.expires == now + 10.0
    return answer.id


def held(store: Store) -> dict[str, str]:
    with store.database.read() as connection:
        return {row.response_id: row.holder for row in connection.execute(select(schema.claims))}


def test_each_who_looks_is_given_another_one_the_newest_first(filled: Store) -> None:
    assert [take(filled, Holder("key-1", name)) for name in "abcdef"] == ["r5", "r4", "r3", "r2", "r1", None]


def test_one_walks_to_older_answers_and_back_and_holds_one_at_a_time(filled: Store) -> None:
    walked = [take(filled, ADA)]
    for _ in range(4):
        walked.append(take(filled, ADA, after=walked[-1]))
    assert walked == ["r5", "r4", "r3", "r2", "r1"]
    assert held(filled) == {"r1": "ada"}
    back = ["r1"]
    for _ in range(4):
        back.append(take(filled, ADA, after=back[-1], direction="previous") or "")
    assert back == walked[::-1]
    assert take(filled, ADA, after="r5", direction="previous") is None
    assert held(filled) == {"r5": "ada"}, "whoever finds no other one goes on with what is there"
    assert take(filled, ADA, direction="previous") == "r1"  # from the other end


def test_who_asked_twice_at_once_goes_on_with_one(filled: Store) -> None:
    take(filled, ADA)
    with filled.database.write() as connection:
        twice = {"response_id": "r1", "key_id": ADA.key_id, "holder": ADA.name, "expires": 200.0}
        connection.execute(insert(schema.claims).values(twice))
    assert take(filled, ADA, after="r1") is None
    assert held(filled) == {"r1": "ada"}, "the newer one"
    assert take(filled, ADA) == "r5"


def test_what_is_over_is_not_kept_where_there_is_no_other_one(filled: Store) -> None:
    filled.claims.take(ADA, "r5", now=100.0, until=110.0)
    assert take(filled, ADA, after="r5", direction="previous", now=110.0) is None
    assert held(filled) == {}


def test_what_another_one_holds_is_passed_over_in_both_directions(filled: Store) -> None:
    assert take(filled, BOB, after="r5") == "r4"
    assert take(filled, ADA, after="r5") == "r3"
    assert take(filled, ADA, after="r3", direction="previous") == "r5"


def test_a_claim_ends_with_its_time_and_is_prolonged_by_claiming_again(filled: Store) -> None:
    assert take(filled, ADA, now=100.0) == "r5"
    assert take(filled, BOB, now=109.9) == "r4"
    assert take(filled, ADA, now=109.9) == "r5"  # until 119.9
    assert take(filled, BOB, now=112.0) == "r4"
    assert take(filled, BOB, now=119.9) == "r5"
    assert held(filled) == {"r5": "bob"}


def test_one_very_answer_is_held_by_who_came_first(filled: Store) -> None:
    filled.claims.take(ADA, "r2", now=100.0, until=110.0)
    assert take(filled, BOB) == "r5"
    with pytest.raises(Conflict, match="somebody else is looking at 'r2'"):
        filled.claims.take(BOB, "r2", now=109.9, until=119.9)
    assert held(filled) == {"r2": "ada", "r5": "bob"}  # who was refused keeps what they held
    filled.claims.take(ADA, "r2", now=109.9, until=119.9)
    with pytest.raises(Conflict):
        filled.claims.take(BOB, "r2", now=110.0, until=120.0)
    filled.claims.take(BOB, "r2", now=119.9, until=129.9)
    assert held(filled) == {"r2": "bob"}


def test_another_key_s_window_of_the_same_name_is_another_one(filled: Store) -> None:
    stranger = Holder("key-2", "ada")
    assert take(filled, ADA) == "r5"
    assert take(filled, stranger) == "r4"
    assert not filled.claims.release(stranger, "r5")
    assert filled.claims.release(ADA, "r5")
    assert not filled.claims.release(ADA, "r5")
    assert held(filled) == {"r4": "ada"}


def test_what_waits_is_what_fits_and_nobody_else_holds(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.corrections.add(correction("c1", response_id="r3", status="nothing_wrong", spans=[]))
    assert filled.claims.count_waiting(ADA, ANY, 100.0) == 5
    assert filled.claims.count_waiting(ADA, UNCORRECTED, 100.0) == 4
    take(filled, ADA)
    take(filled, BOB)
    assert filled.claims.count_waiting(ADA, ANY, 100.0) == 4
    assert filled.claims.count_waiting(Holder("key-2", "ada"), ANY, 100.0) == 3
    assert filled.claims.count_waiting(ADA, ANY, 110.0) == 5
    monkeypatch.setattr("align.state.claims.MAX_COUNTED", 2)
    assert filled.claims.count_waiting(ADA, ANY, 110.0) == 2


def test_what_is_looked_for_decides_what_is_given(filled: Store) -> None:
    filled.corrections.add(correction("c1", response_id="r5"))
    filled.corrections.add(correction("c2", response_id="r3"))
    assert take(filled, ADA, UNCORRECTED) == "r4"
    assert take(filled, ADA, UNCORRECTED, after="r4") == "r2"
    assert take(filled, ADA, WantedResponses(corrected=True), after="r4") == "r3"
    assert take(filled, ADA, WantedResponses(adapter="base", corrected=True)) == "r3"
    assert take(filled, ADA, WantedResponses(adapter="v0002")) is None


def test_an_erased_answer_is_given_to_nobody_and_held_by_nobody(filled: Store) -> None:
    take(filled, ADA)
    filled.erasures.response("r5")
    assert held(filled) == {}
    assert take(filled, ADA) == "r4"
    assert take(filled, BOB, after="r5") == "r3"  # it keeps its place
    for missing in ("r5", "r9"):
        with pytest.raises(NotFound, match=missing):
            filled.claims.take(ADA, missing, now=100.0, until=110.0)
    with pytest.raises(NotFound, match="r9"):
        take(filled, ADA, after="r9")
    assert held(filled) == {"r4": "ada", "r3": "bob"}


def test_a_holder_s_name_goes_with_the_source_that_is_erased(filled: Store) -> None:
    take(filled, Holder("anonymous", "ada lovelace's tab"))
    filled.erasures.source("anonymous")
    assert held(filled) == {}
    filled.database.empty_log()
    if filled.database.engine.name == "postgresql":
        return  # what its files hold is the server's own
    for file in Path(filled.database.url.removeprefix("sqlite:///")).parent.glob("errata.db*"):
        assert b"lovelace" not in file.read_bytes()


def _walk(claims: Claims, holder: Holder, number: int) -> list[str]:
    """Each takes one after the other, and keeps all of them: under another name each time."""
    taken = []
    for index in range(number):
        name = Holder(holder.key_id, f"{holder.name}-{index}")
        if (found := claims.take_next(name, ANY, now=100.0, until=200.0)) is not None:
            taken.append(found[1].id)
    return taken


def _walk_in_threads(url: str, process: int, results: multiprocessing.Queue[list[str]]) -> None:
    store = Store(url)
    with ThreadPoolExecutor(3) as pool:
        walks = [pool.submit(_walk, store.claims, Holder("key-1", f"{process}-{n}"), 8) for n in range(3)]
    results.put([taken for walk in walks for taken in walk.result()])
    store.close()


def test_threads_and_processes_that_ask_at_once_are_never_given_the_same(store: Store) -> None:
    for number in range(40):
        store.responses.add(response(f"r{number:02}", created=float(number)))
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[str]] = context.Queue()
    processes = [
        context.Process(target=_walk_in_threads, args=(store.database.url, n, results)) for n in range(2)
    ]
    for process in processes:
        process.start()
    taken = [one for _ in processes for one in results.get(timeout=120)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(taken) == 40  # 48 asked
    assert len(set(taken)) == 40


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (ANY, "responses_by_created"),
        (WantedResponses(answered_to="key-1", corrected=False), "responses_by_key"),
        (WantedResponses(adapter="base"), "responses_by_adapter"),
    ],
)
def test_answers_come_from_an_index_in_their_order(
    filled: Store, wanted: WantedResponses, index: str
) -> None:
    query = in_order(select(schema.responses).where(*wanted.conditions()), Place(3.0, "r3")).limit(3)
    if filled.database.engine.name == "postgresql":
        pytest.skip("PostgreSQL plans by what the table holds, and a few rows it reads through")
    with filled.database.read() as connection:
        statement = query.compile(connection, compile_kwargs={"literal_binds": True})
        plan = [str(row[3]) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement}"))]
    assert index in plan[0]
    assert "SEARCH responses" in plan[0]
    assert not [step for step in plan if "TEMP B-TREE" in step or step.startswith("SCAN")]
