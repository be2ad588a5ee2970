"""Whatever is wrong with a request: one or two lines, exit 2, nothing written."""

from __future__ import annotations

import io
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from program import SHORT, Run, command, lines


def _jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((200, 200), 40).convert("RGB").save(out, "JPEG")
    return out.getvalue()


def _bomb() -> bytes:
    """A PNG of a few bytes that claims 40,000 x 40,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def _tiny() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (1, 1)).save(out, "PNG")
    return out.getvalue()


def _wrong_sum() -> bytes:
    """A whole PNG but for one bit of the check sum of its pixels."""
    out = io.BytesIO()
    Image.effect_noise((200, 200), 40).convert("RGB").save(out, "PNG")
    data = bytearray(out.getvalue())
    data[-13] ^= 1  # behind it: IEND, twelve bytes
    return bytes(data)


FILES: dict[str, tuple[str, bytes]] = {
    "damaged": ("photo.png", _wrong_sum()),
    "empty": ("photo.jpg", b""),
    "truncated": ("photo.jpg", _jpeg()[:1500]),
    "text": ("photo.jpg", b"Dear diary, this is no picture.\n" * 20),
    "bomb": ("photo.png", _bomb()),
    "one pixel": ("photo.png", _tiny()),
}


def refused(done: Run, *words: str) -> None:
    """Check that ``done`` was a refusal that says ``words``."""
    err = lines(done.stderr)
    assert done.returncode == 2, done.stderr
    assert done.stdout == b""
    assert 1 <= len(err) <= 2
    assert err[0].startswith("Error: ")
    for word in words:
        assert word in " ".join(err)


@pytest.mark.parametrize(("name", "data"), FILES.values(), ids=list(FILES))
def test_a_file_that_is_no_picture(name: str, data: bytes, t2l: Callable[..., Run], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    refused(t2l("edit-image", name, "swan", *SHORT), name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_missing_file_and_a_folder(t2l: Callable[..., Run], tmp_path: Path) -> None:
    refused(t2l("edit-image", "missing.jpg", "swan", *SHORT), "missing.jpg")
    refused(t2l("edit-image", tmp_path, "swan", *SHORT), "folder")
    refused(t2l("edit-image", "-", "swan", *SHORT, stdin=b""), "standard input")


def test_outputs_that_cannot_be(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    before = photo.read_bytes()
    (tmp_path / "there.png").write_bytes(b"mine")
    refused(t2l("edit-image", photo, "swan", *SHORT, "-o", "there.png"), "exists", "--overwrite")
    refused(t2l("edit-image", photo, "swan", *SHORT, "-o", photo, "--overwrite"), "input")
    refused(t2l("edit-image", photo, "swan", *SHORT, "-o", "none/out.png"), "none")
    refused(t2l("edit-image", photo, "swan", *SHORT, "-o", "/proc/out.png"), "/proc")
    refused(t2l("edit-image", photo, "swan", *SHORT, "-o", tmp_path), "suffix")
    refused(t2l("edit-image", photo, "swan", *SHORT, "-o", "out.xyz"), ".xyz")
    refused(t2l("composite", photo, photo, "-o", "out.png"), "alpha")
    assert (tmp_path / "there.png").read_bytes() == b"mine"
    assert photo.read_bytes() == before


def test_nothing_of_the_users_is_overwritten(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    """Whatever --overwrite is said to: inputs, devices behind links, and files that are not a run's own."""
    for name in ("mask.png", "layer.png"):
        Image.new("RGBA", (320, 240)).save(tmp_path / name)
    (tmp_path / "null.png").symlink_to("/dev/null")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "alpha.png").write_bytes((tmp_path / "mask.png").read_bytes())
    before = {path: path.lstat() for path in (*tmp_path.rglob("*"), Path("/dev/null"))}
    edit = ("edit-image", photo, "swan", *SHORT, "--overwrite")
    refused(t2l(*edit, "--mask", "mask.png", "-o", "mask.png"), "mask.png is the input itself")
    refused(t2l(*edit, "--mask", "run/alpha.png", "--run-dir", "run"), "holds the input run/alpha.png")
    refused(t2l(*edit, "--run-dir", "."), "--run-dir . holds the input")
    refused(t2l(*edit, "-o", "null.png"), "device or a pipe")
    refused(t2l("composite", photo, "layer.png", "-o", "layer.png", "--overwrite"), "layer.png is the input itself")
    refused(t2l("composite", photo, "layer.png", "-o", "null.png", "--overwrite"), "device or a pipe")
    after = {path: path.lstat() for path in (*tmp_path.rglob("*"), Path("/dev/null"))}
    assert {path: (s.st_ino, s.st_size, s.st_mode) for path, s in before.items()} == {
        path: (s.st_ino, s.st_size, s.st_mode) for path, s in after.items()
    }


def test_prompts_and_options(t2l: Callable[..., Run], photo: Path) -> None:
    refused(t2l("edit-image", photo, "", *SHORT), "empty")
    refused(t2l("edit-image", photo, "x" * 10_000, *SHORT), "10,000")
    refused(t2l("edit-image", photo, "swan", *SHORT, "--lr", "nan"), "nan")
    refused(t2l("edit-image", photo, "swan", *SHORT, "--steps", "0"), "--steps")
    refused(t2l("edit-image", photo, "swan", *SHORT, "--size", "-200"), "--size")


@pytest.mark.slow
def test_models_and_devices(t2l: Callable[..., Run], photo: Path) -> None:
    refused(t2l("edit-image", photo, "swan", *SHORT, "--clip", "ViT-Z-99", "-q"), "ViT-Z-99")
    refused(t2l("edit-image", photo, "swan", *SHORT, "--device", "cuda:77", "-q"), "cuda")


def test_a_mask_of_another_shape(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    Image.new("L", (50, 200)).save(tmp_path / "mask.png")
    refused(t2l("edit-image", photo, "swan", *SHORT, "-q", "--mask", "mask.png"), "mask.png")


def test_a_layer_of_another_size(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    Image.new("RGBA", (50, 200)).save(tmp_path / "layer.png")
    refused(t2l("composite", photo, "layer.png", "-o", "out.png"), "50 x 200")


@pytest.mark.slow
def test_of_two_runs_with_one_output_one_is_refused(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    line = [*command(), "edit-image", str(photo), "swan", *SHORT, "-q", "-o", "out.png"]
    runs = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) for _ in range(2)]
    said = [run.communicate(timeout=500) for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 2], said
    with Image.open(tmp_path / "out.png") as image:
        image.load()
