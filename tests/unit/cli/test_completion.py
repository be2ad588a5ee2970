"""What shells are told when they complete a word. Nothing here may import torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 1.0  # s of processor time; somebody waits at the keyboard


def completed(words: str) -> tuple[list[str], float]:
    """What bash is told for the command line "t2l ``words``", whose last word is not finished; and the seconds."""
    asked = {
        "_T2L_COMPLETE": "complete_bash",
        "COMP_WORDS": f"t2l {words}",
        "COMP_CWORD": str(words.count(" ") + 1),
    }
    code = (
        "import atexit, os, sys, t2l_cli.cli.app as app\n"
        "def told():\n"
        "    heavy = [name for name in ('torch', 'open_clip', 'numpy', 'PIL') if name in sys.modules]\n"
        "    used = os.times()\n"
        "    print([heavy, used.user + used.system], file=sys.stderr)\n"
        "atexit.register(told)\n"
        "app.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    heavy, seconds = json.loads(done.stderr.splitlines()[-1].replace("'", '"'))
    assert heavy == []
    return done.stdout.split(), seconds


@pytest.fixture(autouse=True)
def _an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T2L_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("edit-image --clip mi", ["mini"]),
        ("edit-image --clip mini --clip robu", ["robust"]),
        ("edit-video --clip ViT-H-14-q", ["ViT-H-14-quickgelu"]),
        ("edit-image --preset ", ["draft", "standard", "fine"]),
        ("edit-video --fit-preset f", ["fine"]),
        ("edit-image --device ", ["auto", "cpu", "mps"]),  # cuda[:N] is no word
        ("composite --blend sc", ["screen"]),
        ("edit-video --codec p", ["prores"]),
        ("models pull mask", ["mask-rcnn"]),
        ("models pull min", []),  # is here already
        ("models remove ", []),  # nothing is
    ],
)
def test_a_value_is_completed(words: str, expected: list[str]) -> None:
    assert completed(words)[0] == expected


def test_the_answer_is_quick() -> None:
    assert min(completed("models pull ViT")[1] for _ in range(4)) < LIMIT
