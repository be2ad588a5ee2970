from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from t2l_cli.errors import RequestError
from t2l_cli.jobs.naming import MAX_NAME, claimed, default_output, slug


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crochet swan", "crochet-swan"),
        ("  A Red,  shiny cup! ", "a-red-shiny-cup"),
        ("../../etc/passwd", "etc-passwd"),
        ("rotes Öl", "rotes-öl"),
        ("紅い杯", "紅い杯"),
        ("!!!", "edit"),
        ("snow_storm", "snow-storm"),
    ],
)
def test_slug(text: str, expected: str) -> None:
    assert slug(text) == expected


def test_a_long_slug_ends_at_a_word() -> None:
    assert slug("word " * 60) == "-".join(["word"] * 24)
    assert len(slug("x" * 500)) == MAX_NAME


@pytest.mark.parametrize(
    ("source", "expected"),
    [("photo.jpg", "photo-red-cup.png"), ("/a/b/my.photo.webp", "my.photo-red-cup.png"), ("-", "picture-red-cup.png")],
)
def test_default_output_is_in_the_working_directory(source: str, expected: str) -> None:
    assert default_output(source, "red cup") == Path(expected)


@given(st.text(max_size=300), st.text(min_size=1, max_size=300).filter(lambda s: "/" not in s and "\0" not in s))
def test_a_default_name_is_one_that_every_file_system_takes(prompt: str, source: str) -> None:
    name = str(default_output(source, prompt))
    assert 0 < len(os.fsencode(name)) <= 255
    assert "/" not in name


def test_of_two_runs_with_one_output_the_second_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path / "cache"))
    output = tmp_path / "out.png"
    with claimed(output):
        with pytest.raises(RequestError, match="another run"), claimed(output):
            pass
        with claimed(tmp_path / "other.png"):
            pass
    with claimed(output):
        pass


def test_a_cache_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path / "file"))
    with claimed(tmp_path / "out.png"):
        pass


def test_a_folder_that_takes_no_file_is_found_out_before_the_work() -> None:
    with pytest.raises(RequestError, match="/proc"), claimed(Path("/proc/out.png")):
        pass


def test_a_name_that_cannot_be_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="zero byte"), claimed(tmp_path / "a\0b.png"):
        pass


def test_what_is_written_beside_the_output_is_claimed_too(tmp_path: Path) -> None:
    with claimed(tmp_path / "out-foreground.png"):
        both = claimed(tmp_path / "out.mp4", beside=[tmp_path / "out-foreground.png"])
        with pytest.raises(RequestError, match=r"--preview, is writing .*out-foreground\.png"), both:
            pass
        with claimed(tmp_path / "out.mp4"):
            pass


def test_two_runs_do_not_share_a_run_directory(tmp_path: Path) -> None:
    with claimed(tmp_path / "a.png", tmp_path / "run"):
        with pytest.raises(RequestError, match="another --run-dir"), claimed(tmp_path / "b.png", tmp_path / "run"):
            pass
        with claimed(tmp_path / "b.png", tmp_path / "run2"):  # the claim of b.png was given back
            pass
    with claimed(tmp_path / "b.png", tmp_path / "run"):
        pass


def test_a_claim_leaves_no_file_behind(tmp_path: Path, user_folders: Path) -> None:
    locks = user_folders / "locks"
    with claimed(tmp_path / "a.png", tmp_path / "run"):
        assert len(list(locks.iterdir())) == 2
        with pytest.raises(RequestError, match="another run"), claimed(tmp_path / "a.png"):
            pass
        assert len(list(locks.iterdir())) == 2
    assert list(locks.iterdir()) == []


def test_of_many_that_claim_one_output_again_and_again_one_has_it_at_a_time(tmp_path: Path) -> None:
    output, inside, had = tmp_path / "out.png", tmp_path / "inside", list[int]()

    def work(who: int) -> None:
        for _ in range(50):
            with contextlib.suppress(RequestError), claimed(output):
                inside.touch(exist_ok=False)  # FileExistsError where somebody else is at work
                had.append(who)
                inside.unlink()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert had
