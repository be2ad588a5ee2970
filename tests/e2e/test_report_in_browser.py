"""The page of t2l report in a real Chromium, where there is one: it moves, asks for nothing, and reports no error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from chromium import addresses
from PIL import Image
from program import SHORT, Run

webdriver = pytest.importorskip("selenium.webdriver")


@pytest.fixture
def page(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> Path:
    """A report of an edit and a batch's failed job."""
    done = t2l("edit-image", photo, "red ball", *SHORT, "-o", "a.png", "--run-dir", "run", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    Image.new("RGB", (40, 30)).save(tmp_path / "b.png")
    failed = {"output": "b.png", "status": "failed", "command": "edit-image", "source": "b.png", "prompts": ["<b>blue"]}
    error = {"code": "request", "message": "<script>document.title = 'no'</script>"}
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text(json.dumps(failed | {"fingerprint": "", "error": error}) + "\n")
    done = t2l("report", "run", "out", "-o", "report.html", "--json", "-q")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["files"] == ["report.html"]
    assert t2l("report", "run", "-o", "report.html").returncode == 2
    return tmp_path / "report.html"


def test_the_page_works(browser: Any, page: Path) -> None:
    browser.get(page.as_uri())
    assert browser.title == "t2l report"
    slider, compare = (browser.find_element("css selector", f"article {name}") for name in ("input", ".compare"))
    before, after = (compare.find_element("css selector", f"img.{name}") for name in ("before", "after"))

    def cuts() -> tuple[str, str]:
        return before.value_of_css_property("clip-path"), after.value_of_css_property("clip-path")

    middle = cuts()
    slider.send_keys("\ue014" * 10)  # the right arrow
    assert slider.get_attribute("value") == "60"
    assert cuts() != middle
    webdriver.ActionChains(browser).move_to_element_with_offset(compare, 0, 0).click_and_hold().move_by_offset(
        -int(compare.size["width"] * 0.4), 0
    ).release().perform()
    assert int(slider.get_attribute("value")) == pytest.approx(20, abs=10)

    shown = [one.is_displayed() for one in browser.find_elements("tag name", "article")]
    assert shown == [True, True]
    browser.find_element("css selector", "#status option[value=failed]").click()
    assert [one.is_displayed() for one in browser.find_elements("tag name", "article")] == [False, True]
    assert browser.find_element("id", "count").text == "1 of 2"
    browser.find_element("css selector", "#status option[value='']").click()
    browser.find_element("css selector", "#prompt option[value='0']").click()
    assert [one.is_displayed() for one in browser.find_elements("tag name", "article")] == [True, False]
    browser.find_element("tag name", "summary").send_keys("\n")
    assert browser.find_element("tag name", "svg").is_displayed()

    broken = "return [...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert browser.execute_script(broken) == 0
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    assert browser.get_log("browser") == []
    assert all(address.startswith(("file:///", "data:")) for address in addresses(browser))


@pytest.mark.slow
def test_no_script_runs_but_its_own(browser: Any, page: Path) -> None:
    """Even if a foreign text came through as HTML, the page's policy would stop it."""
    html = page.read_text(encoding="utf-8")
    evil = "<script>document.title = 'x'</script><img src='http://127.0.0.1:9/x' onerror='document.title = 1'>"
    page.write_text(html.replace("</main>", f"{evil}</main>"), encoding="utf-8")
    browser.get(page.as_uri())
    assert browser.title == "t2l report"
    assert len(browser.get_log("browser")) >= 2  # what the policy refused
