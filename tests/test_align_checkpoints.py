"""A run that breaks off at any moment goes on from its last checkpoint, and ends as it would have without the break."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from corrections import corrections
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_models import tiny_llava

from align import checkpoints as module
from align import pausing
from align.checkpoints import Checkpoint, Checkpoints, read_tensors
from align.config import LoraSettings, ObjectiveConfig, SftFirst, TrainingConfig
from align.errors import TrainingStopped
from align.steps import Metrics
from align.training import TrainingResult, train
from align.workers import Workers

NUM_EXAMPLES = 7
CONFIG = TrainingConfig(
    lora=LoraSettings(rank=4, dropout=0.2),
    learning_rate=5e-3,
    num_epochs=2,
    batch_size=2,
    micro_batch_size=1,
    checkpoint_every=3,
)
ALONE = Workers(0, 1, "cpu")


class Crash(Exception):
    pass


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(base, corrections(base, NUM_EXAMPLES), CONFIG, tmp_path_factory.mktemp("run") / "adapter")


def crash_after(step: int) -> Any:
    def on_step(metrics: Metrics) -> None:
        if metrics["step"] == step:
            raise Crash

    return on_step


def go_on(base: Path, folder: Path, config: TrainingConfig = CONFIG) -> tuple[TrainingResult, list[float]]:
    """The run in `folder` to its end, and the steps that this took."""
    steps: list[float] = []
    result = train(
        base,
        corrections(base, NUM_EXAMPLES),
        config,
        folder / "adapter",
        lambda metrics: steps.append(metrics["step"]),
        folder / "checkpoints",
    )
    return result, steps


def break_off(base: Path, folder: Path, step: int, config: TrainingConfig = CONFIG) -> None:
    """Crash after the step, before a checkpoint of it."""
    with pytest.raises(Crash):
        train(
            base,
            corrections(base, NUM_EXAMPLES),
            config,
            folder / "adapter",
            crash_after(step),
            folder / "checkpoints",
        )


def test_a_run_that_broke_off_goes_on_from_its_checkpoint_and_ends_as_if_nothing_had_been(
    base: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    break_off(base, tmp_path, 5)
    result, steps = go_on(base, tmp_path)
    assert steps == [4, 5, 6, 7, 8]
    assert result.digest == undisturbed.digest
    assert result.history == undisturbed.history
    assert result.final == undisturbed.final


def test_a_run_that_broke_off_twice_or_before_its_first_checkpoint_ends_the_same(
    base: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    for step in (2, 5, 8):
        break_off(base, tmp_path, step)
    result, steps = go_on(base, tmp_path)
    assert steps == [7, 8]
    assert result.digest == undisturbed.digest


def test_a_run_whose_training_was_done_has_no_step_to_do_again(
    base: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    """Killed while its adapter was measured, say."""
    first, _ = go_on(base, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    (tmp_path / "b" / "adapter").rename(tmp_path / "first")
    again, steps = go_on(base, tmp_path / "b")
    assert steps == []
    assert again.digest == first.digest == undisturbed.digest
    assert again.history == undisturbed.history


@pytest.mark.parametrize("step", [3, 4, 7])
def test_a_run_in_two_stages_keeps_its_stage_and_the_reference_of_that_stage(
    base: Path, tmp_path: Path, step: int
) -> None:
    """Broken off in the first stage, at its end and in the second one: 4 steps each."""
    objective = ObjectiveConfig(sft_first=SftFirst(num_epochs=1, reference="sft"))
    config = CONFIG.model_copy(update={"objective": objective, "num_epochs": 1, "checkpoint_every": 1})
    whole = train(base, corrections(base, NUM_EXAMPLES), config, tmp_path / "whole")
    break_off(base, tmp_path, step, config)
    result, steps = go_on(base, tmp_path, config)
    assert steps == list(range(step, 9))
    assert result.digest == whole.digest
    assert result.margin_quartiles == whole.margin_quartiles


def test_a_run_that_is_told_to_stop_saves_its_last_step_and_goes_on_from_there(
    base: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    steps: list[Metrics] = []
    with pytest.raises(TrainingStopped, match="stopped after step 4 of 8"):
        train(
            base,
            corrections(base, NUM_EXAMPLES),
            CONFIG,
            tmp_path / "adapter",
            steps.append,
            tmp_path / "checkpoints",
            should_stop=lambda: len(steps) == 4,
        )
    assert not (tmp_path / "adapter").exists()
    result, done = go_on(base, tmp_path)
    assert done == [5, 6, 7, 8]
    assert result.digest == undisturbed.digest


def test_a_run_that_pauses_between_micro_batches_ends_the_same(
    base: Path, tmp_path: Path, undisturbed: TrainingResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pausing, "PAUSE_S", 0.001)
    asked = 0

    def should_pause() -> bool:
        nonlocal asked
        asked += 1
        return asked % 3 != 0

    examples = corrections(base, NUM_EXAMPLES)
    result = train(base, examples, CONFIG, tmp_path / "adapter", should_pause=should_pause)
    num_parts = -(-NUM_EXAMPLES // CONFIG.micro_batch_size)  # of the reference; and those of each epoch
    assert asked == 3 * (num_parts + CONFIG.num_epochs * num_parts)
    assert result.digest == undisturbed.digest


def test_a_run_may_be_stopped_in_a_pause(base: Path, tmp_path: Path) -> None:
    steps: list[Metrics] = []
    is_stopping = False

    def should_pause() -> bool:
        """For ever, from the third step on; the order to stop comes meanwhile."""
        nonlocal is_stopping
        is_stopping = len(steps) == 2
        return is_stopping

    with pytest.raises(TrainingStopped, match="stopped after step 3 of 8"):
        train(
            base,
            corrections(base, NUM_EXAMPLES),
            CONFIG,
            tmp_path / "adapter",
            steps.append,
            tmp_path / "checkpoints",
            should_stop=lambda: is_stopping,
            should_pause=should_pause,
        )


def test_a_run_that_is_told_to_stop_after_its_last_step_ends_instead(base: Path, tmp_path: Path) -> None:
    steps: list[Metrics] = []
    result = train(
        base,
        corrections(base, NUM_EXAMPLES),
        CONFIG,
        tmp_path / "adapter",
        steps.append,
        tmp_path / "checkpoints",
        should_stop=lambda: len(steps) == 8,
    )
    assert len(result.history) == 8


@pytest.mark.parametrize(
    ("changes", "first_step"),
    [
        ({}, 4),
        ({"num_threads": 2, "niceness": 0, "checkpoint_every": 1}, 4),
        ({"seed": 1}, 1),
        ({"learning_rate": 4e-3}, 1),
        ({"num_epochs": 3}, 1),
    ],
    ids=["same run", "runs elsewhere", "another seed", "another rate", "another length"],
)
def test_only_a_checkpoint_of_the_same_run_is_picked_up(
    base: Path, tmp_path: Path, changes: dict[str, Any], first_step: int
) -> None:
    break_off(base, tmp_path, 4)
    _, steps = go_on(base, tmp_path, CONFIG.model_copy(update=changes))
    assert steps[0] == first_step


def test_a_checkpoint_of_other_corrections_is_not_picked_up(base: Path, tmp_path: Path) -> None:
    break_off(base, tmp_path, 4)
    steps: list[Metrics] = []
    others = corrections(base, NUM_EXAMPLES, start=1)
    train(base, others, CONFIG, tmp_path / "adapter", steps.append, tmp_path / "checkpoints")
    assert steps[0]["step"] == 1


def test_a_checkpoint_of_another_base_is_not_picked_up(base: Path, tmp_path: Path) -> None:
    """One that was put in the place of the first, in the same shapes."""
    other = tmp_path / "base"
    shutil.copytree(base, other)
    break_off(other, tmp_path, 4)
    weights = load_file(other / "model.safetensors")
    weights[min(weights)] += 0.01
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    assert go_on(other, tmp_path)[1][0] == 1


def saved(folder: Path, run: str = "run", step: int = 1) -> Checkpoints:
    checkpoints = Checkpoints(folder, run, ALONE)
    tensors = {"weight/a": torch.full((3,), float(step)), "reference": torch.ones(2, 2)}
    checkpoints.save(Checkpoint(step, ({"step": float(step), "loss": 0.5},) * step, tensors))
    return checkpoints


def test_a_checkpoint_comes_back_as_it_was_saved_and_replaces_the_one_before(tmp_path: Path) -> None:
    saved(tmp_path, step=9)
    newest = saved(tmp_path, step=10).newest()
    assert newest is not None
    assert (newest.step, newest.history[9]) == (10, {"step": 10.0, "loss": 0.5})
    assert torch.equal(newest.tensors["weight/a"], torch.full((3,), 10.0))
    assert [path.name for path in tmp_path.iterdir()] == ["00000010.safetensors"]


def test_a_crash_while_a_checkpoint_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(_tensors: Any, path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise Crash

    checkpoints = saved(tmp_path, step=1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "save_file", die)
        with pytest.raises(Crash):
            saved(tmp_path, step=2)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 1


def test_a_checkpoint_that_the_disk_has_damaged_is_not_read(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    assert checkpoints.newest() is None


def test_a_checkpoint_holds_tensors_and_nothing_that_could_run(base: Path, tmp_path: Path) -> None:
    break_off(base, tmp_path, 4)
    (path,) = (tmp_path / "checkpoints").iterdir()
    with safe_open(path, framework="pt") as file:
        assert file.metadata().keys() == {"run", "history"}
    tensors, _ = read_tensors(path)
    assert {name.partition("/")[0] for name in tensors} == {
        "weight",
        "step",
        "exp_avg",
        "exp_avg_sq",
        "reference",
        "margins",
    }
    assert tensors["reference"].shape == (NUM_EXAMPLES, 4)


PROGRAM = """
import sys, time
from pathlib import Path
from corrections import corrections
from test_align_checkpoints import CONFIG, NUM_EXAMPLES
from align.training import train
base, folder = map(Path, sys.argv[1:])
train(base, corrections(base, NUM_EXAMPLES), CONFIG, folder / "adapter",
      lambda metrics: time.sleep(60 * (metrics["step"] == 5)), folder / "checkpoints")
"""


def test_a_process_killed_in_mid_run_leaves_a_run_that_another_one_ends(
    base: Path, undisturbed: TrainingResult, tmp_path: Path
) -> None:
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths}\n{PROGRAM}", base, tmp_path]
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoints" / "00000003.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    assert process.wait() == -9
    assert not (tmp_path / "adapter").exists()
    result, steps = go_on(base, tmp_path)
    assert steps == [4, 5, 6, 7, 8]
    assert result.digest == undisturbed.digest
