"""What the store holds becomes other trainers' files: whole, in their words, a row at a time."""

from __future__ import annotations

import base64
import hashlib
import json
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from records import correction, response
from tiny_models import png, tiny_llava

from align.conversation import Conversation, Image, Message, Text
from align.errors import Conflict, NothingToLearn
from align.formats.export_format import ExportFormat
from align.formats.exporting import FORMATS, Exported, export_corrections
from align.formats.importing import Importer
from align.formats.llava import LlavaFile
from align.formats.preference import Failure
from align.images import ImageLimits
from align.rendering import Renderer
from align.spans import diff_spans
from align.state import Blobs, Store
from align.state.corrections import spans_to_json

SERVED, CORRECTED = "A red cup 🙂.", "A blue cup 猫."
SPANS = [
    {"start": 2, "end": 5, "replacement": "blue", "kind": "other"},
    {"start": 10, "end": 11, "replacement": "猫", "kind": "other"},
]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def add(
    store: Store,
    blobs: Blobs,
    name: str,
    *messages: Message,
    images: Sequence[bytes] = (),
    served: str = SERVED,
    corrected: str = CORRECTED,
) -> None:
    for data in images:
        blobs.put_image(data)
    conversation = Conversation(messages).to_json()
    store.responses.add(response(f"r-{name}", conversation=conversation, text=served))
    spans = spans_to_json(diff_spans(served, corrected))
    store.corrections.add(correction(name, response_id=f"r-{name}", corrected_text=corrected, spans=spans))


def add_three(store: Store, blobs: Blobs) -> None:
    """One image; none; two images over several turns."""
    one, two, three = (Image(sha256(png(index))) for index in (1, 2, 3))
    add(store, blobs, "c1", Message("user", (one, Text("What is there?"))), images=[png(1)])
    add(store, blobs, "c2", Message("user", (Text("Say "), Text("hello."))))
    turns = (
        Message("system", (Text("Be brief."),)),
        Message("user", (two, Text("This or "), three, Text(" this?"))),
        Message("assistant", (Text("The first."),)),
        Message("user", (Text("Sure?"),)),
    )
    add(store, blobs, "c3", *turns, images=[png(2), png(3)])


def export(store: Store, blobs: Blobs, format: str, folder: Path) -> tuple[Exported, list[Failure]]:
    failures: list[Failure] = []
    return export_corrections(store, blobs, FORMATS[format], folder, failures.append), failures


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def picture(index: int) -> str:
    return f"images/{sha256(png(index))}.png"


def said(role: str, *parts: str | None) -> dict[str, Any]:
    """A message as TRL has it; None is a picture."""
    content = [{"type": "image" if part is None else "text", "text": part} for part in parts]
    return {"role": role, "content": content}


def test_every_format_that_is_named_can_be_written() -> None:
    assert set(FORMATS) == set(ExportFormat)


def test_trl_gets_a_parquet_file_with_the_pictures_inside(store: Store, blobs: Blobs, tmp_path: Path) -> None:
    add_three(store, blobs)
    assert export(store, blobs, "trl", tmp_path / "trl") == (Exported(3, 0), [])
    (file,) = (tmp_path / "trl").iterdir()
    rows = pq.read_table(file).to_pylist()
    answers = {"chosen": [said("assistant", CORRECTED)], "rejected": [said("assistant", SERVED)]}
    assert [row["prompt"] for row in rows] == [
        [said("user", None, "What is there?")],
        [said("user", "Say ", "hello.")],
        [
            said("system", "Be brief."),
            said("user", None, "This or ", None, " this?"),
            said("assistant", "The first."),
            said("user", "Sure?"),
        ],
    ]
    assert all({name: row[name] for name in answers} == answers for row in rows)
    assert [[image["bytes"] for image in row["images"]] for row in rows] == [
        [png(1)],
        [],
        [png(2), png(3)],
    ]
    assert [(row["id"], row["spans"]) for row in rows] == [(name, SPANS) for name in ("c1", "c2", "c3")]


def test_trl_is_told_which_column_holds_pictures(store: Store, blobs: Blobs, tmp_path: Path) -> None:
    add_three(store, blobs)
    export(store, blobs, "trl", tmp_path / "trl")
    metadata = pq.read_schema(tmp_path / "trl" / "train.parquet").metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    string = {"dtype": "string", "_type": "Value"}
    assert features["images"] == [{"_type": "Image"}]
    assert features["prompt"] == [{"role": string, "content": [{"type": string, "text": string}]}]
    assert features["spans"][0]["start"] == {"dtype": "int64", "_type": "Value"}
    assert list(features) == ["prompt", "chosen", "rejected", "images", "id", "spans"]


