from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import ARCHITECTURES
from tiny_models import tiny_llava

from align.feature_files import FeatureFiles
from align.image_features import ImageFeatures

IMAGES = ("a", "b")
EACH = [torch.arange(6.0).view(2, 3), torch.ones(1, 3)]
LARGE = 10**6


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llava(tmp_path_factory.mktemp("base"))


@pytest.mark.parametrize("features", [EACH, EACH[0]], ids=["one each", "one for all"])
def test_features_come_back_as_they_were(features: Any, base: Path, tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, LARGE, base, torch.float32)
    files.write(IMAGES, features)
    found = FeatureFiles(tmp_path, LARGE, base, torch.float32).read(IMAGES, "cpu")
    assert type(found) is type(features)
    assert found is not None
    for one, other in zip(found, features, strict=True):
        assert torch.equal(one, other)


def test_other_images_other_models_and_other_number_formats_find_nothing(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "features"
    FeatureFiles(folder, LARGE, base, torch.float32).write(IMAGES, EACH)
    other = tiny_llava(tmp_path / "other", seed=1)
    assert FeatureFiles(folder, LARGE, base, torch.float32).read(("b", "a"), "cpu") is None
    assert FeatureFiles(folder, LARGE, base, torch.bfloat16).read(IMAGES, "cpu") is None
    assert FeatureFiles(folder, LARGE, other, torch.float32).read(IMAGES, "cpu") is None


def test_no_more_is_written_than_there_is_room_for(base: Path, tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, EACH[0].nbytes, base, torch.float32)
    files.write(("a",), EACH[0])
    files.write(("b",), EACH[0])
    assert files.read(("a",), "cpu") is not None
    assert files.read(("b",), "cpu") is None


def test_a_damaged_file_is_as_good_as_none(base: Path, tmp_path: Path) -> None:
    files = FeatureFiles(tmp_path, LARGE, base, torch.float32)
    files.write(IMAGES, EACH)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert files.read(IMAGES, "cpu") is None


@pytest.mark.parametrize("name", ["llava", "llava_next", "gemma3"])
def test_what_memory_does_not_hold_is_read_instead_of_encoded(
    name: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = ARCHITECTURES[name].model()
    prompts = [ARCHITECTURES[name].make_prompt(model, number) for number in range(3)]
    images = ImageFeatures(model, 1, FeatureFiles(tmp_path, LARGE, base, torch.float32))
    _, expected = images.replace_pixels(prompts)

    def fails(*_: Any, **__: Any) -> Any:
        raise AssertionError("an image was encoded again")

    monkeypatch.setattr(images, "_encode", fails)
    _, found = images.replace_pixels(prompts)
    features = [inputs["mm_encoder_outputs"]["image"].pooler_output for inputs in (expected, found)]
    for one, other in zip(*features, strict=True):
        assert torch.equal(one, other)
