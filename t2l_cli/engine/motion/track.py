"""The motion of the foreground: one similarity per frame, chained along the flow, linked where it was out of sight."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from t2l_cli.engine.motion.camera import Array, apply, chain, pair_motions
from t2l_cli.engine.motion.flow import Flow, pixel_centres
from t2l_cli.engine.motion.matches import clear_matches

SEEN = 0.02  # of the largest foreground: a frame that shows less counts as showing none
GOOD = 0.5  # of the largest foreground: an object cut to less by the frame's border is not followed
SUPPORTED = 0.3  # minimum part of the object that must move by its similarity
LINK_SIDE = 256  # px to which the two views of an object are enlarged, approximately, before they are matched
LINK_MATCHES = 6  # minimum number of consistent points


def object_path(flow: Flow, masks: Tensor, frames: Tensor) -> Array:
    """(T, 3, 3): from each frame's px to those of the frame that shows most of the foreground.

    masks: (T, h, w) bool. frames: (T, 3, h, w) uint8, of the flow's size. Frames without foreground take the matrix of
    the nearest frame with some. Where the object is out of sight, or nearly, the chain is cut, and its parts are linked
    by SIFT matches of the object. Without enough matches, neighbouring frames are linked by the shift at which the
    colours fit best, others by the object's centre.
    """
    # 1. Motions between neighbours; those that the flow does not support are replaced by links.
    areas = masks.float().sum((1, 2)).numpy()
    seen = np.flatnonzero(areas >= max(1.0, SEEN * areas.max()))
    motions = pair_motions(flow, masks, "similarity")
    for t, motion in enumerate(motions):
        if areas[t] and areas[t + 1] and (motion is None or support(motion, flow, masks[t], t) < SUPPORTED):
            motions[t] = _link(frames, masks, t, t + 1)  # too fast for the flow
    # 2. One chain per stretch of frames in which the object is visible, linked to the best frame of all.
    stays = _stays(areas, masks)
    best = [int(stay[np.argmax(areas[stay])]) for stay in stays]  # per stretch, the frame that shows most
    home = best[int(np.argmax(areas[best]))]
    path = np.tile(np.eye(3), (len(frames), 1, 1))
    for stay, own in zip(stays, best, strict=True):
        first, last = int(stay[0]), int(stay[-1])
        link = np.eye(3) if own == home else _link(frames, masks, own, home)
        path[first : last + 1] = link @ chain(motions[first:last], own - first)
    # 3. Frames without foreground take the nearest frame's matrix.
    nearest = seen[np.abs(np.arange(len(frames))[:, None] - seen).argmin(1)]
    return np.asarray(path[nearest])


def _stays(areas: npt.NDArray[np.float32], masks: Tensor) -> list[npt.NDArray[np.intp]]:
    """Split the frames where the object is least visible between two good views; returns the frame numbers per part."""
    border = torch.zeros(masks.shape[1:], dtype=torch.bool)
    border[[0, -1]], border[:, [0, -1]] = True, True
    cut_off = (masks & border).flatten(1).any(1).numpy()
    good = np.flatnonzero((areas >= SEEN * areas.max()) & ~(cut_off & (areas < GOOD * areas.max())))
    gaps = [(int(a), int(b)) for a, b in itertools.pairwise(good) if b - a > 1]
    cuts = [a + 1 + int(np.argmin(areas[a + 1 : b])) for a, b in gaps]
    return [np.arange(a, b) for a, b in zip([0, *cuts], [*cuts, len(areas)], strict=True)]


def support(motion: Array, flow: Flow, mask: Tensor, t: int) -> float:
    """The part of the object in frame ``t`` whose flow is reliable and agrees with ``motion`` (3, 3).

    Pixels that ``motion`` moves out of the frame are left out, because they cannot have a flow.
    """
    points = pixel_centres(flow.size)
    there = apply(torch.from_numpy(motion[None]).float(), points)[0]
    agree = (flow.forward[t].permute(1, 2, 0) - (there - points)).norm(dim=-1) < 2.0
    limit = torch.tensor([flow.size[1] - 1, flow.size[0] - 1])
    stays = mask & ((there >= 0) & (there <= limit)).all(-1)
    return float((agree & flow.forward_ok[t] & stays).sum() / stays.sum().clamp(min=1))


def _centre(mask: Tensor) -> npt.NDArray[np.float64]:
    return mask.nonzero().float().mean(0).numpy()[::-1].astype(np.float64)


def _shift(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> Array:
    matrix = np.eye(3)
    matrix[:2, 2] = end - start
    return matrix


def _link(frames: Tensor, masks: Tensor, a: int, b: int) -> Array:
    """The matrix (3, 3) from the object in frame ``a`` to the same object in frame ``b``."""
    views = [_view(frames[t], masks[t]) for t in (a, b)]
    (points, features), (others, targets) = ((view[0], view[1]) for view in views)
    matrix = None
    if features is not None and targets is not None and min(len(features), len(targets)) >= LINK_MATCHES:
        good = clear_matches(features, targets)
        if len(good) >= LINK_MATCHES:
            start, end = points[list(good)], others[list(good.values())]
            rows, inliers = cv2.estimateAffinePartial2D(start, end, ransacReprojThreshold=1.5)
            if rows is not None and inliers.sum() >= LINK_MATCHES:
                matrix = np.vstack([rows, [0.0, 0.0, 1.0]])
    if matrix is None or not 0.3 < np.linalg.det(matrix) ** 0.5 < 3:
        return slid(frames, masks, a, b) if abs(a - b) == 1 else _shift(_centre(masks[a]), _centre(masks[b]))
    return matrix


def slid(frames: Tensor, masks: Tensor, a: int, b: int) -> Array:
    """The shift (3, 3) of the object between two neighbouring frames at which its colours differ least.

    The smaller view of the object is searched for in the other frame. Comparing centres would be wrong where the
    frame's border cuts the object off.
    """
    small, large = sorted((a, b), key=lambda t: int(masks[t].sum()))
    rows, columns = masks[small].any(1).nonzero()[:, 0], masks[small].any(0).nonzero()[:, 0]
    box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    part = frames[small][:, box[0], box[1]].permute(1, 2, 0).contiguous().numpy()
    own = masks[small][box].to(torch.uint8).numpy()
    whole = frames[large].permute(1, 2, 0).contiguous().numpy()
    _, _, (x, y), _ = cv2.minMaxLoc(cv2.matchTemplate(whole, part, cv2.TM_SQDIFF, mask=own))
    there = np.array([x - int(columns[0]), y - int(rows[0])], np.float64)
    return _shift(np.zeros(2), there if large == b else -there)


def _view(frame: Tensor, mask: Tensor) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """SIFT points (N, 2) of the masked object, in the frame's px, and their descriptors (N, 128) or None."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    top, left = int(rows[0]), int(columns[0])
    box = (slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1))
    grey = cv2.cvtColor(frame[:, box[0], box[1]].permute(1, 2, 0).contiguous().numpy(), cv2.COLOR_RGB2GRAY)
    up = max(1, min(6, round(LINK_SIDE / max(grey.shape))))
    large = cv2.resize(grey, None, fx=up, fy=up, interpolation=cv2.INTER_CUBIC)
    own = cv2.resize(mask[box].numpy().astype(np.uint8), (large.shape[1], large.shape[0]))
    points, features = cv2.SIFT.create(contrastThreshold=0.02).detectAndCompute(large, own)
    at = np.array([p.pt for p in points], dtype=np.float32).reshape(-1, 2)
    at = (at + 0.5) / up - 0.5 + np.array([left, top], dtype=np.float32)
    return at, None if features is None else np.asarray(features, np.float32)
