"""--clip more than once, and --clip hf-hub:owner/name, whose repository a hub on loopback serves."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import open_clip
import pytest
import safetensors.torch
import torch
from program import SHORT, Run, lines, pixels

from tests.unit.weights.hub import CONFIG, REPO, Hub

ROBUST = "chs20/TeCoA4-ViT-B-32-laion2B-s34B-b79K"
REST = SHORT[2:]


def done(run: Run) -> Run:
    """``run``, which must have worked."""
    assert run.returncode == 0, run.stderr.decode()
    return run


def totals(run: Path) -> list[float]:
    return [float(row["total"]) for row in csv.DictReader((run / "losses.csv").open())]


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that serves a tiny CLIP under two names."""
    torch.manual_seed(0)
    state = open_clip.CLIP(**CONFIG).state_dict()
    served = Hub()
    for repo in (REPO, ROBUST):
        served.files[f"{repo}/open_clip_config.json"] = json.dumps({"model_cfg": CONFIG}).encode()
        served.files[f"{repo}/open_clip_model.safetensors"] = safetensors.torch.save(state)
    yield served
    served.close()


@pytest.mark.slow
def test_the_same_clip_twice_is_that_clip_once(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    asked = ("edit-image", photo, "red ball", *REST, "-q", "--overwrite", "--run-dir")
    done(t2l(*asked, "one", "--clip", "mini"))
    done(t2l(*asked, "two", "--clip", "mini", "--clip", "mini"))
    done(t2l(*asked, "three", T2L_CLIP="mini mini"))
    assert totals(tmp_path / "two") == pytest.approx(totals(tmp_path / "one"), rel=1e-3)
    assert totals(tmp_path / "three") == totals(tmp_path / "two")
    one, two = (json.loads((tmp_path / name / "run.json").read_text()) for name in ("one", "two"))
    assert (one["config"]["clip"], two["config"]["clip"]) == ("mini", ["mini", "mini"])
    assert two["weights_sha256"] == [one["weights_sha256"]] * 2
    done(t2l("edit-image", "--config", "two/run.json", "-o", "again.png", "-q", "--offline"))
    assert (pixels(tmp_path / "again.png") == pixels(tmp_path / "two" / "composite.png")).all()


@pytest.mark.slow
def test_a_repository_of_the_hub_beside_mini(t2l: Callable[..., Run], hub: Hub, photo: Path, tmp_path: Path) -> None:
    name, at = f"hf-hub:{REPO}", {"HF_ENDPOINT": hub.url}
    online = [word for word in REST if word != "--offline"]
    run = done(
        t2l("edit-image", photo, "red ball", *online, "--clip", name, "--clip", "mini", "--run-dir", "run", **at)
    )
    assert f"{name} and mini on cpu".encode() in run.stderr
    assert b"Model initialized randomly" not in run.stderr
    requests = hub.requests
    done(t2l("edit-image", "--config", "run/run.json", "-o", "again.png", "-q", "--offline", **at))
    assert hub.requests == requests
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "run" / "composite.png").read_bytes()


@pytest.mark.slow
def test_robust_is_pulled_listed_and_removed(t2l: Callable[..., Run], hub: Hub) -> None:
    at = {"HF_ENDPOINT": hub.url}
    (path,) = lines(done(t2l("models", "pull", "robust", "-q", **at)).stdout)
    size = len(hub.files[f"{ROBUST}/open_clip_model.safetensors"])
    assert Path(path).stat().st_size == size
    listed = [line.split("\t") for line in lines(done(t2l("models", "list")).stdout)]
    assert [line[0] for line in listed if line[1] == "cached"] == ["mini", "robust"]
    told = {line[0]: line[2:] for line in listed}
    assert told["ViT-B-32:laion2b_s34b_b79k"] == ["about 605.1 MB", "mit", "224 px"]
    assert told["ViT-B-32-quickgelu:metaclip_400m"][1] == "cc-by-nc-4.0 (non-commercial)"
    (robust,) = (e for e in json.loads(done(t2l("models", "list", "--json")).stdout) if e["name"] == "robust")
    assert (robust["cached"], robust["size"], robust["licence"], robust["non_commercial"]) == (True, size, "mit", False)
    done(t2l("models", "remove", "robust"))
    assert not Path(path).exists()


@pytest.mark.slow
def test_too_many_clips_and_an_unknown_one_are_one_line(t2l: Callable[..., Run], photo: Path) -> None:
    for names, words in (
        (["mini"] * 9, "name 1 to 8 CLIPs"),
        (["mini", "minni"], "Did you mean"),
        (["RN50"], "a ResNet"),
    ):
        run = t2l("edit-image", photo, "red ball", *REST, *(word for name in names for word in ("--clip", name)))
        assert run.returncode == 2
        assert words in lines(run.stderr)[-1], run.stderr
