"""benchmarks/gpu.py at toy size on a CPU, so that its first run on a GPU is not its first run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "benchmarks" / "gpu.py")
PARTS = ["photo", "layer", "gradients", "trainings", "formats", "kernels", "mapping", "fit", "compiled"]


def gpu(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command, after the code ``before``."""
    program = f"import runpy, sys; sys.argv[0] = {SCRIPT!r}; sys.path[0] = {str(Path(SCRIPT).parent)!r}\n{before}\n"
    line = [sys.executable, "-c", f"{program}runpy.run_path({SCRIPT!r}, run_name='__main__')"] if before else None
    line = line or [sys.executable, SCRIPT]
    return subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=500, check=False)


def figures(part: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row["figures"] for row in part["rows"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the whole of it writes, at toy size."""
    folder = tmp_path_factory.mktemp("gpu")
    done = gpu("--toy", "--minutes", "20", "--output", str(folder), "--commit", "abc123")
    assert done.returncode == 0, done.stderr
    assert "all packages that t2l needs are here" in done.stderr
    assert (folder / "gpu.md").read_text() in done.stdout
    return folder


@pytest.fixture(scope="module")
def parts(folder: Path) -> dict[str, dict[str, Any]]:
    parts: list[dict[str, Any]] = json.loads((folder / "gpu.json").read_text())["parts"]
    assert [part["name"] for part in parts] == PARTS
    for part in parts:
        assert (part["status"], part["error"]) == ("done", ""), part
        assert part["seconds"] > 0
        assert not any("error" in row["figures"] for row in part["rows"]), part
    return {part["name"]: part for part in parts}


def test_it_says_what_was_measured_where(folder: Path) -> None:
    whole = json.loads((folder / "gpu.json").read_text())
    assert whole["commit"] == "abc123"
    assert "gpu.py --toy --minutes 20" in whole["command"]
    assert whole["machine"]["torch"].split("+")[0].count(".") == 2
    assert whole["machine"]["device"].startswith("cpu, ")
    assert (whole["missing"], whole["toy"], whole["sizes"]["views"]) == ([], True, 2)


@pytest.mark.parametrize(
    ("name", "steps", "asked"), [("photo", 1000, "10, at most 20"), ("layer", 3000, "60, at most 90")]
)
def test_both_jobs_stand_beside_the_straight_way(
    parts: dict[str, dict[str, Any]], name: str, steps: int, asked: str
) -> None:
    (ours, own), (straight, other) = figures(parts[name]).items()
    assert ours.startswith("t2l: CLIP in float32")
    assert straight == "the straight way in float32"
    for row in (own, other):
        assert row["all steps, extrapolated, s"] == pytest.approx(steps * row["a step, ms"] / 1000)
        assert row["steps timed"] >= 1
        assert row["peak memory, GiB"] > 0
        assert row["warm-up, s"] > 0
    assert other["times ours"] == pytest.approx(other["a step, ms"] / own["a step, ms"])
    assert other["TFLOP a step"] > own["TFLOP a step"]  # every picture is embedded by itself
    assert parts[name]["asked"]["all steps, extrapolated, s"] == asked


def test_gradients_in_float16_are_compared_with_float32(parts: dict[str, dict[str, Any]]) -> None:
    rows = figures(parts["gradients"])
    assert len(rows) == 6  # three precisions; L_dir and the whole step
    for name, row in rows.items():
        if "TF32" in name:  # on a CPU the same computation
            assert row["least cosine"] == pytest.approx(1, abs=1e-5)
            assert row["length / float32's, mean"] == pytest.approx(1, abs=1e-5)
        else:
            assert 0.5 < row["least cosine"] < 1 - 1e-9, name
            assert row["least cosine"] == min(v for k, v in row.items() if k.startswith("cosine at"))
    assert rows["toy-clip, float16: L_dir"]["least cosine"] > rows["toy-clip, bfloat16: L_dir"]["least cosine"]


def test_trainings_leave_figures_and_a_picture_of_each(parts: dict[str, dict[str, Any]], folder: Path) -> None:
    rows = figures(parts["trainings"])
    assert [name.rsplit(", ", 1)[1] for name in rows] == ["float32", "float32 with TF32", "float16", "bfloat16"]
    off = [row["from float32's picture, mean, levels of 255"] for row in rows.values()]
    assert off[0] == off[1] == 0 < min(off[2:])
    with Image.open(folder / "trainings.png") as sheet:
        assert sheet.width == 5 * sheet.height * 4 // 3  # the photo and four pictures of 4 : 3 in a row


def test_precisions_formats_and_compiling_are_rows_of_a_table(parts: dict[str, dict[str, Any]]) -> None:
    formats, compiled = figures(parts["formats"]), figures(parts["compiled"])
    assert len(formats) == 7
    assert {"float16, channels_last", "float16, contiguous", "float32, channels_last, no TF32"} <= set(formats)
    assert list(compiled) == ["not compiled", "eager"]
    for row in [*formats.values(), *compiled.values()]:
        assert row["a step, ms"] > 0
        assert row["peak memory, GiB"] > 0
    assert compiled["eager"]["graphs"] >= 3
    assert 0 < compiled["eager"]["first step, s"] <= compiled["eager"]["warm-up, s"]


def test_the_longest_kernels_come_first(parts: dict[str, dict[str, Any]]) -> None:
    clock, whole, *kernels = figures(parts["kernels"]).values()
    seconds = [row["ms a step"] for row in kernels]
    assert len(kernels) == 15
    assert seconds == sorted(seconds, reverse=True)
    assert sum(seconds) < whole["ms a step"] < 5 * clock["ms a step"]  # the profiler costs time, too
    assert any("convolution_backward" in name for name in figures(parts["kernels"]))


def test_a_fit_that_is_cut_short_is_extrapolated_and_says_so(parts: dict[str, dict[str, Any]]) -> None:
    (mapped,) = figures(parts["mapping"]).values()
    assert mapped["frames/s"] == pytest.approx(1000 / mapped["a frame, ms"])
    rows = figures(parts["fit"])
    (name,) = [name for name in rows if name.startswith("the whole fit")]
    assert name.endswith("extrapolated from 20 of 150 steps, by the rate of fit 1 of 1")
    spent = sum(row["time, s"] for stage, row in rows.items() if stage != name)
    assert rows[name]["time, s"] == pytest.approx(spent + 130 * rows["fit 1 of 1"]["a step, ms"] / 1000, rel=0.1)
    assert {"optical flow", "mask", "fit 1 of 1"} <= set(rows)
    assert rows[name]["PSNR, dB"] > 15
    assert parts["fit"]["asked"]["time, s"] == "at most 180"


def test_the_tables_show_every_part_and_what_is_asked(folder: Path, parts: dict[str, dict[str, Any]]) -> None:
    text = (folder / "gpu.md").read_text()
    for part in parts.values():
        assert f"### {part['title']}\n" in text
        assert all(f"| {row['name']} |" in text for row in part["rows"])
    assert text.count("| asked |") == 3
    assert "| 10, at most 20 |" in text


def test_what_a_missing_package_takes_away_is_said_in_one_line_and_the_rest_runs(tmp_path: Path) -> None:
    wanted = ["--toy", "--only", "photo,mapping", "--output", str(tmp_path)]
    done = gpu(*wanted, before="sys.modules['kornia'] = None")
    assert done.returncode == 0, done.stderr
    assert "missing here: kornia; cannot run: photo; runs: mapping\n" in done.stderr
    whole = json.loads((tmp_path / "gpu.json").read_text())
    assert whole["missing"] == ["kornia"]
    assert [part["status"] for part in whole["parts"]] == ["cannot run", "done"]
    assert "kornia" in whole["parts"][0]["error"]


def test_without_cuda_it_ends_at_once_and_says_how_to_try_it(tmp_path: Path) -> None:
    done = gpu(
        "--only", "mapping", "--output", str(tmp_path), before="import os; os.environ['CUDA_VISIBLE_DEVICES'] = ''"
    )
    assert done.returncode == 2
    assert "there is no CUDA here; --toy tries the command on a CPU" in done.stderr
    (part,) = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert (part["status"], part["rows"]) == ("cannot run", [])


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    done = gpu("--only", "photo,phono", "--output", str(tmp_path))
    assert done.returncode == 2
    assert "there is no part phono" in done.stderr
