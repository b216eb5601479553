"""A run as a job: in this process or on Ray's workers, undisturbed, killed, told to stop, and failing for good."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from corrections import accepted_answers, corrections
from safetensors.torch import load_file
from tiny_models import tiny_llava

from align.config import LoraSettings, ObjectiveConfig, TrainingConfig
from align.errors import NothingToLearn, TrainingFailed, TrainingStopped
from align.job import run_job
from align.run_folder import RunFolder
from align.steps import Metrics
from align.training import TrainingResult, train
from align.training_worker import work

pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning:ray.*")

CONFIG = TrainingConfig(
    objective=ObjectiveConfig(preference_weight=1.0, beta=0.5),
    lora=LoraSettings(rank=4),
    learning_rate=5e-3,
    num_epochs=2,
    batch_size=4,
    micro_batch_size=4,
    num_cpus=0.5,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A small Ray of our own. The folder's path is short, since Ray puts sockets below it."""
    import ray

    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=folder,
        object_store_memory=100 * 1024 * 1024,
        runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}},
    )
    yield
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


LONG = CONFIG.model_copy(
    update={"num_epochs": 12, "learning_rate": 2e-3, "num_workers": 2, "checkpoint_every": 5}
)
LONG_STEPS = list(range(1, 37))


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """The long run in this process, without a break."""
    return train(base, corrections(base, 9), LONG, tmp_path_factory.mktemp("undisturbed") / "adapter")


def assert_same(result: TrainingResult, expected: TrainingResult) -> None:
    assert result.final == pytest.approx(expected.final, rel=1e-3, abs=1e-5)
    got = weights(Path(result.adapter))
    for name, tensor in weights(Path(expected.adapter)).items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-3, atol=1e-4)


@dataclass
class Signaller:
    """Notes the steps that are reported, and sends the second worker a signal at one of them."""

    folder: RunFolder
    signal: signal.Signals
    at_step: int = 8
    steps: list[float] = field(default_factory=list)
    victims: list[int] = field(default_factory=list)

    def __call__(self, metrics: Metrics) -> None:
        self.steps.append(metrics["step"])
        if metrics["step"] == self.at_step and not self.victims:
            self.victims.append(self.second_worker)
            os.kill(self.second_worker, self.signal)

    @property
    def second_worker(self) -> int:
        return int(self.folder.read_worker(1)["pid"])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "adapter_model.safetensors"))


def test_examples_survive_the_way_through_the_run_folder(base: Path, tmp_path: Path) -> None:
    examples = [*corrections(base, 3), *accepted_answers(base, 2, start=3)]
    folder = RunFolder(tmp_path / "run")
    folder.write_examples(examples)
    assert folder.read_examples() == examples


def test_a_worker_on_a_machine_without_the_aligner_s_folder_says_what_to_do(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"niceness": 0}).model_dump(mode="json")
    with pytest.raises(
        TrainingFailed, match="put `state` on a disk that all nodes with training workers reach"
    ):
        work({"base": "none", "config": config, "folder": str(tmp_path / "elsewhere")})


def test_without_workers_the_run_happens_in_this_process(base: Path, tmp_path: Path) -> None:
    steps: list[dict[str, float]] = []
    result = run_job(base, corrections(base, 5), CONFIG, tmp_path / "run", steps.append)
    direct = train(base, corrections(base, 5), CONFIG, tmp_path / "direct")
    assert Path(result.adapter) == tmp_path / "run" / "adapter"
    assert result.digest == direct.digest
    assert tuple(steps) == result.history == direct.history


@pytest.mark.cluster
def test_two_ray_workers_train_the_same_adapter_as_this_process(
    base: Path, tmp_path: Path, cluster: None
) -> None:
    steps: list[Metrics] = []
    examples = corrections(base, 9)
    config = CONFIG.model_copy(update={"num_workers": 2})
    result = run_job(base, examples, config, tmp_path / "run", steps.append)
    assert [metrics["step"] for metrics in steps] == [1, 2, 3, 4, 5, 6]
    assert_same(result, train(base, examples, CONFIG, tmp_path / "direct"))


