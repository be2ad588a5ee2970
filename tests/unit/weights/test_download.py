"""Downloads from a real HTTP server on loopback, with everything that goes wrong on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.file_download
import pytest
from hub import Hub

from t2l_cli.errors import WeightsError
from t2l_cli.weights import cache, download, loading, registry

FILE = "tester/tiny/open_clip_model.safetensors"
SCRIPT = Path(__file__).with_name("pulling.py")
ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the second that huggingface_hub waits before it resumes."""
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda _: None)


def leftovers() -> list[str]:
    """Files in the weights' folder that are neither the weights nor their record."""
    folder = cache.weights_dir("tester/tiny")
    return sorted({path.name for path in folder.iterdir()} - {"open_clip_model.safetensors", "source.json"})


def child(*args: str, **environment: str) -> subprocess.Popen[str]:
    path = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), *args],
        env={**os.environ, **path, **environment},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_first_use_downloads_and_the_second_does_not(hub: Hub, published: str, weights: bytes) -> None:
    told: list[tuple[int, int | None]] = []
    clip = loading.load_clip(published, progress=lambda done, total: told.append((done, total)))
    assert clip.sha256 == hashlib.sha256(weights).hexdigest()
    assert clip.name == f"{published}:made"
    assert told[-1] == (len(weights), len(weights))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert registry.pull(published).read_bytes() == weights
    requests = hub.requests
    assert loading.load_clip(f"{published}:made").sha256 == clip.sha256
    assert hub.requests == requests
    assert hub.gets == {FILE: 1}
    assert leftovers() == []


def test_the_older_file_is_taken_where_there_is_no_safetensors(
    hub: Hub, published: str, state: dict[str, object], tmp_path: Path
) -> None:
    import torch

    torch.save({"state_dict": state}, tmp_path / "w.bin")
    hub.files = {"tester/tiny/open_clip_pytorch_model.bin": (tmp_path / "w.bin").read_bytes()}
    assert registry.pull(published).name == "open_clip_pytorch_model.bin"
    assert loading.load_clip(published).model is not None
    hub.files = {}
    registry.remove(published)
    with pytest.raises(WeightsError, match="has no weights"):
        registry.pull(published)


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_resumed_or_started_again(hub: Hub, published: str, weights: bytes, ranges: bool) -> None:
    hub.cuts, hub.ranges = 2, ranges
    assert registry.pull(published).read_bytes() == weights
    assert hub.gets[FILE] == 3


def test_a_connection_that_is_always_cut_is_an_error_and_leaves_nothing(hub: Hub, published: str) -> None:
    hub.cuts, hub.ranges = 10_000, False
    hub.files[FILE] = bytes(1)  # half of it is nothing: no byte ever arrives, so that the retries end
    with pytest.raises(WeightsError, match="broke off while sending"):
        registry.pull(published)
    assert leftovers() == []
    assert cache.find("tester/tiny") is None


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(hub: Hub, published: str) -> None:
    hub.sha256 = "0" * 64
    with pytest.raises(WeightsError, match="wrong checksum"):
        registry.pull(published)
    assert leftovers() == []
    assert cache.find("tester/tiny") is None
    hub.sha256 = "no checksum"
    with pytest.raises(WeightsError, match="gives no checksum"):
        registry.pull(published)
    hub.sha256 = None
    assert registry.pull(published).exists()


def test_gits_checksum_of_a_small_file(hub: Hub, published: str, weights: bytes) -> None:
    hub.sha256 = hashlib.sha1(b"blob %d\0" % len(weights) + weights).hexdigest()
    assert registry.pull(published).exists()


@pytest.mark.parametrize("status", [401, 500])
def test_a_server_that_refuses(hub: Hub, published: str, status: int) -> None:
    hub.status = status
    with pytest.raises(WeightsError, match=f"answered {status}") as caught:
        registry.pull(published)
    assert "--clip mini" in str(caught.value)


def test_no_server_at_all_names_three_ways_out(hub: Hub, published: str) -> None:
    hub.close()
    with pytest.raises(WeightsError) as caught:
        loading.load_clip(published)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{hub.url} cannot be reached for the weights of {published}:made."
    assert len(lines) == 2
    for way in ("--clip-weights", f"t2l models pull {published}:made", "--clip mini", str(cache.cache_dir())):
        assert way in lines[1]


@pytest.mark.parametrize("switch", ["option", "HF_HUB_OFFLINE"])
def test_offline_never_touches_the_network(
    hub: Hub, published: str, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    if switch == "HF_HUB_OFFLINE":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = switch == "option"
    with pytest.raises(WeightsError, match="told to stay offline") as caught:
        loading.load_clip(published, offline=offline)
    assert "--clip-weights" in str(caught.value)
    assert hub.requests == 0
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    registry.pull(published)
    requests = hub.requests
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert loading.load_clip(published, offline=True).model is not None
    assert hub.requests == requests


def test_two_processes_at_once_download_once(hub: Hub, weights: bytes) -> None:
    hub.delay = 1.0
    runs = [child(), child()]
    outs = [run.communicate(timeout=60)[0].strip() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], outs
    assert set(outs) == {hashlib.sha256(weights).hexdigest()}
    assert hub.gets == {FILE: 1}
    assert leftovers() == []


def test_a_killed_download_does_not_hinder_the_next(hub: Hub, published: str, weights: bytes) -> None:
    hub.delay = 30.0
    run = child()
    while not hub.gets[FILE]:
        assert run.poll() is None
    run.kill()
    run.communicate()
    hub.delay = 0.0
    assert registry.pull(published).read_bytes() == weights
    assert leftovers() == []


def test_a_full_disk_is_one_line(hub: Hub) -> None:
    run = child("10000")  # bytes a file may have
    out = run.communicate(timeout=60)[0].strip()
    assert run.returncode == 1
    assert "has no room for the weights of tiny" in out
    assert "T2L_CACHE_DIR" in out
    assert "\n" not in out
    assert leftovers() == []


@contextlib.contextmanager
def tmpfs(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size_known", [True, False])
def test_a_really_full_disk(
    hub: Hub, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_known: bool
) -> None:
    hub.with_size = size_known  # unknown: the disk fills up while the file comes
    with tmpfs(tmp_path / "disk"):
        monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path / "disk"))
        with pytest.raises(WeightsError, match=f"{tmp_path}/disk has no room for the weights of {published}"):
            registry.pull(published)
        assert leftovers() == []


def test_a_cache_that_cannot_be_written(hub: Hub, published: str, user_folders: Path) -> None:
    user_folders.parent.mkdir(exist_ok=True)
    user_folders.write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot be written"):
        registry.pull(published)


def test_xets_transfer_bytes_are_not_counted_twice() -> None:
    told: list[tuple[int, int | None]] = []
    bar = download.progress_bar(lambda done, total: told.append((done, total)))(
        total=10, unit="B", desc="x", position=1
    )
    with bar:
        bar.update(4)
        bar.update_transfer(4)
        bar.set_transfer_postfix_str("9 MB/s", refresh=False)
        bar.update(6)
    assert told == [(4, 10), (10, 10)]
