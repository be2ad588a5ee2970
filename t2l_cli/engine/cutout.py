"""The thing that a relevancy map lies on, cut out of the picture: what a draft paints.

CLIP says where a thing is by patches, and not evenly: the map has a peak on a wheel and little on the bonnet. GrabCut
(Rother et al., "GrabCut", 2004; by OpenCV) models the colours of the thing and of the rest, from where the map is high
and low, and finds the outline between them. With mini, on 80 drawn scenes of each of two seeds, the cutout
overlaps with the thing by 0.93 and 0.95 (mean intersection over union), the map above 0.35 by 0.79 (one seed).
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2l_cli.engine.resize import resized

SIDE = 224  # px: the largest short side at which is cut; opacity and cutout are compared at 224 x 224 px
SEED = 0.5  # relevancy that every part of the cutout reaches somewhere
SURE = 0.97  # quantile of the relevancy above which a pixel certainly belongs to the thing
# Two starts: the relevancy above which a pixel probably belongs to it, and the quantile up to which it certainly does
# not. The second is for things that fill most of the picture, and is tried where the first finds nothing.
STARTS = (0.5, 0.3), (0.2, 0.15)
SHARE = 0.25  # part of the map that a cutout holds at least: with less, it is some small thing of a colour of its own
MOST = 0.9  # part of the picture above which nothing was cut out
ITERATIONS = 5

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def cutout(picture: Tensor, relevancy: Tensor) -> Tensor | None:
    """The thing under ``relevancy`` (1, 1, h, w) in ``picture`` (1, 3, h, w), both in [0, 1]: (1, 1, h, w), 0 to 1.

    None where no thing stands out: the map is empty, or the cutout is nearly everything, or holds little of the map.
    """
    size = (picture.shape[-2], picture.shape[-1])
    scale = min(1.0, SIDE / min(size))
    small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
    at = resized(relevancy, small)[0, 0].cpu().float().numpy()
    seen = (resized(picture, small).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).cpu().numpy().astype(np.uint8)
    for likely, never in STARTS if at.max() > SEED else ():
        thing = _seeded(_grabbed(seen, at, likely, never), at)
        if 0 < thing.mean() < MOST and at[thing].sum() > SHARE * at.sum():
            found = torch.from_numpy(thing.astype(np.float32))[None, None].to(relevancy)
            return resized(found, size).clamp(0, 1)
    return None


def _grabbed(picture: npt.NDArray[np.uint8], at: Map, likely: float, never: float) -> Mask:
    """GrabCut's thing (h, w) in ``picture`` (h, w, 3), started from the relevancy ``at`` (h, w) as in STARTS."""
    mask = np.where(at > likely, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    mask[at <= np.quantile(at, never)] = cv2.GC_BGD  # also all that lies outside of a mask: the map is 0 there
    mask[at > np.quantile(at, SURE)] = cv2.GC_FGD
    if len(np.unique(mask & 1)) == 1:  # bit 0 is that of the thing: GrabCut needs pixels of both kinds
        return np.zeros(at.shape, np.bool_)
    cv2.setRNGSeed(0)  # of its k-means
    thing, rest = np.zeros((1, 65)), np.zeros((1, 65))  # the models of their colours, which are not read afterwards
    nowhere = (0, 0, 0, 0)  # the rectangle that another mode starts from
    cv2.grabCut(np.ascontiguousarray(picture), mask, nowhere, rest, thing, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    return (mask & 1).astype(np.bool_)


def _seeded(thing: Mask, at: Map) -> Mask:
    """The connected parts of ``thing`` on which the relevancy ``at`` is high somewhere."""
    _, label = cv2.connectedComponents(thing.astype(np.uint8))
    return thing & np.isin(label, np.unique(label[at > SEED]))
