"""Camera and object motion from flow, on flows made by known matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from t2l_cli.engine.motion import camera, track
from t2l_cli.engine.motion.camera import Array, apply
from t2l_cli.engine.motion.flow import Flow, pixel_centres
from tests.truth import make_truth

SIZE = (60, 100)


def flow_of(matrices: Array, size: tuple[int, int] = SIZE) -> Flow:
    """The flow of frames whose px go to one plane by ``matrices``."""
    points, inverse = pixel_centres(size), np.linalg.inv(matrices)
    there, back = (
        torch.stack(
            [
                (apply(torch.from_numpy(inverse[b] @ matrices[a]).float()[None], points)[0] - points).permute(2, 0, 1)
                for a, b in pairs
            ]
        )
        for pairs in (
            [(t, t + 1) for t in range(len(matrices) - 1)],
            [(t + 1, t) for t in range(len(matrices) - 1)],
        )
    )
    ok = torch.ones(len(there), *size, dtype=torch.bool)
    return Flow(there, back, ok, ok)


def moving(n: int = 5, turn: float = 0.03, tilt: float = 1e-4) -> Array:
    """A camera that pans, turns and tilts."""
    out = []
    for t in range(n):
        c, s = np.cos(turn * t), np.sin(turn * t)
        out.append([[c, -s, 3.0 * t], [s, c, -1.0 * t], [tilt * t, 0, 1.0]])
    return np.array(out)


def relative(matrices: Array, reference: int) -> Array:
    own = np.linalg.inv(matrices[reference]) @ matrices
    return np.asarray(own / own[:, 2:, 2:])


def test_finds_the_camera_and_chains_it_to_the_middle() -> None:
    true = moving()
    found = camera.fit_camera(flow_of(true))
    assert (found.model, found.reference) == ("homography", 2)
    expected = camera.corners(relative(true, 2), SIZE)
    np.testing.assert_allclose(camera.corners(found.matrices, SIZE), expected, atol=0.1)


def test_ignores_what_is_excluded_even_where_it_is_most() -> None:
    true = moving(3)
    flow = flow_of(true)
    exclude = torch.zeros(3, *SIZE, dtype=torch.bool)
    exclude[:, :, 30:] = True  # 70 % of the frame goes elsewhere
    flow.forward[:, 0, :, 30:] += 9
    found = camera.fit_camera(flow, exclude)
    np.testing.assert_allclose(camera.corners(found.matrices, SIZE), camera.corners(relative(true, 1), SIZE), atol=0.3)


@pytest.mark.parametrize("model", ["homography", "affine", "similarity"])
def test_of_large_frames_some_points_are_enough(model: camera.Model) -> None:
    size = (200, 300)
    true = moving(2, tilt=0.0)
    flow = flow_of(true, size)
    assert size[0] * size[1] > 2 * camera.MOST_POINTS
    (found,) = camera.pair_motions(flow, None, model)
    assert found is not None
    expected = np.linalg.inv(true[1]) @ true[0]
    np.testing.assert_allclose(camera.corners(found[None], size), camera.corners(expected[None], size), atol=0.2)


def test_a_frame_without_flow_counts_as_rest() -> None:
    flow = flow_of(moving(3))
    flow.forward_ok[:] = False
    np.testing.assert_array_equal(camera.fit_camera(flow).matrices, np.tile(np.eye(3), (3, 1, 1)))


def test_falls_back_to_affine_where_homographies_run_away() -> None:
    wild = moving(7, turn=0.0, tilt=4e-3)
    assert camera.spread(relative(wild, 3), SIZE) > camera.MOSAIC
    assert camera.fit_camera(flow_of(wild)).model == "affine"


def test_mosaic_bounds_hold_all_corners() -> None:
    shift = np.tile(np.eye(3), (2, 1, 1))
    shift[1, :2, 2] = [10, -4]
    assert camera.mosaic_bounds(shift, SIZE) == (0, -4, 109, 59)


@pytest.fixture(scope="module")
def blob() -> tuple[Tensor, Tensor]:
    """A still texture's square object, seen left, then hidden, then right: frames and masks."""
    texture = make_truth((160, 90), 1, foreground=False, seed=2).tensor()[0][:, :40, :40]
    frames, masks = torch.full((5, 3, 60, 120), 90, dtype=torch.uint8), torch.zeros(5, 60, 120, dtype=torch.bool)
    for t, left in ((0, 5), (1, 8), (3, 66), (4, 69)):
        frames[t, :, 10:50, left : left + 40] = texture
        masks[t, 10:50, left : left + 40] = True
    return frames, masks


def test_an_object_that_comes_back_is_recognised(blob: tuple[Tensor, Tensor]) -> None:
    frames, masks = blob
    field = torch.zeros(4, 2, 60, 120)
    field[[0, 3], 0] = 3
    ok = torch.ones(4, 60, 120, dtype=torch.bool)
    path = track.object_path(Flow(field, -field, ok, ok), masks, frames)
    centres = np.array([[25, 30, 1], [28, 30, 1], [0, 0, 1], [86, 30, 1], [89, 30, 1]], dtype=float)
    homes = np.einsum("tij,tj->ti", path, centres)[[0, 1, 3, 4], :2]
    np.testing.assert_allclose(homes, np.tile(homes[:1], (4, 1)), atol=0.7)
