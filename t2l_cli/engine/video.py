"""One edit of one layer of a video: painted on its atlas, with losses on its frames (supplement, section 3.1).

A step: three frames --crop, flip--> their atlas coordinates --> the smallest atlas crop that holds them --> G
--> edit layer of the crop --mapped back--> three edited frames --> for each, the losses of a picture
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.config import MIN_SIDE, EditConfig, LayerName
from t2l_cli.engine import augment, fullres
from t2l_cli.engine.atlas.mapping import sample, splat
from t2l_cli.engine.atlas.model import OPAQUE, Atlas, spread_over
from t2l_cli.engine.clip import Clip
from t2l_cli.engine.edit import Edit, Paint, training_size
from t2l_cli.engine.layers import EditLayer
from t2l_cli.engine.matte import matted
from t2l_cli.engine.objective import Example
from t2l_cli.engine.runtime import Runtime, memory_guard
from t2l_cli.engine.texts import PLAIN, StepTexts
from t2l_cli.engine.views import draw_views
from t2l_cli.errors import RequestError

OWNED = 0.5  # minimum share at which a pixel belongs to the background; the foreground needs OPAQUE
DENSITY_FRAMES = 5  # number of frames from which the size of the layer and the density of its texture are estimated
LEAST_AREA = 5e-4  # minimum part of a frame that the layer must own for the frame to be used
MARGIN = 1.0  # texels added around those that the layer owns, for its soft border
BYTES_PER_TEXEL = 7000  # memory per texel of a trained picture: activations and gradients of G (measured: 6,650)
MEMORY_SHARE = 0.4  # maximum part of the device's memory for one trained picture
WHOLE = 0.4  # part of the foreground in a frame above which a cutout is taken for all of it
SPILL = 0.01  # how far the edit reaches beyond the texels in use, for soft outlines; part of the atlas's longer side

Box = tuple[int, int, int, int]  # top, left, height, width; px


@dataclass(frozen=True)
class Segment:
    """The part of the video that a step sees: K frames with the same crop, and their atlas coordinates.

    frames: (K, 3, h, w) in [0, 1]. uv: (K, h, w, 2), texels (x, y) of the atlas at training size. share: (K, 1, h, w)
    in [0, 1], the part of each pixel that the layer owns. bounds: left, top, right and bottom of the layer's pixels on
    the atlas, texels.
    """

    frames: Tensor
    uv: Tensor
    share: Tensor
    bounds: tuple[float, float, float, float]

    def flipped(self) -> Segment:
        """The mirror image: every pixel keeps its atlas coordinates."""
        return Segment(self.frames.flip(-1), self.uv.flip(-2), self.share.flip(-1), self.bounds)


class VideoEdit(Edit):
    """Trains an edit layer for one layer of a video; ``result()`` has the size of the layer's texture.

    Frames are cropped, and crops reduced to the short side ``config.size``. ``size`` is the size (h, w) of the whole
    atlas in training and in ``preview``: about ``config.segment.texels`` texels per px of these crops.
    """

    anneals_bootstrap = False  # the supplement anneals it for pictures only

    def __init__(
        self,
        frames: Tensor,
        atlas: Atlas,
        name: LayerName,
        clips: Clip | Sequence[Clip],
        config: EditConfig,
        runtime: Runtime | None = None,
    ) -> None:
        """Prepare the edit of layer ``name``. ``frames``: the video of ``atlas``, (T, 3, H, W) uint8 on the CPU.

        Raises RequestError if video and atlas do not match, or if no frame shows the layer.
        """
        super().__init__(clips, config, runtime)
        atlas.check_video(len(frames), frames.shape[-1], frames.shape[-2])
        self.frames, self.atlas, self.name = frames, atlas, name
        self.segment = config.segment
        self.layer = atlas.layer(name)
        self._owned, self._present = self._presence()
        self.size = self._atlas_size()
        with memory_guard(self.runtime.device):
            self.canvas = fullres.reduce(self.layer.texture[None].float(), self.size).to(self.runtime.device)
            self.bounds: Tensor = self._reach()
            # A step reads pixels from these copies on the device; it chooses frames and crops with the CPU's copies.
            self._frames, self._uv = (x.to(self.runtime.device) for x in (frames, self.layer.uv))
            self._share = atlas.share(name, torch.arange(len(frames))).to(self.runtime.device)
            middle = self._present[len(self._present) // 2]
            self._read_texts(self.seen([middle], self.region([middle])).frames)
            self._relevancy = self._atlas_relevancy()

    def _presence(self) -> tuple[float, list[int]]:
        """The share above which a pixel belongs to the layer, and the frames that show enough such pixels.

        A foreground that is nowhere opaque, such as smoke, gets the lower bound OWNED. RequestError if there is none.
        """
        for least in (OPAQUE, OWNED) if self.name == "foreground" else (OWNED,):
            area = [float((self.atlas.share(self.name, t) > least).float().mean()) for t in range(len(self.frames))]
            present = [t for t, part in enumerate(area) if part > LEAST_AREA]
            if present:
                return least, present
        raise RequestError(f"the atlas has no {self.name}: nothing to edit there.")

    def _atlas_size(self) -> tuple[int, int]:
        """The size (h, w) of the atlas in training: ``segment.texels`` texels per trained px if the texture has them.

        It is reduced if the largest trained picture (the crop of a step at its largest scale, or the whole foreground)
        would take more than MEMORY_SHARE of the device's memory. Never below the generator's minimum.
        """
        region = max((self.region([t])[2:] for t in spread_over(self._present, DENSITY_FRAMES)), key=math.prod)
        density = self._density()
        reduced = training_size(region, self.config.size)[0] / region[0]  # trained px per px of the frame
        largest = math.prod(region) * density**2
        if self.name == "foreground":
            largest = max(largest, math.prod(self.layer.size))
        room = MEMORY_SHARE * self.runtime.memory / BYTES_PER_TEXEL / self.segment.scale[1] ** 2
        scale = min(1.0, self.segment.texels * reduced / density, math.sqrt(room / largest))
        scale = max(scale, MIN_SIDE / min(self.layer.size))
        height, width = (max(MIN_SIDE, round(side * scale)) for side in self.layer.size)
        return height, width

    def _density(self) -> float:
        """Texels of the layer's texture per px of a frame, along an axis: the median over the layer's pixels."""
        steps = []
        for t in spread_over(self._present, DENSITY_FRAMES):
            owned = self.atlas.share(self.name, t) > self._owned
            across, down = (self.layer.uv[t].diff(dim=d).norm(dim=-1) for d in (1, 0))
            steps += [across[owned[:, 1:]], down[owned[1:]]]
        found = torch.cat(steps)
        return max(float(found.median()), 1e-3) if len(found) else 1.0

    def result(self) -> EditLayer:
        """The edit layer at the texture's size, on the CPU: rgb (1, 3, H_a, W_a) and alpha (1, 1, H_a, W_a)."""
        texture, used = self.layer.texture[None].float().cpu(), self.layer.used[None, None].float().cpu()
        # On the atlas, not per frame: one outline for all frames does not flicker.
        matte = matted(self._painted(), texture, self.config.matte, used)
        self.about_matte = matte.about
        layer = fullres.upsample(matte.layer, texture)
        reach = F.interpolate(self.bounds.cpu(), size=self.layer.size, mode="nearest")
        return layer.within(reach)

    def shown(self, layer: EditLayer) -> tuple[Tensor, Tensor]:
        """Up to three frames of the video without and with ``layer``, (K, 3, h, w) each."""
        chosen = spread_over(self._present, 3)
        seen = self.seen(chosen, self.region(chosen))
        mapped = self.on_frames(layer, (0, 0), self.size, seen).blended(seen.frames, self.config.blend)
        return seen.frames, mapped.over(seen.frames)

    def examples(self, paint: Paint, rng: torch.Generator) -> list[Example]:
        """Three frames edited through the atlas, and one of them painted directly."""
        # 1. Draw the frames, the texts and the crop of the atlas that holds the frames; augment all of them.
        seen = self.draw(rng)
        texts = self._picked(self.texts.draw(rng))
        origin, crop = self.window(seen)
        scaled = augment.scaled(crop, self.segment.scale, rng, self.runtime.multiple)
        jitter = augment.draw_jitter(self.config.augment, rng)
        frames, scaled = augment.coloured(seen.frames, jitter), augment.coloured(scaled, jitter)
        # 2. Paint the crop and map it back to the frames; paint one frame directly.
        mapped = self.on_frames(paint(scaled), origin, (crop.shape[-2], crop.shape[-1]), seen)
        k = int(torch.randint(len(frames), (1,), generator=rng))
        direct = paint(frames[k : k + 1]).within(seen.share[k : k + 1])
        # 3. One example per painted frame.
        relevancy = None if self._relevancy is None else sample(self._relevancy, seen.uv) * seen.share
        layers = [EditLayer(mapped.rgb[j : j + 1], mapped.alpha[j : j + 1]) for j in range(len(frames))]
        return [
            self._example(frames[j : j + 1], layer, texts, rng, None if relevancy is None else relevancy[j : j + 1])
            for j, layer in [*enumerate(layers), (k, direct)]
        ]

    def plain_example(self, paint: Paint, rng: torch.Generator) -> Example:
        """The whole atlas, not mapped back to frames. A background's atlas is large, so it is reduced."""
        by = self.segment.background_reduction if self.name == "background" else 1
        # An atlas of ours has fewer texels than the published 2000: a third of it would be less than CLIP sees.
        size = training_size(self.size, max(MIN_SIDE, self.clip.input_size, min(self.layer.size) // by))
        source, used = fullres.reduce(self.canvas, size), fullres.reduce(self.bounds, size)
        return self._example(source, paint(source).within(used), self._picked(PLAIN), rng, self._relevancy)

    def _example(
        self,
        source: Tensor,
        layer: EditLayer,
        texts: tuple[StepTexts, ...],
        rng: torch.Generator,
        relevancy: Tensor | None,
    ) -> Example:
        # The layer is composited over the frame itself, not over black as in the published code: CLIP sees the video as
        # it will look. A background layer is transparent at the object, so its green-screen picture is green there.
        views = draw_views(self.config.views, (source.shape[-2], source.shape[-1]), rng)
        return Example(source, layer, texts, *views, relevancy)

    def draw(self, rng: torch.Generator) -> Segment:
        """Draw a segment: three frames and a crop of the layer's region, perhaps mirrored."""
        at, flip, side_y, side_x, y, x = torch.rand(6, generator=rng).tolist()
        t = self._present[int(at * len(self._present))]
        chosen = three_frames(t, self.segment.stride, len(self.frames))
        top, left, height, width = self.region(chosen)
        low, high = self.segment.crop
        h, w = (max(1, round(full * (low + (high - low) * part))) for full, part in ((height, side_y), (width, side_x)))
        box = (top + round(y * (height - h)), left + round(x * (width - w)), h, w)
        seen = self.seen(chosen, box)
        return seen.flipped() if flip < self.config.augment.flip_p else seen

    def region(self, chosen: list[int]) -> Box:
        """The layer's region in the ``chosen`` frames: the foreground's box with a margin, or the whole frame."""
        height, width = self.frames.shape[-2:]
        owned = self.atlas.share(self.name, torch.tensor(chosen)).amax(0) > self._owned
        if self.name == "background" or not owned.any():
            return 0, 0, height, width
        margin = self.segment.margin
        rows, columns = owned.any(1).nonzero()[:, 0], owned.any(0).nonzero()[:, 0]
        top, left = max(0, int(rows[0]) - margin), max(0, int(columns[0]) - margin)
        return (
            top,
            left,
            min(height, int(rows[-1]) + margin + 1) - top,
            min(width, int(columns[-1]) + margin + 1) - left,
        )

    def seen(self, chosen: list[int], box: Box) -> Segment:
        """The ``chosen`` frames cropped to ``box`` and reduced to the training short side, on the training device."""
        top, left, height, width = box
        rows, columns = slice(top, top + height), slice(left, left + width)
        frames = torch.stack([self._frames[t, :, rows, columns] for t in chosen]).float() / 255
        uv = torch.stack([self._uv[t, rows, columns] for t in chosen]).permute(0, 3, 1, 2)
        share = torch.stack([self._share[t, None, rows, columns] for t in chosen])
        size = augment.whole(training_size((height, width), self.config.size), self.runtime.multiple)
        uv = self._at_training_size(F.interpolate(uv, size=size, mode="bilinear", align_corners=False))
        return Segment(
            fullres.reduce(frames, size), uv, fullres.reduce(share, size), self._bounds(chosen, rows, columns)
        )

    def _at_training_size(self, uv: Tensor) -> Tensor:
        """``uv`` (K, 2, h, w) in texels of the layer's texture, as (K, h, w, 2) in texels at training size."""
        by = self.size[1] / self.layer.size[1], self.size[0] / self.layer.size[0]
        return torch.stack([(uv[:, k] + 0.5) * by[k] - 0.5 for k in (0, 1)], -1)

    def _bounds(self, chosen: list[int], rows: slice, columns: slice) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of the layer's pixels there, in texels at training size; computed on the CPU."""
        at = torch.tensor(chosen)
        uv = self.layer.uv[at][:, rows, columns]
        owned = self.atlas.share(self.name, at)[:, rows, columns] > self._owned
        uv = uv[owned] if owned.any() else uv.flatten(0, 2)
        corners = self._at_training_size(torch.stack([uv.amin(0), uv.amax(0)])[:, :, None, None])
        left, top, right, bottom = corners.flatten().tolist()
        return left - MARGIN, top - MARGIN, right + MARGIN, bottom + MARGIN

    def window(self, seen: Segment) -> tuple[tuple[int, int], Tensor]:
        """(left, top) and texels (1, 3, h, w) of the smallest atlas crop that holds the segment's part of the layer."""
        left, top, right, bottom = seen.bounds
        multiple = self.runtime.multiple
        rows, columns = texel_span(top, bottom, self.size[0], multiple), texel_span(left, right, self.size[1], multiple)
        return (columns.start, rows.start), self.canvas[:, :, rows, columns]

    def on_frames(self, painted: EditLayer, origin: tuple[int, int], size: tuple[int, int], seen: Segment) -> EditLayer:
        """Map the layer ``painted`` on an atlas crop back to the segment's frames: (K, 3, h, w) and (K, 1, h, w).

        ``origin``: (left, top) and ``size``: (height, width) of the crop, texels; ``painted`` may be larger or smaller.
        """
        # Straight alpha, although ``Mapper`` samples premultiplied: the generator gives every texel a colour, so no
        # other colour bleeds in, and un-premultiplying would divide the gradient by opacities near 0.
        both = torch.cat([painted.rgb, painted.alpha], 1)
        by = painted.size[1] / size[1], painted.size[0] / size[0]
        uv = torch.stack([(seen.uv[..., k] - origin[k] + 0.5) * by[k] - 0.5 for k in (0, 1)], -1)
        return EditLayer.from_output(sample(both, uv)).within(seen.share)

    def _reach(self) -> Tensor:
        """(1, 1, h, w) at training size: 1 on the texels in use and a little around them, 0 elsewhere."""
        used = F.interpolate(self.layer.used[None, None].float(), size=self.size, mode="area")
        radius = max(2, round(SPILL * max(self.size)))
        return (F.max_pool2d(used, 2 * radius + 1, 1, radius) > 0).float().to(self.runtime.device)

    def _atlas_relevancy(self) -> Tensor | None:
        """R(I, T_ROI) of some frames, splatted onto the atlas and averaged there: (1, 1, h, w) at training size."""
        total, weights = torch.zeros(1, *self.size), torch.zeros(self.size)
        for t in spread_over(self._present, self.segment.relevancy_frames):
            seen = self.seen([t], self.region([t]))
            relevancy = self._relevancy_of(seen.frames)
            if relevancy is None:
                return None
            thing = self._cutout_of(seen.frames, relevancy * seen.share)
            if thing is not None:
                relevancy = seen.share if self._is_whole(thing, seen.share) else thing
            values, weight = splat(relevancy[0].cpu(), seen.share[0, 0].cpu(), seen.uv[0].cpu(), self.size)
            total, weights = total + values * weight, weights + weight
        return (total / weights.clamp(min=1e-6))[None].to(self.runtime.device)

    def _is_whole(self, thing: Tensor, share: Tensor) -> bool:
        """Whether a cutout is so much of the foreground that CLIP means all of it, whose outline is known."""
        return self.name == "foreground" and bool((thing * share).sum() > WHOLE * share.sum())


def three_frames(t: int, stride: int, n: int) -> list[int]:
    """Three of ``n`` frames, ``stride`` apart, ``t`` in the middle (at an end: first or last); fewer if ``n`` < 3.

    In a video so short that three do not fit beside ``t``, they are the nearest three that fit.
    """
    stride = max(1, min(stride, (n - 1) // 2))
    first = t if t < stride else t - 2 * stride if t + stride >= n else t - stride
    first = max(0, min(first, n - 1 - 2 * stride))
    return [k for k in (first, first + stride, first + 2 * stride) if k < n]


def texel_span(low: float, high: float, limit: int, multiple: int = 1) -> slice:
    """Texels ``low`` to ``high`` in [0, limit), widened to G's minimum and a ``multiple``; all if there are too few."""
    first, last = max(0, min(math.floor(low), limit - 1)), min(limit, max(math.ceil(high) + 1, 1))
    wanted = min(limit, multiple * math.ceil(max(MIN_SIDE, last - first) / multiple))
    first = max(0, min(first - (wanted - (last - first)) // 2, limit - wanted))
    return slice(first, first + wanted)
