"""A training run that shows its progress and can be stopped at any step. Knows nothing about what is learnt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import Progress

from .checkpoint import Done, load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class Pace:
    """In steps."""

    warmup: int = 150
    checkpoint_every: int = 250
    report_every: int = 50


def train(
    module: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    num_steps: int,
    step_loss: Callable[[int], tuple[torch.Tensor, str]],
    checkpoint_path: Path,
    pace: Pace,
    progress: Progress,
) -> Done:
    """One cosine from the peak to nothing; goes on from the checkpoint where there is one."""
    module.train()
    done = before = load_checkpoint(checkpoint_path, module, optimizer)
    peaks = [group["lr"] for group in optimizer.param_groups]
    task = progress.add_task(checkpoint_path.stem, total=num_steps, completed=before.steps, note="")
    losses: list[float] = []
    started = time.monotonic()
    for step in range(before.steps, num_steps):
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * _schedule(step, num_steps, pace.warmup)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss, note = step_loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        done = Done(step + 1, before.seconds + time.monotonic() - started)
        progress.update(task, completed=done.steps)
        if done.steps % pace.report_every == 0:
            note = f"loss {sum(losses) / len(losses):.3f} {note}".strip()
            progress.update(task, note=note)
            progress.console.print(
                f"{checkpoint_path.stem} {done.steps}/{num_steps} {note}, {done.seconds:.0f} s"
            )
            losses.clear()
        if done.steps % pace.checkpoint_every == 0 or done.steps == num_steps:
            save_checkpoint(checkpoint_path, module, optimizer, done)
    return done


def _schedule(step: int, num_steps: int, warmup: int) -> float:
    """Linear warm-up, then a cosine down to 2 %."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, num_steps - warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share))