def test_openai_gets_messages_with_data_urls(store: Store, blobs: Blobs, tmp_path: Path) -> None:
    add_three(store, blobs)
    export(store, blobs, "openai", tmp_path / "openai")
    first, second, third = lines(tmp_path / "openai" / "errata.jsonl")
    image = f"data:image/png;base64,{base64.b64encode(png(1)).decode()}"
    assert first == {
        "input": {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": image}},
                        {"type": "text", "text": "What is there?"},
                    ],
                }
            ]
        },
        "preferred_output": [{"role": "assistant", "content": CORRECTED}],
        "non_preferred_output": [{"role": "assistant", "content": SERVED}],
        "id": "c1",
        "spans": SPANS,
    }
    assert second["input"] == {"messages": [{"role": "user", "content": "Say hello."}]}
    assert [message["role"] for message in third["input"]["messages"]] == [
        "system",
        "user",
        "assistant",
        "user",
    ]


def test_ms_swift_gets_messages_that_end_with_the_right_answer(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    add_three(store, blobs)
    export(store, blobs, "ms-swift", tmp_path / "swift")
    first, second, third = lines(tmp_path / "swift" / "errata.jsonl")
    assert first == {
        "messages": [
            {"role": "user", "content": "<image>What is there?"},
            {"role": "assistant", "content": CORRECTED},
        ],
        "rejected_response": SERVED,
        "images": [picture(1)],
        "id": "c1",
        "spans": SPANS,
    }
    assert second["images"] == []
    assert third["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>This or <image> this?"},
        {"role": "assistant", "content": "The first."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": CORRECTED},
    ]
    assert third["images"] == [picture(2), picture(3)]
    assert (tmp_path / "swift" / picture(3)).read_bytes() == png(3)


def test_llama_factory_gets_turns_and_the_words_that_describe_them(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    add_three(store, blobs)
    export(store, blobs, "llama-factory", tmp_path / "llama")
    info = json.loads((tmp_path / "llama" / "dataset_info.json").read_text())
    assert info == {
        "errata": {
            "file_name": "errata.jsonl",
            "formatting": "sharegpt",
            "ranking": True,
            "columns": {
                "messages": "conversations",
                "chosen": "chosen",
                "rejected": "rejected",
                "images": "images",
            },
        }
    }
    first, _, third = lines(tmp_path / "llama" / "errata.jsonl")
    assert first == {
        "conversations": [{"from": "human", "value": "<image>What is there?"}],
        "chosen": {"from": "gpt", "value": CORRECTED},
        "rejected": {"from": "gpt", "value": SERVED},
        "images": [picture(1)],
        "id": "c1",
        "spans": SPANS,
    }
    assert [turn["from"] for turn in third["conversations"]] == ["system", "human", "gpt", "human"]


def test_what_was_exported_for_llama_factory_can_be_imported_again(
    store: Store, blobs: Blobs, tmp_path: Path
) -> None:
    add_three(store, blobs)
    export(store, blobs, "llama-factory", tmp_path / "llama")
    again = Store(f"sqlite:///{tmp_path}/again/errata.db")
    others = Blobs(str(tmp_path / "again" / "blobs"), tmp_path / "again" / "cache")
    file = LlavaFile(tmp_path / "llama" / "errata.jsonl", tmp_path / "llama", ImageLimits())
    renderer = Renderer.from_pretrained(tiny_llava(tmp_path / "model"))
    assert Importer(again, others, renderer, "tiny").run(file, pytest.fail).num_added == 3

    def words(store: Store) -> list[Any]:
        """Conversations with neighbouring texts joined, which the format can't tell apart."""
        found = []
        for one, about in store.corrections.trainable():
            messages = Conversation.from_json(about.conversation).messages
            turns = [(message.role, joined(message)) for message in messages]
            found.append((turns, about.text, one.corrected_text, one.spans))
        return found

    def joined(message: Message) -> str:
        return "".join(part.text if isinstance(part, Text) else part.sha256 for part in message.parts)

    assert words(again) == words(store)
    assert others.get_image(sha256(png(3))) == png(3)
    again.close()


@pytest.mark.parametrize("format", FORMATS)
def test_without_any_picture_a_dataset_says_nothing_of_pictures(
    store: Store, blobs: Blobs, tmp_path: Path, format: str
) -> None:
    add(store, blobs, "c1", Message("user", (Text("Say hello."),)))
    assert export(store, blobs, format, tmp_path / "out")[0] == Exported(1, 0)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    if format == "trl":
        (row,) = pq.read_table(files[0]).to_pylist()
        assert row["prompt"] == [{"role": "user", "content": "Say hello."}], (
            "as text models' templates want it"
        )
        assert "images" not in row
    else:
        assert all("image" not in path.read_text() for path in files)


MARKED = ("<image>", "<video>", "<audio>", "<bbox>", "<ref-object>")
REPLACED = {"trl": MARKED[:1], "openai": (), "ms-swift": MARKED, "llama-factory": MARKED[:3]}


@pytest.mark.parametrize("marker", MARKED)
@pytest.mark.parametrize("format", FORMATS)
def test_words_that_a_format_would_replace_are_refused_by_name(
    store: Store, blobs: Blobs, tmp_path: Path, format: str, marker: str
) -> None:
    image = Image(sha256(png(1)))
    add(store, blobs, "c0", Message("user", (image, Text("What?"))), images=[png(1)])
    add(store, blobs, "c1", Message("user", (image, Text(f"What is {marker}?"))))
    add(store, blobs, "c2", Message("user", (image, Text("What is " + marker[:3]), Text(marker[3:]))))
    add(store, blobs, "c3", Message("user", (image,)), served=f"A {marker}.", corrected="A cup.")
    add(store, blobs, "c4", Message("user", (image,)), corrected=f"{SERVED}{marker}")
    done, failures = export(store, blobs, format, tmp_path / "out")
    if marker in REPLACED[format]:
        assert done == Exported(1, 4)
        assert [failure.where for failure in failures] == [f"correction c{n}" for n in range(1, 5)]
        assert all(f"a text holds the word {marker}, which" in failure.reason for failure in failures)
    else:
        assert done == Exported(5, 0)


USER, ASSISTANT = Message("user", (Text("Hello."),)), Message("assistant", (Text("Hello."),))


@pytest.mark.parametrize("format", ["ms-swift", "llama-factory"])
@pytest.mark.parametrize(
    "messages",
    [(USER, USER), (ASSISTANT, USER), (USER, ASSISTANT), (), (USER, Message("system", ()), USER)],
    ids=["user twice", "assistant first", "assistant last", "nothing", "system later"],
)
def test_a_conversation_that_does_not_alternate_is_refused_where_that_is_needed(
    store: Store, blobs: Blobs, tmp_path: Path, format: str, messages: tuple[Message, ...]
) -> None:
    add(store, blobs, "c1", *messages)
    add(store, blobs, "c2", USER, ASSISTANT, USER)
    done, (failure,) = export(store, blobs, format, tmp_path / "out")
    assert done == Exported(1, 1)
    assert failure == Failure(
        "correction c1", "its messages do not alternate between user and assistant, which this format needs"
    )


@pytest.mark.parametrize("format", FORMATS)
def test_a_correction_whose_image_is_lost_is_named_and_the_others_go_on(
    store: Store, blobs: Blobs, tmp_path: Path, format: str
) -> None:
    add_three(store, blobs)
    blobs.remove_image(sha256(png(1)))
    done, (failure,) = export(store, blobs, format, tmp_path / "out")
    assert done == Exported(2, 1)
    assert failure.where == "correction c1"
    assert "is not in the store" in failure.reason


def test_an_export_takes_the_place_of_nothing(store: Store, blobs: Blobs, tmp_path: Path) -> None:
    add_three(store, blobs)
    (tmp_path / "out").mkdir()
    with pytest.raises(Conflict, match="exists, and an export takes the place of nothing"):
        export(store, blobs, "trl", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_of_nothing_leaves_nothing(store: Store, blobs: Blobs, tmp_path: Path, format: str) -> None:
    with pytest.raises(NothingToLearn, match="could be exported: there is none yet"):
        export(store, blobs, format, tmp_path / "new" / "out")
    blobs.put_image(png(1))
    add(store, blobs, "c1", Message("user", (Image(sha256(png(1))),)))
    blobs.remove_image(sha256(png(1)))
    with pytest.raises(NothingToLearn, match="none of the 1 corrections fits"):
        export(store, blobs, format, tmp_path / "new" / "out")
    assert list((tmp_path / "new").iterdir()) == []


def peak_bytes(work: Callable[[], object]) -> int:
    """Of what Python allocates, and of arrow's buffers beside it."""
    pool = pa.proxy_memory_pool(pa.default_memory_pool())
    default = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] + pool.max_memory()
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(default)


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_of_four_times_the_corrections_takes_no_more_memory(
    store: Store, blobs: Blobs, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of 12 kB, over two pages of corrections and over eight: held at once, the latter would be 25 MB."""
    monkeypatch.setattr("align.formats.trl.BYTES_AT_ONCE", 2**20)
    images = [png(index, (70, 57)) for index in range(20)]

    def add_some(indices: range) -> None:
        records = []
        for index in indices:
            asked = Message("user", (Image(sha256(images[index % 20])), Text("What?")))
            conversation = Conversation((asked,)).to_json()
            about = response(f"r{index}", conversation=conversation, text=SERVED)
            spans = spans_to_json(diff_spans(SERVED, CORRECTED))
            one = correction(f"c{index}", response_id=about.id, corrected_text=CORRECTED, spans=spans)
            records.append((about, one))
        store.imports.add(records, lambda: [blobs.put_image(data) for data in images])

    def peak(name: str) -> int:
        return peak_bytes(lambda: export(store, blobs, format, tmp_path / name))

    add_some(range(512))
    export(store, blobs, format, tmp_path / "warm-up")
    few = peak("few")
    add_some(range(512, 2048))
    many = peak("many")
    assert many < 1.5 * few < 10e6
