"""What may be asked of a studio, and what is said where it cannot be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import t2l_cli as t2l
from t2l_cli.web.runs import Runs
from t2l_cli.web.sources import Sources
from t2l_cli.web.studio import StudioRequest


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_an_address_that_others_can_reach_needs_a_password(address: str) -> None:
    with pytest.raises(t2l.RequestError, match="give a password"):
        StudioRequest(address=address)
    with pytest.raises(t2l.RequestError, match="the password is empty"):
        StudioRequest(address=address, password="")
    assert StudioRequest(address=address, password="x").address == address


@pytest.mark.parametrize("address", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machines_own_needs_none(address: str) -> None:
    assert StudioRequest(address=address).password is None


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    for asked, words in (
        ({"port": 70_000}, "--port must be"),
        ({"preset": "quick"}, "preset"),
        ({"source": tmp_path / "none.jpg"}, "none.jpg"),
        ({"output": tmp_path / "file"}, "cannot make the folder"),
        ({"address": "192.0.2.1", "password": "x", "port": 1}, "cannot listen on 192.0.2.1, port 1"),
    ):
        (tmp_path / "file").touch()
        with pytest.raises(t2l.RequestError, match=words):
            t2l.studio(**({"output": tmp_path / "out"} | asked))  # type: ignore[arg-type]


def test_without_gradio_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.startswith("t2l_cli.web.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(t2l.RequestError, match="python -m pip install gradio"):
        t2l.studio(output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_studio_opens_and_closes_within_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with t2l.studio(output=tmp_path / "out", port=0, clip="mini", preset="draft") as studio:
        assert httpx.get(studio.url, trust_env=False).status_code == 200
        with pytest.raises(t2l.RequestError, match=r"is writing .* right now"):
            t2l.studio(output=tmp_path / "out", port=0)
    with pytest.raises(httpx.ConnectError):
        httpx.get(studio.url, trust_env=False)


def test_an_error_names_a_file_that_was_sent_as_its_user_does(tmp_path: Path) -> None:
    """Gradio keeps it in a folder of its own, which nobody knows."""
    gradio = pytest.importorskip("gradio")
    from t2l_cli.web.page import Begin, page

    sent = tmp_path / "0123abcd" / "holiday.jpg"
    sent.parent.mkdir()
    sent.write_text("no picture")
    runs = Runs(tmp_path / "runs", offline=True)
    blocks = page(runs, Sources(tmp_path / "sources"), Begin())
    (load,) = (one.fn for one in blocks.fns.values() if one.targets[0][1] == "upload")
    with pytest.raises(gradio.Error) as error:
        load(str(sent))
    runs.close()
    assert error.value.message.startswith("holiday.jpg is not a picture")


def test_what_is_sent_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    from t2l_cli.web import server

    monkeypatch.setattr(server, "MOST_UPLOAD", 5_000)
    with t2l.studio(output=tmp_path / "out", port=0) as studio:
        for size, status in ((4_000, 200), (6_000, 413)):
            files = {"files": ("a.png", b"x" * size)}
            answer = httpx.post(f"{studio.url}gradio_api/upload", files=files, trust_env=False)
            assert answer.status_code == status
