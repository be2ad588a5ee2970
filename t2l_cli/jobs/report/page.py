"""Edits and their pictures as one page of HTML, which needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from t2l_cli.jobs.report.collect import Edit, Layer
from t2l_cli.jobs.report.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart
from t2l_cli.jobs.report.pictures import Album


@dataclass(frozen=True)
class Shown:
    """An edit, and what is to be seen of it."""

    edit: Edit
    album: Album
    charts: dict[str, Chart]  # by layer
    notes: tuple[str, ...]

    @property
    def layers(self) -> list[Layer]:
        """Those that there is something to be seen of."""
        return [one for one in self.edit.layers if self.album.get("layer", one.name) or one.name in self.charts]


DRAWING = {
    "left": LEFT,
    "right": WIDTH - RIGHT,
    "top": TOP,
    "bottom": HEIGHT - BOTTOM,
    "width": WIDTH,
    "height": HEIGHT,
}


def page_of(shown: Sequence[Shown]) -> bytes:
    """The page, in UTF-8. The texts of edits are foreign: all of them are escaped, and no script but ours may run."""
    style, script = _file("page.css"), _file("page.js")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    prompts = list(dict.fromkeys(prompt for one in shown for prompt in one.edit.prompts))
    html = environment.from_string(_file("page.html")).render(
        shown=shown,
        prompts=prompts,
        statuses=Counter(one.edit.status for one in shown),
        style=Markup(style),
        script=Markup(script),
        policy=_policy(style, script),
        drawing=DRAWING,
    )
    return html.encode("utf-8", "backslashreplace")  # a name of undecodable bytes holds what UTF-8 does not


def _policy(style: str, script: str) -> str:
    """The Content-Security-Policy: pictures and videos of the page itself, its one style and its one script."""
    return (
        f"default-src 'none'; img-src data:; media-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
