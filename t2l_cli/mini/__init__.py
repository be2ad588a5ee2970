"""The small CLIP inside the package: trained on pictures drawn by this package's own code (docs/mini.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from open_clip.tokenizer import SimpleTokenizer

ABOUT = "mini knows 13 colours, 4 textures and little else: a first look; for real edits use ViT-B-32 (the default)."


def load() -> tuple[CLIP, SimpleTokenizer]:
    """The trained model (float32, in evaluation mode) and its tokenizer; imports torch."""
    from t2l_cli.mini import model

    return model.load()
