"""Loads a model by its name or from a weights file. Files that could run code are never loaded."""

from __future__ import annotations

import contextlib
import logging
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import safetensors
import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

from t2l_cli.errors import RequestError, WeightsError
from t2l_cli.media.paths import reason, sha256_of, shown
from t2l_cli.weights import cache, download
from t2l_cli.weights.download import Progress
from t2l_cli.weights.names import MINI
from t2l_cli.weights.registry import MINI_WEIGHTS, ModelSpec, hub_config, resolve

_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class LoadedClip:
    """A CLIP model ready for use: frozen, float32, on the CPU."""

    model: Any  # open_clip.CLIP or CustomTextCLIP
    tokenizer: Any  # texts -> (N, context length) int64
    sha256: str  # of the weights file
    name: str  # exact: architecture:tag, or mini


def load_clip(
    name: str, weights: Path | None = None, offline: bool = False, progress: Progress | None = None
) -> LoadedClip:
    """Load the CLIP model ``name``: mini, or what :func:`registry.resolve` knows.

    Its weights come from the file ``weights`` if given, otherwise from the cache, otherwise from the network unless
    ``offline``; ``progress`` is called during a download. Raises RequestError for an unknown name or a missing file,
    and WeightsError for weights that cannot be downloaded, do not fit the model, or hold anything except tensors.
    """
    if name == MINI:
        return _load_mini(weights)
    parts = _fetched(name, weights, offline, progress)
    spec, path = parts.spec, parts.weights
    model = _build(spec, path) if parts.config is None else _build_from_hub(parts.config, path, spec.name)
    return LoadedClip(model, parts.tokenizer, parts.sha256, spec.name)


def fetch_clip(name: str, weights: Path | None = None, offline: bool = False, progress: Progress | None = None) -> None:
    """Bring all that :func:`load_clip` needs onto this machine and check it, but build no model.

    Raises what ``load_clip`` raises, except for weights that do not fit the model.
    """
    if name == MINI:
        _check_mini(weights)
    else:
        _fetched(name, weights, offline, progress)


@dataclass(frozen=True)
class _Parts:
    """What a CLIP is built from."""

    spec: ModelSpec
    weights: Path
    sha256: str  # of the weights
    config: Path | None  # of a model that its repository describes
    tokenizer: Any


def _fetched(name: str, weights: Path | None, offline: bool, progress: Progress | None) -> _Parts:
    spec = resolve(name)
    config = hub_config(spec, offline) if spec.from_hub else None
    if weights is not None:
        path, sha256 = weights, _hash(weights)
    elif spec.repo:
        cached = download.fetch(spec.name, spec.repo, spec.files, offline, progress)
        path, sha256 = cached.path, cached.sha256
    else:
        raise RequestError(f"no weights are published for {spec.name}: give your own with --clip-weights.")
    check_weights(path)
    text = (config[1] if config else open_clip.get_model_config(spec.architecture) or {}).get("text_cfg", {})
    return _Parts(spec, path, sha256, config and config[0], _tokenizer(spec, text, offline))


