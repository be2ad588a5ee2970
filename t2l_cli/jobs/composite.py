"""Edit layers laid over what they are of: one over its photo, painted atlas layers or paint on a frame over a video."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image

from t2l_cli.config import DEFAULT_CODEC, DEFAULT_LAYER, BlendMode, LayerName, MatteMode, check_choice
from t2l_cli.errors import RequestError
from t2l_cli.jobs.excerpt import Excerpt, codec_of, open_atlas, open_video
from t2l_cli.jobs.job import Result, Stepless, absolute, need_output
from t2l_cli.jobs.map_back import layer_of, map_back, middle_frame
from t2l_cli.jobs.naming import claimed
from t2l_cli.jobs.pixels import bytes_of, in_notebook, planes_of, rows_of, shown_image, tensor_of
from t2l_cli.jobs.record import mark_of, versions
from t2l_cli.media.compositing import Levels, Pixels, Rows, check_sizes, deepened, over, rgba
from t2l_cli.media.encode import check_video_output
from t2l_cli.media.images import Picture, load_layer, load_picture
from t2l_cli.media.layered import Layers, check_photo_output, is_ora, load_ora_layer, save_photo
from t2l_cli.media.opening import sha256_if_file
from t2l_cli.media.paths import STDIO
from t2l_cli.progress import Reporter

if TYPE_CHECKING:
    from t2l_cli.engine.atlas.model import Atlas
    from t2l_cli.engine.layers import EditLayer

MEASURED = 150_000  # px of the photo that tell how light the places are that a layer shades


@dataclass(frozen=True)
class CompositeRequest:
    """One composite: plain data. Either ``layer`` over the photo ``source``, or with ``atlas`` over a video."""

    source: str
    output: str = ""  # "" where the result is only looked at
    layer: str | None = None  # RGBA picture of the photo's size
    atlas: str | None = None
    foreground: str | None = None  # RGBA picture of the atlas layer's size
    background: str | None = None
    paint: str | None = None  # RGBA picture of a frame's size
    frame: int = 0  # that the paint is on
    paint_layer: str = DEFAULT_LAYER  # that the paint sticks to
    frames: str | None = None  # "a:b", the frames of the video that the atlas is of
    codec: str = DEFAULT_CODEC
    blend: BlendMode = "normal"  # how the layers' colours meet what is below them
    opacity: float = 1.0  # factor on the layers' own, 0 to 1
    matte: MatteMode = "off"  # whether the outlines of a photo's layer are brought to those of the photo
    overwrite: bool = False
    metadata: bool = True  # whether the result holds a record, and what the source's file says of it

    def __post_init__(self) -> None:
        painted = any((self.foreground, self.background, self.paint))
        check_choice("--blend", self.blend, BlendMode)
        check_choice("--matte", self.matte, MatteMode)
        if not 0 <= self.opacity <= 1:
            raise RequestError(f"--opacity must be between 0 and 1, not {self.opacity:g}.")
        if self.atlas is not None and self.matte != "off":
            raise RequestError("--matte is for a photo's layer; a video's is matted by t2l edit-video.")
        if self.atlas is None:
            if self.layer is None or painted:
                raise RequestError("give a photo and its LAYER, or a video with --atlas and painted atlas layers.")
            if self.source == self.layer == STDIO:
                raise RequestError("the photo and the layer cannot both come from the standard input.")
            return
        if self.layer is not None:
            raise RequestError("with --atlas, painted layers are given by --foreground and --background.")
        if not painted:
            raise RequestError("give --foreground, --background or --paint: nothing is painted yet.")
        check_choice("--layer", self.paint_layer, LayerName)
        if self.paint is not None and getattr(self, self.paint_layer) is not None:
            raise RequestError(f"give the {self.paint_layer} either as a painted layer or by --paint.")
        codec_of(self.codec)


class CompositeJob(Stepless):
    """A layer over a photo, or painted layers over a video. It has no steps; ``image`` shows the result."""

    def __init__(self, request: CompositeRequest, reporter: Reporter | None = None) -> None:
        super().__init__(reporter)
        self.request = request

    @property
    @abstractmethod
    def image(self) -> Image.Image:
        """The photo, or the video's middle frame, with the layers on it."""

    def _repr_png_(self) -> bytes:
        return in_notebook(self.image)

    def write(self) -> Result:
        """Write the composite to the request's output."""
        output = self.request.output
        need_output(output)
        with claimed(Path(output)):
            self.save(output, self.request.overwrite)
        return Result("done", () if output == STDIO else (output,), self.record)


