"""One frozen CLIP: embeddings of texts and pictures, tokens for L_structure, and the text relevancy map.

Everything is read from the model (patch size, input size, depth, pooling, pixel statistics), nothing is fixed to
ViT-B/32. This module knows no views, losses or templates. Source: method, section 4; supplement, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from t2l_cli.errors import RequestError

VIEW_LONG_SIDE = 320 / 224  # longest side of a picture in the text terms, in model input sizes
STRUCTURE_LONG_SIDE = 380 / 224  # the same in L_structure
RELEVANCY_SIDE = 224  # px: the side at which relevancy and alpha are compared (method, section 5)
TEXT_BATCH = 64  # texts in one pass
ROI_MARGIN = 1.0  # logits, see choose_roi


class Clip:
    """A frozen open_clip ViT with its text tower.

    Attributes: ``input_size`` (px) and ``patch_size`` (px) of the image tower, ``logit_scale`` (the model's own
    inverse temperature, about 100 for OpenAI's weights), ``roi_margin`` (logits by which a text must beat the neutral
    one to count as seen; a model that judges the neutral text in its own way has an attribute of this name),
    ``device``, ``dtype``; ``towers``, what pictures pass through.
    ``at_once``: how many pictures ``embed_images`` holds in memory for the gradient, None for all. The numbers do not
    depend on it; where they do not fit, the rest is computed a second time when its gradient is due.
    """

    at_once: int | None = None

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable[..., Tensor],
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Take ``model`` over: it is moved to ``device``, frozen, and its image tower cast to ``dtype``.

        The text tower stays in float32: it runs once. RequestError when the image tower is not an open_clip ViT.
        """
        visual = _checked_tower(getattr(model, "visual", None))
        self.device, self.dtype = torch.device(device), dtype
        self.logit_scale = float(cast(Tensor, model.logit_scale).detach().float().exp())
        self.roi_margin = float(getattr(model, "roi_margin", ROI_MARGIN))
        self._model = model.to(self.device).eval().requires_grad_(False)
        self._visual = visual.to(dtype=dtype)
        self._whole, self._before_last = _Whole(visual), _BeforeLastBlock(visual)
        self.towers: tuple[nn.Module, ...] = (self._whole, self._before_last)
        self._tokenizer = tokenizer
        self.input_size: int = min(visual.image_size)
        self.patch_size: int = visual.patch_size[0]
        mean = getattr(visual, "image_mean", None) or OPENAI_DATASET_MEAN
        std = getattr(visual, "image_std", None) or OPENAI_DATASET_STD
        self._mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self._positions: dict[tuple[int, int], Tensor] = {}  # token grid -> interpolated embeddings

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeddings of ``texts``, (N, D) float32, not normalised, without gradient."""
        length = getattr(self._model, "context_length", None)
        tokens = self._tokenizer(list(texts), context_length=length)
        with torch.no_grad():
            parts = [self._encode_text(part) for part in torch.split(tokens, TEXT_BATCH)]
        return torch.cat(parts).float()

    def embed_images(self, pictures: Tensor) -> Tensor:
        """Embeddings of RGB pictures or views in [0, 1], (N, 3, h, w) of any size, as (N, D) float32.

        Not normalised; differentiable with respect to the pixels. A side that is no multiple of the patch size is
        resized to the nearest one.
        """
        if self.at_once is None or len(pictures) <= self.at_once:
            return self._embed(pictures)
        embed = partial(checkpoint, self._embed, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([embed(part) for part in torch.split(pictures, self.at_once)])

    def _embed(self, pictures: Tensor) -> Tensor:
        pixels, grid = self._pixels(pictures)
        return in_half(partial(self._pooled, self._whole, grid), pixels, self.dtype)

    def _pooled(self, tower: nn.Module, grid: tuple[int, int], pixels: Tensor) -> Tensor:
        features = self._run(tower, grid, pixels)
        return cast(Tensor, features[0] if isinstance(features, tuple) else features)

    def tokens(self, pictures: Tensor) -> Tensor:
        """All tokens (class token first) before the last transformer block: (B, 1 + h*w / patch^2, width) float32.

        The features of L_structure; differentiable. ``pictures``: (B, 3, h, w) in [0, 1].
        """
        pixels, grid = self._pixels(pictures)
        return in_half(partial(self._run, self._before_last, grid), pixels, self.dtype)

    def relevancy(self, picture: Tensor, text: str | Sequence[str]) -> Tensor:
        """Where ``text`` is in ``picture`` (1, 3, H, W): (1, 1, 224, 224), min-max normalised to [0, 1].

        R of Chefer et al., "Generic Attention-model Explainability" (ICCV 2021), over the last block: R = I + A-bar,
        A-bar = mean over heads of (grad * attention)+. Several texts count with their mean similarity. The row of the
        class token is read. Without one, pooling is one more row of attention on the tokens x: R = P-bar (I + A-bar),
        P-bar_i = (grad_i . x_i)+, what token i brings to the similarity. All zero if nothing stands out.
        """
        target = F.normalize(self.embed_texts([text] if isinstance(text, str) else text), dim=-1)
        with torch.enable_grad(), self._explicit_attention() as attentions, self._pooled_tokens() as pooled:
            pixels, grid = self._pixels(self.fit(picture.detach()))
            # A tower of its own: hooks do not reach into the compiled one.
            embedding = self._pooled(_Whole(self._visual), grid, pixels.to(self.dtype)).float()
            similarity = (F.normalize(embedding, dim=-1) @ target.T).mean()
            (attention,), (tokens,) = attentions, pooled  # (1, heads, N, N), (1, N, C)
            gradient, on_tokens = torch.autograd.grad(similarity, [attention, tokens])
        a_bar = (gradient * attention.detach()).clamp(min=0).mean(dim=1)[0]  # (N, N)
        relevance = torch.eye(len(a_bar), device=self.device) + a_bar
        if self._visual.attn_pool is None and self._visual.pool_type == "tok":
            row = relevance[0, 1:]
        else:
            p_bar = (on_tokens * tokens.detach()).float().sum(dim=-1).clamp(min=0)[0]  # (N,)
            row = (p_bar @ relevance)[1:]
        shape = (RELEVANCY_SIDE, RELEVANCY_SIDE)
        relevancy = F.interpolate(row.view(1, 1, *grid), size=shape, mode="bilinear", align_corners=False)
        low, high = relevancy.min(), relevancy.max()
        return (relevancy - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)

    def view_size(self, size: tuple[int, int], long_side: float = VIEW_LONG_SIDE) -> tuple[int, int]:
        """The (h, w) at which CLIP sees a picture of ``size`` (H, W): multiples of the patch size.

        Short side = the input size, aspect ratio kept as nearly as whole patches allow, long side at most
        ``long_side`` input sizes (then the short side gives way). The published code squeezes pictures into squares.
        """
        cap = int(self.input_size * long_side) // self.patch_size * self.patch_size
        scale = min(self.input_size / min(size), self.input_size * long_side / max(size))
        height, width = (min(self._whole_patches(side * scale), cap) for side in size)
        return height, width

    def fit(self, pictures: Tensor, long_side: float = VIEW_LONG_SIDE) -> Tensor:
        """``pictures`` (B, C, H, W) resized to ``view_size``, antialiased, differentiable; the un-augmented view."""
        return _resize(pictures, self.view_size((pictures.shape[-2], pictures.shape[-1]), long_side))

    def _whole_patches(self, side: float) -> int:
        return max(1, round(side / self.patch_size)) * self.patch_size

    def _pixels(self, pictures: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Normalised pixels, and their token grid."""
        height, width = (self._whole_patches(side) for side in pictures.shape[-2:])
        pixels = (_resize(pictures, (height, width)) - self._mean) / self._std
        return pixels, (height // self.patch_size, width // self.patch_size)

    def _run(self, tower: nn.Module, grid: tuple[int, int], pixels: Tensor) -> Any:
        """``tower(pixels)`` with the position embeddings interpolated to ``grid``."""
        if grid == tuple(self._visual.grid_size):
            return tower(pixels)
        return functional_call(tower, {"visual.positional_embedding": self._position_embedding(grid)}, (pixels,))

    def _position_embedding(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings (1 + h*w, width), bicubic from the native grid, as in DINO (Caron et al. 2021).

        The published code exchanges rows and columns here, which shows where pictures are not square.
        """
        if grid not in self._positions:
            embedding = self._visual.positional_embedding.detach().float()
            native = embedding[1:].T.reshape(1, -1, *self._visual.grid_size)
            patches = F.interpolate(native, size=grid, mode="bicubic", align_corners=False).flatten(2)[0].T
            self._positions[grid] = torch.cat([embedding[:1], patches]).to(self.dtype)
        return self._positions[grid]

    def _encode_text(self, tokens: Tensor) -> Tensor:
        """The text embedding of ``tokens`` (on the CPU), without the padding at their ends where that is exact."""
        model = cast(Any, self._model)
        causal = isinstance(model, OpenClip) and model.text_pool_type == "argmax" and model.attn_mask is not None
        if not causal:
            return cast(Tensor, model.encode_text(tokens.to(self.device)))
        # The text ends in its largest token, which is also the one read, and attends only backwards: what follows is
        # padding without effect, and most of the 77 positions.
        length = int(tokens.argmax(dim=-1).max()) + 1
        tokens = tokens[:, :length].to(self.device)
        short = {
            "model.positional_embedding": model.positional_embedding[:length],
            "model.attn_mask": model.attn_mask[:length, :length],
        }
        return cast(Tensor, functional_call(_TextTower(model), short, (tokens,)))

    @contextmanager
    def _explicit_attention(self) -> Iterator[list[Tensor]]:
        """Within the block, the last block's attention is computed in the open and collected as a leaf with gradient.

        The fused attention of the normal pass has no attention matrix to differentiate by.
        """
        attentions: list[Tensor] = []

        def explicit(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, None]) -> Any:
            weights, mixed = _attend(module, inputs[0])
            attentions.append(weights)
            return (mixed, None) if isinstance(output, tuple) else mixed

        with self._visual.transformer.resblocks[-1].attn.register_forward_hook(explicit):
            yield attentions

    @contextmanager
    def _pooled_tokens(self) -> Iterator[list[Tensor]]:
        """Within the block, the tokens (1, N, C) that the tower pools are collected.

        Where each is normed on its own, that is after its norm: before it, its length has no effect, so grad . x is 0.
        """
        visual, tokens = self._visual, list[Tensor]()
        if visual.attn_pool is not None:
            pool = visual.attn_pool_contrastive if visual.attn_pool_type == "parallel" else visual.attn_pool
            last = pool.ln_k
        else:
            last = visual.transformer if visual.final_ln_after_pool else visual.ln_post

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            tokens.append(output)

        with last.register_forward_hook(keep):
            yield tokens


class _Whole(nn.Module):
    """The image tower, as a module of its own for ``functional_call`` and for compiling."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> Any:
        return self.visual(pixels)


class _BeforeLastBlock(nn.Module):
    """The image tower up to its last block, likewise."""

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
    """``encode_text`` as a module's forward, for ``functional_call``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, cast(Any, self.model).encode_text(tokens))


def _checked_tower(visual: object) -> VisionTransformer:
    """``visual`` if it is a ViT that this module can read; else RequestError."""
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


def _attend(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention of ``x`` (B, N, C) with ``attention``'s weights: the matrix (B, heads, N, N) and the output.

    The matrix is float32 and a leaf that requires a gradient. RequestError for variants of attention (scaled cosine,
    head scales, inner norm) that no published open_clip ViT uses.
    """
    if any(getattr(attention, name, None) is not None for name in ("logit_scale", "head_scale")):
        raise RequestError("this ViT's attention is of a variant whose relevancy map is not known; use another --clip.")
    heads = attention.num_heads
    projected = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
    q, k, v = (part.view(*x.shape[:2], heads, -1).transpose(1, 2) for part in projected)  # (B, heads, N, C / heads)
    if hasattr(attention, "ln_q"):
        q, k = attention.ln_q(q), attention.ln_k(k)
    weights = (q.float() @ k.float().mT / q.shape[-1] ** 0.5).softmax(dim=-1).detach().requires_grad_()
    mixed = (weights.to(v.dtype) @ v).transpose(1, 2).flatten(2)
    if hasattr(attention, "ln_inner"):
        mixed = attention.ln_inner(mixed)
    return weights, attention.out_proj(mixed)


def _resize(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """``pictures`` at ``size`` (h, w), bilinear with antialiasing; themselves when they have that size."""
    if pictures.shape[-2:] == size:
        return pictures
    return F.interpolate(pictures, size=size, mode="bilinear", antialias=True, align_corners=False)
