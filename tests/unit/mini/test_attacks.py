import pytest
import torch
import torch.nn.functional as F

from mini.attacks import CELLS, RINGS, attackable, fooled
from mini.painting import PX, Dice
from mini.scenes import Twins
from mini.stage import TEXTURE
from mini.vocabulary import TEXTURES

SUBJECT = torch.zeros(3, PX, PX)
SUBJECT[0, 10:40, 20:60] = 1
SUBJECT[1, 30:36, 5:11] = 1
SUBJECT[2, 1:63, 1:63] = 1


def dice() -> Dice:
    return Dice(torch.Generator().manual_seed(2))


def tiles(pictures: torch.Tensor) -> torch.Tensor:
    """Mean colours of 4 x 4 tiles: an embedding that paint can move."""
    return F.adaptive_avg_pool2d(pictures, 4).flatten(1)


def test_paint_that_deceives_moves_the_embedding_further_the_asked_way_than_paint_at_random() -> None:
    pictures, asked = torch.full((3, 3, PX, PX), 0.5), torch.randn(3, 48, generator=torch.Generator().manual_seed(1))

    def fit(steps: int) -> torch.Tensor:
        painted = fooled(tiles, pictures, SUBJECT, asked, steps, dice())
        return F.cosine_similarity(tiles(painted) - tiles(pictures), asked)

    assert (fit(8) > fit(0)).all()
    assert fit(8)[[0, 2]].min() > 0.4  # as much as three to five cells can


@pytest.mark.parametrize("steps", [0, 4])
def test_paint_covers_the_object_alone(steps: int) -> None:
    random = torch.Generator().manual_seed(3)
    pictures, asked = torch.rand(3, 3, PX, PX, generator=random), torch.randn(3, 48, generator=random)
    painted = fooled(tiles, pictures, SUBJECT, asked, steps, dice())
    inside = SUBJECT[:, None].expand_as(pictures) > 0
    assert torch.equal(painted[~inside], pictures[~inside])
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_paint_changes_its_course_no_more_often_than_it_has_cells_and_rings() -> None:
    asked = torch.randn(3, 48, generator=torch.Generator().manual_seed(3))
    painted = fooled(tiles, torch.zeros(3, 3, PX, PX), SUBJECT, asked, 4, dice())[2, :, 1:63, 1:63]
    for lines in (painted, painted.transpose(1, 2)):
        course = lines.diff(dim=2).reshape(-1, 61)
        turns = [int((c[c.abs() > 1e-4].sign().diff() != 0).sum()) for c in course]
        assert max(turns) <= CELLS[1] + 2 * RINGS  # rings are crossed twice; noise would turn forty times


def test_paint_that_deceives_follows_the_outline() -> None:
    subject = torch.zeros(1, PX, PX)
    subject[0, 8:56, 8:56] = 1

    def within(by: int) -> torch.Tensor:
        return 1 - F.max_pool2d(1 - subject, 2 * by + 1, 1, by)

    rim, next_to_it = subject - within(2), within(5) - within(9)

    def see(pictures: torch.Tensor) -> torch.Tensor:
        """Brightness of the outermost two pixels, and of a line five to nine pixels inwards."""
        return torch.stack([(pictures * part[:, None]).mean((1, 2, 3)) / part.mean() for part in (rim, next_to_it)], 1)

    gray = torch.full((1, 3, PX, PX), 0.5)
    painted = see(fooled(see, gray, subject, torch.tensor([[1.0, -1.0]]), 8, dice()))[0]
    assert painted[0] - painted[1] > 0.15  # large cells alone come to 0.03 to 0.11


def test_an_attack_leaves_no_gradient_on_what_sees() -> None:
    weight = torch.eye(48, requires_grad=True)
    asked = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
    painted = fooled(lambda x: tiles(x) @ weight, torch.full((3, 3, PX, PX), 0.5), SUBJECT, asked, 3, dice())
    assert weight.grad is None
    assert not painted.requires_grad


def test_what_gets_a_texture_can_be_attacked(twins: Twins) -> None:
    n, rows = len(twins.change), attackable(twins)
    assert 0 < len(rows) < n
    assert (twins.change[rows] == TEXTURE).all()
    new = twins.things[n : 2 * n, 0, 1]
    assert (new[rows] > TEXTURES.index("plain")).all()
    others = torch.ones(n, dtype=torch.bool)
    others[rows] = False
    assert ((twins.change[others] != TEXTURE) | (new[others] <= 0)).all()