class PhotoComposite(CompositeJob):
    """A layer over its photo."""

    @cached_property
    def picture(self) -> Picture:
        """The photo."""
        picture = load_picture(self.request.source, deep=True)
        self.say_notes(picture.notes)
        return picture

    @cached_property
    def given(self) -> Picture:
        """The layer as it was given."""
        name = self.request.layer or STDIO
        if is_ora(name):
            layer = load_ora_layer(name)
            self.say_notes(layer.notes)
            return layer
        return load_layer(name, deep=self.picture.deep is not None)

    @cached_property
    def layer(self) -> Pixels:
        """The layer (H, W, 4) as it lies over the photo, with as many bits as that."""
        photo, given, request = self.picture.finest, self.given, self.request
        assert given.alpha is not None
        layer: Pixels = rgba(given.rgb, given.alpha)
        if photo.dtype == np.uint16:
            layer = deepened(layer) if given.deep is None else given.deep
        if (request.matte, request.blend, request.opacity) == ("off", "normal", 1):
            return layer
        check_sizes(photo.shape, layer.shape)
        if request.matte == "off":
            alpha = given.alpha if given.deep is None else given.deep[..., 3]
            return self._blended(layer, alpha, photo)
        return self._matted(layer if isinstance(layer, np.ndarray) else layer.whole(), photo)

    def _blended(self, layer: Pixels, alpha: Levels, photo: Levels) -> Rows:
        """The ``layer``, whose opacity is ``alpha`` (H, W), with the blend and the opacity that are asked for."""
        from t2l_cli.engine.blend import shade_reference
        from t2l_cli.engine.fullres import reduce
        from t2l_cli.engine.resize import at_most

        request, reference = self.request, None
        if request.blend == "shade":
            size = at_most((photo.shape[0], photo.shape[1]), MEASURED)
            reference = shade_reference(*(reduce(planes_of(levels)[None], size) for levels in (alpha, photo)))

        def make(rows: slice) -> Any:
            strip, below = layer[rows], tensor_of(photo[rows])[None]
            part = layer_of(strip[..., :3], strip[..., 3]).dimmed(request.opacity)
            return rgba(*bytes_of(part.blended(below, request.blend, reference), photo.dtype == np.uint16)).whole()

        return Rows((*photo.shape[:2], 4), make, photo.dtype)

    def _matted(self, levels: Levels, photo: Levels) -> Rows:
        """The layer ``levels`` with the outlines of the photo, and the blend and the opacity that are asked for."""
        from t2l_cli.engine.fullres import FullLayer
        from t2l_cli.engine.matte import matted

        request, source = self.request, planes_of(photo)[None]
        matte = matted(layer_of(levels[..., :3], levels[..., 3]), source, request.matte)
        self.reporter.note(matte.about)
        layer = matte.layer.dimmed(request.opacity)
        return rows_of(FullLayer(layer, source, blend=request.blend), photo.dtype == np.uint16)

    @property
    def image(self) -> Image.Image:
        """The photo with the layer on it, RGB, or RGBA where the photo has transparency."""
        return shown_image(over(self.layer, self.picture.finest), self.picture.alpha)

    @property
    def record(self) -> dict[str, Any]:
        """What was laid over what."""
        request, picture = self.request, self.picture
        return {
            "command": "composite",
            "source": absolute(request.source),
            "source_sha256": picture.sha256,
            "layer": absolute(request.layer),
            "layer_sha256": self.given.sha256,
            "matte": request.matte,
            "blend": request.blend,
            "opacity": request.opacity,
            "picture_size": list(picture.size),
            "versions": versions(),
        }

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the picture; the suffix says the format, and "-" is a PNG to the standard output."""
        check_photo_output(path, overwrite, self.request.source, self.request.layer)
        picture = self.picture
        check_photo_output(path, overwrite, size=picture.size)
        metadata = self.request.metadata
        mark = mark_of(self.record, self.reporter, self.given.trained) if metadata else None
        self.say_notes(save_photo(path, Layers(picture, self.layer), mark, metadata, overwrite))


class VideoComposite(CompositeJob):
    """Painted atlas layers, or paint on one frame, over the video of the atlas."""

    _trained = False  # whether one of the layers says that a trained model made it

    @cached_property
    def excerpt(self) -> Excerpt:
        """The video."""
        return open_video(self.request.source, self.request.frames, self.reporter)

    @cached_property
    def _source_sha256(self) -> str | None:
        return sha256_if_file(self.request.source)

    @cached_property
    def atlas(self) -> Atlas:
        """The atlas of the video."""
        return open_atlas(self.request.atlas or "", self.excerpt, self.reporter)

    @cached_property
    def layers(self) -> dict[str, EditLayer]:
        """The painted atlas layers by name; paint on a frame is one of them."""
        request = self.request
        paths = {"foreground": request.foreground, "background": request.background}
        layers = {name: self._read(path) for name, path in paths.items() if path is not None}
        if request.paint is not None:
            layers[request.paint_layer] = self._carried(self._read(request.paint))
        return layers

    def _read(self, path: str) -> EditLayer:
        picture = load_layer(path)
        assert picture.alpha is not None
        self._trained = self._trained or picture.trained
        return layer_of(picture.rgb, picture.alpha).dimmed(self.request.opacity)

    @property
    def image(self) -> Image.Image:
        """The middle frame with the layers on it."""
        return middle_frame(self.excerpt, self.atlas, self.layers, self.request.blend)

    @property
    def record(self) -> dict[str, Any]:
        """What was laid over what."""
        request = self.request
        names = ("source", "atlas", "foreground", "background", "paint")
        return {
            "command": "composite",
            **{name: absolute(getattr(request, name)) for name in names},
            "source_sha256": self._source_sha256,
            **({} if request.paint is None else {"frame": request.frame, "paint_layer": request.paint_layer}),
            "excerpt": request.frames,
            "blend": request.blend,
            "opacity": request.opacity,
            "versions": versions(),
        }

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the video: a video file, or a folder of frames where the path has no suffix."""
        request, codec = self.request, codec_of(self.request.codec)
        inputs = (request.source, request.atlas, request.foreground, request.background, request.paint)
        check_video_output(Path(path), overwrite, *inputs, codec=codec)
        layers = self.layers
        mark = mark_of(self.record, self.reporter, self._trained) if request.metadata else None
        how = (codec, overwrite, self.reporter, request.blend, mark, request.metadata)
        map_back(self.excerpt, self.atlas, layers, Path(path), *how)

    def _carried(self, paint: EditLayer) -> EditLayer:
        """The ``paint`` on the request's frame, brought to the atlas."""
        from t2l_cli.engine.atlas.mapping import from_frame

        request, video = self.request, self.atlas.video
        if not 0 <= request.frame < video.frames:
            raise RequestError(f"--frame must be between 0 and {video.frames - 1}, not {request.frame}.")
        if paint.size != (video.height, video.width):
            raise RequestError(
                f"the paint is {paint.size[1]} x {paint.size[0]} px, the video's frames {video.width} x {video.height}."
            )
        return from_frame(self.atlas, request.frame, paint, cast(LayerName, request.paint_layer))


def composite_job(request: CompositeRequest, reporter: Reporter | None = None) -> CompositeJob:
    """The job for ``request``."""
    return (PhotoComposite if request.atlas is None else VideoComposite)(request, reporter)
