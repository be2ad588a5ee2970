"""mini, the small CLIP inside the package, as an open_clip model. How it is made: the repository's mini/README.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file

from t2l_cli.weights.registry import MINI_SIDE, MINI_WEIGHTS

EMBED_DIM = 128
VISION: dict[str, Any] = {
    "image_size": MINI_SIDE,
    "patch_size": 8,
    "layers": 6,
    "width": 192,
    "head_width": 32,
    "mlp_ratio": 3.0,
    "pool_type": "avg",
}
TEXT: dict[str, Any] = {
    "context_length": 32,
    "vocab_size": 49408,
    "layers": 3,
    "width": 128,
    "heads": 4,
    "mlp_ratio": 3.0,
}
ROI_MARGIN = -5.0  # logits: mini has learnt that "photo" is true of everything, so that it always wins (docs/mini.md)
EMBEDDING, ROWS, IDS = "token_embedding.weight", "token_rows", "token_ids"  # the file holds only rows of known words


def create() -> tuple[CLIP, SimpleTokenizer]:
    """An untrained mini and CLIP's tokenizer."""
    return CLIP(EMBED_DIM, VISION, TEXT), SimpleTokenizer(context_length=TEXT["context_length"])


def load(path: Path = MINI_WEIGHTS) -> tuple[CLIP, SimpleTokenizer]:
    """The trained mini (float32, eval) and its tokenizer. Embedding rows of words that it never saw are zero."""
    with torch.random.fork_rng(devices=[]):
        model, tokenizer = create()
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    rows, ids = state.pop(ROWS), state.pop(IDS).long()
    state[EMBEDDING] = torch.zeros_like(model.token_embedding.weight).index_copy(0, ids, rows)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - {"attn_mask"}:
        raise ValueError(f"{path} does not fit the model: missing {missing}, unexpected {unexpected}")
    model.roi_margin = ROI_MARGIN
    return model.eval(), tokenizer
