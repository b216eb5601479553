from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from corrections import corrections
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny_models import tiny_llava
from transformers import AutoModelForImageTextToText

from align.adapter import attach_adapter, load_adapter, save_adapter, target_pattern
from align.adapter_files import adapter_digest
from align.config import LoraSettings
from align.errors import InvalidAdapter
from align.rendering import Renderer

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


def load(base: Path) -> Any:
    return AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32).eval()


def changed_adapter(base: Path, seed: int = 0) -> Any:
    """A model whose adapter does something, as if it had been trained."""
    torch.manual_seed(seed)
    model = attach_adapter(load(base), LoraSettings(rank=4))
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "v1"
    save_adapter(changed_adapter(base), folder, str(base))
    return folder


def logits(model: Any, base: Path) -> torch.Tensor:
    example = corrections(base, 1)[0]
    rendered = Renderer.from_pretrained(base).render(example.conversation, example.images)
    with torch.no_grad():
        output: torch.Tensor = model(input_ids=torch.tensor([rendered.input_ids]), **rendered.tensors).logits
    return output


def copy_of(adapter: Path, folder: Path) -> Path:
    return Path(shutil.copytree(adapter, folder / "copy"))


def test_only_linear_layers_of_the_language_model_are_adapted(base: Path) -> None:
    model = attach_adapter(load(base), LoraSettings())
    adapted = {name for name, _ in model.named_modules() if name.endswith("lora_A")}
    assert len(adapted) == 2 * 7  # q, k, v, o, gate, up, down in each of two layers
    assert all("language_model.layers." in name for name in adapted)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trainable)


def test_some_layers_can_be_chosen_by_name(base: Path) -> None:
    model = attach_adapter(load(base), LoraSettings(layers=("q_proj", "v_proj")))
    adapted = {name for name, _ in model.named_modules() if name.endswith("lora_A")}
    assert len(adapted) == 4
    with pytest.raises(InvalidAdapter, match="w_proj"):
        target_pattern(load(base), ("w_proj",))


def test_a_fresh_adapter_changes_nothing(base: Path) -> None:
    model = load(base)
    before = logits(model, base)
    torch.testing.assert_close(logits(attach_adapter(model, LoraSettings()), base), before, rtol=0, atol=0)


def test_a_saved_adapter_gives_the_same_logits_in_plain_peft(base: Path, tmp_path: Path) -> None:
    model = changed_adapter(base)
    save_adapter(model, tmp_path / "v1", str(base))
    restored = PeftModel.from_pretrained(load(base), str(tmp_path / "v1")).eval()
    torch.testing.assert_close(logits(restored, base), logits(model, base), rtol=0, atol=0)
    assert not torch.allclose(logits(restored, base), logits(load(base), base), atol=1e-3)


def test_an_adapter_is_two_files_and_leaves_nothing_else_behind(adapter: Path) -> None:
    assert sorted(path.name for path in adapter.iterdir()) == ["adapter_config.json", WEIGHTS]
    assert [path.name for path in adapter.parent.iterdir()] == ["v1"]


def test_an_adapter_that_could_not_be_written_leaves_nothing_behind(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("align.adapter.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_adapter(changed_adapter(base), tmp_path / "v1", str(base))
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_never_written_twice(base: Path, adapter: Path) -> None:
    with pytest.raises(FileExistsError, match="never changes"):
        save_adapter(changed_adapter(base), adapter, str(base))


def test_the_digest_follows_the_content_and_not_the_place(base: Path, adapter: Path, tmp_path: Path) -> None:
    copy = copy_of(adapter, tmp_path)
    assert adapter_digest(copy) == adapter_digest(adapter)
    other = save_adapter(changed_adapter(base, seed=1), tmp_path / "other", str(base))
    assert other != adapter_digest(adapter)
    config = copy / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 1}))
    assert adapter_digest(copy) != adapter_digest(adapter)


def test_two_adapters_live_in_one_model_side_by_side(base: Path, adapter: Path, tmp_path: Path) -> None:
    save_adapter(changed_adapter(base, seed=1), tmp_path / "v2", str(base))
    model = load_adapter(load_adapter(load(base), adapter, "v1"), tmp_path / "v2", "v2").eval()
    for name, seed in (("v1", 0), ("v2", 1)):
        model.set_adapter(name)
        torch.testing.assert_close(logits(model, base), logits(changed_adapter(base, seed), base))


def test_an_adapter_with_missing_or_foreign_tensors_is_refused(
    base: Path, adapter: Path, tmp_path: Path
) -> None:
    copy = copy_of(adapter, tmp_path)
    weights = load_file(copy / WEIGHTS)
    name = sorted(weights)[0]
    save_file({key: value for key, value in weights.items() if key != name}, copy / WEIGHTS)
    with (
        pytest.warns(UserWarning, match="missing adapter keys"),
        pytest.raises(InvalidAdapter, match="does not fit"),
    ):
        load_adapter(load(base), copy, "v1")
    save_file(weights | {name.replace("layers.0", "layers.9"): weights[name].clone()}, copy / WEIGHTS)
    with pytest.raises(InvalidAdapter, match="does not fit"):
        load_adapter(load(base), copy, "v1")


def test_an_adapter_of_another_shape_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    copy = copy_of(adapter, tmp_path)
    weights = load_file(copy / WEIGHTS)
    save_file({name: tensor[:-1].contiguous() for name, tensor in weights.items()}, copy / WEIGHTS)
    with pytest.raises(InvalidAdapter, match="does not fit"):
        load_adapter(load(base), copy, "v1")


def test_an_adapter_that_is_not_finite_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    copy = copy_of(adapter, tmp_path)
    weights = load_file(copy / WEIGHTS)
    next(iter(weights.values()))[0, 0] = float("nan")
    save_file(weights, copy / WEIGHTS)
    with pytest.raises(InvalidAdapter, match="not finite"):
        load_adapter(load(base), copy, "v1")


def test_a_damaged_or_empty_folder_is_no_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidAdapter, match="missing"):
        load_adapter(load(base), tmp_path, "v1")
    copy = copy_of(adapter, tmp_path)
    (copy / WEIGHTS).write_bytes((copy / WEIGHTS).read_bytes()[:100])
    with pytest.raises(InvalidAdapter, match="damaged"):
        load_adapter(load(base), copy, "v1")
