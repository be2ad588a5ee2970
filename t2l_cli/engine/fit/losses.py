"""The losses of fitting an atlas, one pure function a term (video method, section 5).

A batch is k neighbouring pairs: entries 0 to k - 1 are the frames t, entries k to 2k - 1 the frames t + 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from t2l_cli.engine.motion.flow import Flow, warp

CHARBONNIER = 1e-2  # colour difference below which the distance is quadratic
SLACK = 3e-2  # px, the same for coordinates
SHEAR = 10.0  # weight of what departs from a similarity, beside stretching and turning


def dx(x: Tensor) -> Tensor:
    """Differences along the last dimension."""
    return x[..., 1:] - x[..., :-1]


def dy(x: Tensor) -> Tensor:
    """Differences along the last but one dimension."""
    return x[..., 1:, :] - x[..., :-1, :]


def colour_loss(error: Tensor) -> Tensor:
    """Mean Charbonnier distance of ``error`` (B, 3, h, w)."""
    return (error.square() + CHARBONNIER**2).sqrt().mean()


def gradient_loss(error: Tensor) -> Tensor:
    """Mean absolute difference of the gradients of frame and reconstruction."""
    return dx(error).abs().mean() + dy(error).abs().mean()


def flow_loss(coordinates: Tensor, flow: Flow, share: Tensor) -> Tensor:
    """Mean px by which points that move along ``flow`` (of k pairs) change their place on the layer.

    coordinates: (2k, h, w, 2) px. share: (2k, 1, h, w), what the layer owns of each pixel, detached.
    """
    k = len(flow.forward)
    at = coordinates.permute(0, 3, 1, 2)
    total = at.new_zeros(())
    for here, there, field, ok, own in (
        (at[:k], at[k:], flow.forward, flow.forward_ok, share[:k]),
        (at[k:], at[:k], flow.backward, flow.backward_ok, share[k:]),
    ):
        distance = ((warp(there, field) - here).square().sum(1) + SLACK**2).sqrt()
        total = total + (distance * ok * own[:, 0]).mean() / 2
    return total


def alpha_flow_loss(alpha: Tensor, flow: Flow) -> Tensor:
    """Mean change of opacity (2k, 1, h, w) along ``flow`` (of k pairs)."""
    k = len(flow.forward)
    there = (warp(alpha[k:], flow.forward) - alpha[:k]).abs()[:, 0] * flow.forward_ok
    back = (warp(alpha[:k], flow.backward) - alpha[k:]).abs()[:, 0] * flow.backward_ok
    return (there.mean() + back.mean()) / 2


def rigid_loss(displacement: Tensor, size: tuple[int, int]) -> Tensor:
    """How far control points (T, 2, gh, gw) px over frames of ``size`` bend, shear and jump in time."""
    gh, gw = displacement.shape[-2:]
    across, down = dx(displacement) / (size[1] / (gw - 1)), dy(displacement) / (size[0] / (gh - 1))
    xx, yx = across[:, 0, :-1], across[:, 1, :-1]
    xy, yy = down[:, 0, :, :-1], down[:, 1, :, :-1]
    shear = (xx - yy).square().mean() + (yx + xy).square().mean()
    time = (displacement[1:] - displacement[:-1]).square().mean()
    return SHEAR * shear + across.square().mean() + down.square().mean() + 0.002 * time


def bootstrap_loss(alpha: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of opacity and mask, both (B, 1, h, w)."""
    return F.binary_cross_entropy(alpha.clamp(1e-3, 1 - 1e-3), mask)


def variation_loss(alpha: Tensor) -> Tensor:
    """Total variation, mean over pixels."""
    return dx(alpha).abs().mean() + dy(alpha).abs().mean()


def binary_loss(alpha: Tensor) -> Tensor:
    """Mean of alpha (1 - alpha)."""
    return (alpha * (1 - alpha)).mean()


def batch_of(flow: Flow, pairs: Tensor) -> Flow:
    """The flow of the ``pairs`` (k,) alone."""
    return Flow(*(part[pairs] for part in (flow.forward, flow.backward, *flow.oks)))


def stacked(pairs: Tensor) -> Tensor:
    """Frame numbers (2k,) of ``pairs`` (k,): all t, then all t + 1."""
    return torch.cat([pairs, pairs + 1])
