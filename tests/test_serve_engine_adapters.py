from __future__ import annotations

import json
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import torch
from engine_world import (
    CONVERSATIONS,
    IMAGES,
    LANGUAGE_LAYERS,
    WAIT_S,
    Answer,
    ask,
    peft_model,
    reference_ids,
    save_adapter,
    submit,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from align.errors import InvalidAdapter
from serve.engine.config import EngineConfig
from serve.engine.engine import TransformersEngine
from serve.engine.protocol import BASE, Sampling
from serve.errors import EngineFull, UnknownAdapter

CONFIG = EngineConfig(max_num_sequences=6, max_model_len=256, num_adapter_slots=2, max_rank=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def model(folder: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.fixture
def engine(folder: Path) -> Iterator[TransformersEngine]:
    engine = TransformersEngine.from_pretrained(folder, CONFIG)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def adapters(model: Any, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, Path]]:
    """Three PEFT models with their folders; ranks, scalings and targets differ."""
    settings: list[dict[str, Any]] = [
        {"r": 4, "lora_alpha": 8},
        {
            "r": 8,
            "lora_alpha": 4,
            "use_rslora": True,
            "target_modules": r".*language_model.*(q_proj|up_proj)",
        },
        {
            "r": 2,
            "rank_pattern": {"q_proj": 6, r"layers\.1\.mlp\.up_proj": 3},
            "alpha_pattern": {"v_proj": 16},
        },
    ]
    folders = tmp_path_factory.mktemp("adapters")
    adapted = [peft_model(model, seed, **setting) for seed, setting in enumerate(settings)]
    return [(one, save_adapter(one, folders / f"v{number}")) for number, one in enumerate(adapted)]


@pytest.fixture
def make_folder(adapters: list[tuple[Any, Path]], tmp_path: Path) -> Callable[..., Path]:
    """A copy of the first adapter, its config or its tensors changed."""

    def make(
        settings: dict[str, Any] | None = None,
        change: Callable[[dict[str, torch.Tensor]], None] = lambda tensors: None,
    ) -> Path:
        copy = tmp_path / "adapter"
        shutil.copytree(adapters[0][1], copy)
        config = json.loads((copy / "adapter_config.json").read_text())
        (copy / "adapter_config.json").write_text(json.dumps({**config, **(settings or {})}))
        tensors = load_file(copy / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, copy / "adapter_model.safetensors")
        return copy

    return make


def test_every_row_answers_as_peft_does_for_its_own_adapter(
    engine: TransformersEngine, model: Any, adapters: list[tuple[Any, Path]]
) -> None:
    engine.load("v0", adapters[0][1])
    engine.load("v1", adapters[1][1])
    models = {BASE: model, "v0": adapters[0][0], "v1": adapters[1][0]}
    rows = [
        (conversation, version)
        for conversation, version in zip(CONVERSATIONS * 2, [BASE, "v0", "v1", "v0"] * 3, strict=True)
    ]
    answers = [submit(engine, conversation, version) for conversation, version in rows]
    expected = [reference_ids(models[version], engine, conversation) for conversation, version in rows]
    assert [answer.wait().token_ids for answer in answers] == expected
    plain = [reference_ids(model, engine, conversation) for conversation, _ in rows]
    assert [a != b for a, b in zip(plain, expected, strict=True)] == [version != BASE for _, version in rows]


@pytest.mark.parametrize("number", range(3))
def test_a_batch_of_one_adapter_answers_as_peft_does(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]], number: int
) -> None:
    adapted, folder = adapters[number]
    engine.load("v", folder)
    answers = [submit(engine, conversation, "v") for conversation in CONVERSATIONS]
    assert [answer.wait().token_ids for answer in answers] == [
        reference_ids(adapted, engine, conversation) for conversation in CONVERSATIONS
    ]


def test_a_slot_is_used_again_without_a_trace_of_its_former_adapter(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]]
) -> None:
    for number in (0, 1, 2, 1):
        engine.load(f"again{number}", adapters[number][1])
        engine.load("other", adapters[0][1])
        adapted = adapters[number][0]
        answer = submit(engine, CONVERSATIONS[3], f"again{number}").wait()
        assert answer.token_ids == reference_ids(adapted, engine, CONVERSATIONS[3])
        engine.unload(f"again{number}")


def test_loading_a_version_again_does_nothing(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]]
) -> None:
    engine.load("v0", adapters[0][1])
    engine.load("v0", adapters[1][1])
    assert engine.stats().adapters == ("v0",)
    answer = submit(engine, CONVERSATIONS[1], "v0").wait()
    assert answer.token_ids == reference_ids(adapters[0][0], engine, CONVERSATIONS[1])


