"""The frozen CLIP against open_clip itself and against an autograd computation written another way."""

from __future__ import annotations

from collections.abc import Callable

import open_clip
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from t2l_cli.engine.clip import STRUCTURE_LONG_SIDE, Clip
from t2l_cli.engine.relevancy import relevancy
from t2l_cli.errors import RequestError

MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)


def pictures(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(seed))


def test_images_equal_the_plain_model_at_the_native_size(either_clip: Clip) -> None:
    x = pictures(3, 32, 32)
    expected = either_clip.model.encode_image((x - MEAN) / STD)
    torch.testing.assert_close(either_clip.embed_images(x), expected, rtol=1e-5, atol=1e-5)


def test_interpolation_is_the_identity_on_the_native_grid(either_clip: Clip) -> None:
    native = either_clip.tower.visual.positional_embedding
    found = either_clip.tower.position_embeddings((4, 4))["positional_embedding"]
    torch.testing.assert_close(found, native, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grid", [(4, 6), (7, 4), (2, 2), (1, 9)])
def test_position_embeddings_are_interpolated_bicubically(tiny_clip: Clip, grid: tuple[int, int]) -> None:
    native = tiny_clip.tower.visual.positional_embedding
    found = tiny_clip.tower.position_embeddings(grid)["positional_embedding"]
    torch.testing.assert_close(found[0], native[0])
    patches = found[1:].view(*grid, -1)
    # Independent truth: the cubic convolution kernel (a = -0.75) written out for one channel.
    for channel in (0, 5):
        plane = native[1:, channel].view(4, 4)
        rows, columns = _cubic_matrix(4, grid[0]), _cubic_matrix(4, grid[1])
        torch.testing.assert_close(patches[..., channel], rows @ plane @ columns.T, rtol=1e-4, atol=1e-5)


def _cubic_matrix(source: int, target: int) -> Tensor:
    def kernel(t: float) -> float:
        t, a = abs(t), -0.75
        if t <= 1:
            return (a + 2) * t**3 - (a + 3) * t**2 + 1
        return a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a if t < 2 else 0.0

    matrix = torch.zeros(target, source)
    for i in range(target):
        centre = (i + 0.5) * source / target - 0.5
        for j in range(-3, source + 3):
            matrix[i, min(max(j, 0), source - 1)] += kernel(centre - j)
    return matrix


def test_other_sizes_go_through_the_model_with_interpolated_embeddings(tiny_clip: Clip) -> None:
    """The tower is rebuilt for the other grid, with the interpolated embeddings as its own."""
    x = pictures(2, 32, 48)
    wide = open_clip.transformer.VisionTransformer((32, 48), 8, 32, 3, 2, 4.0, output_dim=16)
    state = dict(tiny_clip.tower.visual.state_dict())
    state["positional_embedding"] = tiny_clip.tower.position_embeddings((4, 6))["positional_embedding"]
    wide.load_state_dict(state)
    expected = wide.eval()((x - MEAN) / STD)
    torch.testing.assert_close(tiny_clip.embed_images(x), expected, rtol=1e-4, atol=1e-5)


def test_the_model_is_untouched_by_other_sizes(tiny_clip: Clip) -> None:
    x = pictures(1, 32, 32)
    before = tiny_clip.embed_images(x)
    tiny_clip.embed_images(pictures(1, 40, 32))
    relevancy(tiny_clip, pictures(1, 40, 32), "cat")
    assert torch.equal(before, tiny_clip.embed_images(x))


def test_views_in_a_batch_are_independent(tiny_clip: Clip) -> None:
    x = pictures(4, 40, 32)
    one_by_one = torch.cat([tiny_clip.embed_images(picture[None]) for picture in x])
    torch.testing.assert_close(tiny_clip.embed_images(x), one_by_one, rtol=1e-4, atol=1e-5)


def test_sides_that_are_no_multiple_of_the_patch_are_resized_to_the_nearest(tiny_clip: Clip) -> None:
    x = pictures(1, 35, 45)
    resized = F.interpolate(x, size=(32, 48), mode="bilinear", antialias=True)
    torch.testing.assert_close(tiny_clip.embed_images(x), tiny_clip.embed_images(resized))


@pytest.mark.parametrize("what", ["embed_images", "tokens"])
def test_gradients_reach_the_pixels_and_not_the_weights(either_clip: Clip, what: str) -> None:
    x = pictures(1, 32, 40).requires_grad_()
    out = getattr(either_clip, what)(x)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(3))
    (out * weights).sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(dim=1) > 0).all()
    assert not any(p.requires_grad or p.grad is not None for p in either_clip.model.parameters())
    step = torch.randn(x.shape, generator=torch.Generator().manual_seed(4)) * 1e-3
    with torch.no_grad():
        slope = ((getattr(either_clip, what)(x + step) - getattr(either_clip, what)(x - step)) * weights).sum() / 2
    torch.testing.assert_close(slope, (x.grad * step).sum(), rtol=0.02, atol=2e-4)


