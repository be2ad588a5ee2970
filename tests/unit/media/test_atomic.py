"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import stat
from pathlib import Path

import pytest

from t2l_cli.errors import OutputError
from t2l_cli.media import atomic
from t2l_cli.media.atomic import atomic_path, write_atomically


def test_the_file_appears_at_the_end_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "out.png"
    with atomic_path(final) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"picture")
        assert not final.exists()
    assert final.read_bytes() == b"picture"
    assert os.listdir(tmp_path) == ["out.png"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_any_exception_leaves_the_folder_as_it_was(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "out.png").write_bytes(b"old")

    def fails_halfway() -> None:
        with atomic_path(tmp_path / "out.png", overwrite=True) as temporary:
            temporary.write_bytes(b"half")
            raise failure

    with pytest.raises(failure):
        fails_halfway()
    assert os.listdir(tmp_path) == ["out.png"]
    assert (tmp_path / "out.png").read_bytes() == b"old"


@pytest.mark.parametrize("links", [True, False])
def test_an_existing_file_is_never_replaced_without_overwrite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:  # as on FAT

        def link(*_: object) -> None:
            raise PermissionError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", link)
    final = tmp_path / "out.png"
    write_atomically(final, b"first")
    with pytest.raises(OutputError, match="written by another run"):
        write_atomically(final, b"second")
    assert final.read_bytes() == b"first"
    write_atomically(final, b"third", overwrite=True)
    assert final.read_bytes() == b"third"
    assert os.listdir(tmp_path) == ["out.png"]


def _race(final: Path, barrier: object, wins: object, name: int) -> None:
    try:
        with atomic_path(final) as temporary:
            temporary.write_bytes(str(name).encode() * 1000)
            barrier.wait(20)  # type: ignore[attr-defined]  # multiprocessing's proxies have no public type
        wins.put(name)  # type: ignore[attr-defined]
    except OutputError:
        wins.put(-1)  # type: ignore[attr-defined]


def test_of_two_runs_that_write_the_same_file_one_wins(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, wins = context.Barrier(3), context.Queue()
    runs = [context.Process(target=_race, args=(tmp_path / "out.png", barrier, wins, i)) for i in range(3)]
    for run in runs:
        run.start()
    outcome = sorted(wins.get(timeout=30) for _ in runs)
    for run in runs:
        run.join()
    assert outcome[:2] == [-1, -1]
    assert (tmp_path / "out.png").read_bytes() == str(outcome[2]).encode() * 1000
    assert os.listdir(tmp_path) == ["out.png"]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_flush", full)
    with pytest.raises(OutputError) as caught:
        write_atomically(tmp_path / "out.png", b"data")
    assert str(caught.value) == f"could not write {tmp_path / 'out.png'}: No space left on device."
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        write_atomically(tmp_path / "gone" / "out.png", b"data")


def test_permissions_are_the_users_default_or_those_of_the_replaced_file(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        write_atomically(tmp_path / "new", b"")
    finally:
        os.umask(mask)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640
    (tmp_path / "new").chmod(0o604)
    write_atomically(tmp_path / "new", b"", overwrite=True)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("link", [True, False])
@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "folder"])
def test_only_files_are_ever_replaced(tmp_path: Path, kind: str, link: bool) -> None:
    there = tmp_path / "there"
    if kind == "fifo":
        os.mkfifo(there)
    elif kind == "folder":
        there.mkdir()
    elif kind == "socket":
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(there))
        listener.close()
    elif os.geteuid() == 0:
        os.mknod(there, 0o600 | stat.S_IFCHR, os.makedev(1, 3))  # as /dev/null
    else:
        there = Path("/dev/null")
    before = there.lstat()
    final = tmp_path / "link" if link else there
    if link:
        final.symlink_to(there)
    with pytest.raises(OutputError, match="it is not a file"):
        write_atomically(final, b"new", overwrite=True)
    assert (there.lstat().st_ino, there.lstat().st_mode) == (before.st_ino, before.st_mode)
    assert not [name for name in os.listdir(tmp_path) if name not in ("there", "link")]


def test_what_turns_into_a_pipe_during_the_work_is_not_replaced(tmp_path: Path) -> None:
    final = tmp_path / "out.png"

    def works() -> None:
        with atomic_path(final, overwrite=True) as temporary:
            temporary.write_bytes(b"new")
            os.mkfifo(final)

    with pytest.raises(OutputError, match="it is not a file"):
        works()
    assert stat.S_ISFIFO(final.stat().st_mode)
    assert os.listdir(tmp_path) == ["out.png"]


def test_overwriting_a_link_writes_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", b"new", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"
