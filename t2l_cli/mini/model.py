"""mini as an open_clip model: its architecture, its vocabulary's embedding rows and its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

FOLDER = Path(__file__).parent
CONFIG = FOLDER / "config.json"
WEIGHTS = FOLDER / "weights.safetensors"
ROI_MARGIN = -5.0  # logits: mini has learnt that "photo" is true of everything, so it always wins (docs/mini.md)
_EMBEDDING, _ROWS, _IDS = "token_embedding.weight", "token_rows", "token_ids"


def create(config: Path = CONFIG) -> tuple[CLIP, SimpleTokenizer]:
    """An untrained mini and CLIP's tokenizer."""
    settings: dict[str, Any] = json.loads(config.read_text())
    model = CLIP(settings["embed_dim"], settings["vision_cfg"], settings["text_cfg"])
    return model, SimpleTokenizer(context_length=settings["text_cfg"]["context_length"])


def save(state: dict[str, Tensor], token_ids: Tensor, path: Path) -> None:
    """Write a state dict in half precision, with the rows of ``token_ids`` (K,) as the only embedding rows."""
    out = {k: v.half().contiguous() for k, v in state.items() if k not in (_EMBEDDING, "attn_mask")}
    out[_ROWS] = state[_EMBEDDING][token_ids].half()
    out[_IDS] = token_ids.int()
    save_file(out, path)


def load(path: Path = WEIGHTS) -> tuple[CLIP, SimpleTokenizer]:
    """The trained mini (float32, eval) and its tokenizer. Rows of words that it never saw are zero."""
    model, tokenizer = create()
    state = {k: v.float() if v.is_floating_point() else v for k, v in load_file(path).items()}
    rows, ids = state.pop(_ROWS), state.pop(_IDS).long()
    state[_EMBEDDING] = torch.zeros_like(model.token_embedding.weight).index_copy(0, ids, rows)
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or set(missing) - {"attn_mask"}:
        raise ValueError(f"{path} does not fit the model: missing {missing}, unexpected {unexpected}")
    model.roi_margin = ROI_MARGIN
    return model.eval(), tokenizer