def check_weights(path: Path) -> None:
    """Raise WeightsError unless ``path`` holds tensors and nothing else.

    The file is read as safetensors or through ``torch.load(weights_only=True)``. TorchScript archives, such as OpenAI's
    own files, are programs and are refused.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise WeightsError(f"{shown(path)} is not a weights file by its suffix; known are {' '.join(_SUFFIXES)}.")
    try:
        state = _names(path)
    except WeightsError:
        raise
    except safetensors.SafetensorError as error:
        raise WeightsError(f"{shown(path)} is damaged or not a safetensors file.") from error
    except OSError as error:
        raise WeightsError(f"cannot read {shown(path)}: {reason(error)}.") from error
    except Exception as error:  # on damaged bytes, torch.load and zipfile raise many kinds of errors
        raise WeightsError(
            f"{shown(path)} is damaged, or holds more than tensors (such a file could run code); it is not loaded."
        ) from error
    if not state:
        raise WeightsError(f"{shown(path)} holds no weights of a model.")


def _names(path: Path) -> list[str]:
    """The names of the tensors in the file."""
    if path.suffix.lower() == ".safetensors":
        with safetensors.safe_open(path, framework="pt") as file:
            return list(file.keys())
    archive = zipfile.is_zipfile(path)
    if archive:
        with zipfile.ZipFile(path) as members:
            if any(Path(member).name == "constants.pkl" for member in members.namelist()):
                raise WeightsError(
                    f"{shown(path)} is a TorchScript archive, that is a program, and t2l does not run programs from "
                    "weights files. Use the model's safetensors file (for OpenAI's models: huggingface.co/timm)."
                )
    # On a TypeError open_clip falls back to torch.load without weights_only; a file that fails here never gets there.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's warnings about odd pickles are meant for developers
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    if isinstance(state, dict) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, dict):
        return []
    return [key for key, value in state.items() if isinstance(key, str) and isinstance(value, torch.Tensor)]


def _build(spec: ModelSpec, path: Path) -> Any:
    try:
        with torch.random.fork_rng(devices=[]):  # it draws random weights before it loads the real ones
            model = open_clip.create_model(
                spec.architecture,
                pretrained=str(path.absolute()),  # absolute: never taken for a tag, which would be downloaded
                precision="fp32",
                device="cpu",
                force_quick_gelu=spec.quick_gelu,
                force_preprocess_cfg=spec.preprocess,
                weights_only=True,
            )
    except Exception as error:  # on unexpected tensors, open_clip's conversions raise many kinds of errors
        raise _unfit(path, spec.architecture, error) from error
    return model.eval().requires_grad_(False)


def _build_from_hub(config: Path, weights: Path, name: str) -> Any:
    """The model that the file ``config`` describes, with the ``weights``; they need not lie in one folder."""
    try:
        with torch.random.fork_rng(devices=[]), _without_warnings():
            model = open_clip.create_model(
                f"local-dir:{config.parent}", load_weights=False, pretrained_text=False, precision="fp32", device="cpu"
            )
        open_clip.load_checkpoint(model, str(weights), weights_only=True)
    except Exception as error:  # also a configuration that makes no model
        raise _unfit(weights, name, error) from error
    return model.eval().requires_grad_(False)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Within the context, nothing up to a warning is logged: open_clip warns that the weights are random, as yet."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.WARNING))
    try:
        yield
    finally:
        logging.disable(before)


def _unfit(weights: Path, name: str, error: Exception) -> WeightsError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    detail = lines[min(1, len(lines) - 1)][:120] if lines else type(error).__name__
    return WeightsError(f"the weights {shown(weights)} do not fit the model {name}: {detail}")


def _tokenizer(spec: ModelSpec, text: dict[str, Any], offline: bool) -> Any:
    """The tokenizer of the model whose open_clip configuration says ``text``; a download unless ``offline``."""
    if not text.get("hf_tokenizer_name"):
        length = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
        return SimpleTokenizer(context_length=length) if spec.from_hub else open_clip.get_tokenizer(spec.architecture)
    options = {k: v for k, v in text.get("tokenizer_kwargs", {}).items() if k != "trust_remote_code"}  # runs no code
    options |= {"local_files_only": True} if offline or download.is_offline() else {}
    try:
        return HFTokenizer(
            text["hf_tokenizer_name"],
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            cache_dir=str(cache.cache_dir() / "tokenizers"),
            tokenizer_mode=text.get("tokenizer_mode"),
            **options,
        )
    except Exception as error:  # transformers raises many kinds of errors
        name = shown(str(text["hf_tokenizer_name"]))
        raise WeightsError(f"the tokenizer of {spec.name} could not be had ({name}).") from error


def _check_mini(weights: Path | None) -> None:
    if weights is not None:
        raise RequestError("--clip mini has weights of its own; leave --clip-weights out or name another --clip.")


def _load_mini(weights: Path | None) -> LoadedClip:
    _check_mini(weights)
    from t2l_cli.weights import mini

    model, tokenizer = mini.load()
    return LoadedClip(model.eval().requires_grad_(False), tokenizer, _hash(MINI_WEIGHTS), MINI)


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except FileNotFoundError as error:
        raise RequestError(f"there is no weights file {shown(path)}.") from error
    except OSError as error:
        raise RequestError(f"cannot read the weights file {shown(path)}: {reason(error)}.") from error
