"""The demo from start to end, told as it happens: chat -> correct -> align -> gate -> swap, before and after."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from errata import Alignment
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from align.scenes import MODEL_PATH
from align.scenes.evaluate import evaluation_scenes
from align.scenes.world import Scene
from serve.errors import ServeError
from serve.launch import end_by_exception_on_sigterm
from serve.marked import marked
from serve.settings import AlignmentSettings, Settings

from .clock import Clock
from .outcome import Outcome, compare
from .people import Annotators, Tally, Traffic, answer_all, client
from .report import plot, table
from .server import free_port, server

MEMORY_FOR_TWO_REPLICAS = 6 * 2**30  # bytes
RUN_S = 900.0
SWAP_S = 180.0
POLL_S = 0.5


@dataclass(frozen=True)
class Plan:
    num_corrections: int
    seed: int
    num_scenes: int
    num_replicas: int | None
    port: int
    output: Path
    is_exit: bool

    def settings(self, state: Path) -> Settings:
        has_room = psutil.virtual_memory().available >= MEMORY_FOR_TWO_REPLICAS
        alignment = AlignmentSettings(min_corrections=self.num_corrections)
        training = alignment.training.model_copy(update={"seed": self.seed})
        return Settings(
            model=str(MODEL_PATH),
            state=state,
            port=self.port or free_port(),
            num_replicas=self.num_replicas or (2 if has_room else 1),
            alignment=alignment.model_copy(update={"training": training}),
        )


@dataclass(frozen=True)
class Swap:
    """How the run ended, and what the people who only chatted saw of it."""

    run: Alignment
    live: str
    num_requests: int
    num_failed: int
    by_adapter: dict[str, int]


def tell(plan: Plan, console: Console) -> bool:
    """Run the demo and write demo.json and demo.png; returns whether the gate admitted what was learned.

    Raises `ServeError` where the server does not start, or the run or the swap does not end in time.
    """
    end_by_exception_on_sigterm()
    plan.output.mkdir(parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix="errata-demo-"))
    try:
        return Story(plan, state, console).tell()
    finally:
        shutil.rmtree(state, ignore_errors=True)


class Story:
    def __init__(self, plan: Plan, state: Path, console: Console) -> None:
        self._plan = plan
        self._settings = plan.settings(state)
        self._console = console
        self._clock = Clock()
        self._tally = Tally()
        self._scenes = evaluation_scenes("honest", "test", plan.num_scenes)
        self._address = f"http://{self._settings.host}:{self._settings.port}"

    def tell(self) -> bool:
        replicas = self._settings.num_replicas
        self._say("Serve", f"the embedded model, {replicas} replica(s), at {self._address}/v1")
        with server(self._settings, leave=not self._plan.is_exit):
            before = self._measure("Look", "before", self._scenes)
            annotators = self._correct()
            swap = self._learn_and_swap()
            after = self._measure("Look again", "after", self._scenes)
            outcome = self._outcome(before, after, annotators, swap)
            self._conclude(outcome)
        return outcome.verdict == "admitted"

    def _measure(self, title: str, name: str, scenes: list[Scene]) -> list[str]:
        self._say(title, f"at {len(scenes)} held-out scenes, greedily")
        with self._clock.part(name), self._progress(f"{name}: answers", len(scenes)) as advance:
            return answer_all(self._address, self._tally, scenes, advance)

    def _correct(self) -> Annotators:
        wanted = self._plan.num_corrections
        self._say(
            "Correct",
            f"8 annotators chat about fresh scenes at temperature 0.7, until {wanted} answers are corrected",
        )
        annotators = Annotators(self._address, self._tally, wanted, self._plan.seed)
        with self._clock.part("corrections"), self._progress("corrections", wanted) as advance:
            annotators.work(advance)
        kinds = ", ".join(f"{number} {kind}" for kind, number in annotators.kinds.most_common())
        self._console.print(f"   {annotators.num_right} answers were right; edits: {kinds}")
        for example in annotators.examples[:2]:
            shown = marked(example.served, example.spans, is_styled=self._console.is_terminal)
            self._console.print(shown, style="dim", width=100)
        return annotators

    def _learn_and_swap(self) -> Swap:
        self._say("Align", "the run starts by itself; chat goes on meanwhile")
        with Traffic(self._address, self._tally, num_people=4, pause_s=2.0) as traffic:
            with self._clock.part("run"):
                run = self._follow_run()
            self._console.print(f"   gate: [bold]{run.adapter or ''}[/] {run.reason}", highlight=False)
            requests, failed = self._tally.num_total, len(self._tally.failures)
            live = "base"
            if run.status == "admitted":
                self._say("Swap", f"{run.adapter} into {self._settings.num_replicas} replica(s), under load")
                traffic.hurry()
                with self._clock.part("swap"):
                    live = self._wait_until_live(run.adapter or "")
                time.sleep(2.0)  # the load goes on for a while on the new version
        num_requests = self._tally.num_total - requests
        num_failed = len(self._tally.failures) - failed
        versions = ", ".join(
            f"{number} by {adapter}" for adapter, number in sorted(traffic.by_adapter.items())
        )
        self._console.print(
            f"   chats meanwhile: {versions}; during the swap {num_requests} requests, {num_failed} failed"
        )
        return Swap(run, live, num_requests, num_failed, dict(traffic.by_adapter))

    def _follow_run(self) -> Alignment:
        alignments = client(self._address).alignments
        deadline = time.monotonic() + RUN_S
        with self._progress("steps", None) as advance_to:
            while time.monotonic() < deadline:
                runs = alignments.list()
                progress = (runs[0].progress if runs else None) or {}
                if "num_steps" in progress:
                    advance_to(int(progress["step"]), int(progress["num_steps"]))
                if runs and runs[0].is_ended:
                    return runs[0]
                time.sleep(POLL_S)
        raise ServeError(f"the run did not end within {RUN_S:g} s; its row: {alignments.list()[:1]}")

    def _wait_until_live(self, version: str) -> str:
        adapters = client(self._address).adapters
        deadline = time.monotonic() + SWAP_S
        while time.monotonic() < deadline:
            now = adapters.list()
            if now.in_force.live == version:
                return version
            if now.rollout.phase == "abandoned":
                raise ServeError(f"the rollout of {version} was abandoned: {now.rollout.reason}")
            time.sleep(POLL_S)
        raise ServeError(f"{version} was not live within {SWAP_S:g} s")

    def _outcome(self, before: list[str], after: list[str], annotators: Annotators, swap: Swap) -> Outcome:
        return Outcome(
            *compare(before, after, self._scenes),
            num_corrections=annotators.num_corrected,
            verdict=swap.run.status,
            reasons=swap.run.reason or "",
            adapter=swap.live,
            num_requests=self._tally.num_total,
            failures=tuple(self._tally.failures),
            num_requests_during_swap=swap.num_requests,
            num_failed_during_swap=swap.num_failed,
            seconds=self._clock.seconds,
        )

    def _conclude(self, outcome: Outcome) -> None:
        change, console = outcome.change, self._console
        console.print()
        console.print(table(outcome))
        points = [
            100 * x for x in (change.hallucinated.value, change.hallucinated.low, change.hallucinated.high)
        ]
        console.print(
            f"Hallucinated answers: {change.hallucinated_relative:+.0%} relative, "
            f"{points[0]:+.1f} points (paired 95 % interval {points[1]:+.1f} to {points[2]:+.1f}); "
            f"coverage {change.coverage_ratio.value:.1%} of before.",
            highlight=False,
        )
        console.print(f"Requests: {outcome.num_requests}, failed: {len(outcome.failures)}.", highlight=False)
        parts = ", ".join(f"{name} {value:.0f}" for name, value in outcome.seconds.items())
        console.print(f"Seconds: {parts}.", highlight=False)
        folder = self._plan.output
        (folder / "demo.json").write_text(json.dumps(outcome.to_json(), indent=2) + "\n")
        plot(outcome, folder / "demo.png")
        console.print(f"Wrote {folder / 'demo.json'} and {folder / 'demo.png'}.")
        if not self._plan.is_exit:
            console.print(
                f"\nThe server is up at [bold]{self._address}/v1[/]; Ctrl+C ends it. "
                f"Look around: errata adapters list --url {self._address}/v1"
            )

    def _say(self, title: str, text: str) -> None:
        self._console.print(f"\n[bold cyan]{title}[/]  {text}", highlight=False)

    @contextmanager
    def _progress(self, label: str, total: int | None) -> Iterator[Callable[..., None]]:
        """A bar; the callable advances it by one, or sets it when given where it is and its total."""
        columns = (
            TextColumn("   {task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(label, total=total)

            def advance(completed: int | None = None, of: int | None = None) -> None:
                if completed is None:
                    progress.advance(task)
                else:
                    progress.update(task, completed=completed, total=of)

            yield advance
