"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from t2l_cli.errors import OutputError
from t2l_cli.media import atomic
from t2l_cli.media.atomic import atomic_folder, atomic_path, temporary_beside, temporary_folder, write_atomically


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

    monkeypatch.setattr(atomic, "flush_file", full)
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


# --- what killed runs leave


@pytest.fixture(autouse=True)
def nothing_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "swept_folders", set())


HOLDS_TWO = """
import os, signal, sys
from pathlib import Path
from t2l_cli.media.atomic import atomic_folder, atomic_path
with atomic_path(Path(sys.argv[1]) / "a.mp4") as file, atomic_folder(Path(sys.argv[1]) / "b") as folder:
    file.write_bytes(b"half a video")
    (folder / "00000.png").write_bytes(b"a frame")
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_run_left_is_removed_by_the_next_and_a_living_ones_is_not(tmp_path: Path) -> None:
    line = [sys.executable, "-c", HOLDS_TWO, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    runs = [subprocess.Popen(line, **pipes) for _ in range(2)]  # type: ignore[call-overload]  # as in e2e/conftest.py
    for run in runs:
        run.stdout.readline()
    assert len(os.listdir(tmp_path)) == 4
    killed, living = runs
    killed.kill()
    killed.wait()
    write_atomically(tmp_path / "c.png", b"picture")
    left = [name for name in os.listdir(tmp_path) if name != "c.png"]
    assert len(left) == 2
    assert all(f"-{living.pid}-" in name for name in left)
    living.communicate(b"")
    assert sorted(os.listdir(tmp_path)) == ["a.mp4", "b", "c.png"]


HOLDS_A_FOLDER = """
import sys
from t2l_cli.media.atomic import temporary_folder

with temporary_folder() as folder:
    (folder / "photo.png").write_bytes(b"shipped")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_temporary_folder_goes_with_its_run_or_with_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    line = [sys.executable, "-c", HOLDS_A_FOLDER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    runs = [subprocess.Popen(line, **pipes) for _ in range(2)]  # type: ignore[call-overload]  # as in e2e/conftest.py
    folders = [Path(run.stdout.readline().decode().strip()) for run in runs]
    assert sorted(folders) == sorted(tmp_path.iterdir())
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    os.utime(folders[1], (1, 1))  # a studio may wait for days
    elsewhere = _left(tmp_path, "0123abcd", 1, age=10 * 86_400)
    killed, living = runs
    killed.kill()
    killed.wait()
    with temporary_folder() as own:
        assert sorted(tmp_path.iterdir()) == sorted([own, folders[1], elsewhere])
    living.communicate(b"")
    assert list(tmp_path.iterdir()) == [elsewhere]


def _left(folder: Path, machine: str, process: int, age: float, suffix: str = ".png") -> Path:
    path = folder / f".t2l-{machine}-{process}-00c0ffee{suffix}"
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_what_a_run_elsewhere_left_is_removed_after_a_day(tmp_path: Path) -> None:
    """A network folder: the number of a process of another machine says nothing here."""
    young = _left(tmp_path, "0123abcd", 2**22 - 1, age=23 * 3600)
    old = _left(tmp_path, "0123abcd", os.getpid(), age=25 * 3600)
    write_atomically(tmp_path / "out.png", b"picture")
    assert young.exists()
    assert not old.exists()


def test_what_other_programs_left_stays(tmp_path: Path) -> None:
    names = [".t2l-notes", ".t2l-0123abcd-1-00c0ffe", ".out.png.ab12", "t2l-0123abcd-1-00c0ffee", ".t2l"]
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
        os.utime(tmp_path / name, (1, 1))
    write_atomically(tmp_path / "out.png", b"picture")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "out.png"])


def test_what_a_folder_replaced_stays_while_it_may_be_the_only_copy(tmp_path: Path) -> None:
    only = _left(tmp_path, "0123abcd", 1, age=10 * 86_400, suffix=".old")
    write_atomically(tmp_path / "out.png", b"picture")
    assert only.exists()


def test_a_link_is_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "dear.jpg").write_bytes(b"dear")
    place = tmp_path / "place"
    place.mkdir()
    link = place / ".t2l-0123abcd-1-00c0ffee"
    link.symlink_to(tmp_path / "photos")
    os.utime(link, (1, 1), follow_symlinks=False)
    write_atomically(place / "out.png", b"picture")
    assert os.listdir(place) == ["out.png"]
    assert (tmp_path / "photos" / "dear.jpg").exists()


def test_a_folder_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A video's frames are written one by one: looking each time would take the square of their number."""
    looks: list[object] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: looks.append(folder) or scan(folder))
    for i in range(3):
        write_atomically(tmp_path / f"{i}.png", b"frame")
    assert len(looks) == 1


@pytest.mark.parametrize("name", ["a" * 250, "\U0001f9a2" * 60 + ".png", "plain.png"])
def test_a_temporary_name_is_never_longer_than_file_systems_take(tmp_path: Path, name: str) -> None:
    temporary = temporary_beside(tmp_path / name)
    temporary.touch()
    assert temporary.suffix == Path(name).suffix


# --- folders


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as work:
        (work / "a").write_bytes(b"a")
        assert not (tmp_path / "out").exists()
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out" / "a").read_bytes() == b"a"


def test_an_error_in_a_folder_names_the_folder_that_the_user_knows(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, atomic_folder(tmp_path / "out") as work:
        write_atomically(work / "no" / "a.png", b"a")
    assert str(caught.value) == f"could not write {tmp_path / 'out' / 'no' / 'a.png'}: No such file or directory."
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_replaced_folder_is_old_or_new_whenever_it_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    rename, count = Path.rename, 0

    def fragile(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == failing:
            raise KeyboardInterrupt
        return rename(self, target)

    def replaced() -> None:
        with atomic_folder(tmp_path / "out", overwrite=True) as work:
            (work / "new").touch()
            monkeypatch.setattr(Path, "rename", fragile)

    with pytest.raises(KeyboardInterrupt):
        replaced()
    assert os.listdir(tmp_path / "out") == (["new"] if failing == 3 else ["old"])
    assert not [name for name in os.listdir(tmp_path) if name != "out" and not name.endswith(".old")]


def test_an_old_folder_is_gone_in_the_end(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with atomic_folder(tmp_path / "out", overwrite=True) as work:
            (work / name).touch()
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["second"]
