"""What the looks at a machine find, each by itself; tests/e2e/test_doctor_command.py takes them all together."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import t2l_cli
from t2l_cli.config import Codec
from t2l_cli.errors import RequestError
from t2l_cli.jobs import doctor
from t2l_cli.jobs.doctor import Check, Finding, examined, private, without_password, worst
from t2l_cli.media.muxing import recipe_of


def found(*checks: tuple[str, Check]) -> list[Finding]:
    return list(examined(checks))


def alone(monkeypatch: pytest.MonkeyPatch, name: str, **options: Any) -> list[Finding]:
    """The findings of the check ``name`` of those that the program makes."""
    with monkeypatch.context() as patched:
        patched.setattr(doctor, "examined", lambda checks: [one for one in checks if one[0] == name])
        chosen = list(doctor.diagnose(**options))
    assert len(chosen) == 1
    return found(*chosen)  # type: ignore[arg-type]  # the checks themselves


def fine() -> Iterator[Finding]:
    yield Finding("one", "ok", "fine")


def half() -> Iterator[Finding]:
    yield Finding("two", "note", "so far")
    raise OSError("the rest\nis broken")


def wrong() -> Iterator[Finding]:
    raise RequestError("this is wrong.")


def test_a_failure_is_a_problem_of_its_own_and_the_rest_goes_on() -> None:
    one, two, rest, three, last = found(("one", fine), ("two", half), ("three", wrong), ("last", fine))
    assert (one.state, two.state, last.state) == ("ok", "note", "ok")
    assert (rest.name, rest.state, rest.text) == ("two", "problem", "OSError: the rest is broken")
    assert "Traceback" in rest.trace
    assert (three.name, three.state, three.text) == ("three", "problem", "this is wrong")
    assert not one.trace


def test_who_stops_it_stops_it() -> None:
    def stopped() -> Iterator[Finding]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(("one", stopped))


def test_the_worst_state_is_that_of_all() -> None:
    ok = Finding("one", "ok", "")
    note, problem = replace(ok, state="note"), replace(ok, state="problem")
    assert [worst(some) for some in ([], [ok], [ok, note, ok], [note, problem, ok])] == ["ok", "ok", "note", "problem"]


def test_no_finding_names_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.setenv("LOGNAME", "anna")
    facts = {"path": "/home/anna/x", "/home/anna": ["/mnt/anna/cache", 3], "more": {"deep": "/home/anna"}}

    def check() -> Iterator[Finding]:
        yield Finding("one", "ok", "in /home/anna/x: /home/anna, /mnt/anna and /home/annabel", facts)
        raise ValueError("/home/anna/y")

    one, two = found(("check", check))
    assert one.text == "in ~/x: ~, /mnt/USER and /home/annabel"
    assert one.facts == {"path": "~/x", "~": ["/mnt/USER/cache", 3], "more": {"deep": "~"}}
    assert two.text == "ValueError: ~/y"
    assert "/home/anna/y" not in two.trace
    assert private("/home/anna-marie /home/anna.b") == "/home/anna-marie /home/anna.b"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abc")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:pass@hub.test/x")
    monkeypatch.setenv("https_proxy", "http://me:pass@proxy.test")
    monkeypatch.setenv("T2L_STEPS", "60")
    monkeypatch.setenv("AWS_REGION", "none of ours")
    (one,) = alone(monkeypatch, "variables")
    assert "HF_TOKEN=(not shown)" in one.text
    assert "HF_ENDPOINT=https://hub.test/x" in one.text
    assert "T2L_STEPS=60" in one.text
    assert not [word for word in ("hf_abc", "pass", "AWS") if word in json.dumps(asdict(one))]
    assert without_password("http://a:b@c:80/d@e") == "http://c:80/d@e"


def test_packages_are_named_with_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *rest = alone(monkeypatch, "packages")
    assert first.facts["torch"] == torch.__version__.partition("+")[0] or first.facts["torch"] == torch.__version__
    assert not [one for one in rest if one.state == "problem"]


@pytest.mark.parametrize(
    ("required", "text"),
    [
        ("pillow>=999", "and t2l needs >=999"),
        ("t2l-none-such>=1", "t2l-none-such is missing"),
        ("pillow; python_version < '3'", None),
        ("t2l-none-such; extra == 'dev'", None),
    ],
)
def test_a_package_that_is_old_or_missing_is_a_problem(
    required: str, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: [required])
    problems = [one.text for one in alone(monkeypatch, "packages") if one.state == "problem"]
    assert len(problems) == (text is not None)
    assert text is None or text in problems[0]


def test_an_extra_that_is_not_there_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.requires", lambda name: ["t2l-none-such; extra == 'psd'"])
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: _Metadata())
    states = {one.text: one.state for one in alone(monkeypatch, "packages")}
    assert states["without the extra psd: python -m pip install t2l-none-such"] == "ok"


class _Metadata:
    def get_all(self, name: str) -> list[str]:
        return ["psd", "dev"]


def test_more_threads_than_cores_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 10_000)
    (one,) = alone(monkeypatch, "torch")
    assert one.state == "note"
    assert "--threads" in one.text


def test_every_device_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    found = alone(monkeypatch, "devices")
    assert [one.state for one in found if one.name == "cpu"] == ["ok"]
    assert doctor.product_error(torch.device("cpu")) < 1e-5


@pytest.mark.parametrize("error", [0.5, float("nan")])
def test_a_device_that_computes_wrong_is_a_problem(error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "product_error", lambda device: error)
    one = next(one for one in alone(monkeypatch, "devices") if one.name == "cpu")
    assert one.state == "problem"
    assert "computes wrong" in one.text


def test_folders_are_tried_and_left_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path / "not" / "there"))
    states = {one.name: one for one in alone(monkeypatch, "folders")}
    assert [states[name].facts["writable"] for name in ("cache", "temporary", "here")] == [True, True, True]
    assert "not made yet" in states["cache"].text
    assert str(tmp_path) not in states["here"].text
    assert os.listdir(tmp_path) == []


def test_a_folder_that_takes_nothing_is_a_problem_and_the_others_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path / "file"))
    cache, *others = alone(monkeypatch, "folders")
    assert (cache.state, cache.name) == ("problem", "cache")
    assert "cannot be written" in cache.text
    assert [one.state for one in others] != []


def test_every_codec_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = alone(monkeypatch, "video")
    assert one.facts["write"] == list(get_args(Codec))
    assert "hevc" in one.facts["read"]


def test_an_encoder_that_is_not_there_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of("h264", odd=False)
    monkeypatch.setattr("t2l_cli.media.muxing.recipe_of", lambda codec, odd: replace(recipe, encoder="nonesuch"))
    problems = [one.text for one in alone(monkeypatch, "video") if one.state == "problem"]
    assert len(problems) == len(get_args(Codec))


def test_phones_photos_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = alone(monkeypatch, "pictures")
    assert {"HEIF", "AVIF", "JPEG"} <= set(one.facts["kinds"])


@pytest.mark.parametrize("how", ["option", "variable"])
def test_offline_touches_no_network(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *given: pytest.fail("a connection"))
    if how == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (one,) = alone(monkeypatch, "network", offline=how == "option")
    assert (one.state, one.facts["offline"]) == ("ok", True)


def test_without_a_network_there_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = alone(monkeypatch, "network")
    assert (one.state, one.facts["reached"]) == ("note", False)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", None])
def test_a_hub_is_reached_where_it_answers(answer: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 2.0 if answer else 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                if answer:
                    connection.sendall(answer)
                else:
                    over.wait(20)

        over = threading.Event()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        import huggingface_hub  # noqa: F401  # the time of its import is not the server's

        began = time.monotonic()
        (one,) = alone(monkeypatch, "network")
        over.set()
        thread.join(5)
    assert one.facts["reached"] == (answer is not None), one.text
    assert time.monotonic() - began < 15


def test_python_has_the_findings_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = t2l_cli.doctor(offline=True)
    assert next(findings).facts["version"] == t2l_cli.__version__
