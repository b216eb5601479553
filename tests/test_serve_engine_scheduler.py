from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serve.engine.protocol import BASE
from serve.engine.scheduler import Part, schedule
from serve.engine.slots import SlotTable
from serve.errors import EngineFull, UnknownAdapter

LIMITS = {"num_rows": 4, "max_prefill_tokens": 100}


def waiting(*num_tokens: int) -> list[Any]:
    return [SimpleNamespace(num_unread=count) for count in num_tokens]


def test_newcomers_are_read_in_order_while_there_are_places() -> None:
    running, newcomers = waiting(5, 5), waiting(10, 10, 10)
    plan = schedule(newcomers, running, None, **LIMITS)
    assert plan.decode == tuple(running)
    assert plan.prefill == tuple(newcomers[:2])


def test_newcomers_stop_at_the_prefill_budget_without_skipping_ahead() -> None:
    newcomers = waiting(60, 60, 10)
    assert schedule(newcomers, [], None, **LIMITS).prefill == tuple(newcomers[:1])


def test_a_prompt_above_the_budget_is_read_in_parts_and_others_get_what_its_last_one_leaves() -> None:
    long, short = waiting(250, 30)
    first = schedule([long, short], [], None, **LIMITS)
    assert (first.part, first.prefill, first.begun) == (Part(long, 100), (), (long,))
    long.num_unread = 150
    assert schedule([short], [], long, **LIMITS).part == Part(long, 100)
    assert schedule([short], [], long, **LIMITS).prefill == ()
    long.num_unread = 50
    last = schedule([short], [], long, **LIMITS)
    assert (last.part, last.prefill, last.begun) == (Part(long, 50), (short,), (long, short))


def test_a_long_prompt_begins_with_what_shorter_ones_before_it_leave_and_nobody_overtakes_it() -> None:
    short, long, later = waiting(60, 101, 10)
    plan = schedule([short, long, later], [], None, **LIMITS)
    assert (plan.prefill, plan.part) == ((short,), Part(long, 40))


def test_one_long_prompt_is_read_at_a_time_and_the_next_is_not_overtaken() -> None:
    long, next_long, short = waiting(20, 500, 1)
    plan = schedule([next_long, short], [], long, **LIMITS)
    assert (plan.prefill, plan.part) == ((), Part(long, 20))


def test_a_long_prompt_takes_a_place_from_its_first_part_on() -> None:
    long, newcomers = waiting(200)[0], waiting(1, 1)
    assert schedule([long], waiting(1, 1, 1, 1), None, **LIMITS).part is None
    long.num_unread = 10
    assert schedule(newcomers, waiting(1, 1), long, **LIMITS).prefill == tuple(newcomers[:1])
    assert schedule(newcomers, waiting(1, 1, 1), long, **LIMITS).prefill == ()


def test_a_full_batch_takes_nobody() -> None:
    running = waiting(1, 1, 1, 1)
    plan = schedule(waiting(1), running, None, **LIMITS)
    assert (plan.prefill, plan.decode) == ((), tuple(running))


def test_slots_are_given_from_the_first_free_one() -> None:
    table = SlotTable(2)
    table.add("a", table.free_slot())
    table.add("b", table.free_slot())
    assert (table.pin("a"), table.pin("b"), table.pin(BASE)) == (1, 2, 0)
    with pytest.raises(EngineFull):
        table.free_slot()


def test_a_pinned_slot_is_free_only_after_the_last_unpin() -> None:
    table = SlotTable(1)
    table.add("a", table.free_slot())
    table.pin("a")
    table.pin("a")
    table.retire("a")
    with pytest.raises(UnknownAdapter):
        table.pin("a")
    table.unpin("a")
    with pytest.raises(EngineFull):
        table.free_slot()
    table.unpin("a")
    assert table.free_slot() == 1


def test_a_version_that_was_leaving_and_is_kept_can_be_pinned_again() -> None:
    table = SlotTable(1)
    table.add("a", table.free_slot())
    table.pin("a")
    table.retire("a")
    assert table.keep("a")
    table.unpin("a")
    assert table.versions == ("a",)
    assert not table.keep("b")
