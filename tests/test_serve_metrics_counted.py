"""A count that takes long: who asks has the one before, one is made at a time, and it rests in proportion."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from served import wait_until

from serve.metrics import Counted
from serve.metrics.counted import Count


class Slow:
    """Counts up; each count waits until it may end."""

    def __init__(self) -> None:
        self.may_end = threading.Semaphore(0)
        self.num_begun = 0
        self.fails = False

    def __call__(self) -> int:
        self.num_begun += 1
        number = self.num_begun
        self.may_end.acquire()
        if self.fails:
            raise OSError("the database is away")
        return number


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.may_end.release(100)


def value(count: Count[int] | None) -> int | None:
    return None if count is None else count.value


def test_what_is_counted_quickly_is_counted_whenever_somebody_asks() -> None:
    numbers = iter(range(10))
    counted = Counted(lambda: next(numbers), patience_s=60.0)
    assert [value(counted.newest()) for _ in range(4)] == [0, 1, 2, 3]


def test_who_asks_while_it_is_counted_has_the_count_before(slow: Slow) -> None:
    counted = Counted(slow, patience_s=0.0)
    assert counted.newest() is None
    slow.may_end.release()
    wait_until(lambda: value(counted.newest()) == 1)
    wait_until(lambda: counted.newest() and slow.num_begun == 2)
    for _ in range(5):
        assert value(counted.newest()) == 1
    assert slow.num_begun == 2, "one at a time, however many ask"
    slow.may_end.release()
    wait_until(lambda: value(counted.newest()) == 2)


def test_a_count_of_some_seconds_is_good_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("serve.metrics.counted.time.monotonic", lambda: now[0])
    num_counts = 0

    def count() -> int:
        nonlocal num_counts
        num_counts += 1
        now[0] += 3.0
        return num_counts

    counted = Counted(count, patience_s=1.0)
    assert value(counted.some()) == 1
    now[0] += 59.0
    assert value(counted.some()) == 1
    now[0] += 1.0
    assert value(counted.some()) == 2


def test_the_first_one_can_be_waited_for(slow: Slow) -> None:
    counted = Counted(slow, patience_s=0.0)
    found: list[int] = []
    asking = threading.Thread(target=lambda: found.append(counted.some().value))
    asking.start()
    wait_until(lambda: slow.num_begun == 1)
    assert found == []
    slow.may_end.release()
    asking.join()
    assert found == [1]


def test_what_could_not_be_counted_is_told_and_tried_again(slow: Slow) -> None:
    counted = Counted(slow, patience_s=60.0)
    slow.fails = True
    slow.may_end.release(2)
    for _ in range(2):
        with pytest.raises(OSError, match="away"):
            counted.newest()
    slow.fails = False
    slow.may_end.release()
    assert value(counted.newest()) == 3
