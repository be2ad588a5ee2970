"""The words that mini knows, and what they look like."""

from __future__ import annotations

from typing import NamedTuple

# sRGB of each named colour, 0..255: the centre of its random draws.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (205, 35, 35),
    "orange": (240, 130, 30),
    "yellow": (242, 226, 50),
    "green": (50, 155, 60),
    "cyan": (60, 205, 215),
    "blue": (40, 75, 200),
    "purple": (125, 45, 165),
    "pink": (245, 150, 190),
    "brown": (112, 68, 36),
    "black": (26, 26, 28),
    "white": (240, 240, 240),
    "gray": (128, 128, 128),
    "golden": (210, 166, 50),
}
TEXTURES = ("plain", "striped", "dotted", "checkered", "knitted")
NOUNS = (
    "ball", "box", "triangle", "star", "ring", "heart", "cup", "vase",
    "cat", "bird", "fish", "car", "boat", "apple", "flower", "tree",
)  # fmt: skip
SYNONYMS: dict[str, tuple[str, ...]] = {
    "ball": ("ball", "circle", "sphere"),
    "box": ("box", "square"),
    "cup": ("cup", "mug"),
    "gray": ("gray", "grey"),
    "golden": ("golden", "gold"),
    "cyan": ("cyan", "turquoise"),
    "dotted": ("dotted", "polka dot", "spotted"),
    "striped": ("striped", "stripy"),
    "checkered": ("checkered", "checkerboard"),
    "knitted": ("knitted", "crochet", "woolen"),
}
GENERIC_NOUNS = ("object", "thing", "shape")
# Words outside of the vocabulary have a zero embedding. Training uses such words as nouns of unknown meaning, so that
# "red truck" is still understood as a red something.
UNKNOWN_NOUNS = (
    "truck",
    "dog",
    "house",
    "chair",
    "bottle",
    "shirt",
    "person",
    "horse",
    "table",
    "rocket",
    "hat",
    "moon",
)

COLOUR_NAMES = tuple(COLOURS)
NO_CLAIM = -1  # an attribute that a caption leaves open, or that is true of nothing in the picture
OTHER_SHAPE = len(NOUNS)  # silhouettes without a noun
BLOTCHED = -2  # a surface that is neither plain nor one of the textures
SCREEN = len(TEXTURES)  # a background's "texture" that stands for the green screen


class Thing(NamedTuple):
    """Colour, texture and noun of an object, or of a claim about one: indices, or NO_CLAIM if left open."""

    colour: int = NO_CLAIM
    texture: int = NO_CLAIM
    noun: int = NO_CLAIM
