"""`errata eval`: how often versions say what is not so, on pictures whose contents are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .connection import connect
from .options import DEFAULT_URL, AsJson, Key, Url
from .output import aside, console, print_json

if TYPE_CHECKING:
    from errata import Errata
    from rich.table import Table

    from align.scenes.evaluate import Estimate, Figures


def evaluate(
    versions: Annotated[
        list[str] | None,
        typer.Argument(help="As v0003 or base; by default the base and the version that is live."),
    ] = None,
    scenes: Annotated[int, typer.Option(min=20, help="Drawn pictures that no training has seen.")] = 200,
    people: Annotated[int, typer.Option(min=1, help="Questions at once.")] = 8,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    key: Key = "none",
) -> None:
    """Have versions describe drawn scenes whose contents are known, and count what is not so.

    For the embedded model and others that learned these scenes. What a version of another model does better is
    measured on your own corrections: see `errata gate`.
    """
    from dataclasses import asdict

    with connect(url, key) as client:
        asked = versions or _both(client)
        figures = {version: _measured(client, version, scenes, people) for version in asked}
    if as_json:
        print_json({version: asdict(one) for version, one in figures.items()})
    else:
        console.print(_table(figures))


def _both(client: Errata) -> list[str]:
    return list(dict.fromkeys(("base", client.adapters.list().in_force.live)))


def _measured(client: Errata, version: str, num_scenes: int, people: int) -> Figures:
    """Greedy descriptions, one a scene, the same scenes and questions for every version. A refusal ends it all."""
    from concurrent.futures import ThreadPoolExecutor

    from rich.progress import track

    from align.scenes.captions import CAPTION_PROMPTS
    from align.scenes.draw import png_bytes
    from align.scenes.evaluate import evaluation_scenes, measure

    known = evaluation_scenes("honest", "test", num_scenes)
    name = next(iter(client.models.list())).id.partition("@")[0]

    def describe(index: int) -> str:
        prompt = CAPTION_PROMPTS[index % len(CAPTION_PROMPTS)]
        options: dict[str, Any] = {"model": f"{name}@{version}", "temperature": 0, "max_tokens": 96}
        return client.ask(prompt, image=png_bytes(known[index]), **options).text

    with ThreadPoolExecutor(people) as pool:
        answers = pool.map(describe, range(num_scenes))
        is_quiet = not aside.is_terminal
        shown = track(
            answers, f"asking {version}", num_scenes, console=aside, transient=True, disable=is_quiet
        )
        texts = list(shown)
    return measure(texts, known)


def _table(figures: Mapping[str, Figures]) -> Table:
    from rich.table import Table

    first = next(iter(figures.values()))
    title = f"{first.num_answers} scenes, greedy, with 95 % intervals"
    table = Table("", *figures, title=title)
    rows = {
        "answers with a wrong claim": "hallucinated",
        "coverage of the objects": "coverage",
        "invented of all named objects": "chair_i",
        "unreadable answers": "unreadable",
    }
    for words, name in rows.items():
        table.add_row(words, *(_percent(getattr(one, name)) for one in figures.values()))
        if name == "hallucinated":
            for kind in first.wrong:
                table.add_row(f"  wrong {kind}", *(_percent(one.wrong[kind]) for one in figures.values()))
    return table


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]"
