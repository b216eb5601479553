"""Datasets of other people become corrections: each row once, a bad one by name, and the rest all the same."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from datasets_on_disk import gpt, human, json_lines, rlhf_v, rlhf_v_row
from records import response
from tiny_models import png, tiny_llama, tiny_llava

from align.config import ObjectiveConfig
from align.conversation import Conversation, Image, Message, Text
from align.dataset import prepare_pairs
from align.erasure import erase_correction, erase_response, erase_source
from align.errors import InvalidDataset, NotFound
from align.formats.importing import KEY_ID, Imported, Importer
from align.formats.llava import LlavaFile
from align.formats.preference import Failure, PreferenceFile
from align.formats.rlhf_v import RlhfVFile
from align.images import ImageLimits
from align.rendering import Renderer
from align.state import Blobs, Correction, Response, Store
from align.state.examples import corrected_example

LIMITS = ImageLimits()


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    return Renderer.from_pretrained(tiny_llava(tmp_path_factory.mktemp("llava")))


@pytest.fixture
def importer(tmp_path: Path, renderer: Renderer) -> Iterator[Importer]:
    store = Store(f"sqlite:///{tmp_path}/errata.db")
    yield Importer(store, Blobs(str(tmp_path / "blobs"), tmp_path / "cache"), renderer, "tiny")
    store.close()


def imported(
    importer: Importer, file: PreferenceFile, batch_size: int = 64
) -> tuple[Imported, list[Failure]]:
    failures: list[Failure] = []
    return importer.run(file, failures.append, batch_size=batch_size), failures


def stored(importer: Importer) -> list[tuple[Correction, Response]]:
    return list(importer.store.corrections.trainable())


# --- RLHF-V-Dataset


def test_a_row_of_rlhf_v_becomes_a_correction_of_an_answer(importer: Importer, tmp_path: Path) -> None:
    file = RlhfVFile(rlhf_v(tmp_path / "RLHF-V-Dataset.parquet", [rlhf_v_row(3)]), LIMITS)
    assert imported(importer, file) == (Imported(num_added=1), [])
    ((correction, response),) = stored(importer)
    digest = hashlib.sha256(png(3)).hexdigest()
    question = Message("user", (Image(digest), Text("What is in the picture?")))
    assert Conversation.from_json(response.conversation) == Conversation((question,))
    assert importer.blobs.get_image(digest) == png(3)
    assert response.text == "There is a red cup and dog number 3."
    assert correction.corrected_text == "There is a green lamp and dog number 3."
    assert [(s["start"], s["end"], s["replacement"]) for s in correction.spans] == [
        (11, 14, "green"),
        (15, 18, "lamp"),
    ]
    assert importer.renderer.tokenizer.decode(response.token_ids) == response.text + "</s>"
    assert (response.adapter, response.key_id, response.model) == ("imported", "import", "tiny")
    assert (correction.status, correction.key_id, correction.source) == ("accepted", "import", "import")
    assert correction.is_reviewed
    assert response.sampling == {
        "imported": {
            "file": "RLHF-V-Dataset.parquet",
            "row": 1,
            "ds_name": "RLHF-V",
            "origin_dataset": "OK-VQA",
            "origin_split": '{"model": "Muffin", "type": "detailed description"}',
            "idx": 3,
            "image_path": "RLHF-V/3.png",
        }
    }


def test_what_was_imported_makes_training_pairs(importer: Importer, tmp_path: Path) -> None:
    imported(importer, RlhfVFile(rlhf_v(tmp_path / "d.parquet", map(rlhf_v_row, range(5))), LIMITS))
    examples = [corrected_example(*records, importer.blobs) for records in stored(importer)]
    pairs, skipped = prepare_pairs(examples, importer.renderer, 512, ObjectiveConfig())
    assert (len(pairs), skipped) == (5, [])
    assert any(pairs[0].pair.rejected.is_corrected)


def test_importing_twice_adds_nothing(importer: Importer, tmp_path: Path) -> None:
    rows = [rlhf_v_row(0), rlhf_v_row(1), rlhf_v_row(0)]
    file = RlhfVFile(rlhf_v(tmp_path / "d.parquet", rows), LIMITS)
    assert imported(importer, file)[0] == Imported(num_added=2, num_known=1)
    before = stored(importer)
    assert imported(importer, file, batch_size=1)[0] == Imported(num_known=3)
    assert stored(importer) == before


def test_the_same_answer_with_two_corrections_is_two_pairs(importer: Importer, tmp_path: Path) -> None:
    rows = [rlhf_v_row(0), rlhf_v_row(0, chosen="There is a blue boat and dog number 0.")]
    imported(importer, RlhfVFile(rlhf_v(tmp_path / "d.parquet", rows), LIMITS))
    assert len(stored(importer)) == 2


def test_what_was_erased_does_not_come_back_with_its_file(importer: Importer, tmp_path: Path) -> None:
    file = RlhfVFile(rlhf_v(tmp_path / "d.parquet", [rlhf_v_row(0)]), LIMITS)
    imported(importer, file)
    ((_, response),) = stored(importer)
    erase_response(importer.store, importer.blobs, response.id)
    assert imported(importer, file)[0] == Imported(num_known=1)
    assert importer.store.responses.get(response.id).is_erased
    assert stored(importer) == []
    with pytest.raises(NotFound):
        importer.blobs.get_image(digests(0)[0])


def test_all_imports_are_erased_as_one_source(importer: Importer, tmp_path: Path) -> None:
    imported(importer, RlhfVFile(rlhf_v(tmp_path / "d.parquet", map(rlhf_v_row, range(3))), LIMITS))
    erasure = erase_source(importer.store, importer.blobs, KEY_ID)
    assert (len(erasure.responses), len(erasure.corrections)) == (3, 3)
    assert stored(importer) == []


def test_an_import_that_broke_off_is_completed_by_another(
    importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = RlhfVFile(rlhf_v(tmp_path / "d.parquet", map(rlhf_v_row, range(7))), LIMITS)
    put_image, calls = importer.blobs.put_image, 0

    def full_disk(data: bytes) -> str:
        nonlocal calls
        calls += 1
        if calls > 8:  # each batch of three stores its images twice, before the lock and under it
            raise OSError("no space left on device")
        return put_image(data)

    monkeypatch.setattr(importer.blobs, "put_image", full_disk)
    with pytest.raises(OSError, match="no space"):
        imported(importer, file, batch_size=3)
    assert len(stored(importer)) == 3, "the batch that broke off left nothing"
    monkeypatch.undo()
    assert imported(importer, file, batch_size=3)[0] == Imported(num_added=4, num_known=3)
    assert [one.sequence for one, _ in stored(importer)] == list(range(1, 8))


def test_imports_count_as_corrections_but_not_as_answers_of_this_server(
    importer: Importer, tmp_path: Path
) -> None:
    importer.store.responses.add(response("served"))
    imported(importer, RlhfVFile(rlhf_v(tmp_path / "d.parquet", map(rlhf_v_row, range(3))), LIMITS))
    assert importer.store.corrections.count_after(0) == 3
    assert importer.store.responses.count_by_adapter() == {"base": 1}
    erase_correction(importer.store, importer.blobs, stored(importer)[0][0].id)
    assert importer.store.responses.uncorrected("base") == ["served"]


BAD_ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "no JSON": ({"text": "{"}, "text: Invalid JSON"),
    "no answer": ({"text": '{"question": "q", "chosen": "c"}'}, "text.rejected: Field required"),
    "no text": ({"text": None}, "text: "),
    "half a character": (
        {"text": '{"question": "q", "chosen": "a", "rejected": "\\ud83d"}'},
        "text: Invalid JSON",
    ),
    "no image": ({"image": None}, "image: "),
    "no bytes": ({"image": {"bytes": None, "path": "0.png"}}, "image.bytes: "),
    "half an image": ({"image": {"bytes": png(0)[:-30], "path": None}}, "an image cannot be read as PNG"),
    "nothing wrong": ({"chosen": "A red cup.", "rejected": "A red cup."}, "changes nothing"),
    "a control token": ({"rejected": "A red</s> cup."}, "special tokens"),
    "no words left": ({"chosen": ""}, "leaves no words"),
    "a novel": ({"chosen": "a" * 20_001}, "an answer of 20001 code points exceeds the 20000 allowed"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_a_bad_row_is_named_and_the_others_go_on(importer: Importer, tmp_path: Path, case: str) -> None:
    changes, reason = BAD_ROWS[case]
    rows = [rlhf_v_row(1), rlhf_v_row(2, **changes), rlhf_v_row(3)]
    done, failures = imported(importer, RlhfVFile(rlhf_v(tmp_path / "d.parquet", rows), LIMITS))
    assert done == Imported(num_added=2, num_failed=1)
    (failure,) = failures
    assert failure.where == "row 2"
    assert reason in failure.reason
    assert "\n" not in failure.reason


def test_a_text_model_takes_no_rows_with_images(
    importer: Importer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text_only = Renderer.from_pretrained(tiny_llama(tmp_path_factory.mktemp("llama")))
    file = RlhfVFile(rlhf_v(tmp_path / "d.parquet", [rlhf_v_row(0)]), LIMITS)
    reader = Importer(importer.store, importer.blobs, text_only, "tiny-text")
    assert "the model tiny-text reads none" in imported(reader, file)[1][0].reason


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.parquet"
    pa.parquet.write_table(pa.table({"text": ["{}"], "picture": [b""]}), other)
    with pytest.raises(InvalidDataset, match="is no RLHF-V-Dataset: it has no column image"):
        list(RlhfVFile(other, LIMITS).rows())
    lines = json_lines(tmp_path / "d.jsonl", ["{}"])
    for path in (lines, tmp_path / "missing.parquet"):
        with pytest.raises(InvalidDataset, match=f"cannot read {path} as parquet"):
            list(RlhfVFile(path, LIMITS).rows())
    array = json_lines(tmp_path / "array.json", ['[{"id": 1},', '{"id": 2}]'])
    with pytest.raises(InvalidDataset, match="is one JSON array; write one object a line"):
        list(LlavaFile(array, tmp_path, LIMITS).rows())
    with pytest.raises(InvalidDataset, match="No such file"):
        list(LlavaFile(tmp_path / "missing.jsonl", tmp_path, LIMITS).rows())


def test_an_import_of_four_times_the_rows_takes_no_more_memory(importer: Importer, tmp_path: Path) -> None:
    """Images of 60 kB in row groups of 10: read whole, the second file would take 12 MB."""

    def row(index: int) -> dict[str, Any]:
        return rlhf_v_row(index, image={"bytes": png(index, (160, 125)), "path": None})

    def peak(name: str, indices: range) -> int:
        file = RlhfVFile(rlhf_v(tmp_path / name, map(row, indices), row_group_size=10), LIMITS)
        pool = pa.default_memory_pool()
        before, most = pool.bytes_allocated(), 0

        def watch(_: Imported) -> None:
            nonlocal most
            most = max(most, pool.bytes_allocated() - before)

        tracemalloc.start()
        done = importer.run(file, pytest.fail, watch, batch_size=10)
        _, python = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert done.num_added == len(indices)
        return python + most

    peak("warm-up", range(10))
    few, many = peak("few", range(10, 60)), peak("many", range(60, 260))
    assert many < 1.4 * few < 10e6


# --- LLaVA's style


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "coco").mkdir(parents=True)
    for index in range(3):
        (folder / "coco" / f"{index}.png").write_bytes(png(index))
    return folder


def digests(*indices: int) -> list[str]:
    return [hashlib.sha256(png(index)).hexdigest() for index in indices]


def test_the_three_ways_to_write_a_pair_are_the_same_pair(
    importer: Importer, tmp_path: Path, pictures: Path
) -> None:
    asked, right, wrong = human("<image>\nWhat is there?"), gpt("A green lamp."), gpt("A red cup.")
    image = {"image": "coco/0.png"}
    rows = [
        {"id": "1", **image, "conversations": [asked], "chosen": right, "rejected": wrong},
        {"id": 2, **image, "prompt": "What is there?", "chosen": "A green lamp.", "rejected": "A red cup."},
        {"id": "3", **image, "conversations": [asked, right], "rejected_conversations": [asked, wrong]},
        {"images": ["coco/0.png"], "prompt": "<image>What is there?", "chosen": right, "rejected": wrong},
    ]
    file = LlavaFile(json_lines(tmp_path / "d.jsonl", rows), pictures, LIMITS)
    assert imported(importer, file) == (Imported(num_added=1, num_known=3), [])
    ((correction, response),) = stored(importer)
    question = Message("user", (Image(digests(0)[0]), Text("What is there?")))
    assert Conversation.from_json(response.conversation) == Conversation((question,))
    assert (response.text, correction.corrected_text) == ("A red cup.", "A green lamp.")
    origin = {"file": "d.jsonl", "row": 1, "id": "1", "images": ["coco/0.png"]}
    assert response.sampling == {"imported": origin}


def test_turns_and_pictures_keep_their_places(importer: Importer, tmp_path: Path, pictures: Path) -> None:
    turns = [
        {"from": "system", "value": "Be brief."},
        human("<image>\n<image>\nWhich is older?"),
        gpt("The first."),
        human("And this?\n<image>"),
    ]
    row = {"image": ["coco/2.png", "coco/0.png", "coco/2.png"], "conversations": turns}
    rows = [{**row, "chosen": "It is new.", "rejected": "It is old."}]
    assert imported(importer, LlavaFile(json_lines(tmp_path / "d", rows), pictures, LIMITS))[1] == []
    ((_, response),) = stored(importer)
    two, zero = map(Image, digests(2, 0))
    assert Conversation.from_json(response.conversation).messages == (
        Message("system", (Text("Be brief."),)),
        Message("user", (two, zero, Text("Which is older?"))),
        Message("assistant", (Text("The first."),)),
        Message("user", (Text("And this?"), two)),
    )


def test_without_markers_the_pictures_come_before_the_first_question(
    importer: Importer, tmp_path: Path, pictures: Path
) -> None:
    turns = [{"from": "system", "value": "Be brief."}, human("What?"), gpt("A cup."), human("Sure?")]
    row = {"image": ["coco/1.png"], "conversations": turns, "chosen": "No.", "rejected": "Yes."}
    imported(importer, LlavaFile(json_lines(tmp_path / "d", [row]), pictures, LIMITS))
    ((_, response),) = stored(importer)
    parts = [message.parts for message in Conversation.from_json(response.conversation).messages]
    assert parts[1] == (Image(digests(1)[0]), Text("What?"))
    assert parts[3] == (Text("Sure?"),)


def test_rows_without_pictures_and_blank_lines_are_fine(
    importer: Importer, tmp_path: Path, pictures: Path
) -> None:
    row = json.dumps({"prompt": "Hi", "chosen": "Hello.", "rejected": "Hi.", "image": None})
    rows = [row.replace(', "image": null', ""), "", "  ", row.replace("Hi.", "Bye.")]
    done, failures = imported(importer, LlavaFile(json_lines(tmp_path / "d", rows), pictures, LIMITS))
    assert done == Imported(num_added=2)
    assert failures == []


PAIR = {"chosen": "A green lamp.", "rejected": "A red cup."}
BAD_LINES: dict[str, tuple[dict[str, Any] | str, str]] = {
    "no JSON": ("{", "Invalid JSON"),
    "no object": ("3", "Input should be an object"),
    "nothing asked": (PAIR, "neither `conversations` nor `prompt`"),
    "nothing rejected": ({"prompt": "q", "chosen": "a"}, "must have `chosen` and `rejected`"),
    "no question at the end": ({"conversations": [human("q"), gpt("a")], **PAIR}, "must end with a turn by"),
    "a stranger": ({"conversations": [{"from": "tool", "value": ""}], **PAIR}, "conversations.0.from: Input"),
    "an answer by the asker": ({**PAIR, "prompt": "q", "chosen": human("a")}, "an answer is by 'human'"),
    "other questions": (
        {"conversations": [human("q"), gpt("a")], "rejected_conversations": [human("r"), gpt("b")]},
        "differ before their last turn",
    ),
    "no right answer": (
        {"conversations": [], "rejected_conversations": [human("r"), gpt("b")]},
        "must both end with an answer",
    ),
    "a marker too many": (
        {"image": "coco/0.png", "prompt": "<image> and <image>", **PAIR},
        "there are 2 <image> markers for 1 images",
    ),
    "a marker without an image": ({"prompt": "<image>", **PAIR}, "there are 1 <image> markers for 0 images"),
    "a marker in an answer": (
        {"image": "coco/0.png", "prompt": "q", "chosen": "A <image>.", "rejected": "b"},
        "<image> stands in an answer",
    ),
    "no such file": ({"image": "coco/9.png", "prompt": "q", **PAIR}, "coco/9.png cannot be read: No such"),
    "no picture": ({"image": "notes.txt", "prompt": "q", **PAIR}, "an image cannot be read as PNG"),
    "a way out": ({"image": "../secret.png", "prompt": "q", **PAIR}, "leaves the folder of images"),
    "a way elsewhere": ({"image": "/etc/passwd", "prompt": "q", **PAIR}, "leaves the folder of images"),
    "too many": ({"image": ["coco/0.png"] * 17, "prompt": "q", **PAIR}, "17 images are more than the 16"),
    "too large": ({"image": "large.png", "prompt": "q", **PAIR}, "is larger than 9000 bytes"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_named_and_the_others_go_on(
    importer: Importer, tmp_path: Path, pictures: Path, case: str
) -> None:
    line, reason = BAD_LINES[case]
    (tmp_path / "secret.png").write_bytes(png(8))
    (pictures / "notes.txt").write_text("a red cup")
    (pictures / "large.png").write_bytes(png(7, (64, 64)))
    good = {"prompt": "What?", "image": "coco/1.png", **PAIR}
    path = json_lines(tmp_path / "d.jsonl", [line, good])
    limits = ImageLimits(max_bytes=9000)
    done, failures = imported(importer, LlavaFile(path, pictures, limits))
    assert done == Imported(num_added=1, num_failed=1)
    (failure,) = failures
    assert failure.where == "row 1"
    assert reason in failure.reason
    assert "\n" not in failure.reason
