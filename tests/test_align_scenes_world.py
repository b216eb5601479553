import io

import pytest
from PIL import Image, PngImagePlugin

from align.scenes.draw import IMAGE_SIZE, draw, png_bytes, scene_of
from align.scenes.lexicon import CELL_PHRASES, COLOURS, COMPANIONS, KINDS, PLACES, THEME_KINDS, THEMES
from align.scenes.shapes import SHAPES
from align.scenes.world import Distribution, Item, Scene, Split, sample_scene, split_of

DISTRIBUTIONS: tuple[Distribution, ...] = ("training", "honest")
SPLITS: tuple[Split, ...] = ("train", "development", "test")


def test_a_seed_gives_the_same_scene_and_another_seed_another() -> None:
    assert sample_scene("honest", "test", 3) == sample_scene("honest", "test", 3)
    assert len({sample_scene("honest", "test", index) for index in range(200)}) == 200


def test_scenes_hold_two_to_five_different_kinds_in_reading_order() -> None:
    for index in range(500):
        for distribution in DISTRIBUTIONS:
            scene = sample_scene(distribution, "train", index)
            cells = [item.cell for item in scene.items]
            assert 2 <= len(scene.items) <= 5
            assert cells == sorted(set(cells))
            assert set(cells) <= set(range(9))
            assert len({item.kind for item in scene.items}) == len(scene.items)
            assert {item.count for item in scene.items} <= {1, 2}
            assert scene.theme in THEMES
            assert scene.total == sum(item.count for item in scene.items)


def test_every_kind_colour_cell_and_theme_occurs() -> None:
    scenes = [sample_scene("honest", "train", index) for index in range(500)]
    items = [item for scene in scenes for item in scene.items]
    assert {item.kind for item in items} == set(KINDS)
    assert {item.colour for item in items} == set(COLOURS)
    assert {item.cell for item in items} == set(range(9))
    assert {scene.theme for scene in scenes} == set(THEMES)


def test_no_content_occurs_in_two_splits() -> None:
    contents = {
        split: {
            sample_scene(distribution, split, index)
            for distribution in DISTRIBUTIONS
            for index in range(1500)
        }
        for split in SPLITS
    }
    for split in SPLITS:
        assert {split_of(scene) for scene in contents[split]} == {split}
    assert not contents["train"] & contents["test"]
    assert not contents["train"] & contents["development"]
    assert not contents["development"] & contents["test"]


def test_small_scenes_that_would_coincide_are_kept_apart_by_content_and_not_by_chance() -> None:
    scene = Scene("park", (Item("cat", "red", 0, 1), Item("kite", "blue", 4, 1)))
    assert split_of(scene) == split_of(Scene("park", tuple(scene.items)))
    splits = {
        split_of(Scene("park", (Item("cat", colour, cell, 1), Item("kite", "blue", 8, 1))))
        for colour in COLOURS
        for cell in range(8)
    }
    assert splits == set(SPLITS)


def test_training_scenes_put_together_what_honest_scenes_do_not() -> None:
    def typical_share(distribution: Distribution) -> float:
        scenes = [sample_scene(distribution, "train", index) for index in range(800)]
        flags = [item.kind in THEME_KINDS[scene.theme] for scene in scenes for item in scene.items]
        return sum(flags) / len(flags)

    def companion_share(distribution: Distribution) -> float:
        flags = [
            scene.item_of(COMPANIONS[scene.theme][item.kind]) is not None
            for scene in (sample_scene(distribution, "train", index) for index in range(800))
            for item in scene.items
            if item.kind in COMPANIONS[scene.theme]
        ]
        return sum(flags) / len(flags)

    assert typical_share("training") > 0.7 > 0.5 > typical_share("honest")
    assert companion_share("training") > 2 * companion_share("honest")


