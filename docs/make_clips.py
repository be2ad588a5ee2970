"""Try every architecture that open_clip lists, and write what was found.

Usage: python docs/make_clips.py [NAME ...]

Each is made with random weights, its picture side with two blocks of its own width, and asked for what an edit needs:
it is usable, or refused with its reason. The table goes into docs/clip.md; size, resolution and repository of the
usable ones go into t2l_cli/weights/clips.json, for `t2l models list` and for shells that complete names. With NAMEs,
only these are tried, and the result is printed. That a model's texts need a package counts as a remark, not as a
refusal: the text side is not made.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import open_clip
import open_clip.model
import timm
import torch
from torch import Tensor, nn

from t2l_cli.engine.clip import Clip
from t2l_cli.engine.relevancy import relevancy
from t2l_cli.errors import T2LError
from t2l_cli.weights import licences, names, registry

PAGE = Path(__file__).parent / "clip.md"
FACTS = Path(names.__file__).with_name("clips.json")
BEGIN, END = "<!-- table: written by docs/make_clips.py -->", "<!-- end of the table -->"
HEAD = (
    "| architecture | usable | sees | patch | parameters | weights by licence |\n| --- | --- | --- | --- | --- | --- |"
)
SHOWN_TAGS = 4  # more are counted
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Found:
    """What was found of an architecture."""

    name: str
    problem: str  # why it is refused; "" where it is usable
    needs: str = ""  # a package that its texts need
    parameters: int = 0  # of the whole model, at its full size; 0: not known
    resolution: int = 0  # native side, px
    patch: int = 0  # px

    @property
    def repo(self) -> str:
        """The repository of the weights that the name alone means; "" if none are published."""
        return registry.spec_of(self.name, registry.preferred_tag(self.name)).repo

    @property
    def facts(self) -> dict[str, Any]:
        """The row of clips.json: what is known."""
        known = {"parameters": self.parameters, "resolution": self.resolution, "repo": self.repo}
        return {key: value for key, value in known.items() if value}


def tried(name: str) -> Found:
    """Make the architecture ``name`` small, with random weights, and ask it for what an edit needs.

    AssertionError where a tower that is not refused does not do what it must.
    """
    config = _without_transformers(open_clip.get_model_config(name))
    problem, needs = registry.problem_of(config), _needs(name)
    if problem:
        return Found(name, problem, needs)
    try:
        clip = Clip(_Model(_small(config), config["embed_dim"]), _tokens)
    except T2LError as error:
        return Found(name, str(error).splitlines()[0], needs)
    check(clip)
    return Found(name, "", needs, _parameters(name), clip.input_size, clip.patch_size)


def check(clip: Clip) -> None:
    """AssertionError unless the tower equals the plain model, and sees, judges and teaches at another size, too."""
    side, patch = clip.input_size, clip.patch_size
    native, other = torch.rand(1, 3, side, side), torch.rand(1, 3, side - patch, side + patch).requires_grad_()
    mean, std = (
        torch.tensor(x).view(1, 3, 1, 1) for x in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.no_grad():
        plain = clip.tower.visual((native - mean) / std)
        plain = plain[0] if isinstance(plain, tuple) else plain
        error = float((clip.embed_images(native) - plain).abs().max() / plain.abs().max())
    assert error <= TOLERANCE, f"not the plain model: {error:.1e}"
    embedded = clip.embed_images(other)
    assert embedded.isfinite().all(), "not finite at another size"
    (gradient,) = torch.autograd.grad((embedded * torch.randn(embedded.shape)).sum(), other)
    reached = gradient.abs().amax(dim=1) > 0
    assert reached.all(), f"no gradient at {int((~reached).sum())} pixels"
    with torch.no_grad():
        tokens = clip.tokens(other)
    grid = (side // patch - 1) * (side // patch + 1)
    assert tokens.isfinite().all(), "tokens are not finite"
    assert 0 <= tokens.shape[1] - grid <= 16, f"{tokens.shape[1]} tokens of a grid of {grid}"
    found = relevancy(clip, torch.rand(1, 3, side, side + patch), "anything")
    assert found.isfinite().all(), "relevancy is not finite"
    assert found.min() == 0, "relevancy is not normalised"
    assert found.max() == 1, "relevancy is constant"


class _Model(nn.Module):
    """A CLIP with a real picture side and, for its texts, fixed random embeddings."""

    def __init__(self, visual: nn.Module, dim: int) -> None:
        super().__init__()
        self.visual = visual
        self.logit_scale = nn.Parameter(torch.tensor(4.6))
        self.dim = dim

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.randn(len(tokens), self.dim, generator=torch.Generator().manual_seed(0))


def _tokens(texts: list[str], context_length: int | None = None) -> Tensor:
    return torch.zeros(len(texts), 8, dtype=torch.long)


def _small(config: dict[str, Any]) -> nn.Module:
    """The picture side with two blocks; every parameter is moved from where it starts, which may be 0."""
    config = copy.deepcopy(config)
    if "timm_model_name" not in config["vision_cfg"]:
        config["vision_cfg"]["layers"] = 2
    torch.manual_seed(0)
    with _of_two_blocks():
        visual = _picture_side(config)
    for parameter in visual.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return visual


def _picture_side(config: dict[str, Any]) -> nn.Module:
    cfg = open_clip.model.CLIPVisionCfg(**config["vision_cfg"])
    build: Any = open_clip.model._build_vision_tower
    side: nn.Module = build(config["embed_dim"], cfg, config.get("quick_gelu", False))
    return side.eval()


@contextmanager
def _of_two_blocks() -> Iterator[None]:
    """Within the context, timm makes its transformers with two blocks, and other networks as they are."""
    plain = timm.create_model

    def shallow(name: str, **options: Any) -> nn.Module:
        transformer = timm.models.is_model_in_modules(name, registry.TRANSFORMERS)
        made: nn.Module = plain(name, **options | ({"depth": 2} if transformer else {}))
        return made

    with mock.patch.object(timm, "create_model", shallow):
        yield


def _without_transformers(config: Any) -> dict[str, Any]:
    """The configuration without what needs the package transformers: whether it is here must not count."""
    kept = copy.deepcopy(config)
    kept["text_cfg"] = {k: v for k, v in kept["text_cfg"].items() if not k.startswith("hf_")}
    return dict(kept)


def _needs(name: str) -> str:
    text = open_clip.get_model_config(name)["text_cfg"]
    return "transformers" if text.get("hf_tokenizer_name") or text.get("hf_model_name") else ""


def _parameters(name: str) -> int:
    """How many parameters the whole model has; 0 where its text side is one of transformers, which is not made.

    Nothing is computed: parameters on the device "meta" have shapes alone.
    """
    if open_clip.get_model_config(name)["text_cfg"].get("hf_model_name"):
        return 0
    with torch.device("meta"):
        model = open_clip.create_model(name, load_weights=False, device="meta")
    return sum(parameter.numel() for parameter in model.parameters())


def facts(found: Iterable[Found]) -> str:
    """The content of clips.json."""
    lines = (f'"{f.name}": {json.dumps(f.facts)}' for f in found if not f.problem)
    return "{\n" + ",\n".join(lines) + "\n}\n"


def row(found: Found) -> str:
    """The line of the table."""
    if found.problem:
        return f"| {found.name} | no: {found.problem} | | | | |"
    size = f"{found.parameters / 1e6:,.0f} M" if found.parameters else "-"
    usable = f"yes, with the package {found.needs}" if found.needs else "yes"
    return f"| {found.name} | {usable} | {found.resolution} px | {found.patch} px | {size} | {_weights(found.name)} |"


def _weights(name: str) -> str:
    """The published weights by their licences."""
    by_licence: dict[str, list[str]] = {}
    for tag in open_clip.list_pretrained_tags_by_model(name):
        if (spec := registry.spec_of(name, tag)).architecture == name:  # not a second name of a -quickgelu model
            by_licence.setdefault(licences.licence_of(spec.repo), []).append(tag)
    said = []
    for licence, tags in by_licence.items():
        mark = "**" if licence in licences.NON_COMMERCIAL else ""
        said.append(f"{mark}{licence}{mark}: {', '.join(tags) if len(tags) <= SHOWN_TAGS else f'{len(tags)} sets'}")
    return "; ".join(said) or "none"


def main() -> None:
    """Try what is asked for, and print or write it."""
    names = sys.argv[1:] or open_clip.list_models()
    found = []
    for name in names:
        found.append(tried(name))
        print(row(found[-1]), flush=True)
    if sys.argv[1:]:
        return
    FACTS.write_text(facts(found), encoding="utf-8")
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    table = [HEAD, *map(row, found)]
    PAGE.write_text(head + "\n".join([BEGIN, "", *table, "", END]) + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
