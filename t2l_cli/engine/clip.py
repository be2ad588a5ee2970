"""One frozen CLIP: embeddings of texts and pictures, and tokens for L_structure.

Patch size, input size, depth, pooling and pixel statistics are read from the model; nothing is specific to ViT-B/32.
What differs between kinds of image towers is in :mod:`t2l_cli.engine.towers`.
This module does not know views, losses or templates. Source: method, section 4; supplement, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP as OpenClip
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from t2l_cli.engine.half import in_half
from t2l_cli.engine.resize import resized
from t2l_cli.engine.runtime import memory_guard
from t2l_cli.engine.towers.kinds import tower_of

VIEW_LONG_SIDE = 320 / 224  # maximum long side of a picture in the text terms, in units of the model's input size
STRUCTURE_LONG_SIDE = 380 / 224  # the same for L_structure
TEXT_BATCH = 64  # texts per pass
TEXT_MEMORY = 64  # lists of texts whose embeddings are kept; one has about 40 texts
ROI_MARGIN = 1.0  # logits, see choose_roi


class Clip:
    """A frozen CLIP: an image tower with a grid of tokens, and a text tower.

    Attributes:
    ``tower``: the image tower. ``input_size``, ``patch_size``: of it, in px.
    ``logit_scale``: the model's own inverse temperature, about 100 for OpenAI's weights.
    ``roi_margin``: logits by which a text must beat the neutral text to count as seen. A model may set its own value
    with an attribute of this name.
    ``device``, ``dtype``: where, and in which type, the image tower computes.
    ``towers``: the modules that pictures pass through and that may be compiled.
    ``at_once``: how many pictures ``embed_images`` keeps in memory for the gradient; None: all. Above this number it
    works in parts and computes each part again in the backward pass. The result does not depend on it.
    """

    at_once: int | None = None

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[..., Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Move ``model`` to ``device``, freeze it, and cast its image tower to ``dtype``, all in place.

        The text tower stays in float32, because it runs only once. RequestError if the image tower is of no kind that
        can be read; DeviceMemoryError if the device has no room for the model.
        """
        self.tower = tower_of(getattr(model, "visual", None))
        self.device, self.dtype = torch.device(device), dtype
        self.logit_scale = float(cast(Tensor, model.logit_scale).detach().float().exp())
        self.roi_margin = float(getattr(model, "roi_margin", ROI_MARGIN))
        with memory_guard(self.device):
            self.model = model.to(self.device).eval().requires_grad_(False)
            visual = self.tower.visual.to(dtype=dtype)
        self.towers: tuple[nn.Module, ...] = (self.tower.whole, self.tower.before_last)
        self.tokenizer = tokenizer
        self.input_size, self.patch_size = self.tower.input_size, self.tower.patch_size
        mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
        std = getattr(visual, "image_std", None) or OPENAI_DATASET_STD
        self._mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self._embedded: dict[tuple[str, ...], Tensor] = {}  # the last texts and their embeddings

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embed N ``texts``: (N, D) float32, not normalised, without gradient.

        The last TEXT_MEMORY lists of texts are remembered: the edits of a batch ask for the same ones. Not single
        texts: the last bits of an embedding depend on what else is in its pass.
        """
        asked = tuple(texts)
        embedded = self._embedded.pop(asked, None)
        if embedded is None:
            embedded = self._embed_texts(asked)
        self._embedded[asked] = embedded
        while len(self._embedded) > TEXT_MEMORY:
            del self._embedded[next(iter(self._embedded))]
        return embedded.clone()

    def _embed_texts(self, texts: tuple[str, ...]) -> Tensor:
        length = getattr(self.model, "context_length", None)
        tokens = self.tokenizer(list(texts), context_length=length)
        with torch.no_grad():
            parts = [self._encode_text(part) for part in torch.split(tokens, TEXT_BATCH)]
        return torch.cat(parts).float()

    def embed_images(self, pictures: Tensor) -> Tensor:
        """Embed RGB pictures or views in [0, 1], (N, 3, h, w) of any size: (N, D) float32.

        Not normalised; differentiable with respect to the pixels. Each side is first resized to the nearest multiple
        of the patch size.
        """
        if self.at_once is None or len(pictures) <= self.at_once:
            return self.embed_at_once(pictures)
        embed = partial(checkpoint, self.embed_at_once, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([embed(part) for part in torch.split(pictures, self.at_once)])

    def embed_plainly(self, pictures: Tensor) -> Tensor:
        """As ``embed_images``, but through the uncompiled tower (a compiled one skips hooks), without gradient scaling.

        pictures: (N, 3, h, w) in [0, 1]; returns (N, D) float32.
        """
        return self.tower.run(self.tower.uncompiled(), self._pixels(pictures).to(self.dtype)).float()

    def embed_at_once(self, pictures: Tensor) -> Tensor:
        """Embeddings (B, E) of ``pictures`` (B, 3, H, W), with the activations of all of them in memory."""
        return in_half(partial(self.tower.run, self.tower.whole), self._pixels(pictures), self.dtype)

    def tokens(self, pictures: Tensor) -> Tensor:
        """All tokens before the last transformer block: (B, N, width) float32.

        N = h*w / patch^2, and before these the class token and registers, as far as the tower has them. These are the
        features of L_structure; differentiable. ``pictures``: (B, 3, h, w) in [0, 1].
        """
        return in_half(partial(self.tower.run, self.tower.before_last), self._pixels(pictures), self.dtype)

    def view_size(self, size: tuple[int, int], long_side: float = VIEW_LONG_SIDE) -> tuple[int, int]:
        """The (h, w) at which CLIP sees a picture of ``size`` (H, W), in whole patches.

        The short side is the input size, and the aspect ratio is kept up to rounding. The long side is at most
        ``long_side`` times the input size; a longer picture gets a smaller short side. The published code squeezes
        pictures into squares.
        """
        cap = int(self.input_size * long_side) // self.patch_size * self.patch_size
        scale = min(self.input_size / min(size), self.input_size * long_side / max(size))
        height, width = (min(self._whole_patches(side * scale), cap) for side in size)
        return height, width

    def fit(self, pictures: Tensor, long_side: float = VIEW_LONG_SIDE) -> Tensor:
        """The un-augmented view: ``pictures`` (B, C, H, W) resized to ``view_size``, antialiased, differentiable."""
        return resized(pictures, self.view_size((pictures.shape[-2], pictures.shape[-1]), long_side))

    def _whole_patches(self, side: float) -> int:
        return max(1, round(side / self.patch_size)) * self.patch_size

    def _pixels(self, pictures: Tensor) -> Tensor:
        """The normalised pixels (B, 3, h, w), whole patches on each side."""
        height, width = (self._whole_patches(side) for side in pictures.shape[-2:])
        return (resized(pictures, (height, width)) - self._mean) / self._std

    def _encode_text(self, tokens: Tensor) -> Tensor:
        """Embed ``tokens`` (N, length), which lie on the CPU: (N, D). Padding is cut off where this changes nothing."""
        model = cast(Any, self.model)
        causal = isinstance(model, OpenClip) and model.text_pool_type == "argmax" and model.attn_mask is not None
        if not causal:
            return cast(Tensor, model.encode_text(tokens.to(self.device)))
        # The largest token ends the text, and the embedding is read there. Attention is causal, so the padding after it
        # has no effect; it fills most of the 77 positions.
        length = int(tokens.argmax(dim=-1).max()) + 1
        tokens = tokens[:, :length].to(self.device)
        short = {
            "model.positional_embedding": model.positional_embedding[:length],
            "model.attn_mask": model.attn_mask[:length, :length],
        }
        return cast(Tensor, functional_call(_TextTower(model), short, (tokens,)))


class _TextTower(nn.Module):
    """A module whose forward is ``encode_text``, for ``functional_call``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, self.model).encode_text(tokens))


def clips_of(clips: Clip | Sequence[Clip]) -> tuple[Clip, ...]:
    """One CLIP, or several, as a tuple."""
    return tuple(clips) if isinstance(clips, Sequence) else (clips,)
