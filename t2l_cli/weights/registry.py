"""Names of models: what a CLIP model's name means in open_clip, and the cache by model names (for `t2l models`)."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib.util
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import open_clip
import timm
from open_clip.constants import HF_CONFIG_NAME, HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

from t2l_cli.errors import RequestError, T2LError, WeightsError
from t2l_cli.media.paths import shown
from t2l_cli.media.records import read_json
from t2l_cli.weights import cache, download, licences, vision
from t2l_cli.weights.download import Progress
from t2l_cli.weights.names import ALIASES, HUB, MINI, ROBUST, facts

MINI_WEIGHTS = Path(__file__).with_name("mini.safetensors")
MINI_SIDE = 64  # px
MINI_ABOUT = "mini knows 13 colours, 4 textures and little else; for real edits use ViT-B-32, the default."
_PREFERRED_TAG = "openai"  # the tag of a name without one, if it exists
_LIKE = {ROBUST: "ViT-B-32"}  # architecture
_REPO = re.compile(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", re.ASCII)
TRANSFORMERS = ("vision_transformer", "eva", "vision_transformer_hybrid", "vitamin")  # timm's modules
_SIDES = ("vision", "text")
_PREPROCESS = ("mean", "std", "interpolation", "resize_mode")  # settings for pictures in open_clip's pretrained tags


@dataclass(frozen=True)
class ModelSpec:
    """What a name stands for: an open_clip architecture and its published weights, or a repository that has both."""

    architecture: str  # or hf-hub:owner/name
    tag: str = ""  # "": no weights are published
    repo: str = ""  # "owner/name" on the Hugging Face hub
    files: tuple[str, ...] = ()  # possible names of the weights file, the safe format first
    quick_gelu: bool = False  # whether the weights need QuickGELU, whatever the architecture's own setting is
    preprocess: dict[str, Any] = field(default_factory=dict)  # mean, std, ... that the weights were trained with

    @property
    def name(self) -> str:
        """The exact name, architecture:tag."""
        return f"{self.architecture}:{self.tag}" if self.tag else self.architecture

    @property
    def from_hub(self) -> bool:
        """Whether the architecture is described in the repository itself."""
        return self.architecture.startswith(HUB)


@dataclass(frozen=True)
class ModelEntry:
    """One line of `t2l models list`."""

    name: str  # architecture:tag, hf-hub:owner/name, an alias, mini, or a network of torchvision
    cached: bool  # whether it is on this machine
    size: int | None  # bytes; None where it is not known
    about: bool = False  # whether the size is an estimate: 4 bytes for each of the model's parameters
    licence: str = licences.UNKNOWN  # of the weights
    non_commercial: bool = False  # whether the licence forbids commercial use
    resolution: int | None = None  # native side of the pictures it sees, px


def resolve(name: str) -> ModelSpec:
    """The model that ``name`` stands for: an open_clip architecture[:tag], hf-hub:owner/name, or an alias of one.

    Without a tag, the openai weights are chosen if there are any; otherwise the first that open_clip lists, those whose
    licence permits commercial use before the others. For weights trained with QuickGELU, the name becomes its
    -quickgelu variant (``ViT-B-32`` is ``ViT-B-32-quickgelu:openai``).
    Raises RequestError for an unknown name, with similar names, and for a model that t2l cannot use (its picture side
    is not a vision transformer, or its tokenizer needs a package that is not installed). What a hub's repository holds
    is not looked at; :func:`hub_config` does that.
    """
    name = ALIASES.get(name, name)
    if name.startswith(HUB):
        repo = name.removeprefix(HUB)
        if not _REPO.fullmatch(repo):
            raise RequestError(f"{shown(name)} is no name of a repository: it must be {HUB}owner/name.")
        return ModelSpec(name, "", repo, (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME))
    architecture, _, tag = name.partition(":")
    if architecture not in open_clip.list_models():
        known = [*open_clip.list_models(), MINI, *ALIASES, *vision.NETWORKS]
        raise RequestError(f"there is no CLIP model {name!r}.{_close(architecture, known)}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    tag = tag.lower().replace("-", "_")
    if tag and tag not in tags:
        raise RequestError(f"{architecture} has no weights {tag!r}; there are {', '.join(tags) or 'none published'}.")
    spec = spec_of(architecture, tag or preferred_tag(architecture))
    _check(spec, _config(spec.architecture))
    return spec


def preferred_tag(architecture: str) -> str:
    """Which weights of an ``architecture`` of open_clip are meant where none are named; "" if none are published."""

    def rank(tag: str) -> tuple[bool, bool]:
        licence = licences.licence_of(spec_of(architecture, tag).repo)
        return licence in licences.NON_COMMERCIAL, tag != _PREFERRED_TAG

    return min(open_clip.list_pretrained_tags_by_model(architecture), key=rank, default="")


def list_models() -> list[ModelEntry]:
    """mini, torchvision's networks for videos, and every CLIP model that t2l can use and that has published weights,
    each under its exact name; last, those of the hub that are on this machine.
    """
    size = MINI_WEIGHTS.stat().st_size if MINI_WEIGHTS.exists() else None
    entries = [ModelEntry(MINI, True, size, licence="mit", resolution=MINI_SIDE)]
    for name in vision.NETWORKS:
        here = vision.find(name)
        entries.append(ModelEntry(name, here is not None, here.size if here else None))
    aliases = {alias: resolve(alias) for alias in ALIASES}
    entries += [_entry(spec, alias) for alias, spec in aliases.items()]
    listed = {spec.repo for spec in aliases.values()}
    for architecture, tag in open_clip.list_pretrained():
        spec = spec_of(architecture, tag)
        if spec.architecture != architecture or problem_of(_config(architecture)):
            continue  # a second name of a -quickgelu model, or a model that resolve() refuses
        entries.append(_entry(spec, spec.name))
        listed.add(spec.repo)
    for repo in cache.repositories():
        if repo not in listed:
            with contextlib.suppress(T2LError):  # one that cannot be used, or a folder that somebody else made
                spec = resolve(HUB + repo)
                side = hub_config(spec, offline=True)[1]["vision_cfg"].get("image_size")
                entries.append(_entry(spec, spec.name, {"resolution": side} if isinstance(side, int) else {}))
    return entries


def _entry(spec: ModelSpec, name: str, known: dict[str, Any] | None = None) -> ModelEntry:
    here = find(spec)
    known = facts().get(_LIKE.get(name, spec.architecture), {}) if known is None else known
    parameters = known.get("parameters")
    licence = licences.licence_of(spec.repo)
    return ModelEntry(
        name,
        here is not None,
        here.size if here else parameters and 4 * parameters,
        here is None and parameters is not None,
        licence,
        licence in licences.NON_COMMERCIAL,
        known.get("resolution"),
    )


def find(spec: ModelSpec) -> cache.CachedWeights | None:
    """The weights of ``spec`` on this machine, in our cache or in that of the hub's own client, unchecked."""
    return cache.find(spec.repo, check=False) or cache.find_in_hub(spec.repo, spec.files, check=False)


