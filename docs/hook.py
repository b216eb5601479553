"""What the documentation's build adds to its pages: those that are read from the code, and results of benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from generators import commands, families, http, memory, metrics, settings
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = {"http": http, "settings": settings, "metrics": metrics, "commands": commands}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, page in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=page.page()))
    for result in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        name = f"benchmarks/results/{result.name}"
        files.append(File.generated(config, name, abs_src_path=str(result)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Links out of `docs/` lead, in the repository, to what the site has beside its pages."""
    markdown = markdown.replace("](../benchmarks/results/", "](benchmarks/results/")
    return markdown.replace("<!-- memory -->", memory.memory_table()).replace(
        "<!-- families -->", families.listed()
    )
