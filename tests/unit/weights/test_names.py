"""The names that shells complete, told without open_clip, are those that open_clip knows."""

from __future__ import annotations

from pathlib import Path

import open_clip
import pytest

from t2l_cli.errors import RequestError
from t2l_cli.media.paths import sha256_of
from t2l_cli.weights import cache, names, registry, vision


def known_problem(name: str) -> bool:
    """Whether the name is refused only because the package transformers is not installed."""
    try:
        registry.resolve(name)
    except RequestError as error:
        return "transformers" in str(error)
    return False


def test_every_clip_that_is_offered_can_be_used() -> None:
    for name in names.clips():
        if name != names.MINI and not known_problem(name):
            assert registry.resolve(name).architecture


def test_every_usable_architecture_is_offered() -> None:
    folder = Path(open_clip.__file__).with_name("model_configs")
    shipped = {file.stem for file in folder.glob("*.json")} & set(open_clip.list_models())  # other tests add their own
    assert len(shipped) > 100
    usable = {n for n in shipped if not registry.problem_of(open_clip.get_model_config(n))}
    assert usable <= set(names.clips()) <= {*shipped, names.MINI, *names.ALIASES}


def test_what_is_offered_to_pull_is_published() -> None:
    offered = set(names.published())
    for name in names.facts():
        if not known_problem(name):
            spec = registry.resolve(name)
            assert (spec.repo or None) == names.facts()[name].get("repo")
            assert bool(spec.repo) == (name in offered)
    assert {"robust", *vision.NETWORKS} <= offered


def keep(repo: str) -> None:
    """Put a file into the cache as if it were the weights of ``repo``."""
    folder = cache.weights_dir(repo)
    folder.mkdir(parents=True)
    part = folder / "weights.bin"
    part.write_bytes(b"x")
    cache.store(part, repo, sha256_of(part), "")


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("robust", ["robust"]),
        ("ViT-B-16", ["ViT-B-16", "ViT-B-16-quickgelu"]),  # two names of one
        ("ViT-B-16:laion400m_e32", ["hf-hub:timm/vit_base_patch16_clip_224.laion400m_e32"]),
        ("hf-hub:other/tiny", ["hf-hub:other/tiny"]),
        ("raft", ["raft"]),
    ],
)
def test_what_is_offered_to_remove_is_here_and_can_be_removed(
    name: str, offered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path))
    assert names.removable() == []
    keep(vision.repo_of(name) if name in vision.NETWORKS else registry.resolve(name).repo)
    assert names.removable() == offered
    assert registry.remove(offered[0]) > 0
    assert names.removable() == []