def hub_config(spec: ModelSpec, offline: bool = False) -> tuple[Path, dict[str, Any]]:
    """The configuration that a repository of the hub holds: its file, and the part that describes the model.

    From the cache, or downloaded unless ``offline``. WeightsError if it is not had or is not one of open_clip;
    RequestError for a model that t2l cannot use.
    """
    path = download.fetch_file(spec.name, spec.repo, HF_CONFIG_NAME, offline)
    try:
        model = read_json(path)["model_cfg"]
        whole = isinstance(model["embed_dim"], int) and all(isinstance(model[f"{k}_cfg"], dict) for k in _SIDES)
    except (OSError, ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        raise WeightsError(f"{shown(path)} is not the configuration of an open_clip model.")
    _check(spec, model)
    return path, model


def _check(spec: ModelSpec, config: dict[str, Any]) -> None:
    """RequestError where t2l cannot use ``spec``, whose open_clip configuration is ``config``."""
    if problem := problem_of(config):
        raise RequestError(f"{spec.name} cannot be used: {problem}. ViT-B-32, ViT-B-16 and ViT-L-14 can.")


def pull(name: str, progress: Progress | None = None, offline: bool = False) -> Path:
    """Download the weights of ``name`` into the cache if they are not there; return their path."""
    if name == MINI:
        return MINI_WEIGHTS
    if name in vision.NETWORKS:
        return vision.pull(name, offline, progress)
    spec = resolve(name)
    if not spec.repo:
        raise RequestError(f"no weights are published for {spec.name}: give your own with --clip-weights.")
    if spec.from_hub:
        hub_config(spec, offline)  # that it can be used is known before the weights come
    return download.fetch(spec.name, spec.repo, spec.files, offline, progress).path


def remove(name: str) -> int:
    """Delete the weights of ``name`` from the cache; return the bytes freed.

    RequestError if there are none, or if they lie in the cache of the hub's own client, which is not t2l's to change.
    """
    if name == MINI:
        raise RequestError("mini is a part of the program and cannot be removed.")
    if name in vision.NETWORKS:
        exact, repo = name, vision.repo_of(name)
    else:
        exact, repo = (spec := resolve(name)).name, spec.repo
        if (here := find(spec)) and cache.find(repo, check=False) is None:
            raise RequestError(
                f"the weights of {exact} lie in the Hugging Face hub's own cache, which t2l does not change: "
                f"{shown(here.path)}. The hub's program `hf` can delete them there."
            )
    freed = cache.discard(repo) if repo else 0
    if not freed:
        raise RequestError(f"the weights of {exact} are not in the cache {shown(cache.cache_dir())}.")
    return freed


def spec_of(architecture: str, tag: str) -> ModelSpec:
    """The model of an ``architecture`` of open_clip with the weights ``tag``, one of its own; "": without weights."""
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


def problem_of(config: dict[str, Any]) -> str:
    """Why t2l cannot use the model of this open_clip configuration; "" if it can, as far as one can see in it."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    name = vision.get("timm_model_name")
    if name is not None:
        plain, what = timm.models.is_model_in_modules(str(name), TRANSFORMERS), f"timm's {shown(str(name))}"
    else:
        plain, what = isinstance(vision.get("layers", 12), int), "a ResNet"
    if not plain:
        return f"its picture side, {what}, is not a plain vision transformer, whose tokens t2l could read"
    if (text.get("hf_tokenizer_name") or text.get("hf_model_name")) and not importlib.util.find_spec("transformers"):
        return "its texts need a package (python -m pip install transformers)"
    return ""


@functools.cache
def _config(architecture: str) -> dict[str, Any]:
    return open_clip.get_model_config(architecture) or {"vision_cfg": {}, "text_cfg": {}}


def _close(name: str, known: list[str]) -> str:
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, n=4, cutoff=0.5)]
    return f" Did you mean {', '.join(near)}?" if near else " `t2l models list` shows the names."