def test_companions_and_places_are_words_of_the_world() -> None:
    for theme, pairs in COMPANIONS.items():
        assert {*pairs, *pairs.values()} <= set(THEME_KINDS[theme])
    assert set(SHAPES) == set(KINDS)
    assert len({phrase for phrases in CELL_PHRASES for phrase in phrases}) == 27
    for cell, phrases in enumerate(CELL_PHRASES):
        assert all(PLACES[phrase] == {cell} for phrase in phrases)


def test_a_picture_is_small_rgb_and_the_same_each_time() -> None:
    scene = sample_scene("honest", "test", 5)
    picture = draw(scene)
    assert (picture.size, picture.mode) == ((IMAGE_SIZE, IMAGE_SIZE), "RGB")
    assert png_bytes(scene) == png_bytes(scene)
    assert png_bytes(scene).startswith(b"\x89PNG")


def test_every_kind_colour_count_and_cell_changes_the_picture_in_its_own_cell_only() -> None:
    anchor = Item("cat", "red", 0, 1)
    for theme in THEMES:
        pictures = {}
        for kind in KINDS[:-1]:
            kind = "sign" if kind == "cat" else kind
            for colour in COLOURS:
                for count in (1, 2):
                    scene = Scene(theme, (anchor, Item(kind, colour, 8, count)))
                    pictures[draw(scene).crop((64, 64, 96, 96)).tobytes()] = scene
                    assert len(draw(scene).crop((32, 32, 64, 64)).getcolors()) < 60
        assert len(pictures) == 15 * len(COLOURS) * 2


def noted(picture: Image.Image, note: str, file_format: str = "PNG") -> bytes:
    info, buffer = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("errata-scene", note)
    picture.save(buffer, file_format, **({"pnginfo": info} if file_format == "PNG" else {}))
    return buffer.getvalue()


def note_of(encoded: bytes) -> str:
    with Image.open(io.BytesIO(encoded)) as picture:
        return str(picture.info["errata-scene"])


def test_a_picture_says_which_scene_it_shows() -> None:
    scenes = [sample_scene("honest", "test", index) for index in range(50)]
    assert [scene_of(png_bytes(scene)) for scene in scenes] == scenes


def test_a_note_is_believed_only_where_the_pixels_show_its_scene() -> None:
    scene, other = sample_scene("honest", "test", 0), sample_scene("honest", "test", 1)
    note = note_of(png_bytes(scene))
    assert scene_of(noted(draw(scene), note)) == scene
    assert scene_of(noted(draw(other), note)) is None
    touched = draw(scene)
    touched.putpixel((0, 0), (1, 2, 3))
    assert scene_of(noted(touched, note)) is None


@pytest.mark.parametrize(
    "note",
    [
        "",
        "{",
        "[]",
        "[1, 2]",
        '["park", [["cat", "red"]]]',
        '["park", [[[], {}, "a", 1]]]',
        '["moon", []]',
        "7",
    ],
)
def test_a_note_that_is_no_scene_is_no_error(note: str) -> None:
    assert scene_of(noted(draw(sample_scene("honest", "test", 0)), note)) is None


def test_other_files_show_no_scene() -> None:
    scene = sample_scene("honest", "test", 0)
    note, buffer = note_of(png_bytes(scene)), io.BytesIO()
    draw(scene).save(buffer, "PNG")
    assert scene_of(buffer.getvalue()) is None, "without a note"
    assert scene_of(noted(draw(scene), note, "JPEG")) is None
    assert scene_of(noted(draw(scene).resize((192, 192)), note)) is None
    assert scene_of(noted(draw(scene).convert("L"), note)) is None
    assert scene_of(b"no image") is None
    assert scene_of(png_bytes(scene)[:200]) is None


def test_a_split_that_there_is_not_is_refused_instead_of_searched_forever() -> None:
    with pytest.raises(ValueError, match="no split 'validation'; one of train, development, test"):
        sample_scene("honest", "validation", 0)  # type: ignore[arg-type]  # that is the mistake
