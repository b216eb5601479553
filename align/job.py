"""A training run as a job: in the calling process, or as Ray Train workers at low priority.

The run folder is the only channel between the two sides. A run that broke off there goes on from its last checkpoint.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from .config import TrainingConfig
from .errors import TrainingFailed
from .examples import Example
from .run_folder import RunFolder
from .training import OnStep, TrainingResult, train
from .training_worker import work

POLL_S = 0.2


def run_job(
    base: str | Path,
    examples: Sequence[Example],
    config: TrainingConfig,
    path: Path,
    on_step: OnStep | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    should_pause: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Train `base` on the examples; the adapter is `path/adapter`. Blocks, so call it from a thread.

    With `num_workers` the run goes to Ray Train, on the Ray that is initialised already if there is one; `on_step` is
    called in this thread all the same. Called with the same arguments after a crash, it goes on from the checkpoint
    in `path`. Raises `TrainingStopped` once the state is saved, where `should_stop` or (in the main thread) SIGTERM
    asks for that; `NothingToLearn` and `TrainingFailed` with the reason. Between micro-batches it waits while
    `should_pause`.
    """
    folder = RunFolder(path)
    folder.prepare()
    with _or_sigterm(should_stop) as is_to_stop:
        if config.num_workers == 0:
            return train(
                base,
                examples,
                config,
                folder.adapter,
                on_step,
                checkpoints=folder.checkpoints,
                features=folder.features,
                should_stop=is_to_stop,
                should_pause=should_pause,
            )
        folder.write_examples(examples)
        fit = _Fit(base, config, folder)
        _follow(fit, folder, on_step, is_to_stop, should_pause)
    if not folder.result.exists():
        raise folder.read_failure() or _broken(fit.failure, config)
    return TypeAdapter(TrainingResult).validate_json(folder.result.read_bytes())


class _Fit(threading.Thread):
    """Ray Train's blocking `fit` in a thread, so that the caller can follow the progress."""

    def __init__(self, base: str | Path, config: TrainingConfig, folder: RunFolder) -> None:
        super().__init__(name="training-job", daemon=True)
        self._base, self._config, self._folder = base, config, folder
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            _fit(self._base, self._config, self._folder.path.resolve())
        except Exception as error:  # handed to the caller's thread, which raises it
            self.failure = error


def _fit(base: str | Path, config: TrainingConfig, path: Path) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    trainer = TorchTrainer(
        work,
        train_loop_config={"base": str(base), "config": config.model_dump(mode="json"), "folder": str(path)},
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.device.startswith("cuda"),
            resources_per_worker=worker_resources(config),
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(path),
            worker_runtime_env={"env_vars": _thread_limits(config.num_threads)},
            # where one worker dies, all are started again, from the last checkpoint
            failure_config=FailureConfig(max_failures=config.max_restarts),
        ),
    )
    trainer.fit()


def worker_resources(config: TrainingConfig) -> dict[str, float]:
    """What each worker asks Ray for."""
    gpus = {"GPU": config.num_gpus} if config.device.startswith("cuda") else {}
    return {"CPU": config.num_cpus, **gpus}


def _thread_limits(num_threads: int) -> dict[str, str]:
    """Waiting threads sleep instead of spinning: the box is shared with serving."""
    return {
        "OMP_NUM_THREADS": str(num_threads),
        "MKL_NUM_THREADS": str(num_threads),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _follow(
    fit: _Fit,
    folder: RunFolder,
    on_step: OnStep | None,
    is_to_stop: Callable[[], bool],
    should_pause: Callable[[], bool],
) -> None:
    """Run `fit` and call `on_step` for every step that it reports, to the last."""
    fit.start()
    position = 0
    is_running = True
    while is_running:
        fit.join(POLL_S)
        is_running = fit.is_alive()
        if is_to_stop():
            folder.ask_to_stop()
        folder.ask_to_pause(should_pause())
        steps, position = folder.read_progress(position)
        for metrics in steps:
            if on_step is not None:
                on_step(metrics)


@contextmanager
def _or_sigterm(should_stop: Callable[[], bool]) -> Iterator[Callable[[], bool]]:
    """`should_stop`, or SIGTERM, which only a process's main thread can listen to."""
    if threading.current_thread() is not threading.main_thread():
        yield should_stop
        return
    terminated = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: terminated.set())
    try:
        yield lambda: terminated.is_set() or should_stop()
    finally:
        signal.signal(signal.SIGTERM, before)


def _broken(failure: Exception | None, config: TrainingConfig) -> TrainingFailed:
    """Ray Train has given up: what each worker died of."""
    deaths = [
        f"worker {rank}: {_first_line(error)}"
        for rank, error in getattr(failure, "worker_failures", {}).items()
    ]
    return TrainingFailed(
        f"the training workers broke off more often than max_restarts ({config.max_restarts}) allows; "
        + ("; ".join(deaths) or str(failure))
    )


def _first_line(error: Exception) -> str:
    """Of what is inside Ray's wrapping; the rest is Ray's advice and node names."""
    inner = getattr(error, "health_check_failure", None) or getattr(error, "cause", None) or error
    return f"{type(inner).__name__}: {str(inner).strip().splitlines()[0]}"
