"""The rules in order: the gravest finding names the reason, and a rule that is off finds nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from align.abuse.config import Rule, ScreeningConfig
from align.abuse.screening import REASONS, Arrival, Finding, screen

CONFIG = ScreeningConfig()
SERVED = "A red cup stands on the table."
CLEAN = Arrival(SERVED, SERVED.replace("red", "blue"), 1000.0, [], frozenset())
BUSY = [1000.0 - step for step in range(20)]
FOUND = {
    "link": replace(CLEAN, corrected=f"{SERVED} See www.evil.example"),
    "code": replace(CLEAN, corrected=f"{SERVED} <script>"),
    "repeated_insertion": replace(CLEAN, repeated=frozenset({"acme"})),
    "burst": replace(CLEAN, earlier=BUSY),
    "daily_cap": replace(CLEAN, earlier=[1000.0 - 100 * step for step in range(500)]),
}


def test_every_rule_has_its_reason_in_words() -> None:
    assert tuple(REASONS) == get_args(Rule) == CONFIG.rules == tuple(FOUND)


def test_a_common_correction_raises_no_question() -> None:
    assert screen(CLEAN, CONFIG) is None


@pytest.mark.parametrize("rule", FOUND)
def test_each_rule_finds_what_it_is_there_for_and_only_while_it_is_on(rule: Rule) -> None:
    finding = screen(FOUND[rule], CONFIG)
    assert finding is not None
    assert finding.reason == rule
    others = tuple(other for other in CONFIG.rules if other != rule)
    assert screen(FOUND[rule], ScreeningConfig(rules=others)) is None
    assert screen(FOUND[rule], ScreeningConfig(rules=(rule,))) == finding


def test_the_gravest_reason_is_named() -> None:
    everything = Arrival(SERVED, f"{SERVED} <b> www.evil.example", 1000.0, BUSY, frozenset({"acme"}))
    order = []
    rules = CONFIG.rules
    while finding := screen(everything, ScreeningConfig(rules=rules)):
        order.append(finding.reason)
        rules = tuple(rule for rule in rules if rule != finding.reason)
    assert order == ["link", "code", "repeated_insertion", "burst"]


def test_the_words_in_question_are_named_as_phrases() -> None:
    assert screen(FOUND["link"], CONFIG) == Finding("link", frozenset({"www evil example"}))
    assert screen(FOUND["repeated_insertion"], CONFIG) == Finding("repeated_insertion", frozenset({"acme"}))
    assert screen(FOUND["burst"], CONFIG) == Finding("burst")
