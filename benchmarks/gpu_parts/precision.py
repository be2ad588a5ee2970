"""What CLIP's precision does to a step's gradient and to a training's result, against float32 without TF32."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import common
import measure
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gpu_parts.courses import guarded
from gpu_parts.run import Row, Task, Value
from gpu_parts.sizes import Sizes
from t2l_cli.config import STILL, EditConfig
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.photo import PhotoEdit
from t2l_cli.engine.runtime import Runtime, resolve
from t2l_cli.settings import PHOTO, edit_config

PICTURE = Path(__file__).parents[2] / "docs" / "examples" / "cup.jpg"
PROMPTS, ROI = ("red cup",), "cup"
LAST = 10  # steps whose loss is averaged
PICTURES = "trainings.png"


class Precision(NamedTuple):
    """CLIP's dtype, and whether float32 products are TF32."""

    name: str
    dtype: torch.dtype
    tf32: bool = True


EXACT = Precision("float32", torch.float32, tf32=False)
TRIED = (
    Precision("float32 with TF32", torch.float32),
    Precision("float16", torch.float16),
    Precision("bfloat16", torch.bfloat16),
)


def gradients(task: Task) -> Iterator[Row]:
    """Cosine of the gradient with respect to the layer, by opacity: of L_dir alone and of the whole step."""
    own = resolve(task.device)
    for clip_name in dict.fromkeys((task.sizes.clip, task.sizes.second_clip)):
        exact = _gradients(clip_name, EXACT, own, task.sizes)
        for way in TRIED:
            name = f"{clip_name}, {way.name}"
            yield from guarded(
                name,
                lambda clip_name=clip_name, way=way, exact=exact: _compared(clip_name, way, own, task.sizes, exact),
            )


def trainings(task: Task) -> Iterator[Row]:
    """Short trainings of a draft's settings: what they come to, by their own numbers and by float32's."""
    sizes, own = task.sizes, resolve(task.device)
    taught = common.clip_at_hand(sizes.clip, own)[1] == common.PUBLISHED
    name = sizes.clip if taught else sizes.second_clip  # random weights know no cup
    judge = _drafted(name, EXACT, own, sizes, seed=0)
    sheet: list[list[Tensor]] = []
    for seed in range(sizes.seeds):
        start = time.monotonic()
        sheet.append([judge.canvas[0].cpu()])
        for way in (EXACT, *TRIED):
            said = f"{name}, seed {seed}, {way.name}"
            yield from guarded(
                said,
                lambda said=said, way=way, seed=seed: _trained(
                    said, way, _drafted(name, way, own, sizes, seed), judge, sizes, sheet[-1]
                ),
            )
            _save(sheet, task.folder / PICTURES)
        if time.monotonic() - start > task.left():
            return


