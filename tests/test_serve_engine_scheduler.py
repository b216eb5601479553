from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from serve.engine.protocol import BASE
from serve.engine.scheduler import schedule
from serve.engine.slots import SlotTable
from serve.errors import EngineFull, UnknownAdapter

LIMITS = {"num_rows": 4, "max_prefill_tokens": 100}


def waiting(*num_tokens: int) -> list[Any]:
    return [SimpleNamespace(prompt=SimpleNamespace(num_tokens=count)) for count in num_tokens]


def test_newcomers_are_read_in_order_while_there_are_places() -> None:
    running, newcomers = waiting(5, 5), waiting(10, 10, 10)
    plan = schedule(newcomers, running, **LIMITS)
    assert plan.decode == tuple(running)
    assert plan.prefill == tuple(newcomers[:2])


def test_newcomers_stop_at_the_prefill_budget_without_skipping_ahead() -> None:
    newcomers = waiting(60, 60, 10)
    assert schedule(newcomers, [], **LIMITS).prefill == tuple(newcomers[:1])


def test_a_prompt_above_the_budget_is_read_when_it_is_first() -> None:
    newcomers = waiting(500, 1)
    assert schedule(newcomers, [], **LIMITS).prefill == tuple(newcomers[:1])


def test_a_full_batch_takes_nobody() -> None:
    running = waiting(1, 1, 1, 1)
    plan = schedule(waiting(1), running, **LIMITS)
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
