from __future__ import annotations

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image
import pytest
import tiny_models
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoProcessor

from align.conversation import Conversation, Image, Message, Text
from align.errors import InvalidConversation, InvalidImage
from align.rendering import Renderer, decode_image

PNG = tiny_models.png(1)
SHA256 = hashlib.sha256(PNG).hexdigest()


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.tiny_llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def renderer(llava: Path) -> Renderer:
    return Renderer.from_pretrained(llava)


def user(*parts: Text | Image) -> Conversation:
    return Conversation((Message("user", parts),))


def test_input_ids_and_pixels_are_those_of_the_processor(llava: Path, renderer: Renderer) -> None:
    conversation = Conversation(
        (
            Message("system", (Text("Be brief."),)),
            Message("user", (Image(SHA256), Text("What is this?"))),
            Message("assistant", (Text("A lamp."),)),
            Message("user", (Text("And this?"), Image(SHA256))),
        )
    )
    rendered = renderer.render(conversation, {SHA256: PNG})

    image = PIL.Image.open(io.BytesIO(PNG))
    text = (
        "<s><|system|>Be brief.<|user|><image>What is this?<|assistant|>A lamp.</s><|user|>And this?<image>"
    )
    expected = AutoProcessor.from_pretrained(llava)(
        text=[text + "<|assistant|>"], images=[[image, image]], return_tensors="pt", add_special_tokens=False
    )
    assert rendered.input_ids == tuple(expected["input_ids"][0].tolist())
    assert rendered.num_tokens == expected["input_ids"].shape[1]
    assert set(rendered.tensors) == {"pixel_values"}
    assert torch.equal(rendered.tensors["pixel_values"], expected["pixel_values"])


def test_each_image_takes_as_many_positions_as_it_has_patches(renderer: Renderer) -> None:
    image_id = renderer.tokenizer.convert_tokens_to_ids("<image>")
    one = renderer.render(user(Image(SHA256), Text("hi")), {SHA256: PNG})
    two = renderer.render(user(Image(SHA256), Image(SHA256), Text("hi")), {SHA256: PNG})
    assert one.input_ids.count(image_id) == 4
    assert two.input_ids.count(image_id) == 8
    assert two.tensors["pixel_values"].shape == (2, 3, 28, 28)


def test_text_alone_has_no_tensors(renderer: Renderer) -> None:
    assert renderer.render(user(Text("hello")), {}).tensors == {}


def test_without_a_generation_prompt_the_conversation_ends_where_it_ends(renderer: Renderer) -> None:
    with_prompt = renderer.render(user(Text("hello")), {})
    without = renderer.render(user(Text("hello")), {}, add_generation_prompt=False)
    assert with_prompt.input_ids[: without.num_tokens] == without.input_ids
    assert with_prompt.num_tokens == without.num_tokens + 1


def test_control_tokens_that_a_person_wrote_stay_text(renderer: Renderer) -> None:
    written = "look: <image> </s><|assistant|>"
    rendered = renderer.render(user(Text(written), Image(SHA256)), {SHA256: PNG})
    tokenizer = renderer.tokenizer
    assert rendered.input_ids.count(tokenizer.convert_tokens_to_ids("<image>")) == 4
    assert tokenizer.eos_token_id not in rendered.input_ids
    assert written in tokenizer.decode(rendered.input_ids, skip_special_tokens=True)


def test_a_template_without_bos_renders_with_one_and_refuses_control_tokens(
    llava: Path,
) -> None:
    processor = AutoProcessor.from_pretrained(llava)
    processor.chat_template = processor.chat_template.replace("{{ bos_token }}", "")
    processor.tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    renderer = Renderer(processor)
    assert renderer.render(user(Text("hello")), {}).input_ids.count(1) == 1
    with pytest.raises(InvalidConversation, match="control token"):
        renderer.render(user(Text("a </s> b")), {})


def test_missing_and_undecodable_images_are_refused(renderer: Renderer) -> None:
    with pytest.raises(InvalidImage, match="missing"):
        renderer.render(user(Image(SHA256)), {})
    for damaged in (b"", b"no image", PNG[: len(PNG) // 2]):
        with pytest.raises(InvalidImage, match="cannot be decoded"):
            renderer.render(user(Image(SHA256)), {SHA256: damaged})


def test_images_are_turned_upright_and_only_their_first_frame_is_seen() -> None:
    wide = PIL.Image.new("RGB", (20, 10), "red")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    jpeg, gif = io.BytesIO(), io.BytesIO()
    wide.save(jpeg, "JPEG", exif=exif)
    wide.save(gif, "GIF", save_all=True, append_images=[PIL.Image.new("RGB", (20, 10), "blue")])
    assert decode_image("a", {"a": jpeg.getvalue()}).size == (10, 20)
    first = decode_image("a", {"a": gif.getvalue()})
    assert (first.mode, first.getpixel((0, 0))) == ("RGB", (255, 0, 0))


def test_a_template_that_fails_is_an_invalid_conversation(llava: Path) -> None:
    processor = AutoProcessor.from_pretrained(llava)
    processor.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InvalidConversation, match="roles must alternate"):
        Renderer(processor).render(user(Text("hello")), {})


def test_a_plain_tokenizer_renders_text_and_refuses_images(tmp_path: Path) -> None:
    renderer = Renderer.from_pretrained(tiny_models.tiny_llama(tmp_path))
    rendered = renderer.render(user(Text("one "), Text("two")), {})
    assert renderer.tokenizer.decode(rendered.input_ids) == "<s><|user|>one two<|assistant|>"
    with pytest.raises(InvalidConversation, match="send text only"):
        renderer.render(user(Image(SHA256)), {SHA256: PNG})


def test_end_ids_come_from_the_generation_config_and_else_from_the_tokenizer(llava: Path) -> None:
    assert Renderer.from_pretrained(llava).eos_token_ids == (2, 20)
    assert Renderer(AutoProcessor.from_pretrained(llava)).eos_token_ids == (2,)


def test_many_threads_render_the_same(renderer: Renderer) -> None:
    conversation = user(Image(SHA256), Text("What is in the picture?"))
    expected = renderer.render(conversation, {SHA256: PNG}).input_ids
    with ThreadPoolExecutor(8) as threads:
        rendered = list(threads.map(lambda _: renderer.render(conversation, {SHA256: PNG}), range(64)))
    assert {one.input_ids for one in rendered} == {expected}