def photo() -> Tensor:
    """The example photo, (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(Image.open(PICTURE).convert("RGB"))).permute(2, 0, 1).float() / 255


def _edit(name: str, way: Precision, own: Runtime, config: EditConfig, sizes: Sizes) -> PhotoEdit:
    """An edit of the example photo with the CLIP ``name`` in one precision."""
    runtime = dataclasses.replace(own, dtype=way.dtype)
    views = dataclasses.replace(config.views, n_views=sizes.views or config.views.n_views)
    with measure.products(way.tf32):
        return PhotoEdit(
            photo(), common.clip_at_hand(name, runtime)[0], dataclasses.replace(config, views=views), runtime
        )


def _gradients(name: str, way: Precision, own: Runtime, sizes: Sizes) -> dict[str, list[Tensor]]:
    """Gradients of L_dir and of the whole step, for each opacity of each seed."""
    # The picture is seen as it is, so that a given layer fits it.
    edit = _edit(name, way, own, EditConfig(PROMPTS, roi=ROI, size=min(sizes.picture), augment=STILL), sizes)
    found: dict[str, list[Tensor]] = {"L_dir": [], "the whole step": []}
    for opacity, seed in itertools.product(sizes.opacities, range(sizes.seeds)):
        random = torch.Generator().manual_seed(seed)
        colours = F.interpolate(torch.rand(1, 3, 9, 12, generator=random), size=edit.size, mode="bilinear")
        layer = torch.cat([colours, torch.full_like(colours[:, :1], opacity)], 1).to(own.device).requires_grad_()
        with measure.products(way.tf32):
            painted = EditLayer.from_output(layer)  # the same, whatever picture it is asked to paint on
            losses = edit.losses(lambda _picture, painted=painted: painted, random, 1)  # type: ignore[misc]
            for term, loss in (("L_dir", losses.terms["direction"]), ("the whole step", losses.total)):
                (gradient,) = torch.autograd.grad(loss, layer, retain_graph=term == "L_dir")
                found[term].append(gradient)
    return found


def _compared(name: str, way: Precision, own: Runtime, sizes: Sizes, exact: dict[str, list[Tensor]]) -> Iterator[Row]:
    """Cosines with the ``exact`` gradients, for each opacity the mean over seeds; the least; and the lengths' ratio."""
    for term, gradients in _gradients(name, way, own, sizes).items():
        pairs = list(zip(gradients, exact[term], strict=True))
        cosines = torch.stack([F.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in pairs]).cpu()
        means = cosines.view(len(sizes.opacities), sizes.seeds).mean(1).tolist()
        figures: dict[str, Value] = {
            f"cosine at opacity {opacity:g}": mean for opacity, mean in zip(sizes.opacities, means, strict=True)
        }
        figures["least cosine"] = cosines.min().item()  # NaN, if there is one
        figures["length / float32's, mean"] = torch.stack([a.norm() / b.norm() for a, b in pairs]).mean().item()
        yield Row(f"{name}, {way.name}: {term}", figures)


def _drafted(name: str, way: Precision, own: Runtime, sizes: Sizes, seed: int) -> PhotoEdit:
    config = edit_config(PHOTO, PROMPTS, "draft", {"roi": ROI, "seed": seed})
    optim = dataclasses.replace(config.optim, steps=sizes.training_steps)
    return _edit(name, way, own, dataclasses.replace(config, size=sizes.training_side, optim=optim), sizes)


def _trained(
    name: str, way: Precision, edit: PhotoEdit, judge: PhotoEdit, sizes: Sizes, pictures: list[Tensor]
) -> Iterator[Row]:
    """Train ``edit``: its figures; its picture (3, h, w) joins ``pictures``, the first two of which are the photo and
    the picture of float32.
    """
    pictures.append(torch.ones_like(pictures[0]))  # white, if the training fails
    start = time.perf_counter()
    with measure.products(way.tf32):
        own = torch.stack([step.losses.total for step in edit][-LAST:]).mean().item()
        seconds = time.perf_counter() - start
        score = edit.score()
    with measure.products(EXACT.tf32), torch.no_grad():
        paint = judge.painter(edit.generator)
        draws = [judge.losses(paint, torch.Generator().manual_seed(k), 1).total for k in range(sizes.judged)]
        pictures[-1] = edit.preview().over(edit.canvas)[0].cpu()
    yield Row(
        name,
        {
            f"loss, mean of the last {LAST} steps": own,
            "loss as float32 sees the result": torch.stack(draws).mean().item(),
            "score, -1 to 1": score,
            "from float32's picture, mean, levels of 255": 255 * (pictures[-1] - pictures[1]).abs().mean().item(),
            "time, s": seconds,
        },
    )


def _save(rows: list[list[Tensor]], path: Path) -> None:
    """A row a seed; from the left the photo, then each precision in the order of the table."""
    width = max(len(row) for row in rows)
    whole = [torch.cat([*row, *[torch.ones_like(row[0])] * (width - len(row))], 2) for row in rows]
    pixels = (torch.cat(whole, 1).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)
