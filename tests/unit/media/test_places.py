"""Where results may go: inputs are never outputs, and only files and folders of our own are replaced."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from t2l_cli.errors import RequestError
from t2l_cli.media.atomic import temporary_beside
from t2l_cli.media.output import check_output
from t2l_cli.media.places import check_place, clash_with, foreign_in


def test_a_name_that_the_system_has_no_bytes_for_holds_no_zero_byte_for_that(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="encoding, utf-8, has no such name"):
        check_place(tmp_path / "\ud800.png", overwrite=False)
    with pytest.raises(RequestError, match="zero byte"):
        check_place(tmp_path / "a\0b.png", overwrite=False)


def odd(path: Path, kind: str) -> Path:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.close()
    else:
        path.symlink_to("/dev/null")
    return path


@pytest.mark.parametrize("kind", ["pipe", "socket", "link to a device"])
@pytest.mark.parametrize("folder", [True, False])
def test_a_device_or_pipe_is_never_an_output(tmp_path: Path, kind: str, folder: bool) -> None:
    there = odd(tmp_path / "there.png", kind)
    (tmp_path / "link.png").symlink_to(there)
    for path in (there, tmp_path / "link.png"):
        for overwrite in (True, False):
            with pytest.raises(RequestError, match="is a device or a pipe, which is never replaced"):
                check_place(path, overwrite, folder=folder)
    with pytest.raises(RequestError, match="device or a pipe"):
        check_output(there, True)


def test_every_input_counts(tmp_path: Path) -> None:
    names = ["photo.png", "mask.png", "weights.png"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    os.link(tmp_path / "mask.png", tmp_path / "twin.png")
    (tmp_path / "link.png").symlink_to("mask.png")
    (tmp_path / "sub").mkdir()
    inputs = [None, "-", tmp_path / "gone", *(tmp_path / name for name in names), tmp_path / "sub" / ".." / "photo.png"]
    for name in (*names, "twin.png", "link.png", "sub/../mask.png"):
        with pytest.raises(RequestError, match="is the input itself; choose another --output"):
            check_output(tmp_path / name, True, *inputs)
    (tmp_path / "other.png").write_bytes(b"")
    check_output(tmp_path / "other.png", True, *inputs)
    check_output(tmp_path / "new.png", False, *inputs)


def test_folders_of_inputs_and_inputs_in_folders(tmp_path: Path) -> None:
    frames, atlas = tmp_path / "frames", tmp_path / "atlas"
    for folder in (frames, atlas, frames / "run"):
        folder.mkdir()
    for file in (frames / "1.png", atlas / "foreground.png", tmp_path / "video.mp4"):
        file.write_bytes(b"")
    assert clash_with(frames / "1.png", frames) == f"is a part of the input {frames}"
    assert clash_with(atlas, atlas / "foreground.png") == f"holds the input {atlas / 'foreground.png'}"
    assert clash_with(tmp_path, tmp_path / "video.mp4", frames) == f"holds the input {tmp_path / 'video.mp4'}"
    assert clash_with(atlas, frames, atlas) == "is the input itself"
    assert clash_with(frames / "2.png", frames) is None  # replaces nothing
    assert clash_with(frames / "run", frames) is None  # a folder in it is none of its frames
    assert clash_with(atlas, frames, tmp_path / "video.mp4", tmp_path) is None
    with pytest.raises(RequestError, match="is a part of the input"):
        check_place(frames / "1.png", True, frames)


def test_a_link_is_written_where_it_points_to(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "gone" / "a.png")
    with pytest.raises(RequestError, match=r"gone for .* does not exist"):
        check_place(tmp_path / "link.png", True)
    (tmp_path / "gone").mkdir()
    check_place(tmp_path / "link.png", True)


def test_what_is_foreign_in_a_folder(tmp_path: Path) -> None:
    own = {"a.png", "sub/", "sub/b.png", "dir.png"}
    (tmp_path / "sub").mkdir()
    killed = temporary_beside(tmp_path / "a.png").name
    for name in ("a.png", "sub/b.png", ".DS_Store", "sub/Thumbs.db", "._a.png", "desktop.ini", killed, "out.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert foreign_in(tmp_path, own.__contains__) == "out.mp4"
    assert foreign_in(tmp_path, own.__contains__, tmp_path / "sub" / ".." / "out.mp4") is None
    for name in (".env", "sub/.hidden", "sub/c.png", ".t2l-mine"):
        (tmp_path / name).write_bytes(b"")
        assert foreign_in(tmp_path, own.__contains__, tmp_path / "out.mp4") == name
        (tmp_path / name).unlink()
    (tmp_path / "dir.png").mkdir()
    assert foreign_in(tmp_path, own.__contains__, tmp_path / "out.mp4") == "dir.png"
    (tmp_path / "dir.png").rmdir()
    (tmp_path / "dir.png").symlink_to("a.png")
    assert foreign_in(tmp_path, own.__contains__, tmp_path / "out.mp4") == "dir.png"
    with pytest.raises(RequestError, match="cannot read the folder"):
        foreign_in(tmp_path / "gone", own.__contains__)
