"""Names of models: what a CLIP model's name means in open_clip, and the cache by model names (for `t2l models`)."""

from __future__ import annotations

import difflib
import functools
import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from t2l_cli.errors import RequestError
from t2l_cli.media.paths import shown
from t2l_cli.weights import cache, download, vision
from t2l_cli.weights.download import Progress

MINI = "mini"  # the small CLIP inside the package
MINI_WEIGHTS = Path(__file__).with_name("mini.safetensors")
MINI_ABOUT = "mini knows 13 colours, 4 textures and little else; for real edits use ViT-B-32, the default."
_PREFERRED_TAG = "openai"  # the tag of a name without one, if it exists
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")  # settings for pictures in open_clip's pretrained tags


@dataclass(frozen=True)
class ModelSpec:
    """What a name stands for: an open_clip architecture and its published weights."""

    architecture: str
    tag: str = ""  # "": no weights are published
    repo: str = ""  # "owner/name" on the Hugging Face hub
    files: tuple[str, ...] = ()  # possible names of the weights file, the safe format first
    quick_gelu: bool = False  # whether the weights need QuickGELU, whatever the architecture's own setting is
    preprocess: dict[str, Any] = field(default_factory=dict)  # mean, std, ... that the weights were trained with

    @property
    def name(self) -> str:
        """The exact name, architecture:tag."""
        return f"{self.architecture}:{self.tag}" if self.tag else self.architecture


@dataclass(frozen=True)
class ModelEntry:
    """One line of `t2l models list`."""

    name: str  # architecture:tag, mini, or a network of torchvision
    cached: bool
    size: int | None  # bytes on this machine; None if it is not here


def resolve(name: str) -> ModelSpec:
    """The model that ``name``, an open_clip architecture[:tag], stands for.

    Without a tag, the openai weights are chosen if there are any, otherwise the first that open_clip lists. For weights
    trained with QuickGELU, the name becomes its -quickgelu variant (``ViT-B-32`` is ``ViT-B-32-quickgelu:openai``).
    Raises RequestError for an unknown name, with similar names, and for a model that t2l cannot use (its image tower is
    not an open_clip ViT, or its tokenizer needs a package that is not installed).
    """
    architecture, _, tag = name.partition(":")
    if architecture not in open_clip.list_models():
        known = [*open_clip.list_models(), MINI, *vision.NETWORKS]
        raise RequestError(f"there is no CLIP model {name!r}.{_close(architecture, known)}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    tag = tag.lower().replace("-", "_")
    if tag and tag not in tags:
        raise RequestError(f"{architecture} has no weights {tag!r}; there are {', '.join(tags) or 'none published'}.")
    if not tag and tags:
        tag = _PREFERRED_TAG if _PREFERRED_TAG in tags else tags[0]
    spec = _spec(architecture, tag)
    problem = _problem(spec.architecture)
    if problem:
        raise RequestError(f"{spec.name} cannot be used: {problem}. ViT-B-32, ViT-B-16 and ViT-L-14 can.")
    return spec


def list_models() -> list[ModelEntry]:
    """mini, torchvision's networks for videos, and every CLIP model that t2l can use and that has published weights,
    each under its exact name.
    """
    entries = [ModelEntry(MINI, True, MINI_WEIGHTS.stat().st_size if MINI_WEIGHTS.exists() else None)]
    for name in vision.NETWORKS:
        here = vision.find(name)
        entries.append(ModelEntry(name, here is not None, here.size if here else None))
    for architecture, tag in open_clip.list_pretrained():
        spec = _spec(architecture, tag)
        if spec.architecture != architecture or _problem(architecture):
            continue  # a second name of a -quickgelu model, or a model that resolve() refuses
        found = cache.find(spec.repo, check=False)
        entries.append(ModelEntry(spec.name, found is not None, found.size if found else None))
    return entries


def pull(name: str, progress: Progress | None = None, offline: bool = False) -> Path:
    """Download the weights of ``name`` into the cache if they are not there; return their path."""
    if name == MINI:
        return MINI_WEIGHTS
    if name in vision.NETWORKS:
        return vision.pull(name, offline, progress)
    spec = resolve(name)
    if not spec.repo:
        raise RequestError(f"no weights are published for {spec.name}: give your own with --clip-weights.")
    return download.fetch(spec.name, spec.repo, spec.files, offline, progress).path


def remove(name: str) -> int:
    """Delete the weights of ``name`` from the cache; return the bytes freed. RequestError if there are none."""
    if name == MINI:
        raise RequestError("mini is a part of the program and cannot be removed.")
    if name in vision.NETWORKS:
        exact, repo = name, vision.repo_of(name)
    else:
        exact, repo = (spec := resolve(name)).name, spec.repo
    freed = cache.discard(repo) if repo else 0
    if not freed:
        raise RequestError(f"the weights of {exact} are not in the cache {shown(cache.cache_dir())}.")
    return freed


def _spec(architecture: str, tag: str) -> ModelSpec:
    known = open_clip.get_pretrained_cfg(architecture, tag) if tag else {}
    quick = bool(known.get("quick_gelu"))
    if quick and not _config(architecture).get("quick_gelu") and f"{architecture}-quickgelu" in open_clip.list_models():
        architecture += "-quickgelu"
    repo, file = os.path.split(known.get("hf_hub", ""))
    files: tuple[str, ...] = (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    if file:
        files = tuple(dict.fromkeys((str(Path(file).with_suffix(".safetensors")), file)))
    preprocess = {key: known[key] for key in _PREPROCESS if key in known}
    return ModelSpec(architecture, tag, repo, files if repo else (), quick, preprocess)


def _problem(architecture: str) -> str:
    """Why t2l cannot use the architecture; "" if it can."""
    config = _config(architecture)
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision or not isinstance(vision.get("layers"), int):
        return "its picture side is not one of open_clip's own vision transformers"
    if (text.get("hf_tokenizer_name") or text.get("hf_model_name")) and not importlib.util.find_spec("transformers"):
        return "its texts need the package transformers"
    return ""


@functools.cache
def _config(architecture: str) -> dict[str, Any]:
    return open_clip.get_model_config(architecture) or {"vision_cfg": {}, "text_cfg": {}}


def _close(name: str, known: list[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=4, cutoff=0.5)]
    return f" Did you mean {', '.join(near)}?" if near else " `t2l models list` shows the names."
