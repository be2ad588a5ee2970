"""One frozen CLIP: embeddings of texts and pictures, and tokens for L_structure.

Patch size, input size, depth, pooling and pixel statistics are read from the model; nothing is specific to ViT-B/32.
This module does not know views, losses or templates. Source: method, section 4; supplement, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP as OpenClip
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from t2l_cli.engine.half import in_half
from t2l_cli.engine.resize import resized
from t2l_cli.errors import RequestError

VIEW_LONG_SIDE = 320 / 224  # maximum long side of a picture in the text terms, in units of the model's input size
STRUCTURE_LONG_SIDE = 380 / 224  # the same for L_structure
TEXT_BATCH = 64  # texts per pass
TEXT_MEMORY = 64  # lists of texts whose embeddings are kept; one has about 40 texts
ROI_MARGIN = 1.0  # logits, see choose_roi


class Clip:
    """A frozen open_clip ViT with its text tower.

    Attributes:
    ``input_size``, ``patch_size``: of the image tower, in px.
    ``logit_scale``: the model's own inverse temperature, about 100 for OpenAI's weights.
    ``roi_margin``: logits by which a text must beat the neutral text to count as seen. A model may set its own value
    with an attribute of this name.
    ``device``, ``dtype``: where, and in which type, the image tower computes.
    ``visual``: the image tower. ``towers``: the modules that pictures pass through and that may be compiled.
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

        The text tower stays in float32, because it runs only once. RequestError if the image tower is not an open_clip
        ViT.
        """
        visual = _checked_tower(getattr(model, "visual", None))
        self.device, self.dtype = torch.device(device), dtype
        self.logit_scale = float(cast(Tensor, model.logit_scale).detach().float().exp())
        self.roi_margin = float(getattr(model, "roi_margin", ROI_MARGIN))
        self.model = model.to(self.device).eval().requires_grad_(False)
        self.visual = visual.to(dtype=dtype)
        self._whole, self._before_last = _Whole(visual), _BeforeLastBlock(visual)
        self.towers: tuple[nn.Module, ...] = (self._whole, self._before_last)
        self.tokenizer = tokenizer
        self.input_size: int = min(visual.image_size)
        self.patch_size: int = visual.patch_size[0]
        mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
        std = getattr(visual, "image_std", None) or OPENAI_DATASET_STD
        self._mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self._embedded: dict[tuple[str, ...], Tensor] = {}  # the last texts and their embeddings
        self._positions: dict[tuple[int, int], Tensor] = {}  # token grid -> interpolated embeddings

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
        pixels, grid = self._pixels(pictures)
        return self._pooled(_Whole(self.visual), grid, pixels.to(self.dtype)).float()

    def embed_at_once(self, pictures: Tensor) -> Tensor:
        """Embeddings (B, E) of ``pictures`` (B, 3, H, W), with the activations of all of them in memory."""
        pixels, grid = self._pixels(pictures)
        return in_half(partial(self._pooled, self._whole, grid), pixels, self.dtype)

    def _pooled(self, tower: nn.Module, grid: tuple[int, int], pixels: Tensor) -> Tensor:
        features = self._run(tower, grid, pixels)
        return cast(Tensor, features[0] if isinstance(features, tuple) else features)

    def tokens(self, pictures: Tensor) -> Tensor:
        """All tokens before the last transformer block, class token first: (B, 1 + h*w / patch^2, width) float32.

        These are the features of L_structure; differentiable. ``pictures``: (B, 3, h, w) in [0, 1].
        """
        pixels, grid = self._pixels(pictures)
        return in_half(partial(self._run, self._before_last, grid), pixels, self.dtype)

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

    def _pixels(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The normalised pixels (B, 3, h, w) and the (rows, columns) of their token grid."""
        height, width = (self._whole_patches(side) for side in pictures.shape[-2:])
        pixels = (resized(pictures, (height, width)) - self._mean) / self._std
        return pixels, (height // self.patch_size, width // self.patch_size)

    def _run(self, tower: nn.Module, grid: tuple[int, int], pixels: Tensor) -> Any:
        """``tower(pixels)`` with the position embeddings interpolated to ``grid``."""
        if grid == tuple(self.visual.grid_size):
            return tower(pixels)
        return functional_call(tower, {"visual.positional_embedding": self.position_embedding(grid)}, (pixels,))

    def position_embedding(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings (1 + h*w, width), bicubic from the native grid, as in DINO (Caron et al. 2021).

        The published code swaps rows and columns here, which matters only for pictures that are not square.
        """
        if grid not in self._positions:
            embedding = self.visual.positional_embedding.detach().float()
            native = embedding[1:].T.reshape(1, -1, *self.visual.grid_size)
            patches = F.interpolate(native, size=grid, mode="bicubic", align_corners=False).flatten(2)[0].T
            self._positions[grid] = torch.cat([embedding[:1], patches]).to(self.dtype)
        return self._positions[grid]

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


class _Whole(nn.Module):
    """The image tower, wrapped as a module for ``functional_call`` and for compiling."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> Any:
        return self.visual(pixels)


class _BeforeLastBlock(nn.Module):
    """The image tower without its last block, wrapped in the same way."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> Tensor:
        out = self.visual.forward_intermediates(
            pixels,
            indices=[len(self.visual.transformer.resblocks) - 2],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        return torch.cat([out["image_intermediates_prefix"][0], out["image_intermediates"][0]], dim=1)


class _TextTower(nn.Module):
    """A module whose forward is ``encode_text``, for ``functional_call``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, self.model).encode_text(tokens))


def _checked_tower(visual: object) -> VisionTransformer:
    """Return ``visual`` if it is a ViT that this module can read; otherwise raise RequestError."""
    if not isinstance(visual, VisionTransformer):
        raise RequestError(
            f"this CLIP's image tower is a {type(visual).__name__}, not an open_clip ViT: its tokens cannot be read.\n"
            "Choose a ViT such as ViT-B-32, ViT-B-16 or ViT-L-14."
        )
    unusual = visual.attn_pool is None and visual.pool_type not in ("tok", "avg")
    if unusual or len(visual.transformer.resblocks) < 2 or visual.patch_size[0] != visual.patch_size[1]:
        raise RequestError(
            "this ViT needs class-token or average pooling, square patches and at least two blocks to be read.\n"
            "Choose a ViT such as ViT-B-32, ViT-B-16 or ViT-L-14."
        )
    return visual
