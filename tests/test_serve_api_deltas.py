"""Deltas on their way from the engine's thread to a request: in order, merged, the urgent ones at once."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable

import pytest

from serve.api.deltas import Inbox, Mailbox, merged
from serve.engine.protocol import Delta, ScoredToken, TokenLogprobs

NEVER_S = 60.0


def scored(token_id: int) -> tuple[TokenLogprobs, ...]:
    return (TokenLogprobs(ScoredToken(token_id, b"x", -1.0), ()),)


def test_merged_deltas_hold_all_there_was_in_order() -> None:
    deltas = [
        Delta((1,), "a", logprobs=scored(1)),
        Delta((2,), "", logprobs=scored(2)),
        Delta((), "b", "length"),
    ]
    assert merged(deltas) == Delta((1, 2), "ab", "length", None, scored(1) + scored(2))
    assert merged([Delta((), "", "error", "broke")]) == Delta((), "", "error", "broke")


def taken(hold_s: float | None, *steps: Callable[[Inbox], None]) -> list[tuple[int, Delta]]:
    """What `take` gives where these follow each other on the event loop, each in a turn of its own."""

    async def run() -> list[tuple[int, Delta]]:
        inbox = Inbox()
        taking = asyncio.ensure_future(inbox.take(hold_s))
        for step in steps:
            step(inbox)
            await asyncio.sleep(0.002)
        return await asyncio.wait_for(taking, 20)

    return asyncio.run(run())


def test_the_first_text_is_told_at_once() -> None:
    assert taken(NEVER_S, lambda inbox: inbox.put(0, Delta((1,), "a"))) == [(0, Delta((1,), "a"))]


def test_what_has_no_text_yet_waits_for_it() -> None:
    steps = [lambda inbox: inbox.put(0, Delta((1,), "")), lambda inbox: inbox.put(0, Delta((2,), "é"))]
    assert taken(None, *steps) == [(0, Delta((1, 2), "é"))]


def test_an_end_is_told_at_once_with_all_that_was_held_back() -> None:
    async def run() -> list[list[tuple[int, Delta]]]:
        inbox = Inbox()
        inbox.put(0, Delta((1,), "a"))
        first = await inbox.take(NEVER_S)
        inbox.put(0, Delta((2,), "b"))
        inbox.put(0, Delta((3,), "c", "stop"))
        return [first, await inbox.take(NEVER_S)]

    assert asyncio.run(run()) == [[(0, Delta((1,), "a"))], [(0, Delta((2, 3), "bc", "stop"))]]


def test_text_after_the_first_is_held_back_as_long_as_asked_and_no_longer() -> None:
    async def run() -> float:
        inbox = Inbox()
        inbox.put(0, Delta((1,), "a"))
        await inbox.take(0.05)
        inbox.put(0, Delta((2,), "b"))
        began = time.perf_counter()
        assert await inbox.take(0.05) == [(0, Delta((2,), "b"))]
        return time.perf_counter() - began

    assert asyncio.run(run()) >= 0.045


def test_each_sequence_of_a_request_has_a_first_text() -> None:
    async def run() -> list[tuple[int, Delta]]:
        inbox = Inbox()
        inbox.put(0, Delta((1,), "a"))
        await inbox.take(NEVER_S)
        inbox.put(0, Delta((2,), "b"))
        inbox.put(1, Delta((9,), "z"))
        return await inbox.take(NEVER_S)

    assert asyncio.run(run()) == [(0, Delta((2,), "b")), (1, Delta((9,), "z"))]


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_or_put_out_of_order_between_threads(seed: int) -> None:
    """Two engines' threads at once, with pauses at random; read in turns of no, short and unlimited patience."""
    numbers = random.Random(seed)
    pauses = [[numbers.choice([0.0, 0.0, 0.0005]) for _ in range(300)] for _ in range(2)]

    async def run() -> list[list[int]]:
        mailbox, inbox = Mailbox(asyncio.get_running_loop()), Inbox()

        def speak(index: int) -> None:
            for number, pause in enumerate(pauses[index]):
                time.sleep(pause)
                mailbox.post(inbox, index, Delta((number,), "x", "stop" if number == 299 else None))

        threads = [threading.Thread(target=speak, args=(index,)) for index in range(2)]
        for thread in threads:
            thread.start()
        read: list[list[int]] = [[], []]
        while [ids[-1:] for ids in read] != [[299], [299]]:
            for index, delta in await asyncio.wait_for(inbox.take(numbers.choice([0.0, 0.001, None])), 20):
                read[index] += delta.token_ids
        for thread in threads:
            thread.join()
        return read

    assert asyncio.run(run()) == [list(range(300))] * 2


def test_a_closed_loop_is_told_to_every_sender() -> None:
    loop = asyncio.new_event_loop()
    mailbox = Mailbox(loop)
    loop.close()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="closed"):
            mailbox.post(Inbox(), 0, Delta((1,), "a"))
