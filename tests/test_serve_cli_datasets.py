"""`errata import` and `errata export`: what a person types to take corrections in, and to hand them on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Errata, command_line, complaint
from datasets_on_disk import json_lines, rlhf_v, rlhf_v_row
from records import correction, response
from tiny_models import png

from align.state import Store
from serve.settings import Settings


@pytest.fixture
def errata(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Errata:
    return command_line(monkeypatch, capsys)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path / "state")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.database_url)
    yield store
    store.close()


def test_a_dataset_is_imported_for_the_embedded_model(
    errata: Errata, settings: Settings, store: Store, tmp_path: Path
) -> None:
    file = rlhf_v(tmp_path / "d.parquet", map(rlhf_v_row, range(3)))
    status, out, err = errata("import", file, "--format", "rlhf-v", "--state", settings.state)
    assert (status, err) == (0, "")
    assert "3 corrections added to" in out
    ((_, response), *_) = store.corrections.trainable()
    assert (response.model, response.adapter) == ("errata-scenes", "imported")
    again = errata("import", file, "--format", "rlhf-v", "--state", settings.state)
    assert "0 corrections added" in again[1]
    assert "3 were there already" in " ".join(again[1].split())


def test_failed_rows_are_named_and_seen_in_the_status(
    errata: Errata, settings: Settings, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "1.png").write_bytes(png(1))
    good = {"image": "1.png", "prompt": "What?", "chosen": "A cup.", "rejected": "A [bold]fork."}
    file = json_lines(tmp_path / "d.jsonl", [good, {**good, "image": "2.png"}, "{"])
    images = ("--images", tmp_path / "pictures")
    status, out, err = errata("import", file, "--format", "llava", *images, "--state", settings.state)
    assert status == 1
    first, second = err.splitlines()
    assert first.startswith(f"row 2: image {tmp_path}/pictures/2.png cannot be read: No such file")
    assert second.startswith("row 3: Invalid JSON")
    assert "1 corrections added" in out
    assert "2 rows failed" in " ".join(out.split())
    assert [response.text for _, response in store.corrections.trainable()] == ["A [bold]fork."]


def test_an_import_follows_the_servers_own_settings(errata: Errata, tmp_path: Path) -> None:
    config = tmp_path / "settings.json"
    blobs = tmp_path / "elsewhere"
    values = {"state": str(tmp_path / "its own"), "blobs": str(blobs), "corrections": {"max_code_points": 9}}
    config.write_text(json.dumps({**values, "model_name": "mine"}))
    lines = [{"prompt": "What?", "chosen": "A cup.", "rejected": answer} for answer in ("A fork.", "A" * 10)]
    file = json_lines(tmp_path / "d.jsonl", lines)
    status, _, err = errata("import", file, "--format", "llava", "--config", config)
    assert status == 1
    assert err == "row 2: an answer of 10 code points exceeds the 9 allowed\n"
    store = Store(f"sqlite:///{tmp_path}/its own/errata.db")
    assert [response.model for _, response in store.corrections.trainable()] == ["mine"]
    store.close()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--format", "rlhf-v"), "as parquet: "),
        (("--format", "llava", "--model", "no/where"), "cannot read the model 'no/where'"),
    ],
)
def test_what_cannot_be_imported_at_all_is_one_line(
    errata: Errata, tmp_path: Path, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", True
    )  # the variable is read at its import
    file = json_lines(tmp_path / "d.jsonl", ["{}"])
    answer = errata("import", file, *words, "--state", tmp_path / "state")
    assert message in complaint(answer)


def test_corrections_are_exported_for_another_trainer(
    errata: Errata, settings: Settings, store: Store, tmp_path: Path
) -> None:
    line = {"prompt": "What?", "chosen": "A cup.", "rejected": "A fork."}
    file = json_lines(tmp_path / "d.jsonl", [line])
    state = ("--state", settings.state)
    errata("import", file, "--format", "llava", *state)
    status, out, err = errata("export", tmp_path / "swift", "--format", "ms-swift", *state)
    assert (status, err) == (0, "")
    assert "1 corrections written to" in out
    (row,) = map(json.loads, (tmp_path / "swift" / "errata.jsonl").read_text().splitlines())
    assert row["messages"][-1] == {"role": "assistant", "content": "A cup."}
    again = errata("export", tmp_path / "swift", "--format", "trl", *state)
    assert "exists, and an export takes the place of nothing" in complaint(again)


def test_a_correction_that_cannot_be_exported_is_named(
    errata: Errata, settings: Settings, store: Store, tmp_path: Path
) -> None:
    store.responses.add(response("r1"))
    store.responses.add(response("r2"))
    store.corrections.add(correction("c1"))
    store.corrections.add(correction("c2", response_id="r2", corrected_text="A <image>."))
    out = tmp_path / "out"
    status, _, err = errata("export", out, "--format", "llama-factory", "--state", settings.state)
    assert status == 1
    assert err == "correction c2: a text holds the word <image>, which this format's readers replace\n"


def test_an_export_needs_a_state_that_is_there(errata: Errata, tmp_path: Path) -> None:
    answer = errata("export", tmp_path / "out", "--format", "trl", "--state", tmp_path / "typo")
    assert "there is no server's state in" in complaint(answer)
    assert not (tmp_path / "typo").exists()
