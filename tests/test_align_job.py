from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from corrections import accepted_answers, corrections
from safetensors.torch import load_file
from tiny_models import tiny_llava

from align.config import LoraSettings, ObjectiveConfig, TrainingConfig
from align.errors import NothingToLearn
from align.job import read_examples, run_job, write_examples
from align.training import train

pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning:ray.*")

CONFIG = TrainingConfig(
    objective=ObjectiveConfig(beta=0.5),
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


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(folder / "adapter_model.safetensors"))


def test_examples_survive_the_way_through_the_run_folder(base: Path, tmp_path: Path) -> None:
    examples = [*corrections(base, 3), *accepted_answers(base, 2, start=3)]
    write_examples(tmp_path, examples)
    assert read_examples(tmp_path) == examples


def test_without_workers_the_run_happens_in_this_process(base: Path, tmp_path: Path) -> None:
    steps: list[dict[str, float]] = []
    result = run_job(base, corrections(base, 5), CONFIG, tmp_path / "run", steps.append)
    direct = train(base, corrections(base, 5), CONFIG, tmp_path / "direct")
    assert Path(result.adapter) == tmp_path / "run" / "adapter"
    assert result.digest == direct.digest
    assert tuple(steps) == result.history == direct.history


@pytest.mark.cluster
@pytest.mark.parametrize("num_workers", [1, 2])
def test_ray_workers_train_the_same_adapter_as_this_process(
    base: Path, tmp_path: Path, cluster: None, num_workers: int
) -> None:
    steps: list[dict[str, float]] = []
    examples = corrections(base, 9)
    config = CONFIG.model_copy(update={"num_workers": num_workers})
    result = run_job(base, examples, config, tmp_path / "run", steps.append)
    direct = train(base, examples, CONFIG, tmp_path / "direct")
    assert [metrics["step"] for metrics in steps] == [1, 2, 3, 4, 5, 6]
    assert result.final == pytest.approx(direct.final, rel=1e-3, abs=1e-5)
    for name, tensor in weights(tmp_path / "direct").items():
        torch.testing.assert_close(weights(Path(result.adapter))[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.cluster
def test_a_job_can_be_run_by_an_actor(base: Path, tmp_path: Path, cluster: None) -> None:
    import ray

    config = CONFIG.model_copy(update={"num_workers": 1, "num_epochs": 1})

    @ray.remote(num_cpus=0.5)
    class Aligner:
        def align(self) -> tuple[str, int]:
            num_steps = 0

            def count(_: dict[str, float]) -> None:
                nonlocal num_steps
                num_steps += 1

            result = run_job(base, read_examples(tmp_path), config, tmp_path / "run", count)
            return result.digest, num_steps

    write_examples(tmp_path, corrections(base, 4))
    digest, num_steps = ray.get(Aligner.remote().align.remote())
    assert num_steps == 1
    assert digest


@pytest.mark.cluster
def test_a_failure_of_a_worker_is_raised_under_its_own_name(
    base: Path, tmp_path: Path, cluster: None
) -> None:
    config = CONFIG.model_copy(update={"num_workers": 1})
    with pytest.raises(NothingToLearn, match="none of 2 examples"):
        run_job(base, accepted_answers(base, 2), config, tmp_path / "run")
    assert not (tmp_path / "run" / "adapter").exists()
    assert not (tmp_path / "run" / "result.json").exists()
