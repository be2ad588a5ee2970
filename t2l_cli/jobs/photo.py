"""One edit of a photo: request -> picture and CLIP -> the engine's steps -> the layer over the photo."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from t2l_cli.config import EditConfig
from t2l_cli.errors import RequestError
from t2l_cli.jobs.earlier import read_run
from t2l_cli.jobs.job import Training, absolute, existing, need_result
from t2l_cli.jobs.judge import Judge, Loader, load_judge
from t2l_cli.jobs.naming import default_output
from t2l_cli.jobs.pixels import in_notebook, picture_bytes, planes_of, rows_of, shown_image
from t2l_cli.jobs.record import RunDir, check_run_dir, describe, introduce, mark_of, say_matte, say_matting, say_tries
from t2l_cli.media.compositing import Bytes, Rows, over
from t2l_cli.media.images import Picture, load_picture, mask_of
from t2l_cli.media.layered import Layers, check_photo_output, save_photo
from t2l_cli.media.paths import STDIO, shown
from t2l_cli.media.records import plain
from t2l_cli.media.xmp import Mark
from t2l_cli.progress import Reporter, Tick, duration
from t2l_cli.settings import PHOTO, edit_config

if TYPE_CHECKING:
    from torch import Tensor

    from t2l_cli.engine.optimize import Step
    from t2l_cli.engine.photo import PhotoEdit
    from t2l_cli.jobs.run_record import PhotoRecord

LEAST_MASK = 8  # of 255; below are the noise of a black JPEG and opacities that nobody would see


@dataclass(frozen=True)
class PhotoRequest:
    """One edit of a photo: plain data."""

    source: str | None  # a file; "-": the standard input; None: a picture in memory, which the job is given
    config: EditConfig
    output: str  # "-": a PNG to the standard output
    overwrite: bool = False
    run_dir: str | None = None
    mask: str | None = None
    clip_weights: str | None = None
    offline: bool = False
    metadata: bool = True  # whether the result holds the run's record, and what the photo's file says of it
    earlier: str | None = None  # the run.json, or the picture with a record, that the configuration began with

    @classmethod
    def of(
        cls,
        source: str | None,
        prompts: Sequence[str],
        settings: Mapping[str, Any],
        *,
        in_memory: bool = False,
        mask_in_memory: bool = False,
        preset: str | None = None,
        config: str | None = None,
        mask: str | None = None,
        clip_weights: str | None = None,
        output: str | None = None,
        **more: Any,
    ) -> Self:
        """The request for what a user gives, which wins over the run.json ``config``.

        in_memory, mask_in_memory: the job is given the picture, or the mask, itself. RequestError for what cannot be,
        TypeError for a setting that does not exist.
        """
        earlier = read_run(config)
        source = source or (None if in_memory else earlier.file("source"))
        if source is None and not in_memory:
            raise RequestError('name a photo and say what it should show: t2l edit-image photo.jpg "crochet swan".')
        edit = edit_config(PHOTO, tuple(prompts), preset, settings, earlier.config)
        mask = mask or (None if mask_in_memory else earlier.file("mask"))
        if source == mask == STDIO:
            raise RequestError("the picture and the mask cannot both come from the standard input.")
        return cls(
            source=source,
            config=edit,
            output=output or str(default_output(source or STDIO, edit.prompts[0])),
            mask=mask,
            clip_weights=existing(clip_weights or earlier.file("clip_weights"), "--clip-weights"),
            earlier=config,
            **more,
        )

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """The files that are read, which no output may be."""
        return self.source, self.mask, self.earlier, self.clip_weights

    @property
    def outputs(self) -> tuple[str, ...]:
        """The paths of all that is written beside the run directory."""
        return (self.output,)


class PhotoJob(Training):
    """The edit of one photo. Iterate it for its training steps, or call ``run()``.

    ``image``, ``layer`` and ``alpha`` are valid after any step.
    """

    def __init__(
        self,
        request: PhotoRequest,
        reporter: Reporter | None = None,
        picture: Picture | None = None,
        mask: Picture | None = None,
        load: Loader = load_judge,
    ) -> None:
        """A ``picture`` or ``mask`` in memory stands for the one that the request names; ``load`` gets the judge."""
        super().__init__(reporter, request.output, request.run_dir)
        self.request = request
        self._given, self._load = (picture, mask), load
        self._run_dir: RunDir | None = None
        self._mask_sha256: str | None = None
        self._within: Bytes | None = None  # the mask at the photo's size, (H, W)
        self._mark: Mark | None = None  # what the result says of its making
        self.last: Step | None = None  # the last step that was taken
        self._made: tuple[Step | None, Rows] | None = None  # the layer after that step

    @cached_property
    def picture(self) -> Picture:
        """The photo."""
        picture = self._given[0] or load_picture(self.request.source or STDIO, deep=True)
        self.say_notes(picture.notes)
        return picture

    @cached_property
    def judge(self) -> Judge:
        """CLIP, one or several."""
        return self._load(self.request.config, self.request.clip_weights, self.request.offline, self.reporter)

    @cached_property
    def edit(self) -> PhotoEdit:
        """The engine at work. What is quickly found wrong with the files is said before CLIP is loaded."""
        pixels, bounds, judge = planes_of(self.picture.finest), self._bounds(), self.judge

        from t2l_cli.engine.photo import PhotoEdit

        edit = PhotoEdit(pixels, judge.clips, self.request.config, judge.runtime, bounds)
        introduce(edit, self.reporter)
        return edit

    def _bounds(self) -> Tensor | None:
        """Where the edit may be, (1, H, W) uint8. RequestError where that is nowhere."""
        name = self.request.mask
        mask = self._given[1] or (None if name is None else load_picture(name))
        self._mask_sha256 = None if mask is None else mask.sha256
        if mask is not None:
            called = shown(name or "in memory")
            self._within = _permitting(mask_of(mask, self.picture.size, called), called)
        return None if self._within is None else planes_of(self._within)

    @property
    def image(self) -> Image.Image:
        """The photo with the edit, RGB, or RGBA where the photo has transparency."""
        return shown_image(over(self._layer, self.picture.finest), self.picture.alpha)

    @property
    def layer(self) -> Image.Image:
        """The edit layer, RGBA, of the photo's size: laid over the photo it gives ``image``."""
        return shown_image(self._layer)

    @property
    def alpha(self) -> Image.Image:
        """The edit layer's opacity, grey."""
        return self.layer.getchannel("A")

    @property
    def record(self) -> dict[str, Any]:
        """What was asked for and chosen, and how far the training is; what run.json holds."""
        request = self.request
        record: PhotoRecord = {
            **describe(self.edit, self.judge.weights_sha256, self.last),
            "ended": self.ended,
            "source": absolute(request.source),
            "source_sha256": self.picture.sha256,
            "output": absolute(self.written),
            "mask": absolute(request.mask),
            "mask_sha256": self._mask_sha256,
            "clip_weights": absolute(request.clip_weights),
            "picture_size": self.picture.size,
            "seconds": self.timings.seconds,
        }
        return dict(plain(record))

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the photo with the edit; the suffix says the format, and "-" is a PNG to the standard output."""
        check_photo_output(path, overwrite, *self.request.inputs, size=self.picture.size)
        self.say_notes(self._save(path, self._layer, overwrite))

    def _repr_png_(self) -> bytes | None:
        return in_notebook(self.image) if self.has_result else None

    @property
    def has_result(self) -> bool:
        """Whether a step was taken."""
        return self.last is not None

    @property
    def _layer(self) -> Rows:
        need_result(self)
        if self._made is None or self._made[0] is not self.last:
            self._made = (self.last, rows_of(self.edit.full_layer(), deep=self.picture.deep is not None))
        return self._made[1]

    def check_outputs(self) -> None:
        """RequestError where the output or the run directory cannot or should not be written."""
        request = self.request
        check_photo_output(request.output, request.overwrite, *request.inputs)
        if self.run_dir is not None:
            check_run_dir(self.run_dir, request.overwrite, request.inputs, [self.output])
        check_photo_output(request.output, request.overwrite, size=self.picture.size)

    def prepare(self) -> None:
        """Read the photo and CLIP."""
        _ = self.edit

    def steps(self) -> Iterator[Tick]:
        """The training."""
        for step in self.edit:
            self.last = step
            yield step

    def after_step(self, tick: Tick) -> None:
        """Note the losses in the run directory, and offer a look."""
        if self.run_dir is not None and self.last is not None:
            self._run_dir = self._run_dir or RunDir(self.run_dir, self.reporter.warn, self.reporter.preview)
            self._run_dir.add(self.last, self.edit)
        self.reporter.offer(lambda: picture_bytes(self.edit.glimpse()))

    def write_outputs(self) -> tuple[str, ...]:
        """Write the photo with the edit, then all the rest into the run directory."""
        request = self.request
        say_matting(self.edit, self.reporter)
        layer = self._layer
        say_tries(self.edit, self.reporter)
        say_matte(self.edit, self.reporter)
        try:
            notes = self._save(request.output, layer, request.overwrite)
        except Exception:
            with contextlib.suppress(MemoryError):
                self._rescue(layer)
            raise
        self.timings.lap("finish")
        record = self.record
        if self._run_dir is not None:
            self._run_dir.finish(record, self.picture, layer, self.output, self._mark, request.metadata)
        self.say_notes(notes)
        took = duration(self.timings.seconds["optimise"])
        self.reporter.note(f"{record['steps_done']} steps in {took}, seed {self.edit.seed}")
        return () if request.output == STDIO else (request.output,)

    def _rescue(self, layer: Rows) -> None:
        """Keep the ``layer`` in the run directory, if there is one, where the result cannot be written."""
        if self._run_dir is not None and (kept := self._run_dir.keep_layer(layer.whole(), self._mark)):
            self.reporter.warn(f"what was painted is kept: {shown(kept)}; t2l composite lays it over the photo")

    def _save(self, path: str | Path, layer: Rows, overwrite: bool) -> tuple[str, ...]:
        """Write the photo under ``layer``; notes of what the format could not hold."""
        picture, metadata = self.picture, self.request.metadata
        self._mark = mark_of(self.record, self.reporter) if metadata else None
        notes = save_photo(path, Layers(picture, layer, self._within), self._mark, metadata, overwrite)
        self.written = str(path)
        return notes


def _permitting(mask: Bytes, name: str) -> Bytes:
    """``mask`` (H, W); RequestError, which calls it ``name``, where it lets nothing be seen of an edit."""
    if mask.max() < LEAST_MASK:
        raise RequestError(
            f"the mask {name} is black: make the place of the edit white, or leave --mask out. What is transparent "
            "in a mask counts as black."
        )
    return mask
