import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from t2l_cli.mini import load
from t2l_cli.mini.optimisers import orthogonalised
from t2l_cli.mini.painting import Canvas
from t2l_cli.mini.scenes import BACKGROUND, GRID, PATCHY, Twins
from t2l_cli.mini.student import Student, optimisers
from t2l_cli.mini.train import LR, WHOLE_MARGIN, _Run, contrast, direction, lesson, place, rate, train, wholeness
from t2l_cli.mini.vocabulary import NO_CLAIM


def test_contrast_by_hand() -> None:
    """Two captions, two pictures, a diagonal truth: the mean cross-entropy of rows and columns."""
    s = torch.tensor([[2.0, 0.0], [1.0, 3.0]])
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-2))) / 2
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2
    assert contrast(s, torch.eye(2, dtype=torch.bool)).item() == pytest.approx((rows + columns) / 2, rel=1e-5)


def test_contrast_passes_over_what_is_true_of_nothing() -> None:
    s = torch.tensor([[2.0, 0.0], [1.0, 3.0], [9.0, -9.0]])
    truth = torch.tensor([[True, False], [False, True], [False, False]])
    rows = math.log(1 + math.exp(-2))
    columns = -(2 - math.log(sum(map(math.exp, (2, 1, 9)))) + 3 - math.log(sum(map(math.exp, (0, 3, -9))))) / 2
    assert contrast(s, truth).item() == pytest.approx((rows + columns) / 2, rel=1e-4)


def test_direction_is_least_when_changes_agree() -> None:
    text = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    rival = torch.ones(6, 6, dtype=torch.bool)
    same = direction(3 * text, text, torch.tensor(20.0), rival)
    assert same < direction(text.roll(1, 0), text, torch.tensor(20.0), rival)
    assert direction(text.roll(1, 0), text, torch.tensor(20.0), torch.eye(6, dtype=torch.bool)).item() == pytest.approx(
        0
    )


def test_wholeness_asks_a_partial_change_to_fit_less_well_than_the_whole(twins: Twins) -> None:
    b, m = len(twins.change), len(twins.mixture)
    torn = ((twins.mixture == PATCHY) & (twins.change[:m] != BACKGROUND)).nonzero()[:, 0]
    assert len(torn) > 2
    edits = torch.zeros(b, 2, 2)
    edits[:, 1] = torch.tensor([1.0, 0.0])  # every text changes along the first axis
    images = torch.zeros(2 * b + m, 2)
    images[b : 2 * b] = torch.tensor([2.0, 0.0])  # as do all whole changes
    images[2 * b :] = torch.tensor([0.5, 0.0])  # and here the partial ones, which makes them as good
    expected = WHOLE_MARGIN * (1 - twins.amount[torn]).mean()
    assert wholeness(twins, images, edits).item() == pytest.approx(expected.item(), rel=1e-4)
    images[2 * b :] = torch.tensor([0.5, 0.5 * math.tan(math.acos(1 - WHOLE_MARGIN))])  # less well by the margin
    assert wholeness(twins, images, edits).item() == pytest.approx(0, abs=1e-5)


def test_place_is_nothing_where_the_object_alone_brings_the_name_and_two_where_all_else_does(twins: Twins) -> None:
    m = 2 * len(twins.change)
    share = F.adaptive_avg_pool2d(twins.subject[:m], GRID).flatten(1)
    name, other = torch.eye(3)[0], torch.eye(3)[1]
    for part, expected in ((share, 0.0), (1 - share, 2.0)):
        patches = part[..., None] * name + (1 - part)[..., None] * other
        got = place(twins, patches.mean(1), patches, name.expand(m, 3))
        assert got.item() == pytest.approx(expected, abs=1e-3)


def test_place_sees_no_picture_without_an_object(twins: Twins) -> None:
    empty = replace(twins, things=torch.full_like(twins.things, NO_CLAIM))
    m = 2 * len(twins.change)
    assert place(empty, torch.ones(m, 3), torch.ones(m, GRID * GRID, 3), torch.ones(m, 3)) == 0


def test_a_refined_student_begins_with_what_was_learnt() -> None:
    model, tokenizer = load()
    student = Student.of(model)
    with torch.no_grad():
        picture = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        seen = model.encode_image((picture - student.mean) / student.std)
        assert torch.allclose(student.see(picture, None)[0], seen, atol=1e-4)
        texts = ["a red cup", "a striped ball over a green screen"]
        assert torch.allclose(student.read(texts), model.encode_text(tokenizer(texts)), atol=1e-4)
    state = student.clip_state()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_orthogonalised_keeps_the_directions_and_evens_their_sizes(shape: tuple[int, int]) -> None:
    u, s, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(1)), full_matrices=False)
    got = torch.linalg.svdvals(orthogonalised(u * s.clamp(min=0.3) @ v))
    assert got.min() > 0.5
    assert got.max() < 1.4


def test_rate_is_the_same_for_any_length_until_it_decays() -> None:
    assert [rate(i, 1000) for i in range(600)] == [rate(i, 4000) for i in range(600)]
    assert rate(999, 1000) < 0.03


def test_an_interrupted_run_goes_on_as_if_it_had_not_stopped(canvas: Canvas, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("t2l_cli.mini.train.lesson", lambda c, seed, step: lesson(c, seed, step, scenes=6))

    def fresh() -> _Run:
        torch.manual_seed(0)
        student = Student()
        return _Run(student, optimisers(student, LR))

    whole = list(train(fresh(), canvas, 3, seed=1))
    first = fresh()
    steps = train(first, canvas, 3, seed=1)
    next(steps), next(steps)
    first.save(tmp_path / "run.ckpt")
    second = fresh()
    second.restore(tmp_path / "run.ckpt")
    assert list(train(second, canvas, 3, seed=1)) == whole[2:]