def test_while_all_slots_are_taken_no_file_is_read(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]], tmp_path: Path
) -> None:
    for number in range(2):
        engine.load(f"v{number}", adapters[number][1])
    with pytest.raises(EngineFull, match="All 2 adapter slots"):
        engine.load("v2", tmp_path / "where nothing is")


def test_all_slots_taken_is_full_and_an_unload_makes_room(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]]
) -> None:
    engine.load("v0", adapters[0][1])
    engine.load("v1", adapters[1][1])
    with pytest.raises(EngineFull, match="All 2 adapter slots"):
        engine.load("v2", adapters[2][1])
    engine.unload("v0")
    engine.unload("v0")
    engine.unload("never loaded")
    engine.load("v2", adapters[2][1])
    assert engine.stats().adapters == ("v1", "v2")
    with pytest.raises(UnknownAdapter, match="v0"):
        submit(engine, CONVERSATIONS[0], "v0")


class Paused:
    """A sequence in whose callback the engine's thread stands still after the first token."""

    def __init__(self, engine: TransformersEngine, conversation: Any, version: str) -> None:
        self.answer = Answer()
        self._release, reached = threading.Event(), threading.Event()

        def hold(delta: Any) -> None:
            self.answer(delta)
            reached.set()
            assert self._release.wait(WAIT_S)

        engine.submit(engine.prepare(conversation, IMAGES), Sampling(24, 0.0), version, hold)
        assert reached.wait(WAIT_S)

    def release(self) -> Answer:
        self._release.set()
        return self.answer.wait()


def test_an_unloaded_version_answers_to_the_end_and_then_its_slot_is_free(
    folder: Path, adapters: list[tuple[Any, Path]]
) -> None:
    engine = TransformersEngine.from_pretrained(
        folder, EngineConfig(max_model_len=256, num_adapter_slots=1, max_rank=8)
    )
    engine.load("v0", adapters[0][1])
    paused = Paused(engine, CONVERSATIONS[1], "v0")
    engine.unload("v0")
    assert engine.stats().adapters == ()
    with pytest.raises(UnknownAdapter):
        submit(engine, CONVERSATIONS[0], "v0")
    assert engine._slots.versions == ()
    with pytest.raises(EngineFull):
        engine._slots.free_slot()
    answer = paused.release()
    assert answer.token_ids == reference_ids(adapters[0][0], engine, CONVERSATIONS[1])
    engine.load("v1", adapters[1][1])
    after = submit(engine, CONVERSATIONS[1], "v1").wait()
    assert after.token_ids == reference_ids(adapters[1][0], engine, CONVERSATIONS[1])
    engine.close()


def test_a_version_that_is_leaving_can_be_kept(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]]
) -> None:
    engine.load("v0", adapters[0][1])
    paused = Paused(engine, CONVERSATIONS[1], "v0")
    engine.unload("v0")
    engine.load("v0", adapters[0][1])
    paused.release()
    assert engine.stats().adapters == ("v0",)


def test_loading_while_sequences_run_changes_none_of_them(
    engine: TransformersEngine, model: Any, adapters: list[tuple[Any, Path]]
) -> None:
    engine.load("v0", adapters[0][1])
    versions = [BASE, "v0", BASE]
    answers = [
        submit(engine, conversation, version)
        for conversation, version in zip(CONVERSATIONS[:3], versions, strict=True)
    ]
    for answer in answers:
        answer.wait_for_tokens(2)
    engine.load("v1", adapters[1][1])
    models = {BASE: model, "v0": adapters[0][0]}
    assert [answer.wait().token_ids for answer in answers] == [
        reference_ids(models[version], engine, conversation)
        for conversation, version in zip(CONVERSATIONS[:3], versions, strict=True)
    ]


