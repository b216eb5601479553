"""How many corrections a source may send at once, and in a day."""

from __future__ import annotations

from align.abuse.burst import is_burst
from align.abuse.config import ScreeningConfig
from align.abuse.daily_cap import is_over_daily_cap

CONFIG = ScreeningConfig(burst_size=3, burst_s=60.0, daily_cap=4)
NOW = 1_000_000.0


def test_the_one_after_so_many_within_the_time_is_a_burst() -> None:
    assert not is_burst([], NOW, CONFIG)
    assert not is_burst([NOW - 2, NOW - 1], NOW, CONFIG)
    assert is_burst([NOW - 59, NOW - 2, NOW - 1], NOW, CONFIG)
    assert not is_burst([NOW - 60, NOW - 2, NOW - 1], NOW, CONFIG)


def test_a_steady_stream_below_the_rate_is_no_burst() -> None:
    every_half_minute = [NOW - 30.0 * count for count in range(1, 100)]
    assert not is_burst(every_half_minute, NOW, CONFIG)


def test_the_cap_counts_the_last_24_hours_whatever_the_date() -> None:
    hour = 3600.0
    spread = [NOW - 20 * hour, NOW - 13 * hour, NOW - 6 * hour]
    assert not is_over_daily_cap(spread, NOW, CONFIG)
    assert is_over_daily_cap([NOW - 23.9 * hour, *spread], NOW, CONFIG)
    assert not is_over_daily_cap([NOW - 24 * hour, *spread], NOW, CONFIG)
