"""mini in training: the open_clip model, a short embedding table, and heads that are discarded afterwards."""

from __future__ import annotations

from pathlib import Path

import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from torch import Tensor, nn

from mini.optimisers import Muon
from mini.vocabulary import COLOURS, GENERIC_NOUNS, NOUNS, SYNONYMS, TEXTURES
from t2l_cli.engine.prompts import TEMPLATES
from t2l_cli.weights.mini import EMBEDDING, IDS, ROWS, create

MEAN = (0.48145466, 0.4578275, 0.40821073)  # CLIP's normalisation
STD = (0.26862954, 0.26130258, 0.27577711)
ADAM_PART = 0.6  # ratio of AdamW's learning rate to Muon's


class Student(nn.Module):
    """The model with a short embedding table instead of CLIP's 49,408 rows, and with the heads."""

    token_ids: Tensor
    lookup: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.clip, self.tokenizer = create()
        self.clip.token_embedding.requires_grad_(False).weight.zero_()
        ids = sorted({int(t) for word in _words() for t in self.tokenizer([word])[0].tolist()} - {0})
        self.register_buffer("token_ids", torch.tensor(ids))
        lookup = torch.zeros(self.clip.vocab_size, dtype=torch.long)
        lookup[self.token_ids] = torch.arange(1, len(ids) + 1)
        self.register_buffer("lookup", lookup, persistent=False)
        self.rows = nn.Embedding(len(ids) + 1, self.clip.token_embedding.embedding_dim, padding_idx=0)
        nn.init.normal_(self.rows.weight[1:], std=0.02)
        width = self.clip.visual.conv1.out_channels
        sizes = {"colour": len(COLOURS), "texture": len(TEXTURES) + 1, "noun": len(NOUNS) + 2}
        self.patch_heads = nn.ModuleDict({k: nn.Linear(width, n) for k, n in sizes.items()})
        self.scene_heads = nn.ModuleDict({k: nn.Linear(width, n) for k, n in sizes.items()})
        self.direction_scale = nn.Parameter(torch.tensor(2.3))
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    @classmethod
    def of(cls, trained: CLIP) -> Student:
        """A student with the weights of ``trained`` and untrained heads."""
        student = cls()
        state = trained.state_dict()
        with torch.no_grad():
            student.rows.weight[1:] = state.pop("token_embedding.weight")[student.token_ids]
        student.clip.load_state_dict(state, strict=False)
        return student

    def see(self, images: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor]:
        """Embeddings (N, D) and patch features (N, P, W) of pictures (N, 3, px, px).

        ``keep``: (N, P), the patches shown; None: all.
        """
        visual = self.clip.visual
        x = visual._embeds((images - self.mean) / self.std)
        if keep is not None:
            x = torch.cat([x[:, :1], x[:, 1:].gather(1, keep[..., None].expand(-1, -1, x.shape[2]))], 1)
        patches = visual.ln_post(visual.transformer(x))[:, 1:]
        embedding: Tensor = patches.mean(1) @ visual.proj
        return embedding, patches

    def read(self, texts: list[str]) -> Tensor:
        """Embeddings (T, D) of texts."""
        tokens = self.tokenizer(texts).to(self.lookup.device)
        length = int((tokens != 0).sum(1).max())
        tokens = tokens[:, :length]
        x = self.rows(self.lookup[tokens]) + self.clip.positional_embedding[:length]
        x = self.clip.ln_final(self.clip.transformer(x, attn_mask=self.clip.attn_mask[:length, :length]))
        embedding: Tensor = x[torch.arange(len(x)), tokens.argmax(1)] @ self.clip.text_projection
        return embedding

    def clip_state(self) -> dict[str, Tensor]:
        """The open_clip state dict, with the trained embedding rows at their positions."""
        state = {k: v.detach().clone() for k, v in self.clip.state_dict().items()}
        state["token_embedding.weight"][self.token_ids] = self.rows.weight[1:].detach()
        return state


def _words() -> list[str]:
    """All words of captions, except the nouns that are meant to be unknown to mini."""
    known = [*COLOURS, *TEXTURES, *NOUNS, *GENERIC_NOUNS, *(w for words in SYNONYMS.values() for w in words)]
    glue = ["a", "an", "and", "on", "over", "in", "front", "of", "green", "screen", "background"]
    glue += ["photo", "picture", "image"]
    return [*known, *glue, *(t.format("ball") for t in TEMPLATES)]


def optimisers(student: Student, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the transformers' matrices, AdamW for all other trained parameters."""
    matrices = [p for n, p in student.clip.named_parameters() if p.ndim == 2 and "resblocks" in n]
    chosen = {id(p) for p in matrices}
    rest = [p for p in student.parameters() if p.requires_grad and id(p) not in chosen]
    return [Muon(matrices, lr=lr), torch.optim.AdamW(rest, lr=ADAM_PART * lr, betas=(0.9, 0.98), weight_decay=0.0)]


def save(state: dict[str, Tensor], token_ids: Tensor, path: Path) -> None:
    """Write a CLIP's state dict in half precision, with only the embedding rows of ``token_ids`` (K,)."""
    out = {k: v.half().contiguous() for k, v in state.items() if k not in (EMBEDDING, "attn_mask")}
    out[ROWS] = state[EMBEDDING][token_ids].half()
    out[IDS] = token_ids.int()
    save_file(out, path)
