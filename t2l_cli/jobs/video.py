"""One edit of a video: request -> video and atlas -> a training per layer -> the layers mapped back onto the frames."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from t2l_cli.config import BlendMode, LayerName
from t2l_cli.jobs.excerpt import Excerpt, codec_of, open_atlas, open_video
from t2l_cli.jobs.fitted_atlas import fitted_atlas
from t2l_cli.jobs.job import Training, absolute, need_result
from t2l_cli.jobs.judge import Judge, Loader, check_judge, load_judge
from t2l_cli.jobs.map_back import layer_of, map_back, middle_frame
from t2l_cli.jobs.pixels import bytes_of, in_notebook, picture_bytes
from t2l_cli.jobs.record import (
    RunDir,
    check_run_dir,
    describe,
    introduce,
    mark_of,
    say_matte,
    say_matting,
    say_tries,
    spared,
    write_record,
)
from t2l_cli.jobs.video_request import VideoRequest
from t2l_cli.media.compositing import Bytes, rgba
from t2l_cli.media.encode import check_video_output
from t2l_cli.media.opening import sha256_if_file
from t2l_cli.media.output import check_output, save_layer
from t2l_cli.media.paths import shown
from t2l_cli.media.records import plain
from t2l_cli.media.xmp import Mark
from t2l_cli.progress import Reporter, Tick, duration

if TYPE_CHECKING:
    from torch import Tensor

    from t2l_cli.engine.atlas.model import Atlas
    from t2l_cli.engine.layers import EditLayer
    from t2l_cli.engine.optimize import Step
    from t2l_cli.engine.video import VideoEdit
    from t2l_cli.jobs.run_record import EditRecord, VideoRecord


@dataclass
class _Course:
    """The training of one layer."""

    name: str
    edit: VideoEdit
    last: Step | None = None  # the last step that was taken
    painted: tuple[Step | None, _Painted] | None = None  # the layer after that step, once somebody asked for it


@dataclass
class _Painted:
    """A layer that is trained, in full or in part, and its record."""

    layer: EditLayer
    record: EditRecord

    @cached_property
    def pixels(self) -> tuple[Bytes, Bytes]:
        """Colour (H, W, 3) and opacity (H, W) as they are written, uint8."""
        return bytes_of(self.layer)


class VideoJob(Training):
    """The edit of one video. Iterate it for its training steps, layer after layer, or call ``run()``.

    ``image``, ``layers`` and ``alpha`` are valid after any step. Without an atlas the first step waits for its fit.
    """

    def __init__(self, request: VideoRequest, reporter: Reporter | None = None, load: Loader = load_judge) -> None:
        """``load`` gets the judge."""
        super().__init__(reporter, request.output, request.run_dir)
        self.request, self._load = request, load
        self._done: dict[str, _Painted] = {}  # the layers before the one in work
        self._course: _Course | None = None  # the layer in work
        self._run_dir: RunDir | None = None  # of the layer in work
        self._unkept: list[tuple[RunDir, _Painted]] = []  # layers that are not in their run directories yet
        self._kept: list[Path] = []  # layers that are
        self._mark: Mark | None = None  # what the result says of its making

    @cached_property
    def excerpt(self) -> Excerpt:
        """The video."""
        return open_video(self.request.source, self.request.frames, self.reporter)

    @cached_property
    def atlas(self) -> Atlas:
        """The video's atlas: the one that is given, or one that is fitted."""
        request, device = self.request, self.request.config.device
        if request.atlas is None:
            return fitted_atlas(self.excerpt, request.fit, self.reporter)
        return open_atlas(request.atlas, self.excerpt, self.reporter, request.resolution, device)

    @cached_property
    def judge(self) -> Judge:
        """CLIP, one or several."""
        return self._load(self.request.config, self.request.clip_weights, self.request.offline, self.reporter)

    @property
    def image(self) -> Image.Image:
        """The video's middle frame with the edit."""
        need_result(self)
        return middle_frame(self.excerpt, self.atlas, self._quantised, self._blend)

    @property
    def layers(self) -> dict[str, Image.Image]:
        """The painted atlas layers by name, RGBA, to go on with in an image editor and ``composite``."""
        need_result(self)
        return {name: Image.fromarray(rgba(*one.pixels).whole()) for name, one in self._painted.items()}

    @property
    def layer(self) -> Image.Image:
        """The first of the painted atlas layers, RGBA."""
        return next(iter(self.layers.values()))

    @property
    def alpha(self) -> Image.Image:
        """The opacity of the first of the painted atlas layers, grey."""
        return self.layer.getchannel("A")

    @property
    def record(self) -> dict[str, Any]:
        """What was asked for and chosen, and how far the training is; what run.json holds."""
        need_result(self)
        request, records = self.request, {name: one.record for name, one in self._painted.items()}
        record: VideoRecord = {
            **next(iter(records.values())),
            "command": "edit-video",
            "ended": self.ended,
            "source": absolute(request.source),
            "source_sha256": self._source_sha256,
            "output": absolute(self.written),
            "excerpt": request.frames,
            "frames": self.excerpt.span,
            "atlas": absolute(request.atlas),
            "fit": None if request.atlas is not None else request.fit.config,
            "mask": absolute(request.fit.mask),
            "mask_sha256": self._mask_sha256,
            "clip_weights": absolute(request.clip_weights),
            "layers": {name: list(request.configs[name].prompts) for name in records},
            "details": records,
            "seconds": self.timings.seconds,
        }
        return dict(plain(record))

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the video with the edit: a video file, or a folder of frames where the path has no suffix."""
        need_result(self)
        request, codec = self.request, codec_of(self.request.codec)
        check_video_output(Path(path), overwrite, *request.inputs, codec=codec)
        self._mark = mark_of(self.record, self.reporter) if request.metadata else None
        self._map_back(Path(path), overwrite)
        self.written = str(path)

    def _repr_png_(self) -> bytes | None:
        return in_notebook(self.image) if self.has_result else None

    @property
    def has_result(self) -> bool:
        """Whether a step was taken."""
        return bool(self._done) or (self._course is not None and self._course.last is not None)

    @property
    def beside(self) -> list[Path]:
        """The painted layers."""
        return [Path(path) for path in self.request.outputs[1:]]

    def check_outputs(self) -> None:
        """RequestError where the video, a painted layer or the run directory cannot or should not be written."""
        request = self.request
        check_video_output(self.output, request.overwrite, *request.inputs, codec=codec_of(request.codec))
        for file in self.beside:
            check_output(file, request.overwrite, *request.inputs)
        if self.run_dir is not None:
            check_run_dir(self.run_dir, request.overwrite, request.inputs, [self.output, *self.beside])

    def prepare(self) -> None:
        """Read the video, find or fit its atlas, read CLIP.

        A fit takes long, so that what CLIP will need is found and downloaded before it, but not yet in memory.
        """
        if self._course is None and not self._done:
            _ = self.excerpt
            if self._load is load_judge and "judge" not in vars(self):
                check_judge(self.request.config, self.request.clip_weights, self.request.offline, self.reporter)
            _ = self.atlas
            self.timings.lap("atlas")
            self._course = self._begin(next(iter(self.request.configs)))

    def steps(self) -> Iterator[Tick]:
        """The trainings, layer after layer."""
        for name in self.request.configs:
            if name in self._done:
                continue
            if self._course is None:
                self._keep_layers()  # until the next one is done, nothing else holds them
                self._course = self._begin(name)
            if self.reporter.should_stop():  # while the layer was prepared; those before it are kept
                return
            for step in self._course.edit:
                self._course.last = step
                yield step
            self._settle()

    def after_step(self, tick: Tick) -> None:
        """Note the losses in the layer's folder of the run directory, and offer a look at the painted atlas."""
        course = self._course
        if self.run_dir is not None and course is not None and course.last is not None:
            self._run_dir = self._run_dir or RunDir(
                self.run_dir / course.name, self.reporter.warn, self.reporter.preview
            )
            self._run_dir.add(course.last, course.edit)
        if course is not None:
            self.reporter.offer(lambda: picture_bytes(course.edit.glimpse()))

    def write_outputs(self) -> tuple[str, ...]:
        """Write the painted atlas layers and the video, then the run directory.

        Where one cannot be written, the layers that are stay, and go into the run directory, too.
        """
        self._settle()
        request, files = self.request, list[Path]()
        self._mark = mark_of(self.record, self.reporter) if request.metadata else None
        try:
            for name, painted in self._done.items():
                save_layer(request.layer_file(name), rgba(*painted.pixels), request.overwrite, self._mark)
                files.append(request.layer_file(name))
            self._map_back(self.output, request.overwrite)
        except BaseException as error:
            if not isinstance(error, Exception):  # somebody does not want to wait for it
                for file in files:
                    with contextlib.suppress(OSError):
                        file.unlink()
                files.clear()
            with contextlib.suppress(MemoryError):
                self._keep_layers()
            if kept := ", ".join(map(shown, (*files, *self._kept))):
                how = "" if self._blend == "normal" else f" --blend {self._blend}"
                self.reporter.warn(f"what was painted is kept: {kept}; t2l composite{how} lays it over the video")
            raise
        self.written = request.output
        self.timings.lap("finish")
        self._keep_layers()
        if self.run_dir is not None:
            with spared(self.run_dir, self.reporter.warn):
                write_record(self.run_dir, self.record)
        seconds = self.timings.seconds
        self.reporter.note(f"{duration(seconds['optimise'])} of training, {duration(seconds['finish'])} to map it back")
        return (request.output, *map(str, files))

    def _map_back(self, output: Path, overwrite: bool) -> None:
        codec, blend = codec_of(self.request.codec), self._blend
        how = (codec, overwrite, self.reporter, blend, self._mark, self.request.metadata)
        map_back(self.excerpt, self.atlas, self._quantised, output, *how)

    @property
    def _blend(self) -> BlendMode:
        """The same for all layers."""
        return self.request.config.blend

    @cached_property
    def _source_sha256(self) -> str | None:
        return sha256_if_file(self.request.source)

    @cached_property
    def _mask_sha256(self) -> str | None:
        mask = self.request.fit.mask
        return None if mask is None else sha256_if_file(mask)

    @cached_property
    def _frames(self) -> Tensor:
        return self.excerpt.in_memory()

    def _begin(self, name: str) -> _Course:
        """The training of a layer before its first step."""
        from t2l_cli.engine.video import VideoEdit

        frames, judge = self._frames, self.judge
        config = self.request.configs[name]
        edit = VideoEdit(frames, self.atlas, cast(LayerName, name), judge.clips, config, judge.runtime)
        self.reporter.note(f"the {name}:")
        introduce(edit, self.reporter)
        return _Course(name, edit)

    def _settle(self) -> None:
        """The layer in work, if it has a result, is done."""
        course, self._course = self._course, None
        if course is None or course.last is None:
            return
        say_tries(course.edit, self.reporter)
        say_matting(course.edit, self.reporter)
        self._done[course.name] = painted = self._paint(course)
        say_matte(course.edit, self.reporter)
        if self._run_dir is not None:
            self._unkept.append((self._run_dir, painted))
            self._run_dir = None

    def _keep_layers(self) -> None:
        """Write the layers that are done into their run directories."""
        for run_dir, painted in self._unkept:
            if kept := run_dir.keep_layer(rgba(*painted.pixels).whole()):
                self._kept.append(kept)
        self._unkept.clear()

    def _paint(self, course: _Course) -> _Painted:
        """The layer of ``course`` as it is now; made once per step, however often it is looked at."""
        if course.painted is None or course.painted[0] is not course.last:
            record = describe(course.edit, self.judge.weights_sha256, course.last, "edit-video")
            course.painted = course.last, _Painted(course.edit.result(), record)
        return course.painted[1]

    @property
    def _painted(self) -> dict[str, _Painted]:
        """The layers as they are now, by name."""
        course = self._course
        if course is None or course.last is None:
            return self._done
        return {**self._done, course.name: self._paint(course)}

    @property
    def _quantised(self) -> dict[str, EditLayer]:
        """The layers as they are written: what is mapped back is what their files hold."""
        return {name: layer_of(*painted.pixels) for name, painted in self._painted.items()}