def test_an_adapter_of_zeros_is_loaded_and_changes_nothing(
    engine: TransformersEngine, model: Any, make_folder: Callable[..., Path]
) -> None:
    def zero_b(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if "lora_B" in name:
                tensor.zero_()

    engine.load("zeros", make_folder(change=zero_b))
    answer = submit(engine, CONVERSATIONS[1], "zeros").wait()
    assert answer.token_ids == reference_ids(model, engine, CONVERSATIONS[1])


def test_an_adapter_without_effect_is_refused(
    engine: TransformersEngine, make_folder: Callable[..., Path]
) -> None:
    def zero_a(tensors: dict[str, torch.Tensor]) -> None:
        for name, tensor in tensors.items():
            if "lora_A" in name:
                tensor.zero_()

    with pytest.raises(InvalidAdapter, match="does not change"):
        engine.load("v", make_folder(change=zero_a))
    assert engine.stats().adapters == ()


def test_an_adapter_that_overflows_is_refused_and_the_base_is_unharmed(
    engine: TransformersEngine, model: Any, make_folder: Callable[..., Path]
) -> None:
    def enlarge(tensors: dict[str, torch.Tensor]) -> None:
        for tensor in tensors.values():
            tensor.fill_(1e37)

    with pytest.raises(InvalidAdapter, match="too large"):
        engine.load("v", make_folder(change=enlarge))
    assert submit(engine, CONVERSATIONS[1]).wait().token_ids == reference_ids(model, engine, CONVERSATIONS[1])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias='none'"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base.s own weights"),
        ({"init_lora_weights": "olora"}, "changes the base.s own weights"),
        ({"peft_type": "IA3"}, "only one served"),
        ({"r": 5}, "another model"),
        ({"r": "4"}, "r='4'"),
        ({"lora_alpha": None}, "lora_alpha=None"),
        ({"rank_pattern": {"q_proj": 2}}, "another model"),
    ],
)
def test_settings_that_are_not_served_are_refused_by_name(
    engine: TransformersEngine, make_folder: Callable[..., Path], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(InvalidAdapter, match=reason):
        engine.load("v", make_folder(settings))
    assert engine.stats().adapters == ()


def rename(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.replace(old, new)] = tensors.pop(name)

    return change


def drop_one(tensors: dict[str, torch.Tensor]) -> None:
    del tensors[next(name for name in tensors if "lora_A" in name)]


def set_nan(tensors: dict[str, torch.Tensor]) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (rename("layers.1", "layers.7"), "belongs to no linear layer"),
        (rename("language_model", "vision_tower"), "belongs to no linear layer"),
        (rename("q_proj.lora_A.weight", "q_proj.lora_magnitude_vector"), "belongs to no linear layer"),
        (drop_one, "without its other half"),
        (set_nan, "not finite"),
        (dict.clear, "no tensors"),
    ],
)
def test_tensors_that_fit_nowhere_are_refused_by_name(
    engine: TransformersEngine, make_folder: Callable[..., Path], change: Any, reason: str
) -> None:
    with pytest.raises(InvalidAdapter, match=reason):
        engine.load("v", make_folder(change=change))
    assert engine.stats().adapters == ()


def test_an_adapter_of_the_vision_tower_is_refused(
    engine: TransformersEngine, model: Any, tmp_path: Path
) -> None:
    adapted = peft_model(model, 0, target_modules=["q_proj"])
    with pytest.raises(InvalidAdapter, match="vision_tower"):
        engine.load("v", save_adapter(adapted, tmp_path))


def test_a_rank_above_the_maximum_is_refused(engine: TransformersEngine, model: Any, tmp_path: Path) -> None:
    adapted = peft_model(model, 0, r=9, target_modules=LANGUAGE_LAYERS)
    with pytest.raises(InvalidAdapter, match="above max_rank 8"):
        engine.load("v", save_adapter(adapted, tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("adapter_config.json", None, "is missing"),
        ("adapter_config.json", b"{", "cannot be read"),
        ("adapter_config.json", b"[]", "only one served"),
        ("adapter_model.safetensors", None, "pickle"),
        ("adapter_model.safetensors", b"damaged", "cannot be read"),
    ],
)
def test_missing_and_damaged_files_are_refused(
    engine: TransformersEngine,
    make_folder: Callable[..., Path],
    file: str,
    content: bytes | None,
    reason: str,
) -> None:
    folder = make_folder()
    if content is None:
        (folder / file).rename(folder / "adapter_model.bin")
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(InvalidAdapter, match=reason):
        engine.load("v", folder)


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_model.bin", "adapter_config.json"])
def test_a_pickle_is_never_opened(
    engine: TransformersEngine, make_folder: Callable[..., Path], tmp_path: Path, file: str
) -> None:
    folder, sprung = make_folder(), tmp_path / "sprung"
    (folder / "adapter_model.safetensors").unlink()
    (folder / file).write_bytes(pickle.dumps({"base_model.model.lora_A.weight": Trap(sprung)}))
    with pytest.raises(InvalidAdapter, match=r"cannot be read|pickle"):
        engine.load("v", folder)
    assert not sprung.exists()
    pickle.loads((folder / file).read_bytes())
    assert sprung.exists(), "the trap works"


def test_no_version_can_take_the_name_of_the_base(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]]
) -> None:
    with pytest.raises(InvalidAdapter, match="another name"):
        engine.load(BASE, adapters[0][1])


def test_many_threads_load_one_version_once(
    engine: TransformersEngine, adapters: list[tuple[Any, Path]]
) -> None:
    threads = [threading.Thread(target=engine.load, args=("v0", adapters[0][1])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert engine.stats().adapters == ("v0",)
    engine.load("v1", adapters[1][1])
    assert submit(engine, ask("both")).wait().finish_reason in ("stop", "length")
