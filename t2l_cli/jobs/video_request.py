"""What may be asked of an edit of a video, and the checks of it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from t2l_cli.config import DEFAULT_CODEC, DEFAULT_LAYER, EDIT_FIT_PRESET, EditConfig, LayerName, check_choice
from t2l_cli.errors import RequestError
from t2l_cli.jobs.earlier import Earlier, read_run
from t2l_cli.jobs.excerpt import codec_of
from t2l_cli.jobs.fit import FitRequest
from t2l_cli.jobs.job import existing
from t2l_cli.jobs.naming import default_output
from t2l_cli.media.paths import shown
from t2l_cli.settings import FIT_SETTINGS, VIDEO, edit_config


@dataclass(frozen=True)
class VideoRequest:
    """One edit of a video: plain data. ``configs`` has an entry for each layer that is edited."""

    source: str  # a video file or a folder of frames
    configs: dict[str, EditConfig]
    output: str  # a video file, or a folder of frames where it has no suffix
    fit: FitRequest  # of an atlas, where none is given
    codec: str = DEFAULT_CODEC
    overwrite: bool = False
    run_dir: str | None = None
    atlas: str | None = None  # an atlas folder, or a published checkpoint
    resolution: int | None = None  # texels across a checkpoint's unit square
    frames: str | None = None  # "a:b"
    clip_weights: str | None = None
    offline: bool = False
    metadata: bool = True  # whether the result holds the run's record and the source's tags
    earlier: str | None = None  # the run.json, or the video with a record, that the configurations began with

    @classmethod
    def of(
        cls,
        source: str | None,
        prompts: Sequence[str],
        settings: Mapping[str, Any],
        *,
        layer: str | None = None,
        foreground: str | None = None,
        background: str | None = None,
        preset: str | None = None,
        config: str | None = None,
        atlas: str | None = None,
        resolution: int | None = None,
        mask: str | None = None,
        fit_preset: str | None = None,
        clip_weights: str | None = None,
        output: str | None = None,
        codec: str = DEFAULT_CODEC,
        frames: str | None = None,
        offline: bool = False,
        **more: Any,
    ) -> Self:
        """The request for what a user gives, which wins over the run.json ``config``.

        RequestError for what cannot be, TypeError for a setting that does not exist.
        """
        earlier = read_run(config)
        source = source or earlier.file("source")
        if source is None:
            raise RequestError('name a video and say what it should show: t2l edit-video video.mp4 "rusty car".')
        texts = _prompts(prompts, layer, {"foreground": foreground, "background": background}, earlier)
        of_fit = {name: settings[name] for name in FIT_SETTINGS if name in settings}
        own = {name: value for name, value in settings.items() if name not in of_fit}
        configs = {name: edit_config(VIDEO, each, preset, own, earlier.config) for name, each in texts.items()}
        given, atlas = atlas is not None, atlas or earlier.file("atlas")
        if atlas is not None and not os.path.exists(atlas):
            raise RequestError(f"there is no atlas {shown(atlas)}.")
        mask = mask or (earlier.file("mask") if atlas is None else None)
        of_fits = {
            "--mask": mask,
            "--mask-class": of_fit.get("mask_class"),
            "--flow": of_fit.get("flow"),
            "--fit-preset": fit_preset,
        }
        for option, value in of_fits.items():
            if atlas is not None and value is not None:
                name = "--atlas" if given else f"the atlas of --config, {shown(atlas)}"
                raise RequestError(f"{option} helps to fit an atlas and does nothing beside {name}: leave one out.")
        if atlas is None and resolution is not None:
            raise RequestError("--resolution is for the checkpoint that --atlas names: leave it out.")
        first = next(iter(texts))
        suffix = ".mov" if codec_of(codec) == "prores" else ".mp4"
        return cls(
            source=source,
            configs=configs,
            output=output or str(default_output(source, texts[first][0], suffix)),
            fit=FitRequest.of(
                source,
                {**of_fit, "device": configs[first].device},
                fit_preset or (None if earlier.fit else EDIT_FIT_PRESET),
                start=earlier.fit,
                mask=mask,
                offline=offline,
            ),
            codec=codec,
            atlas=atlas,
            resolution=resolution,
            clip_weights=existing(clip_weights or earlier.file("clip_weights"), "--clip-weights"),
            frames=frames or earlier.excerpt,
            offline=offline,
            earlier=config,
            **more,
        )

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """The files and folders that are read, which no output may be or hold."""
        return self.source, self.atlas, self.fit.mask, self.earlier, self.clip_weights

    @property
    def outputs(self) -> tuple[str, ...]:
        """The paths of all that is written beside the run directory: the video, then the painted layers."""
        return self.output, *(str(self.layer_file(name)) for name in self.configs)

    @property
    def config(self) -> EditConfig:
        """That of the first layer; CLIP, device and blend are the same for all."""
        return next(iter(self.configs.values()))

    def layer_file(self, name: str) -> Path:
        """Where the painted atlas layer goes: beside the video."""
        output = Path(self.output)
        return output.with_name(f"{output.stem}-{name}.png")


def _prompts(
    prompts: Sequence[str], layer: str | None, named: Mapping[str, str | None], earlier: Earlier
) -> dict[str, tuple[str, ...]]:
    """Layer -> prompts, from PROMPT and --layer, from --foreground and --background, or from an earlier run."""
    each: dict[str, tuple[str, ...]] = {name: (text,) for name, text in named.items() if text is not None}
    if layer is not None:
        check_choice("--layer", layer, LayerName)
    if prompts:
        if each:
            raise RequestError("give prompts either as PROMPT with --layer, or by --foreground and --background.")
        return {layer or DEFAULT_LAYER: tuple(prompts)}
    if each or earlier.layers:
        return each or dict(earlier.layers or {})
    raise RequestError('say what the video should show: t2l edit-video video.mp4 "rusty car".')
