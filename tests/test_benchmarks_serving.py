"""The serving benchmark's own arithmetic: what clients see, and what is divided by what."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from benchmarks.serving.__main__ import MAX_REST_S, Measured, questions, rest, summary
from benchmarks.serving.load import Question, Seen, Stream, drive
from benchmarks.serving.models import name_all_tokens, prepare
from benchmarks.serving.systems import _take
from benchmarks.shapes import Width, random_llava


def test_clients_ask_one_question_after_the_other_and_so_many_at_once() -> None:
    at_once, most = 0, 0

    async def ask(question: Question) -> Stream:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        stream = Stream(num_tokens=5)
        await asyncio.sleep(0.01)
        stream.arrived(question.text)
        await asyncio.sleep(0.02)
        stream.arrived("!")
        at_once -= 1
        return stream

    seen = asyncio.run(drive(ask, [Question(str(number), b"") for number in range(6)], 3))
    assert most == 3
    assert seen.texts == ("0!", "1!", "2!", "3!", "4!", "5!")
    assert (seen.num_requests, seen.num_failed) == (6, 0)
    assert seen.tokens_per_s == pytest.approx(5 * seen.requests_per_s)
    assert 0.009 < seen.first_token_s[0] < 0.5
    assert 0.019 < seen.between_s[0] < 0.5


def test_a_request_that_fails_is_counted_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    async def ask(question: Question) -> Stream:
        if question.text == "1":
            raise ConnectionError("reset")
        stream = Stream(num_tokens=1)
        stream.arrived("yes")
        return stream

    seen = asyncio.run(drive(ask, [Question(str(number), b"") for number in range(3)], 1))
    assert (seen.num_failed, seen.texts) == (1, ("yes", "", "yes"))
    assert "reset" in capsys.readouterr().out


def test_tokens_are_those_that_the_server_counts_and_not_its_events() -> None:
    stream = Stream()
    _take(stream, {"choices": [{"delta": {"role": "assistant", "content": ""}}]})
    assert stream.arrivals == []
    _take(stream, {"choices": [{"delta": {"content": "three words here"}}], "usage": None})
    _take(stream, {"choices": [], "usage": {"completion_tokens": 3}})
    assert (stream.num_tokens, len(stream.arrivals), stream.text) == (3, 1, "three words here")


def measured(system: str, images: str, num_clients: int, number: int, tokens_per_s: float) -> Measured:
    seen = Seen(1, 0, tokens_per_s, 1.0, (0.1, 0.2), (0.01, 0.02), (f"{system[:1]} said",))
    return Measured("embedded", system, images, num_clients, number, 1.0, seen)


def test_a_ratio_is_that_of_one_round_and_the_worst_kind_of_images_counts() -> None:
    results = [
        measured("errata", "distinct", 32, 0, 300.0),
        measured("transformers serve", "distinct", 32, 0, 30.0),
        measured("errata", "distinct", 32, 1, 100.0),
        measured("transformers serve", "distinct", 32, 1, 5.0),
        measured("errata, engine alone", "distinct", 32, 1, 125.0),
        measured("errata", "repeated", 32, 0, 90.0),
        measured("transformers serve", "repeated", 32, 0, 10.0),
        measured("errata", "repeated", 1, 0, 12.0),
        measured("transformers serve", "repeated", 1, 0, 10.0),
    ]
    report = summary(results)
    spread = report["ratios"]["embedded, distinct, 32"]["transformers serve"]
    assert spread == {"median": 15.0, "low": 10.0, "high": 20.0}
    assert (report["ratio_32"], report["ratio_1"], report["http_share_32"]) == (9.0, 1.2, 0.8)
    assert "texts" not in report["rounds"][0]["seen"]


def test_repeated_pictures_are_few_and_no_two_measurements_share_any() -> None:
    def pictures(images: str, seed: int) -> set[bytes]:
        return {question.image for question in questions(8, images, seed)}

    assert (len(pictures("distinct", 1)), len(pictures("repeated", 1))) == (8, 4)
    assert not pictures("distinct", 1) & pictures("repeated", 1)
    assert not pictures("distinct", 1) & pictures("distinct", 8)


def test_answers_of_the_prepared_model_end_only_where_they_are_cut(tmp_path: Path) -> None:
    folder = prepare("embedded", tmp_path / "model")
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == json.loads((folder / "config.json").read_text())["image_token_index"]


def test_every_token_of_random_weights_is_a_word(tmp_path: Path) -> None:
    """An answer without text counts as a request that failed."""
    width = Width(
        hidden_size=32,
        intermediate_size=32,
        num_layers=1,
        num_heads=1,
        vision_hidden_size=32,
        vision_layers=1,
        vision_heads=1,
        image_size=28,
        patch_size=14,
    )
    name_all_tokens(random_llava(tmp_path, width))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    vocab_size = json.loads((tmp_path / "config.json").read_text())["text_config"]["vocab_size"]
    assert len(tokenizer) == vocab_size
    assert all(tokenizer.decode([token_id]).strip() for token_id in range(605, vocab_size))


def test_a_server_is_measured_when_its_start_is_over_or_after_a_minute() -> None:
    used = iter([0.0, 0.02, 0.02, 0.03, 0.03, 0.0301])  # seconds before and after each interval of 0.01 s
    asyncio.run(rest(lambda: next(used), 0.01))
    assert list(used) == []
    asked: list[float] = []

    def busy() -> float:
        asked.append(len(asked) * 1.0)
        return asked[-1]

    asyncio.run(rest(busy, 0.0))
    assert len(asked) == 2 * MAX_REST_S
