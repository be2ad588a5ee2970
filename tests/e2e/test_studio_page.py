"""The studio as a person uses it: its page in a real Chromium, and what it answers to others."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chromium import addresses
from PIL import Image
from program import Run, pixels, slow, started

pytest.importorskip("gradio")
httpx = pytest.importorskip("httpx")

STUDIO = ("studio", "--clip", "mini", "--preset", "draft", "--offline", "--no-open", "--port", "0")
PATIENCE = 300  # s, on a busy machine


@contextlib.contextmanager
def open_studio(*more: str | Path, attacked: bool = False) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A studio's address and process; it is ended by Ctrl-C. What it refuses an attacker, gradio reports on stderr."""
    process = started(*STUDIO, *more)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().decode().strip()
        assert url.startswith("http://"), process.communicate()
        yield url, process
        process.send_signal(signal.SIGINT)
        _, words = process.communicate(timeout=PATIENCE)
        assert (process.returncode, b"Traceback" in words) == (0, attacked), words
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def asks() -> Iterator[Any]:
    """A program that sends requests, whatever proxies this machine has."""
    with httpx.Client(trust_env=False, timeout=60) as client:
        yield client


class Page:
    """The page in the browser."""

    def __init__(self, browser: Any, url: str) -> None:
        self._browser = browser
        browser.get(url)
        self.until(lambda: self.all("#prompt textarea") and self.text("#status"))

    def all(self, css: str) -> list[Any]:
        return [one for one in self._browser.find_elements("css selector", css) if one.is_displayed()]

    def one(self, css: str) -> Any:
        return self.until(lambda: self.all(css))[0]

    def text(self, css: str) -> str:
        return " ".join(one.text for one in self.all(css))

    def until(self, what: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(Exception):  # an element that is just being replaced
                if found := what():
                    return found
            assert time.monotonic() < end, self.text("body")
            time.sleep(0.1)

    def write(self, label: str, text: str) -> None:
        """Write into the field with this label."""
        script = """
            const labels = [...document.querySelectorAll("label")]
            const label = labels.find(one => one.innerText.trim().startsWith(arguments[0]))
            return label && label.querySelector("textarea, input")
        """
        field = self.until(lambda: self._browser.execute_script(script, label))
        field.send_keys("\ue009a\ue000" + text)  # Ctrl-A
        self.until(lambda: field.get_attribute("value") == text)

    def number(self, css: str, text: str) -> None:
        """Write the number beside a slider."""
        self.one(f"{css} input[type=number]").send_keys(f"\ue009a\ue000{text}\ue007")  # Ctrl-A, Return

    def unfold(self, *headings: str) -> None:
        """Open what is folded under these headings, one in the other."""
        script = """
            const button = [...document.querySelectorAll("button.label-wrap")].find(
                one => one.innerText.includes(arguments[0]))
            if (button && !button.classList.contains("open")) button.click()
            return button && button.classList.contains("open")
        """
        for heading in headings:
            self.until(lambda heading=heading: self._browser.execute_script(script, heading))
            time.sleep(1)  # it slides

    def source(self, css: str) -> str:
        return str(self.one(css).get_attribute("src"))


def drag(browser: Any, element: Any, start: tuple[int, int], *moves: tuple[int, int]) -> None:
    """Press the button at ``start`` from the element's middle, move, and let go."""
    from selenium.webdriver import ActionChains

    chain = ActionChains(browser).move_to_element_with_offset(element, *start).click_and_hold()
    for x, y in moves:
        chain = chain.move_by_offset(x, y)
    chain.release().perform()


@pytest.mark.slow
def test_an_edit_on_the_page(browser: Any, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    with open_studio(photo, "-o", folder) as (url, _):
        page = Page(browser, url)
        assert "320 x 240 px" in page.text("#status")
        page.one("#live img")

        page.unfold("More settings", "Time and quality")
        for label, text in (("steps", "many"), ("size", "129"), ("views", "1"), ("What it should show", "red ball")):
            page.write(label, text)
        page.one("#start").click()
        page.until(lambda: "--steps is a number, not 'many'" in page.text("body"))

        page.write("steps", "100000")
        page.one("#start").click()
        page.until(lambda: "of 100,000 steps" in page.text("#status"))
        first = page.source("#live img")
        page.until(lambda: page.source("#live img") != first)  # it grows
        page.one("#stop").click()
        page.until(lambda: "0001-red-ball, seed 0: interrupted" in page.text("#status"))
        page.one("#slider img")
        assert (pixels(folder / "0001-red-ball.png") != pixels(photo)).any()

        page.write("steps", "3")
        page.number("#seeds", "2")
        page.one("#start").click()
        page.until(lambda: "In the queue: 0003-red-ball" in page.text("#status"))
        page.until(lambda: "0002-red-ball, seed 0: done" in page.text("#status"))
        page.until(lambda: "0003-red-ball: done" in page.text("#runs"))
        assert len(page.all("#runs img")) == 3
        page.all("#runs img")[0].click()  # the newest comes first
        page.until(lambda: "0003-red-ball, seed 1: done" in page.text("#status"))

        before, after = page.until(lambda: len(page.all("#slider img")) == 2 and page.all("#slider img"))
        assert before.get_attribute("src") != after.get_attribute("src")
        middle = after.value_of_css_property("clip-path")
        drag(browser, page.one("#slider .slider-wrap"), (0, 0), (60, 0))
        page.until(lambda: page.all("#slider img")[1].value_of_css_property("clip-path") != middle)
        src = page.all("#slider img")[1].get_attribute("src")
        page.number("#opacity", "0.5")
        page.until(lambda: page.all("#slider img")[1].get_attribute("src") != src)
        page.one("#keep").click()
        kept = folder / "0003-red-ball-normal-50.png"
        page.until(kept.is_file)
        page.until(lambda: "0003-red-ball-normal-50" in page.text("#files"))
        moved, half = (
            np.abs(pixels(path).astype(int) - pixels(photo)).mean() for path in (folder / "0003-red-ball.png", kept)
        )
        assert 0.3 * moved < half < 0.7 * moved

        page.unfold("How it was made")
        assert "red ball" in page.text("#prompt") or "repeat it" in page.text("#facts")
        page.write("What it should show", "something else")
        page.one("#again").click()
        page.until(lambda: page.one("#prompt textarea").get_attribute("value") == "red ball")
        assert page.one("#seed input").get_attribute("value") == "1"

        assert browser.get_log("browser") == []
        assert all(address.startswith((url, "data:", "blob:")) for address in addresses(browser))

    with open_studio("-o", folder) as (url, _):  # another day
        page = Page(browser, url)
        page.until(lambda: "0001-red-ball: earlier" in page.text("#runs"))
        page.all("#runs img")[0].click()
        page.until(lambda: "0003-red-ball" in page.text("#status"))
        page.one("#slider img")


@pytest.mark.slow
def test_what_the_page_sends_is_uploaded_painted_and_a_video(browser: Any, tmp_path: Path) -> None:
    """A file from the computer, and a mask by the brush."""
    rgb = np.full((240, 320, 3), 200, np.uint8)
    rgb[60:180, 100:220] = (60, 60, 200)
    named = tmp_path / "a photo.png"
    Image.fromarray(rgb).save(named)
    folder = tmp_path / "runs"
    with open_studio("-o", folder) as (url, process):
        page = Page(browser, url)
        assert "Choose a photo or a video" in page.text("#status")
        browser.find_element("css selector", "#source input[type=file]").send_keys(str(named))
        page.until(lambda: "A photo of 320 x 240 px" in page.text("#status"))
        page.unfold("Where it may change", "More settings", "Time and quality")
        drag(browser, page.one("#mask canvas"), (0, 0), (30, 0), (0, 20))
        for label, text in (("steps", "100000"), ("size", "129"), ("views", "1"), ("What it should show", "red ball")):
            page.write(label, text)
        page.one("#start").click()
        page.until(lambda: "of 100,000 steps" in page.text("#status"))
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
    record = json.loads((folder / "0001-red-ball" / "run.json").read_text())
    assert record["ended"] == "interrupted"
    mask = pixels(Path(record["mask"]))[..., 0]
    assert mask.shape == rgb.shape[:2]
    assert 0 < (mask > 0).mean() < 0.3
    assert (pixels(folder / "0001-red-ball.png")[mask == 0] == rgb[mask == 0]).all()


@pytest.mark.parametrize("number", [signal.SIGTERM, slow(signal.SIGHUP)])
def test_a_signal_of_the_system_ends_it_with_its_code(number: signal.Signals, tmp_path: Path) -> None:
    process = started(*STUDIO, "-o", tmp_path / "runs")
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"http://")
    process.send_signal(number)
    _, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, words
    assert b"Traceback" not in words


def test_others_are_refused(asks: Any, photo: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("hidden words")
    with open_studio("-o", tmp_path / "runs", attacked=True) as (url, _):
        assert asks.get(url).status_code == 200
        assert asks.get(url, headers={"host": "evil.example"}).status_code == 400
        assert asks.get(url, headers={"origin": "http://evil.example"}).status_code == 403
        policy = asks.get(url).headers["content-security-policy"]
        assert "default-src 'self'" in policy
        for path in (secret, "/etc/passwd", tmp_path / "runs" / ".." / "secret.txt"):
            answer = asks.get(f"{url}gradio_api/file={path}")
            assert (answer.status_code, b"hidden" in answer.content) == (403, False)

        files = {"files": ("../../../evil.png", photo.read_bytes())}
        answer = asks.post(f"{url}gradio_api/upload", files=files)
        place = Path(answer.json()[0])
        assert place.name == "evil.png"
        assert "/.t2l-" in str(place)
        assert place.is_file()
        assert loaded(asks, url, str(secret)) == "error"  # a file that nobody sent
        assert not (tmp_path / "runs" / "sources").exists()
        assert loaded(asks, url, str(place)) == "done"
        assert len(list((tmp_path / "runs" / "sources").iterdir())) == 1
    assert not place.exists()


def loaded(asks: Any, url: str, path: str) -> str:
    """How it ends where somebody says that the file ``path`` was sent, as the page says it."""
    config = asks.get(f"{url}config").json()
    parts = {one["id"]: one for one in config["components"]}
    upload = next(
        one["id"]
        for one in config["dependencies"]
        if one["targets"][0][1] == "upload" and parts[one["targets"][0][0]]["props"].get("elem_id") == "source"
    )
    data = [{"path": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}]
    asked = {"data": data, "fn_index": upload, "session_hash": "s", "trigger_id": None, "event_data": None}
    assert asks.post(f"{url}gradio_api/queue/join", json=asked).status_code == 200
    with asks.stream("GET", f"{url}gradio_api/queue/data?session_hash=s") as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                message = json.loads(line.removeprefix("data: "))
                if message["msg"] == "process_completed":
                    return "done" if message["success"] else "error"
    return "nothing"


def test_another_address_needs_a_password(t2l: Callable[..., Run], asks: Any, tmp_path: Path) -> None:
    refused = t2l(*STUDIO, "--address", "0.0.0.0", "-o", "runs")
    assert refused.returncode == 2
    assert b"others can reach 0.0.0.0: give a password" in refused.stderr
    with open_studio("--address", "0.0.0.0", "--password", "open sesame", "-o", tmp_path / "runs") as (url, _):
        here = url.replace("0.0.0.0", "127.0.0.1")
        assert asks.get(f"{here}config").status_code == 401
        files = {"files": ("a.png", b"x")}
        assert asks.post(f"{here}gradio_api/upload", files=files).status_code == 401
        wrong = asks.post(f"{here}login", data={"username": "me", "password": "sesame"})
        assert wrong.status_code == 400
        right = asks.post(f"{here}login", data={"username": "me", "password": "open sesame"})
        assert right.status_code == 200
        assert asks.get(f"{here}config").status_code == 200


@pytest.mark.slow
def test_wrong_requests_are_one_line(t2l: Callable[..., Run], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, line in (
            (("--port", str(port)), f"cannot listen on 127.0.0.1, port {port}"),
            (("--port", "70000"), "--port must be between 0 and 65535"),
            (("--preset", "quick"), "no preset"),
            (("nothing.png",), "nothing.png"),
        ):
            done = t2l("studio", "--no-open", *words)
            assert (done.returncode, done.stdout) == (2, b"")
            assert line in done.stderr.decode()
            assert len(done.stderr.splitlines()) == 1
