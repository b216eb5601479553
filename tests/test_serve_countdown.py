"""A moment of the wall clock is waited for by one that nobody sets."""

from __future__ import annotations

from serve.countdown import Countdown, left_s


def test_what_is_left_is_never_more_than_was_meant_nor_less_than_nothing() -> None:
    assert left_s(110.0, now=100.0, longest_s=60.0) == 10.0
    assert left_s(110.0, now=100.0 - 3600.0, longest_s=60.0) == 60.0
    assert left_s(110.0, now=100.0 + 3600.0, longest_s=60.0) == 0.0


def test_it_counts_for_each_number_from_when_it_first_heard_of_it() -> None:
    now = 5.0
    countdown = Countdown(lambda: now)
    countdown.begin(1, 10.0)
    now = 14.9
    countdown.begin(1, 3600.0)
    assert not countdown.is_over
    now = 15.0
    assert countdown.is_over
    countdown.begin(2, 1.0)
    assert (countdown.is_over, countdown.began) == (False, 15.0)
