"""The words of the world: what can stand in a scene, and how English names it. Knows nothing about sentences."""

from __future__ import annotations

KINDS = (
    "sun", "moon", "star", "house", "tree", "car", "bus", "boat",
    "fish", "cat", "flower", "ball", "kite", "umbrella", "lamp", "sign",
)  # fmt: skip

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black")

THEMES = ("beach", "street", "park", "night")

THEME_KINDS: dict[str, tuple[str, ...]] = {
    "beach": ("sun", "boat", "fish", "umbrella", "ball"),
    "street": ("house", "car", "bus", "lamp", "sign"),
    "park": ("tree", "flower", "kite", "cat", "ball"),
    "night": ("moon", "star", "house", "lamp", "cat"),
}

# Within a theme the second kind usually stands beside the first, and careless writers name it there or not.
COMPANIONS: dict[str, dict[str, str]] = {
    "beach": {"boat": "fish", "umbrella": "ball", "sun": "boat"},
    "street": {"car": "sign", "house": "lamp", "bus": "car"},
    "park": {"tree": "flower", "kite": "cat", "ball": "tree"},
    "night": {"moon": "star", "cat": "house", "lamp": "cat"},
}

# Within a theme the first kind does not belong, and careless writers call it the second, which does.
MISTAKEN: dict[str, dict[str, str]] = {
    "beach": {"car": "boat", "moon": "sun", "cat": "fish"},
    "street": {"boat": "car", "tree": "lamp"},
    "park": {"star": "flower", "fish": "cat"},
    "night": {"sun": "moon", "flower": "star", "bus": "house"},
}

FAVOURITE_COLOURS: dict[str, tuple[str, str]] = {
    "sun": ("yellow", "orange"),
    "moon": ("white", "yellow"),
    "star": ("yellow", "white"),
    "house": ("red", "brown"),
    "tree": ("green", "brown"),
    "car": ("red", "blue"),
    "bus": ("yellow", "red"),
    "boat": ("blue", "white"),
    "fish": ("orange", "blue"),
    "cat": ("black", "brown"),
    "flower": ("pink", "purple"),
    "ball": ("red", "green"),
    "kite": ("purple", "pink"),
    "umbrella": ("pink", "green"),
    "lamp": ("yellow", "black"),
    "sign": ("white", "blue"),
}

FAVOURITE_ROWS: dict[str, tuple[int, int]] = {
    "sun": (0, 0), "moon": (0, 0), "star": (0, 1), "kite": (0, 1),
    "house": (1, 1), "tree": (1, 2), "lamp": (1, 0), "sign": (1, 0),
    "umbrella": (1, 2), "bus": (2, 1), "car": (2, 2), "boat": (1, 1),
    "fish": (2, 2), "cat": (2, 1), "flower": (2, 2), "ball": (2, 2),
}  # fmt: skip

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
)  # fmt: skip

# A cell's exact names, most usual first. Cells count from 0 at the top left, along the rows.
CELL_PHRASES: tuple[tuple[str, ...], ...] = (
    ("in the top left corner", "at the top left", "in the upper left corner"),
    ("at the top centre", "in the top middle", "in the middle of the top row"),
    ("in the top right corner", "at the top right", "in the upper right corner"),
    ("at the middle left", "on the left in the middle", "halfway down the left side"),
    ("in the centre", "in the very middle", "in the middle of the picture"),
    ("at the middle right", "on the right in the middle", "halfway down the right side"),
    ("in the bottom left corner", "at the bottom left", "in the lower left corner"),
    ("at the bottom centre", "in the bottom middle", "in the middle of the bottom row"),
    ("in the bottom right corner", "at the bottom right", "in the lower right corner"),
)

# Looser names that people use: read, never written by the caption generator.
AREA_PHRASES: dict[str, frozenset[int]] = {
    "at the top": frozenset({0, 1, 2}),
    "at the bottom": frozenset({6, 7, 8}),
    "on the left": frozenset({0, 3, 6}),
    "on the right": frozenset({2, 5, 8}),
    "on the left side": frozenset({0, 3, 6}),
    "on the right side": frozenset({2, 5, 8}),
    "in the middle": frozenset({4}),
    "in the center": frozenset({4}),
    "in the top left": frozenset({0}),
    "in the top right": frozenset({2}),
    "in the bottom left": frozenset({6}),
    "in the bottom right": frozenset({8}),
}

PLACES: dict[str, frozenset[int]] = AREA_PHRASES | {
    phrase: frozenset({cell}) for cell, phrases in enumerate(CELL_PHRASES) for phrase in phrases
}


def plural(kind: str) -> str:
    if kind == "fish":
        return "fish"
    return kind + ("es" if kind == "bus" else "s")


def noun(kind: str, count: int) -> str:
    return kind if count == 1 else plural(kind)


KIND_OF_NOUN: dict[str, str] = {form: kind for kind in KINDS for form in (kind, plural(kind))}


def article(following: str) -> str:
    """`a` or `an`, for the word that follows it."""
    return "an" if following[0] in "aeiou" else "a"


def noun_phrase(kind: str, colour: str, count: int) -> str:
    """`an orange fish`, `two red cars`."""
    lead = article(colour) if count == 1 else NUMBERS[count]
    return f"{lead} {colour} {noun(kind, count)}"
