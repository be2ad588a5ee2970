"""timm's image towers against the plain models and against computations written another way."""

from __future__ import annotations

import copy
from collections.abc import Callable

import open_clip
import pytest
import torch
from open_clip.timm_model import TimmModel
from torch import Tensor, nn
from torch.nn import functional as F

from t2l_cli.engine.clip import Clip
from t2l_cli.engine.relevancy import relevancy
from t2l_cli.engine.towers.kinds import tower_of
from t2l_cli.errors import RequestError

MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)


def pictures(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_images_equal_the_plain_model_at_the_native_size(timm_clip: Clip) -> None:
    x = pictures(3, 32, 32)
    plain = copy.deepcopy(timm_clip.model)
    plain.visual.trunk.patch_embed.strict_img_size = True
    torch.testing.assert_close(timm_clip.embed_images(x), plain.encode_image((x - MEAN) / STD), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (56, 32), (16, 24)])
def test_other_sizes_are_near_timms_own_resizing(timm_clip: Clip, size: tuple[int, int]) -> None:
    """timm's set_input_size interpolates learned positions with another filter, and makes the same rotary ones."""
    x = pictures(2, *size)
    plain = copy.deepcopy(timm_clip.model)
    plain.visual.set_input_size(size)
    found, expected = timm_clip.embed_images(x), plain.encode_image((x - MEAN) / STD)
    assert found.isfinite().all()
    assert F.cosine_similarity(found, expected).min() > 0.98
    if plain.visual.trunk.pos_embed is None:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_larger_grid_has_positions_of_its_own(timm_clip: Clip) -> None:
    """A picture and its transpose are different, so rows and columns are not mixed up."""
    x = pictures(1, 32, 48, seed=2)
    with torch.no_grad():
        assert not torch.allclose(timm_clip.embed_images(x), timm_clip.embed_images(x.mT), atol=1e-4)


def test_the_model_is_untouched_by_other_sizes_and_by_relevancy(timm_clip: Clip) -> None:
    x = pictures(1, 32, 32)
    before = timm_clip.embed_images(x)
    timm_clip.embed_images(pictures(1, 40, 32))
    relevancy(timm_clip, pictures(1, 40, 32), "cat")
    assert torch.equal(before, timm_clip.embed_images(x))


@pytest.mark.parametrize("what", ["embed_images", "tokens"])
def test_gradients_reach_every_pixel_and_no_weight(timm_clip: Clip, what: str) -> None:
    x = pictures(1, 32, 40).requires_grad_()
    out = getattr(timm_clip, what)(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    (out * weights).sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(dim=1) > 0).all()
    assert not any(p.requires_grad or p.grad is not None for p in timm_clip.model.parameters())


def test_tokens_are_what_enters_the_last_block(timm_clip: Clip) -> None:
    seen: list[Tensor] = []
    trunk = timm_clip.model.visual.trunk
    x = pictures(2, 32, 48)
    with trunk.blocks[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0])):
        timm_clip.embed_images(x)
        tokens = timm_clip.tokens(x)
    assert tokens.shape == (2, trunk.num_prefix_tokens + 4 * 6, 32)
    torch.testing.assert_close(tokens, seen[0], rtol=1e-4, atol=1e-5)
    assert len(seen) == 1, "tokens must not run the last block"


@pytest.mark.parametrize("size", [(32, 32), (70, 50)])
def test_relevancy_against_another_computation(timm_clip: Clip, size: tuple[int, int]) -> None:
    x = pictures(1, *size, seed=5)
    found = relevancy(timm_clip, x, "a cat")
    assert found.shape == (1, 1, 224, 224)
    assert (found.min(), found.max()) == (0, 1), "not constant"
    torch.testing.assert_close(found, _relevancy_by_factors(timm_clip, x, "a cat"), rtol=1e-3, atol=1e-3)


