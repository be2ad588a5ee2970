"""The cache folder: trust in what is there, and removal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from hub import Hub

from t2l_cli.errors import RequestError
from t2l_cli.weights import cache, registry

REPO = "tester/tiny"


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path / "here"))
    assert cache.cache_dir() == tmp_path / "here"
    monkeypatch.delenv("T2L_CACHE_DIR")
    assert cache.cache_dir().name == "t2l"


def test_list_and_remove(hub: Hub, published: str, weights: bytes) -> None:
    def entry() -> registry.ModelEntry:
        return next(e for e in registry.list_models() if e.name == f"{published}:made")

    assert entry() == registry.ModelEntry(f"{published}:made", False, None)
    registry.pull(published)
    assert entry() == registry.ModelEntry(f"{published}:made", True, len(weights))
    assert registry.remove(published) >= len(weights)
    assert entry().cached is False
    assert not cache.weights_dir(REPO).exists()
    with pytest.raises(RequestError, match="not in the cache"):
        registry.remove(published)


def test_a_copied_folder_is_checked_once(hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = registry.pull(published).parent
    shutil.copytree(folder, folder.with_name("copy"))  # copytree keeps the times; a real copy often does not
    shutil.rmtree(folder)
    folder.with_name("copy").rename(folder)
    os.utime(folder / "open_clip_model.safetensors", (1, 1))
    hashed: list[Path] = []
    true_hash = cache.sha256_of
    monkeypatch.setattr(cache, "sha256_of", lambda path: hashed.append(path) or true_hash(path))
    assert cache.find(REPO) is not None
    assert cache.find(REPO) is not None
    assert len(hashed) == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "no record", "foreign record", "path in record"])
def test_damaged_weights_are_not_used_but_fetched_again(hub: Hub, published: str, weights: bytes, damage: str) -> None:
    path = registry.pull(published)
    record = path.with_name("source.json")
    if damage == "cut":
        path.write_bytes(weights[:-5])
    elif damage == "changed":
        path.write_bytes(weights[:-5] + b"wrong")
    elif damage == "gone":
        path.unlink()
    elif damage == "no record":
        record.write_text("{")
    elif damage == "foreign record":
        record.write_text(json.dumps({"file": 3}))
    else:
        record.write_text(record.read_text().replace('"open_clip', '"../tester--tiny/open_clip'))
    assert cache.find(REPO) is None
    assert registry.pull(published).read_bytes() == weights
    assert hub.gets[f"{REPO}/open_clip_model.safetensors"] == 2
