import pytest
import torch

from mini.lessons import lesson
from mini.optimisers import orthogonalised
from mini.painting import Canvas
from mini.student import Student, optimisers
from mini.train import FRESH, LR, REFINEMENT, TrainingRun, between, rate, train


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small steps."""
    monkeypatch.setattr("mini.train.lesson", lambda *of: lesson(*of, scenes=6))


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_orthogonalised_keeps_the_directions_and_evens_their_sizes(shape: tuple[int, int]) -> None:
    u, s, v = torch.linalg.svd(torch.randn(shape, generator=torch.Generator().manual_seed(1)), full_matrices=False)
    got = torch.linalg.svdvals(orthogonalised(u * s.clamp(min=0.3) @ v))
    assert got.min() > 0.5
    assert got.max() < 1.4


def test_rate_is_the_same_for_any_length_until_it_decays() -> None:
    assert [rate(i, 1000) for i in range(600)] == [rate(i, 4000) for i in range(600)]
    assert rate(999, 1000) < 0.03


def test_between_mixes_numbers_and_leaves_counts_alone() -> None:
    a, b = {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)}, {"w": torch.tensor([3.0, 2.0]), "n": torch.tensor(9)}
    mixed = between(a, b, 0.25)
    assert mixed["w"].tolist() == [1.5, 2.0]
    assert mixed["n"] == 3


@pytest.mark.slow
def test_refining_shows_all_patches_and_has_no_labels(canvas: Canvas, few_scenes) -> None:
    """From the first step on it learns what is asked of whole pictures; a fresh run begins with half pictures."""
    torch.manual_seed(0)
    students = Student(), Student()
    first, refined = (
        next(train(TrainingRun(s, optimisers(s, LR)), canvas, 10, seed=1, course=course))
        for s, course in zip(students, (FRESH, REFINEMENT), strict=True)
    )
    assert not {"place", "deceit"} & first.keys()
    assert {"place", "descent", "deceit"} <= refined.keys()
    assert all(p.grad is None or not p.grad.any() for p in students[1].patch_heads.parameters())
    assert any(p.grad.any() for p in students[0].patch_heads.parameters())


@pytest.mark.slow
def test_an_interrupted_run_goes_on_as_if_it_had_not_stopped(canvas: Canvas, tmp_path, few_scenes) -> None:

    def fresh() -> TrainingRun:
        torch.manual_seed(0)
        student = Student()
        return TrainingRun(student, optimisers(student, LR))

    whole = list(train(fresh(), canvas, 3, seed=1))
    first = fresh()
    steps = train(first, canvas, 3, seed=1)
    next(steps), next(steps)
    first.save(tmp_path / "run.ckpt")
    second = fresh()
    second.restore(tmp_path / "run.ckpt")
    assert list(train(second, canvas, 3, seed=1)) == whole[2:]