def _relevancy_by_factors(clip: Clip, picture: Tensor, text: str) -> Tensor:
    """Another way: the derivative with respect to a factor on each attention weight, and on each token that is pooled.

    With A' = A * S, dS/dS_ij at 1 is gradient_ij * A_ij, the product that Chefer et al. rectify. A factor on a value of
    the pooling attention is a factor on its weight. The network is in float64.
    """
    fitted = clip.fit(picture)
    grid = fitted.shape[2] // 8, fitted.shape[3] // 8
    model = copy.deepcopy(clip.model)
    target = model.encode_text(clip.tokenizer([text]))[0].double()
    trunk, exact = model.visual.trunk, Clip(model, clip.tokenizer, dtype=torch.float64)
    attention, pool, prefix = trunk.blocks[-1].attn, trunk.attn_pool, trunk.num_prefix_tokens
    n = prefix + grid[0] * grid[1]
    left_out = prefix if pool is not None and trunk.__class__.__name__ == "VisionTransformer" else 0
    on_attention = torch.ones(attention.num_heads, n, n, dtype=torch.float64, requires_grad=True)
    on_pool = torch.ones(1 if pool is None else pool.num_heads, n - left_out, dtype=torch.float64, requires_grad=True)

    def scale_values(_module: nn.Module, _inputs: object, out: Tensor) -> Tensor:
        keys, values = out.chunk(2, dim=-1)
        by_head = values.reshape(*values.shape[:2], pool.num_heads, -1) * on_pool.T[None, :, :, None]
        return torch.cat([keys, by_head.flatten(2)], dim=-1)

    attention.fused_attn = False
    attention.attn_drop.register_forward_hook(lambda _module, _inputs, out: out * on_attention)
    if pool is None:
        trunk.norm.register_forward_hook(lambda _module, _inputs, out: out * on_pool[0, :, None])
    else:
        pool.kv.register_forward_hook(scale_values)
    seen = exact.tower.run(exact.tower.whole, ((fitted - MEAN) / STD).double())
    torch.cosine_similarity(seen[0], target, dim=0).backward()
    assert on_attention.grad is not None
    rows = torch.eye(n) + on_attention.grad.clamp(min=0).mean(dim=0).float()
    if pool is None and trunk.global_pool == "token":
        row = rows[0]
    else:
        assert on_pool.grad is not None
        row = on_pool.grad.clamp(min=0).mean(dim=0).float() @ rows[left_out:]
    found = F.interpolate(row[prefix:].view(1, 1, *grid), (224, 224), mode="bilinear", align_corners=False)
    return (found - found.min()) / (found.max() - found.min())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_near(timm_clip: Clip, dtype: torch.dtype) -> None:
    half, x = Clip(copy.deepcopy(timm_clip.model), timm_clip.tokenizer, dtype=dtype), pictures(2, 40, 32)
    assert half.embed_images(x).dtype == half.tokens(x).dtype == torch.float32
    assert F.cosine_similarity(half.embed_images(x), timm_clip.embed_images(x)).min() > 0.999
    found, expected = (relevancy(clip, x[:1], "a cat") for clip in (half, timm_clip))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.03)


def test_a_compiled_tower_gives_the_same(timm_clip: Clip) -> None:
    torch.compiler.reset()
    compiled, x = Clip(copy.deepcopy(timm_clip.model), timm_clip.tokenizer), pictures(2, 40, 32)
    for tower in compiled.towers:
        tower.compile(backend="eager")
    torch.testing.assert_close(compiled.embed_images(x), timm_clip.embed_images(x))
    torch.testing.assert_close(compiled.tokens(x), timm_clip.tokens(x))
    torch.testing.assert_close(relevancy(compiled, x[:1], "a cat"), relevancy(timm_clip, x[:1], "a cat"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"global_pool": "max"}, "pooling 'max'"),
        ({"dynamic_img_size": True}, "positions"),
        ({"blocks": nn.Sequential(nn.Identity())}, "at least two blocks"),
    ],
)
def test_timm_towers_that_cannot_be_read_are_refused_with_the_reason(
    make_tiny_timm_clip: Callable[[str], Clip], change: dict[str, object], reason: str
) -> None:
    model = copy.deepcopy(make_tiny_timm_clip("eva02").model)
    for name, value in change.items():
        setattr(model.visual.trunk, name, value)
    with pytest.raises(RequestError, match=reason):
        tower_of(model.visual)


def test_a_network_without_a_grid_of_tokens_is_refused() -> None:
    visual = TimmModel("convnext_atto", embed_dim=16, image_size=64, pool="avg", proj="linear")
    with pytest.raises(RequestError, match="ConvNeXt; it has no grid of tokens"):
        tower_of(visual)