@pytest.mark.cluster
def test_ray_workers_wait_while_they_are_asked_to_pause(base: Path, tmp_path: Path, cluster: None) -> None:
    steps: list[float] = []
    done_in_pause: list[int] = []
    pause_ends = float("inf")

    def should_pause() -> bool:
        nonlocal pause_ends
        if not steps:
            return False
        if pause_ends == float("inf"):
            pause_ends = time.monotonic() + 3.0
        is_paused = time.monotonic() < pause_ends
        if is_paused:
            done_in_pause.append(len(steps))
        return is_paused

    run_job(
        base,
        corrections(base, 9),
        LONG,
        tmp_path / "run",
        lambda metrics: steps.append(metrics["step"]),
        should_pause=should_pause,
    )
    assert steps == LONG_STEPS
    settled = done_in_pause[len(done_in_pause) // 2 :]
    assert settled[-1] == settled[0] < len(LONG_STEPS)


@pytest.mark.cluster
def test_a_job_with_one_worker_can_be_run_by_an_actor(base: Path, tmp_path: Path, cluster: None) -> None:
    import ray

    config = CONFIG.model_copy(update={"num_workers": 1})

    @ray.remote(num_cpus=0.5)
    class Aligner:
        def align(self) -> tuple[TrainingResult, int]:
            steps: list[Metrics] = []
            examples = RunFolder(tmp_path).read_examples()
            return run_job(base, examples, config, tmp_path / "run", steps.append), len(steps)

    examples = corrections(base, 4)
    RunFolder(tmp_path).write_examples(examples)
    result, num_steps = ray.get(Aligner.remote().align.remote())
    assert num_steps == 2
    assert_same(result, train(base, examples, CONFIG, tmp_path / "direct"))


@pytest.mark.cluster
def test_a_failure_of_a_worker_is_raised_under_its_own_name(
    base: Path, tmp_path: Path, cluster: None
) -> None:
    config = CONFIG.model_copy(update={"num_workers": 1})
    with pytest.raises(NothingToLearn, match="none of 2 examples"):
        run_job(base, accepted_answers(base, 2), config, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_run_told_to_stop_goes_on_where_it_stopped(base: Path, tmp_path: Path) -> None:
    """By its caller, or by SIGTERM."""
    examples, direct = corrections(base, 5), train(base, corrections(base, 5), CONFIG, tmp_path / "direct")
    steps: list[float] = []

    def terminate(metrics: Metrics) -> None:
        steps.append(metrics["step"])
        if metrics["step"] == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    def note(metrics: Metrics) -> None:
        steps.append(metrics["step"])

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(TrainingStopped, match="after step 1 of 4"):
        run_job(base, examples, CONFIG, tmp_path / "run", note, lambda: len(steps) == 1)
    with pytest.raises(TrainingStopped, match="after step 2 of 4"):
        run_job(base, examples, CONFIG, tmp_path / "run", terminate)
    assert signal.getsignal(signal.SIGTERM) is before
    result = run_job(base, examples, CONFIG, tmp_path / "run", note)
    assert steps == [1, 2, 3, 4]
    assert result.digest == direct.digest


def test_a_run_that_is_done_again_in_its_folder_leaves_nothing_of_the_first_try(
    base: Path, tmp_path: Path
) -> None:
    """The first one was killed between its adapter and the row that would have named it."""
    first = run_job(base, corrections(base, 5), CONFIG, tmp_path / "run")
    RunFolder(tmp_path / "run").write_failure(TrainingFailed("an old reason"))
    again = run_job(base, corrections(base, 5), CONFIG, tmp_path / "run")
    assert again.digest == first.digest
    assert RunFolder(tmp_path / "run").read_failure() is None


@pytest.mark.cluster
def test_a_run_whose_worker_is_killed_ends_as_if_undisturbed(
    base: Path, tmp_path: Path, cluster: None, undisturbed: TrainingResult
) -> None:
    kill = Signaller(RunFolder(tmp_path / "run"), signal.SIGKILL)
    result = run_job(base, corrections(base, 9), LONG, tmp_path / "run", kill)
    assert kill.victims
    assert kill.second_worker not in kill.victims
    assert sorted(set(kill.steps)) == LONG_STEPS
    jumps = [step for before, step in pairwise(kill.steps) if step != before + 1]
    assert all(step > 1 and step % LONG.checkpoint_every == 1 for step in jumps), "not from a checkpoint"
    assert_same(result, undisturbed)


@pytest.mark.cluster
def test_a_worker_that_is_told_to_leave_saves_the_run_first(
    base: Path, tmp_path: Path, cluster: None, undisturbed: TrainingResult
) -> None:
    config = LONG.model_copy(update={"checkpoint_every": 1000})
    leave = Signaller(RunFolder(tmp_path / "run"), signal.SIGTERM)
    result = run_job(base, corrections(base, 9), config, tmp_path / "run", leave)
    assert leave.victims
    assert leave.second_worker not in leave.victims
    assert leave.steps == LONG_STEPS, "a step was done twice"
    assert_same(result, undisturbed)


@pytest.mark.cluster
def test_workers_told_to_stop_by_the_caller_leave_a_run_that_this_process_ends(
    base: Path, tmp_path: Path, cluster: None, undisturbed: TrainingResult
) -> None:
    steps: list[float] = []

    def note(metrics: Metrics) -> None:
        steps.append(metrics["step"])

    examples = corrections(base, 9)
    with pytest.raises(TrainingStopped, match="of 36"):
        run_job(base, examples, LONG, tmp_path / "run", note, lambda: len(steps) >= 3)
    assert len(steps) < 36
    alone = LONG.model_copy(update={"num_workers": 0})
    result = run_job(base, examples, alone, tmp_path / "run", note)
    assert steps == LONG_STEPS
    assert_same(result, undisturbed)


@pytest.mark.cluster
def test_a_run_that_may_not_be_started_again_fails_with_the_reason(
    base: Path, tmp_path: Path, cluster: None
) -> None:
    config = LONG.model_copy(update={"max_restarts": 0})
    kill = Signaller(RunFolder(tmp_path / "run"), signal.SIGKILL)
    with pytest.raises(TrainingFailed, match=r"than max_restarts \(0\) allows; .*worker 1: .*died"):
        run_job(base, corrections(base, 9), config, tmp_path / "run", kill)
    assert not (tmp_path / "run" / "adapter").exists()