def test_texts_equal_the_plain_model_although_the_padding_is_left_out(make_tiny_clip: Callable[..., Clip]) -> None:
    texts = ["a", "photo of a crochet swan.", "one two three four five six seven eight nine ten!", "word " * 200]
    for clip in (make_tiny_clip(), make_tiny_clip(custom_text=True)):
        expected = clip.model.encode_text(clip.tokenizer(texts))
        torch.testing.assert_close(clip.embed_texts(texts), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(clip.embed_texts(texts[:1]), expected[:1], rtol=1e-4, atol=1e-5)


def test_tokens_are_what_enters_the_last_block(either_clip: Clip) -> None:
    seen: list[Tensor] = []
    last = either_clip.tower.visual.transformer.resblocks[-1]
    hook = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    x = pictures(2, 32, 48)
    either_clip.embed_images(x)
    hook.remove()
    tokens = either_clip.tokens(x)
    assert tokens.shape == (2, 1 + 4 * 6, 32)
    torch.testing.assert_close(tokens, seen[0], rtol=1e-4, atol=1e-5)
    assert len(seen) == 1, "tokens must not run the last block"


@pytest.mark.parametrize("size", [(32, 32), (70, 50), (100, 40)])
def test_relevancy_against_another_computation(either_clip: Clip, size: tuple[int, int]) -> None:
    x = pictures(1, *size, seed=5)
    torch.testing.assert_close(
        relevancy(either_clip, x, "a cat"), _relevancy_by_dropout(either_clip, x, "a cat"), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("vision", [{"pool_type": "avg", "final_ln_after_pool": True}, {"attentional_pool": True}])
def test_relevancy_of_other_ways_to_pool(make_tiny_clip: Callable[..., Clip], vision: dict[str, object]) -> None:
    clip, x = make_tiny_clip(**vision), pictures(1, 40, 56, seed=6)
    torch.testing.assert_close(
        relevancy(clip, x, "a cat"), _relevancy_by_dropout(clip, x, "a cat"), rtol=1e-3, atol=1e-4
    )


def _relevancy_by_dropout(clip: Clip, picture: Tensor, text: str) -> Tensor:
    """Another way: the derivative with respect to a factor on each attention weight.

    With A' = A * (1 + S), dS/dS_ij at 0 is grad_ij * A_ij, the product that Chefer et al. rectify: no gradient of the
    attention is taken, and the block is written out by loops over heads and on the residual stream itself.
    """
    fitted = clip.fit(picture)
    x = clip.tokens(fitted)[0]
    visual = clip.tower.visual
    block = visual.transformer.resblocks[-1]
    n, width = x.shape
    heads = block.attn.num_heads
    d = width // heads
    w_q, w_k, w_v = block.attn.in_proj_weight.view(3, heads, d, width)
    b_q, b_k, b_v = block.attn.in_proj_bias.view(3, heads, d)
    factors = torch.zeros(heads, n, n, requires_grad=True)
    h = block.ln_1(x)
    outs = []
    for i in range(heads):
        scores = (h @ w_q[i].T + b_q[i]) @ (h @ w_k[i].T + b_k[i]).T / d**0.5
        weights = scores.exp() / scores.exp().sum(dim=1, keepdim=True)
        outs.append((weights * (1 + factors[i])) @ (h @ w_v[i].T + b_v[i]))
    y = x + torch.cat(outs, dim=1) @ block.attn.out_proj.weight.T + block.attn.out_proj.bias
    y = y + block.mlp(block.ln_2(y))
    pooling = torch.zeros(n, requires_grad=True)  # a factor on each token that is pooled, likewise
    factor = (1 + pooling)[:, None]
    if visual.attn_pool is not None:
        pool = visual.attn_pool
        keys = (factor * pool.ln_k(y))[None]
        pooled = visual.ln_post(pool.attn(pool.ln_q(pool.query)[None], keys, keys)[0])[0, 0]
    elif visual.final_ln_after_pool:
        pooled = visual.ln_post((factor * y)[1:].sum(dim=0) / (n - 1))
    elif visual.pool_type == "avg":
        pooled = (factor * visual.ln_post(y))[1:].sum(dim=0) / (n - 1)
    else:
        pooled = visual.ln_post(y)[0]
    pooled = pooled @ visual.proj
    with torch.no_grad():
        target = clip.model.encode_text(clip.tokenizer([text]))[0]
    torch.cosine_similarity(pooled, target, dim=0).backward()
    assert factors.grad is not None
    a_bar = factors.grad.clamp(min=0).mean(dim=0)
    rows = torch.eye(n) + a_bar @ torch.eye(n)
    if pooling.grad is None:
        row = rows[0][1:]
    else:
        row = sum(max(0.0, float(p)) * rows[i][1:] for i, p in enumerate(pooling.grad))
    grid = (fitted.shape[2] // 8, fitted.shape[3] // 8)
    found = F.interpolate(row.reshape(1, 1, *grid), (224, 224), mode="bilinear", align_corners=False)
    return (found - found.min()) / (found.max() - found.min())


def test_relevancy_is_normalised_and_averages_several_texts(either_clip: Clip) -> None:
    x = pictures(1, 90, 60)
    found = relevancy(either_clip, x, ["a cat", "photo of a cat"])
    assert found.shape == (1, 1, 224, 224)
    assert found.min() == 0
    assert found.max() == 1
    with torch.no_grad():
        assert torch.equal(found, relevancy(either_clip, x, ["photo of a cat", "a cat"]))


@pytest.mark.parametrize(
    ("size", "long_side", "expected"),
    [
        ((32, 32), 320 / 224, (32, 32)),
        ((512, 512), 320 / 224, (32, 32)),
        ((1000, 1333), 320 / 224, (32, 40)),
        ((1080, 1920), 320 / 224, (24, 40)),  # 45.7 px at most: 25.7 x 45.7, whole patches within the cap
        ((1920, 1080), 320 / 224, (40, 24)),
        ((1080, 1920), STRUCTURE_LONG_SIDE, (32, 48)),
        ((130, 3000), 320 / 224, (8, 40)),  # never less than a patch
    ],
)
def test_view_size(tiny_clip: Clip, size: tuple[int, int], long_side: float, expected: tuple[int, int]) -> None:
    assert tiny_clip.view_size(size, long_side) == expected


def test_fit_is_an_antialiased_resize(tiny_clip: Clip) -> None:
    x = pictures(1, 96, 128)
    assert torch.equal(tiny_clip.fit(x), F.interpolate(x, size=(32, 40), mode="bilinear", antialias=True))
    native = pictures(1, 32, 40)
    assert tiny_clip.fit(native) is native


def test_the_models_own_pixel_statistics_are_used(make_tiny_clip: Callable[..., Clip]) -> None:
    clip = make_tiny_clip(layers=2)
    clip.tower.visual.image_mean, clip.tower.visual.image_std = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
    other = Clip(clip.model, clip.tokenizer)
    x = pictures(1, 32, 32)
    torch.testing.assert_close(other.embed_images(x), clip.model.encode_image((x - 0.5) / 0.25))


@pytest.mark.parametrize("vision", [{"layers": [1, 1, 1, 1]}, {"layers": 1}, {"pool_type": "none"}])
def test_towers_that_cannot_be_read_are_refused(make_tiny_clip: Callable[..., Clip], vision: dict[str, object]) -> None:
    model = open_clip.CLIP(
        16,
        {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 2} | vision,
        {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    )
    with pytest.raises(RequestError, match="Choose a ViT"):
        Clip(model, open_clip.get_tokenizer("ViT-B-32"))


def test_a_model_without_image_tower_is_refused() -> None:
    with pytest.raises(RequestError, match="not an open_clip ViT"):
        Clip(nn.Linear(2, 2), open_clip.get_tokenizer("ViT-B-32"))
