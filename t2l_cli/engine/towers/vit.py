"""open_clip's own VisionTransformer, with every way to pool that its published models have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from t2l_cli.engine.towers.tower import Grid, Tower, interpolated, unreadable
from t2l_cli.errors import RequestError


class OpenClipTower(Tower):
    """An open_clip ViT."""

    visual: VisionTransformer

    def __init__(self, visual: VisionTransformer) -> None:
        """RequestError for one whose tokens cannot be read."""
        unusual = visual.attn_pool is None and visual.pool_type not in ("tok", "avg")
        if unusual or len(visual.transformer.resblocks) < 2 or visual.patch_size[0] != visual.patch_size[1]:
            raise unreadable(
                "this ViT needs class-token or average pooling, square patches and at least two blocks to be read"
            )
        super().__init__(visual)
        self.patch_size = visual.patch_size[0]
        self.grid = (visual.grid_size[0], visual.grid_size[1])
        self.pools_class_token = visual.attn_pool is None and visual.pool_type == "tok"

    @classmethod
    def reads(cls, visual: object) -> bool:
        """Whether ``visual`` is of this kind."""
        return isinstance(visual, VisionTransformer)

    def position_embeddings(self, grid: Grid) -> dict[str, Tensor]:
        """The learned embeddings (1 + h*w, C), interpolated."""
        return {"positional_embedding": interpolated(self.visual.positional_embedding, self.grid, grid)}

    @contextmanager
    def explicit_attention(self) -> Iterator[list[Tensor]]:
        """See :class:`Tower`. RequestError for a variant of attention that no published model uses."""
        attentions: list[Tensor] = []

        def explicit(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, None]) -> Any:
            weights, mixed = _attend(module, inputs[0])
            attentions.append(weights)
            return (mixed, None) if isinstance(output, tuple) else mixed

        with self.visual.transformer.resblocks[-1].attn.register_forward_hook(explicit):
            yield attentions

    @contextmanager
    def pooled(self) -> Iterator[list[Tensor]]:
        """See :class:`Tower`; one group.

        If each token is normalised on its own before pooling, tokens are taken after the norm: before it, the length of
        a token has no effect, so gradient . x would be 0.
        """
        visual, tokens = self.visual, list[Tensor]()
        if visual.attn_pool is not None:
            pool = visual.attn_pool_contrastive if visual.attn_pool_type == "parallel" else visual.attn_pool
            last = pool.ln_k
        else:
            last = visual.transformer if visual.final_ln_after_pool else visual.ln_post

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            tokens.append(output[:, None])
            return tokens[-1][:, 0]

        with last.register_forward_hook(keep):
            yield tokens

    @staticmethod
    def _embed(visual: nn.Module, pixels: Tensor) -> Tensor:
        features = visual(pixels)
        return cast(Tensor, features[0] if isinstance(features, tuple) else features)

    @staticmethod
    def _tokens(visual: nn.Module, pixels: Tensor) -> Tensor:
        tower = cast(Any, visual)
        out = tower.forward_intermediates(
            pixels,
            indices=[len(tower.transformer.resblocks) - 2],
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        return torch.cat([out["image_intermediates_prefix"][0], out["image_intermediates"][0]], dim=1)


def _attend(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention of ``x`` (B, N, C): the attention matrix (B, heads, N, N) and the output (B, N, C).

    The matrix is a float32 leaf that requires a gradient.
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
