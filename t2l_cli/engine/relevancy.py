"""Where CLIP sees a text in a picture: the relevancy map R(I, T) of the bootstrap.

Chefer et al., "Generic Attention-model Explainability" (ICCV 2021), applied to the last block of the image tower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from t2l_cli.engine.clip import Clip
from t2l_cli.errors import RequestError

SIDE = 224  # px: side of the map, at which relevancy and alpha are compared (method, section 5)


def relevancy(clip: Clip, picture: Tensor, text: str | Sequence[str]) -> Tensor:
    """Where ``text`` is in ``picture`` (1, 3, H, W): (1, 1, 224, 224), min-max normalised to [0, 1].

    R = I + A-bar, where A-bar = mean over heads of (gradient * attention)+ and the gradient is that of the similarity
    of picture and text (for several texts, their mean similarity). If the tower pools by its class token, the map is
    the row of that token. Otherwise pooling counts as one more row of attention, on the tokens x: the map is
    P-bar (I + A-bar), where P-bar_i = (gradient_i . x_i)+ is the part of token i in the similarity. A constant map
    gives all zeros. RequestError for a variant of attention that no published open_clip ViT uses.
    """
    # 1. The similarity of picture and text, and its gradients.
    target = F.normalize(clip.embed_texts([text] if isinstance(text, str) else text), dim=-1)
    seen = clip.fit(picture.detach())
    with torch.enable_grad(), _attention_of(clip.visual) as attentions, _pooled_tokens(clip.visual) as pooled:
        similarity = (F.normalize(clip.embed_plainly(seen), dim=-1) @ target.T).mean()
        (attention,), (tokens,) = attentions, pooled  # (1, heads, N, N), (1, N, C)
        gradient, on_tokens = torch.autograd.grad(similarity, [attention, tokens])
    # 2. The relevancy of each token.
    a_bar = (gradient * attention.detach()).clamp(min=0).mean(dim=1)[0]  # (N, N)
    R = torch.eye(len(a_bar), device=clip.device) + a_bar
    if clip.visual.attn_pool is None and clip.visual.pool_type == "tok":
        row = R[0, 1:]  # (N - 1,): without the class token
    else:
        p_bar = (on_tokens * tokens.detach()).float().sum(dim=-1).clamp(min=0)[0]  # (N,)
        row = (p_bar @ R)[1:]
    # 3. The tokens as a map, enlarged and normalised.
    height, width = (side // clip.patch_size for side in seen.shape[-2:])
    grid = row.view(1, 1, height, width)
    enlarged = F.interpolate(grid, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
    low, high = enlarged.min(), enlarged.max()
    return (enlarged - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny)


@contextmanager
def _attention_of(visual: VisionTransformer) -> Iterator[list[Tensor]]:
    """Within the context, compute the attention matrix of the last block explicitly and collect it as a leaf tensor.

    The fused attention of a normal pass has no attention matrix to differentiate with respect to.
    """
    attentions: list[Tensor] = []

    def explicit(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, None]) -> Any:
        weights, mixed = _attend(module, inputs[0])
        attentions.append(weights)
        return (mixed, None) if isinstance(output, tuple) else mixed

    with visual.transformer.resblocks[-1].attn.register_forward_hook(explicit):
        yield attentions


@contextmanager
def _pooled_tokens(visual: VisionTransformer) -> Iterator[list[Tensor]]:
    """Within the context, collect the tokens (1, N, C) that the tower pools.

    If each token is normalised on its own before pooling, they are taken after the norm: before it, the length of a
    token has no effect, so gradient . x would be 0.
    """
    tokens: list[Tensor] = []
    if visual.attn_pool is not None:
        pool = visual.attn_pool_contrastive if visual.attn_pool_type == "parallel" else visual.attn_pool
        last = pool.ln_k
    else:
        last = visual.transformer if visual.final_ln_after_pool else visual.ln_post

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        tokens.append(output)

    with last.register_forward_hook(keep):
        yield tokens


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
