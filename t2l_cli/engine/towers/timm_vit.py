"""The vision transformers of timm that open_clip wraps: SigLIP, SigLIP 2, EVA02, PE-Core, ViTamin and others."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from open_clip.timm_model import TimmModel
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from t2l_cli.engine.towers.tower import Grid, Tower, interpolated, unreadable


class TimmTower(Tower):
    """A transformer of timm, pooled by class token, mean, or attention with a learned query."""

    def __init__(self, visual: TimmModel) -> None:
        """RequestError, with the reason, for one whose tokens cannot be read."""
        trunk = visual.trunk
        if (problem := _problem(trunk)) or (problem := _problem_of_head(visual.head)):
            raise unreadable(f"this CLIP's image tower is timm's {type(trunk).__name__}; {problem}")
        super().__init__(visual)
        embed = trunk.patch_embed
        embed.strict_img_size = False  # the size is checked only where it must be native
        self._trunk: Any = trunk
        self.grid = (embed.grid_size[0], embed.grid_size[1])
        self.patch_size = embed.img_size[0] // self.grid[0]
        self.pools_class_token = trunk.attn_pool is None and trunk.global_pool == "token"

    @classmethod
    def reads(cls, visual: object) -> bool:
        """Whether ``visual`` is of this kind."""
        return isinstance(visual, TimmModel)

    def position_embeddings(self, grid: Grid) -> dict[str, Tensor]:
        """The learned embeddings, interpolated, and the angles of rotary ones; a tower has either, both or none.

        EVA02 and PE-Core measure rotary positions in units of the picture, so another grid stretches their angles, as
        interpolation does with learned embeddings.
        """
        found: dict[str, Tensor] = {}
        learned, rope = self._trunk.pos_embed, getattr(self._trunk, "rope", None)
        if learned is not None:
            found["trunk.pos_embed"] = interpolated(learned[0], self.grid, grid)[None]
        if rope is not None:
            other = copy.deepcopy(rope)
            other.update_feat_shape(list(grid))
            found["trunk.rope.pos_embed"] = other.get_embed()
        return found

    @contextmanager
    def explicit_attention(self) -> Iterator[list[Tensor]]:
        """See :class:`Tower`. Attention that is not fused passes its matrix through a dropout, where it is caught."""
        attention, matrices = self._trunk.blocks[-1].attn, list[Tensor]()

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            matrices.append(output.detach().float().requires_grad_())
            return matrices[-1].to(output.dtype)

        fused = attention.fused_attn
        attention.fused_attn = False
        try:
            with attention.attn_drop.register_forward_hook(keep):
                yield matrices
        finally:
            attention.fused_attn = fused

    @contextmanager
    def pooled(self) -> Iterator[list[Tensor]]:
        """See :class:`Tower`. An attention pooling adds up the values of each head, a mean pooling the tokens.

        With the values v and the attention A of a head, gradient . v equals gradient * A of the same token, the product
        that LeGrad (Bousselham et al. 2024) and Chefer et al. read from the pooling attention.
        """
        pool, vectors = self._trunk.attn_pool, list[Tensor]()

        def keep_values(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            keys, values = output.chunk(2, dim=-1)
            by_head = values.view(*values.shape[:2], pool.num_heads, -1).transpose(1, 2)  # (1, heads, M, C / heads)
            vectors.append(by_head)
            return torch.cat([keys, by_head.transpose(1, 2).flatten(2)], dim=-1)

        def keep_tokens(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            vectors.append(output[:, None])
            return vectors[-1][:, 0]

        hook = (self._trunk.norm, keep_tokens) if pool is None else (pool.kv, keep_values)
        with hook[0].register_forward_hook(hook[1]):
            yield vectors

    @staticmethod
    def _embed(visual: nn.Module, pixels: Tensor) -> Tensor:
        return cast(Tensor, visual(pixels))

    @staticmethod
    def _tokens(visual: nn.Module, pixels: Tensor) -> Tensor:
        trunk = cast(Any, visual).trunk
        prefix = trunk.num_prefix_tokens > 0
        (out,) = trunk.forward_intermediates(
            pixels,
            indices=[len(trunk.blocks) - 2],
            return_prefix_tokens=prefix,
            stop_early=True,
            intermediates_only=True,
            output_fmt="NLC",
        )
        return torch.cat([out[1], out[0]], dim=1) if prefix else cast(Tensor, out)


def _problem(trunk: Any) -> str:
    """Why the trunk cannot be read; "" if it can."""
    if not isinstance(trunk, VisionTransformer | Eva):
        return "it has no grid of tokens"
    if trunk.attn_pool is None and trunk.global_pool not in ("token", "avg"):
        return f"its pooling {trunk.global_pool!r} is not read yet"
    if trunk.attn_pool is not None and not hasattr(trunk.attn_pool, "kv"):
        return "its attention pooling is of an unknown kind"
    rows, columns = trunk.patch_embed.grid_size
    height, width = trunk.patch_embed.img_size
    if height // rows != width // columns or len(trunk.blocks) < 2:
        return "it needs square patches and at least two blocks"
    if trunk.dynamic_img_size or not _known_rope(getattr(trunk, "rope", None)):
        return "its positions are of a kind that is not read yet"
    if not hasattr(trunk.blocks[-1].attn, "attn_drop"):
        return "its attention is of an unknown kind"
    return ""


def _known_rope(rope: Any) -> bool:
    return rope is None or (hasattr(rope, "update_feat_shape") and isinstance(rope.pos_embed, Tensor))


def _problem_of_head(head: nn.Module) -> str:
    return "it pools by a head that needs a picture of fixed size" if hasattr(head, "pool") else ""
