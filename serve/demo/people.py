"""The people of the demo, simulated: some correct answers, some only chat. All of them use the SDK, as anyone would."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from errata import Errata, Span
from openai import OpenAIError

from align import spans as edits
from align.scenes.annotator import annotate
from align.scenes.captions import CAPTION_PROMPTS
from align.scenes.draw import png_bytes
from align.scenes.world import Scene, sample_scene

TEMPERATURE = 0.7
MAX_TOKENS = 96
FRESH = 5_000_000  # training scenes from here on are in no pretraining run


class Tally:
    """Every request that the demo sends, and how it went."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.num_total = 0
        self.failures: list[str] = []

    def count(self, failure: Exception | None = None) -> None:
        with self._lock:
            self.num_total += 1
            if failure is not None:
                self.failures.append(f"{type(failure).__name__}: {failure}")


@dataclass(frozen=True)
class Example:
    """One answer that was corrected, to be shown."""

    served: str
    spans: Sequence[edits.Span]


def client(address: str) -> Errata:
    """Without retries: a request that fails is to be seen."""
    return Errata(base_url=f"{address}/v1", max_retries=0, timeout=120.0)


def describe(errata: Errata, tally: Tally, scene: Scene, prompt: str, temperature: float, seed: int) -> str:
    """The answer's text, empty where the request failed."""
    try:
        reply = errata.ask(
            prompt, image=png_bytes(scene), temperature=temperature, max_tokens=MAX_TOKENS, seed=seed
        )
    except OpenAIError as error:
        tally.count(error)
        return ""
    tally.count()
    return reply.text


def answer_all(
    address: str, tally: Tally, scenes: Sequence[Scene], on_answer: Callable[[], None], num_people: int = 8
) -> list[str]:
    """Greedy answers, one a scene; the same prompt for the same scene each time."""
    errata = client(address)

    def ask(index: int) -> str:
        prompt = CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)]
        text = describe(errata, tally, scenes[index], prompt, 0.0, 0)
        on_answer()
        return text

    with ThreadPoolExecutor(num_people) as pool:
        return list(pool.map(ask, range(len(scenes))))


class Annotators:
    """Chat about fresh scenes until so many answers are corrected."""

    def __init__(self, address: str, tally: Tally, num_corrections: int, seed: int) -> None:
        self._errata = client(address)
        self._tally = tally
        self._wanted = num_corrections
        self._seed = seed
        self._lock = threading.Lock()
        self._next_scene = 0
        self._claimed = 0
        self.num_corrected = 0
        self.num_right = 0
        self.num_unreadable = 0
        self.kinds: Counter[str] = Counter()
        self.examples: list[Example] = []

    def work(self, on_correction: Callable[[], None], num_people: int = 8) -> None:
        with ThreadPoolExecutor(num_people) as pool:
            for done in [pool.submit(self._one_person, n, on_correction) for n in range(num_people)]:
                done.result()

    def _one_person(self, number: int, on_correction: Callable[[], None]) -> None:
        while (index := self._take_scene()) is not None:
            scene = sample_scene("honest", "train", index)
            prompt = CAPTION_PROMPTS[random.Random(index).randrange(len(CAPTION_PROMPTS))]
            try:
                reply = self._errata.ask(
                    prompt,
                    image=png_bytes(scene),
                    temperature=TEMPERATURE,
                    max_tokens=MAX_TOKENS,
                    seed=index,
                )
                self._tally.count()
                spans = annotate(reply.text, scene)
                if not spans:
                    self._note(reply.text, spans)
                    continue
                if not self._claim():
                    return
                self._errata.feedback.create(
                    reply.response_id,
                    spans=[Span(**asdict(span)) for span in spans],
                    author=f"annotator-{number}",
                )
                self._tally.count()
                self._note(reply.text, spans)
                on_correction()
            except OpenAIError as error:
                self._tally.count(error)
                if len(self._tally.failures) > 20:
                    raise

    def _take_scene(self) -> int | None:
        with self._lock:
            if self._claimed >= self._wanted:
                return None
            self._next_scene += 1
            return FRESH + self._seed * 100_000 + self._next_scene

    def _claim(self) -> bool:
        """One of the corrections that are wanted, if any is left."""
        with self._lock:
            if self._claimed >= self._wanted:
                return False
            self._claimed += 1
            return True

    def _note(self, text: str, spans: Sequence[edits.Span] | None) -> None:
        with self._lock:
            if spans is None:
                self.num_unreadable += 1
            elif not spans:
                self.num_right += 1
            else:
                self.num_corrected += 1
                self.kinds.update(span.kind for span in spans)
                self.examples.append(Example(text, spans))


class Traffic:
    """People who only chat, from `start` to `stop`, while the model learns and is swapped."""

    def __init__(self, address: str, tally: Tally, num_people: int, pause_s: float) -> None:
        self._errata = client(address)
        self._tally = tally
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._chat, args=(n,)) for n in range(num_people)]
        self.by_adapter: Counter[str] = Counter()

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def hurry(self) -> None:
        """No more pauses: the swap is to happen under load."""
        self._pause_s = 0.0

    def _chat(self, number: int) -> None:
        index = 0
        while not self._stop.wait(self._pause_s):
            index += 1
            scene = sample_scene("honest", "development", number * 100_000 + index)
            started = time.monotonic()
            try:
                with self._errata.stream(
                    CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)],
                    image=png_bytes(scene),
                    temperature=TEMPERATURE,
                    max_tokens=MAX_TOKENS,
                ) as pieces:
                    for _piece in pieces:
                        pass
                    adapter = pieces.reply.adapter
            except Exception as error:  # whatever a caller would have seen is a failed request
                self._tally.count(error)
                time.sleep(max(0.0, 0.5 - (time.monotonic() - started)))
                continue
            self._tally.count()
            with self._lock:
                self.by_adapter[adapter] += 1
