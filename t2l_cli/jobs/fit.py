"""A fit of an atlas to a raw video: request -> frames, flow and masks -> the engine's steps -> an atlas folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from t2l_cli.config import FitConfig
from t2l_cli.errors import OutputError, RequestError, T2LError
from t2l_cli.jobs.atlas import AtlasPictures, write_previews
from t2l_cli.jobs.excerpt import Excerpt, fitted_key, open_video
from t2l_cli.jobs.fit_inputs import class_masks, flow_function, given_masks
from t2l_cli.jobs.fit_state import FitState, check_kept
from t2l_cli.jobs.job import Result, Training, absolute, need_output, need_result
from t2l_cli.jobs.pixels import picture_bytes
from t2l_cli.jobs.record import check_run_dir, spared, write_record
from t2l_cli.media.images import save_picture
from t2l_cli.media.paths import shown
from t2l_cli.media.records import plain
from t2l_cli.progress import Reporter, Tick
from t2l_cli.settings import FIT

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from t2l_cli.engine.atlas.model import Atlas
    from t2l_cli.engine.atlas.quality import Quality
    from t2l_cli.engine.fit.fit import AtlasFit
    from t2l_cli.engine.motion.detectors import MaskFunction
    from t2l_cli.engine.motion.masks import FrameMask
    from t2l_cli.jobs.run_record import FitRecord

PREVIEWS = 5  # frames of each kind in a run directory
MOST_THREADS = 1024


@dataclass(frozen=True)
class FitRequest:
    """One fit of an atlas: plain data."""

    source: str  # a video file or a folder of frames
    config: FitConfig
    output: str = ""  # the atlas folder; "" where the atlas is only needed on the way to something else
    frames: str | None = None  # "a:b"
    mask: str | None = None
    mask_frame: int | None = None  # that a mask of one picture is of; None: the first that is wanted
    threads: int | None = None
    run_dir: str | None = None
    resume: bool = False
    overwrite: bool = False
    offline: bool = False

    def __post_init__(self) -> None:
        if self.mask is not None and self.config.mask_class is not None:
            raise RequestError("give --mask or --mask-class, not both.")
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise RequestError(f"--threads must be between 1 and {MOST_THREADS}, not {self.threads}.")

    @classmethod
    def of(
        cls,
        source: str,
        settings: Mapping[str, Any],
        preset: str | None = None,
        start: FitConfig | None = None,
        mask: str | None = None,
        **more: Any,
    ) -> Self:
        """The request for what a user gives, which wins over the configuration of an earlier run, ``start``.

        RequestError for what cannot be, TypeError for a setting that does not exist.
        """
        config = FIT.configure(settings, preset, start)
        if mask is not None and not os.path.exists(mask):
            raise RequestError(f"there is no mask {shown(mask)}.")
        if config.mask_class is not None:
            from t2l_cli.weights.coco import class_number

            name = config.mask_class.strip().lower()
            class_number(name)
            config = dataclasses.replace(config, mask_class=name)
        return cls(source, config, mask=mask, **more)

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """The files and folders that are read, which no output may be or hold."""
        return self.source, self.mask

    def key(self, excerpt: Excerpt) -> str:
        """A name for what the fit makes of these very frames, mask and settings."""
        return fitted_key(excerpt, dataclasses.replace(self.config, device="auto"), self.mask, self.mask_frame)


class FitJob(AtlasPictures, Training):
    """The fit of an atlas. Iterate it for its steps, or call ``run()``; then look at the ``atlas`` and its pictures."""

    advice = "Try another --seed."

    def __init__(
        self,
        request: FitRequest,
        reporter: Reporter | None = None,
        excerpt: Excerpt | None = None,
        state: FitState | None = None,
    ) -> None:
        """excerpt: the video, where it is open already. state: where the fit is kept; by default beside the output."""
        super().__init__(reporter, request.output, request.run_dir)
        self.request = request
        self._given = excerpt, state
        self._warned = False

    @cached_property
    def excerpt(self) -> Excerpt:
        """The video's frames that the atlas is of."""
        return self._given[0] or open_video(self.request.source, self.request.frames, self.reporter)

    @cached_property
    def state(self) -> FitState:
        """Where an interrupted fit is kept."""
        return self._given[1] or FitState(state_file(self.output), self.request.key(self.excerpt))

    @cached_property
    def before(self) -> dict[str, Any] | None:
        """The interrupted fit to go on from; None to begin anew."""
        if not self.request.output:  # it is kept beside the output
            return None
        if os.path.exists(self.state.path) and not self.request.resume:
            self.reporter.note(f"an interrupted fit is there, {shown(self.state.path)}: --resume would go on with it")
        return self.state.load() if self.request.resume else None

    @cached_property
    def work(self) -> AtlasFit:
        """The engine at work."""
        from t2l_cli.engine.fit.fit import AtlasFit
        from t2l_cli.engine.runtime import resolve

        request, excerpt, before = self.request, self.excerpt, self.before
        runtime = resolve(request.config.device)
        flow = masks = None
        if before is None:  # they are known where a fit goes on
            flow = flow_function(request.config, request.offline, runtime.device, self.reporter)
            masks = self._masks(runtime.device)
        work = AtlasFit(excerpt.in_memory(), request.config, excerpt.identity(), masks, flow, runtime)
        if before is not None:
            work.resume(before)
        height, width = work.size
        self.reporter.note(
            f"fitting an atlas to {excerpt.frames} frames at {width} x {height}, seed {work.config.seed}"
        )
        return work

    def _masks(self, device: torch.device) -> Tensor | FrameMask | MaskFunction | None:
        """What the fit is given of masks: a detector, the user's, or nothing."""
        request = self.request
        if request.config.mask_class is not None:
            return class_masks(request.config.mask_class, request.offline, device, self.reporter)
        return None if request.mask is None else given_masks(Path(request.mask), request.mask_frame, self.excerpt)

    @property
    def atlas(self) -> Atlas:
        """The atlas as far as it is fitted, as it would be read from its folder."""
        from t2l_cli.atlases.store import as_stored

        return as_stored(self.work.result())

    @property
    def quality(self) -> Quality:
        """How well the atlas holds the video, and what would help."""
        return self.work.quality()

    @property
    def record(self) -> dict[str, Any]:
        """What was asked for and found, and how good the atlas is; what run.json holds."""
        request = self.request
        record: FitRecord = {
            "command": "fit-atlas",
            "source": absolute(request.source),
            "output": absolute(self.written),
            "frames": self.excerpt.span,
            "mask": absolute(request.mask),
            "config": request.config,
            "found_foreground": self.work.found_foreground,
            "quality": self.quality,
            "ended": self.ended,
        }
        return dict(plain(record))

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the atlas folder with its previews."""
        from t2l_cli.atlases.store import check_atlas_output

        need_result(self)
        check_atlas_output(path, overwrite, *self.request.inputs)
        self._save(Path(path), self.atlas, overwrite)

    @property
    def has_result(self) -> bool:
        """Whether there is an atlas already."""
        return "work" in vars(self) and self.work.ready

    @property
    def beside(self) -> list[Path]:
        """The file of an interrupted fit."""
        return [state_file(self.output)]

    def check_outputs(self) -> None:
        """RequestError where the atlas, the file beside it or the run directory cannot or should not be written."""
        request, again = self.request, self.request.overwrite or self.request.resume
        need_output(request.output)
        if request.resume:
            check_kept(state_file(self.output))

        from t2l_cli.atlases.store import check_atlas_output

        check_atlas_output(self.output, again, *request.inputs)
        if self.run_dir is not None:
            check_run_dir(self.run_dir, again, request.inputs, [self.output, *self.beside])
        if os.path.lexists(state_file(self.output)):  # only then: its key takes a look at the whole video
            self.state.check(request.overwrite, *request.inputs)

    def prepare(self) -> None:
        """Read the video, its flow and its masks."""
        _ = self.work

    def steps(self) -> Iterator[Tick]:
        """The fit."""
        with self._threads():
            for tick in self.work:
                if self.work.ready and not self._warned:
                    self._warned = True
                    if not self.work.found_foreground:
                        self.reporter.warn(
                            "nothing moves but the camera: the background alone is fitted; --mask says otherwise"
                        )
                yield tick

    def write(self) -> Result:
        """Fit and write the atlas folder, on as many threads as the request says."""
        with self._threads():
            return super().write()

    def _threads(self) -> contextlib.AbstractContextManager[None]:
        if self.request.threads is None:
            return contextlib.nullcontext()
        from t2l_cli.engine.runtime import threads

        return threads(self.request.threads)

    def after_step(self, tick: Tick) -> None:
        """Keep the fit now and then, to go on with it."""
        if self.work.ready:
            self._keep(self.state.keep_now_and_then)

    def train(self) -> None:
        """Take the steps; a fit that was stopped is kept."""
        super().train()
        if not self.finished and self.failure is None:
            self._keep(self.state.keep)

    def _keep(self, keep: Any) -> None:
        """Keep the state by ``keep``; where it cannot be written, the fit itself still goes on."""
        try:
            keep(self.work)
        except OutputError as error:
            self.reporter.warn(f"{error} The fit could not be resumed from here.")

    def write_outputs(self) -> tuple[str, ...]:
        """Write the atlas folder, then the run directory."""
        request, atlas = self.request, self.atlas
        try:
            self._save(self.output, atlas, request.overwrite or request.resume)
        except T2LError:  # the folder was painted in meanwhile, or the disk is full
            with contextlib.suppress(OutputError):
                self.state.keep(self.work)
                self.reporter.warn(f"the fit is kept in {shown(self.state.path)}: --resume writes its atlas")
            raise
        if self.finished:
            self.state.drop()
        if self.run_dir is not None:
            with spared(self.run_dir, self.reporter.warn):
                _write_run(self.run_dir, self.work, atlas, self.record)
        say_quality(self.quality, self.reporter)
        if not self.finished and self.failure is None:
            self.reporter.note("the same command with --resume goes on from here")
        return (request.output,)

    def _save(self, folder: Path, atlas: Atlas, overwrite: bool) -> None:
        from t2l_cli.atlases.store import save_atlas

        def beside(place: Path) -> None:
            write_previews(atlas, place, self.reporter)
            write_record(place, self.record)

        self.written = str(folder)
        save_atlas(atlas, folder, overwrite, beside)


def state_file(output: Path) -> Path:
    """Where an interrupted fit of the atlas folder ``output`` is kept: beside it."""
    return output.with_name(f"{output.name}.resume")


def say_quality(quality: Quality, reporter: Reporter) -> None:
    """Say how good an atlas is, and what would help."""
    reporter.note(
        f"rebuilt from the atlas: {quality.psnr:.1f} dB; points stay on their place within {quality.residual:.2f} px"
    )
    for line in quality.advice:
        reporter.note(f"advice: {line}")


def _write_run(folder: Path, work: AtlasFit, atlas: Atlas, record: dict[str, Any]) -> None:
    """Write what a person can judge the fit by: the mask, the flow and the rebuilt video, five frames of each."""
    from t2l_cli.engine.atlas.mapping import reconstruct
    from t2l_cli.engine.motion.flow import flow_picture

    folder.mkdir(exist_ok=True)
    write_record(folder, record)  # first: it says whose folder this is, even of a run that is killed here

    def save(name: str, t: int, picture: Tensor) -> None:
        save_picture(folder / f"{name}-{t:05d}.png", picture_bytes(picture), overwrite=True)

    last = atlas.video.frames - 1
    for t in sorted({round(k * last / (PREVIEWS - 1)) for k in range(PREVIEWS)}):
        save("mask", t, work.masks[t].float().expand(3, -1, -1) / 255)
        save("alpha", t, atlas.alpha[t].expand(3, -1, -1))
        save("rebuilt", t, reconstruct(atlas, t))
        if t < last:
            save("flow", t, flow_picture(work.flow.forward[t], work.flow.forward_ok[t]))
