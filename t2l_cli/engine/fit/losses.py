"""The losses of fitting an atlas, one pure function per term (video method, section 5).

A batch holds k pairs of neighbouring frames: entries 0 to k - 1 are the frames t, entries k to 2k - 1 the frames t + 1.
Every loss is a 0-dim tensor.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.motion.flow import Flow, warp

CHARBONNIER = 1e-2  # colour difference below which the distance is quadratic
SLACK = 3e-2  # px: coordinate difference below which the distance is quadratic
SHEAR = 10.0  # weight of departures from a similarity; that of stretching and turning is 1


def dx(x: Tensor) -> Tensor:
    """Differences along the last dimension."""
    return x[..., 1:] - x[..., :-1]


def dy(x: Tensor) -> Tensor:
    """Differences along the second-to-last dimension."""
    return x[..., 1:, :] - x[..., :-1, :]


def colour_loss(error: Tensor) -> Tensor:
    """Mean Charbonnier norm of ``error`` (B, 3, h, w), reconstruction minus frame."""
    return (error.square() + CHARBONNIER**2).sqrt().mean()


def gradient_loss(error: Tensor) -> Tensor:
    """Mean absolute gradient of ``error`` (B, 3, h, w), reconstruction minus frame."""
    return dx(error).abs().mean() + dy(error).abs().mean()


def flow_loss(coordinates: Tensor, flow: Flow, share: Tensor) -> Tensor:
    """Mean distance, px, by which points that follow ``flow`` (of k pairs) move on the layer.

    coordinates: (2k, h, w, 2) px. share: (2k, 1, h, w), the part of each pixel that the layer owns, detached.
    """
    k = len(flow.forward)
    at = coordinates.permute(0, 3, 1, 2)  # (2k, 2, h, w)
    total = at.new_zeros(())
    for here, there, field, ok, own in (
        (at[:k], at[k:], flow.forward, flow.forward_ok, share[:k]),
        (at[k:], at[:k], flow.backward, flow.backward_ok, share[k:]),
    ):
        distance = ((warp(there, field) - here).square().sum(1) + SLACK**2).sqrt()  # (k, h, w)
        total = total + (distance * ok * own[:, 0]).mean() / 2
    return total


def alpha_flow_loss(alpha: Tensor, flow: Flow) -> Tensor:
    """Mean absolute change of the opacity ``alpha`` (2k, 1, h, w) along ``flow`` (of k pairs)."""
    k = len(flow.forward)
    there = (warp(alpha[k:], flow.forward) - alpha[:k]).abs()[:, 0] * flow.forward_ok
    back = (warp(alpha[:k], flow.backward) - alpha[k:]).abs()[:, 0] * flow.backward_ok
    return (there.mean() + back.mean()) / 2


def rigid_loss(displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """Penalty on stretching, turning, shearing and temporal change of ``displacement``.

    displacement: control points (T, 2, gh, gw), px, over frames of ``size`` (h, w).
    """
    gh, gw = displacement.shape[-2:]
    across, down = dx(displacement) / (size[1] / (gw - 1)), dy(displacement) / (size[0] / (gh - 1))
    xx, yx = across[:, 0, :-1], across[:, 1, :-1]
    xy, yy = down[:, 0, :, :-1], down[:, 1, :, :-1]
    shear = (xx - yy).square().mean() + (yx + xy).square().mean()
    time = (displacement[1:] - displacement[:-1]).square().mean()
    return SHEAR * shear + across.square().mean() + down.square().mean() + 0.002 * time


def bootstrap_loss(alpha: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of opacity and mask, both (B, 1, h, w) in [0, 1]."""
    return F.binary_cross_entropy(alpha.clamp(1e-3, 1 - 1e-3), mask)


def variation_loss(alpha: Tensor) -> Tensor:
    """Total variation of the opacity (B, 1, h, w), mean over pixels."""
    return dx(alpha).abs().mean() + dy(alpha).abs().mean()


def binary_loss(alpha: Tensor) -> Tensor:
    """Mean of alpha (1 - alpha), over the opacity (B, 1, h, w)."""
    return (alpha * (1 - alpha)).mean()


def batch_of(flow: Flow, pairs: Tensor) -> Flow:
    """The flow of the ``pairs`` (k,) only."""
    return Flow(*(part[pairs] for part in (flow.forward, flow.backward, *flow.oks)))


def stacked(pairs: Tensor) -> Tensor:
    """Frame numbers (2k,) of ``pairs`` (k,): all t, then all t + 1."""
    return torch.cat([pairs, pairs + 1])
