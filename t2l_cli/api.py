"""The work of t2l as functions: what a notebook calls, and what the command line calls, too.

    edit = t2l_cli.edit_image("photo.jpg", "crochet swan", clip="mini", preset="draft")
    edit.run()
    edit.image.save("out.png")

What takes long returns a job (:mod:`t2l_cli.jobs.job`), which does nothing until it is iterated or told to ``run()``.
Nothing is printed; whoever gives a ``reporter`` (:mod:`t2l_cli.progress`) hears of the work. Errors are T2LError,
except that an unknown setting is a TypeError that names close ones. Every setting of a command is a keyword, by its
option's name with underscores; None leaves it to the preset.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from t2l_cli.config import (
    DEFAULT_CODEC,
    DEFAULT_LAYER,
    DEFAULT_PRESET,
    STUDIO_ADDRESS,
    STUDIO_FOLDER,
    BlendMode,
    MatteMode,
)
from t2l_cli.progress import Reporter
from t2l_cli.settings import FIT, FIT_SETTINGS, PHOTO, VIDEO, Setting, Table, check_names

if TYPE_CHECKING:
    from t2l_cli.jobs.atlas import RenderJob
    from t2l_cli.jobs.batch.batch import Batch
    from t2l_cli.jobs.composite import CompositeJob
    from t2l_cli.jobs.doctor import Check, Finding
    from t2l_cli.jobs.fit import FitJob
    from t2l_cli.jobs.info import Info
    from t2l_cli.jobs.judge import Judge, Judges
    from t2l_cli.jobs.photo import PhotoJob
    from t2l_cli.jobs.report.report import ReportJob
    from t2l_cli.jobs.video import VideoJob
    from t2l_cli.web.studio import Studio

Path = str | PathLike[str]
Source = Any
"""A picture: a path, a PIL image, an array of bytes, or a float tensor."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _with_settings(*tables: Table[Any]) -> Callable[[_Function], _Function]:
    """Give a function whose last parameter is ``**settings`` a keyword for each setting of ``tables``."""

    def decorate(function: _Function) -> _Function:
        signature = inspect.signature(function)
        fixed = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        settings = [_parameter(table, setting) for table in tables for setting in table.settings]
        known = [parameter.name for parameter in (*fixed, *settings)]

        @functools.wraps(function)
        def checked(*given: Any, **named: Any) -> Any:
            check_names(named, known)
            return function(*given, **named)

        checked.__signature__ = signature.replace(parameters=[*fixed, *settings])  # type: ignore[attr-defined]
        return cast("_Function", checked)

    return decorate


def _parameter(table: Table[Any], setting: Setting) -> inspect.Parameter:
    one = table.kind(setting).__name__
    kind = f"{one} | Sequence[{one}] | None" if setting.several else f"{one} | None"
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


@_with_settings(PHOTO)
def edit_image(
    source: Source = None,
    prompts: str | Sequence[str] = (),
    *,
    mask: Source = None,
    preset: str | None = None,
    clip_weights: Path | None = None,
    offline: bool = False,
    config: Path | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    run_dir: Path | None = None,
    metadata: bool = True,
    judge: Judge | Judges | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> PhotoJob:
    """Edit a photo from text: a job with ``image``, ``layer`` and ``alpha`` (PIL), ``record`` and ``save()``.

    source: a path, "-" for the standard input, a PIL image, an array of bytes (H, W, 3 or 4), or a float tensor
        (3, H, W) in [0, 1]. prompts: what it should show; several describe one and the same edit.
    mask: of the same kinds as ``source``; the edit stays inside its white area.
    preset: draft, standard (the paper's, and the default) or fine. config: a run to repeat, by its run.json or by the
        picture that it made; whatever else is given wins over it.
    output, overwrite, run_dir: where ``write()`` puts the result, by default in the working directory, named after
        source and prompt; and where it keeps the layer, the losses and snapshots. metadata: whether a file holds a
        record of the edit and the source's EXIF and XMP.
    judge: the ``judge`` of another job with the same CLIP, weights, device and precision, which then need not be loaded
        again; or ``Judges`` that many jobs share.
    Raises RequestError for what cannot be, and TypeError for an unknown setting.
    """
    from t2l_cli.jobs.judge import loader_of
    from t2l_cli.jobs.photo import PhotoJob, PhotoRequest
    from t2l_cli.jobs.sources import path_or_picture

    path, picture = path_or_picture(source)
    mask_path, mask_picture = path_or_picture(mask)
    request = PhotoRequest.of(
        path,
        _texts(prompts),
        settings,
        in_memory=picture is not None,
        mask_in_memory=mask_picture is not None,
        preset=preset,
        config=_path(config),
        mask=mask_path,
        clip_weights=_path(clip_weights),
        output=_path(output),
        overwrite=overwrite,
        run_dir=_path(run_dir),
        metadata=metadata,
        offline=offline,
    )
    load = loader_of(judge, request.config, request.clip_weights)
    return PhotoJob(request, reporter, picture, mask_picture, load)


@_with_settings(VIDEO, FIT.only(*FIT_SETTINGS))
def edit_video(
    source: Path | None = None,
    prompts: str | Sequence[str] = (),
    *,
    layer: str | None = None,
    foreground: str | None = None,
    background: str | None = None,
    atlas: Path | None = None,
    frames: str | None = None,
    resolution: int | None = None,
    fit_preset: str | None = None,
    mask: Path | None = None,
    preset: str | None = None,
    clip_weights: Path | None = None,
    offline: bool = False,
    config: Path | None = None,
    output: Path | None = None,
    codec: str = DEFAULT_CODEC,
    overwrite: bool = False,
    run_dir: Path | None = None,
    metadata: bool = True,
    judge: Judge | Judges | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> VideoJob:
    """Edit a video from text, on its atlas: a job with ``image`` (a frame), ``layers``, ``record`` and ``save()``.

    source: a video file or a folder of frames. prompts: what the ``layer``, foreground (the default) or background,
        should show; ``foreground`` and ``background`` are prompts for both at once.
    atlas: an atlas folder or a published checkpoint; None: one is fitted (with the preset ``fit_preset``, and the
        object in ``mask``), and kept in the cache. frames: "a:b", only these. resolution: texels across a checkpoint.
    codec: h264, lossless or prores (the edit alone, with its alpha). The rest is as for :func:`edit_image`.
    """
    from t2l_cli.jobs.judge import loader_of
    from t2l_cli.jobs.video import VideoJob
    from t2l_cli.jobs.video_request import VideoRequest

    request = VideoRequest.of(
        _path(source),
        _texts(prompts),
        settings,
        layer=layer,
        foreground=foreground,
        background=background,
        atlas=_path(atlas),
        frames=frames,
        resolution=resolution,
        fit_preset=fit_preset,
        mask=_path(mask),
        preset=preset,
        clip_weights=_path(clip_weights),
        offline=offline,
        config=_path(config),
        output=_path(output),
        codec=codec,
        overwrite=overwrite,
        run_dir=_path(run_dir),
        metadata=metadata,
    )
    return VideoJob(request, reporter, loader_of(judge, request.config, request.clip_weights))


@_with_settings(FIT)
def fit_atlas(
    source: Path,
    *,
    frames: str | None = None,
    mask: Path | None = None,
    mask_frame: int | None = None,
    preset: str | None = None,
    threads: int | None = None,
    offline: bool = False,
    output: Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    run_dir: Path | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> FitJob:
    """Take a raw video apart: a job with ``atlas``, ``foreground``, ``background``, ``alpha`` (PIL) and ``save()``.

    source: a video file or a folder of frames. mask: the object in white, as a video, a folder, or one picture for the
        frame ``mask_frame``, by default the first. threads: of the CPU. resume: go on with an interrupted fit of the
        folder ``output``.
    """
    from t2l_cli.jobs.fit import FitJob, FitRequest

    request = FitRequest.of(
        fspath(source),
        settings,
        preset,
        frames=frames,
        mask=_path(mask),
        mask_frame=mask_frame,
        threads=threads,
        offline=offline,
        output=_path(output) or "",
        overwrite=overwrite,
        resume=resume,
        run_dir=_path(run_dir),
    )
    return FitJob(request, reporter)


def render_atlas(
    atlas: Path,
    *,
    video: Path | None = None,
    frames: str | None = None,
    resolution: int | None = None,
    device: str | None = None,
    output: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> RenderJob:
    """Read an atlas: a job with ``atlas``, ``foreground``, ``background``, ``alpha`` (PIL) and ``save()``.

    atlas: an atlas folder, or a published checkpoint, which is discretised at ``resolution`` texels. video: that it is
        of, to check and to measure it; frames: "a:b", those of the video.
    """
    from t2l_cli.jobs.atlas import RenderJob, RenderRequest

    request = RenderRequest(
        fspath(atlas), _path(output) or "", _path(video), frames, resolution, device or "auto", overwrite
    )
    return RenderJob(request, reporter)


def composite(
    source: Path,
    layer: Path | None = None,
    *,
    atlas: Path | None = None,
    foreground: Path | None = None,
    background: Path | None = None,
    paint: Path | None = None,
    frame: int = 0,
    paint_layer: str = DEFAULT_LAYER,
    frames: str | None = None,
    codec: str = DEFAULT_CODEC,
    blend: BlendMode = "normal",
    opacity: float = 1.0,
    matte: MatteMode = "off",
    output: Path | None = None,
    overwrite: bool = False,
    metadata: bool = True,
    reporter: Reporter | None = None,
) -> CompositeJob:
    """Lay an edit layer over its photo, or painted atlas layers over their video: a job with ``image`` and ``save()``.

    layer: RGBA, of the photo's size. With an ``atlas``: foreground, background: painted RGBA layers of it; paint: RGBA
        paint on one ``frame``, carried to all of them with the layer ``paint_layer``. blend: how its colours meet what
        is below; a layer of ``edit_image`` shows its edit with normal. opacity: factor on the layer's own. matte:
        whether the outlines of a photo's layer are brought to those of the photo.
    """
    from t2l_cli.jobs.composite import CompositeRequest, composite_job

    request = CompositeRequest(
        source=fspath(source),
        output=_path(output) or "",
        layer=_path(layer),
        atlas=_path(atlas),
        foreground=_path(foreground),
        background=_path(background),
        paint=_path(paint),
        frame=frame,
        paint_layer=paint_layer,
        frames=frames,
        codec=codec,
        blend=blend,
        opacity=opacity,
        matte=matte,
        overwrite=overwrite,
        metadata=metadata,
    )
    return composite_job(request, reporter)


def report(
    sources: Path | Sequence[Path],
    *,
    output: Path | None = None,
    overwrite: bool = False,
    reporter: Reporter | None = None,
) -> ReportJob:
    """Show edits on one page that opens offline: a job with ``html`` and ``save()``.

    sources: run directories or a folder of several, folders of batches, and results that hold their record.
    """
    from t2l_cli.jobs.report.report import ReportJob, ReportRequest

    each = [sources] if isinstance(sources, str | PathLike) else sources
    return ReportJob(ReportRequest(tuple(fspath(one) for one in each), _path(output) or "", overwrite), reporter)


def studio(
    source: Path | None = None,
    *,
    output: Path = STUDIO_FOLDER,
    preset: str | None = None,
    clip: str | Sequence[str] = (),
    address: str = STUDIO_ADDRESS,
    port: int | None = None,
    password: str | None = None,
    offline: bool = False,
    reporter: Reporter | None = None,
) -> Studio:
    """Open a page on which to edit: it has a ``url``, and is open until its ``close()``, or the end of a with block.

    source: a photo or video to begin with. output: the folder of the results and their records. preset, clip: what the
    page has chosen at first. address, port: where to listen, by default for this machine only and on the first free
    port from 7860 on; another address needs a ``password``. ``wait()`` returns when the reporter wants to stop.
    RequestError where it cannot be, or without gradio.
    """
    from t2l_cli.web.studio import Studio, StudioRequest

    request = StudioRequest(
        folder=fspath(output),
        source=_path(source),
        address=address,
        port=port,
        password=password,
        preset=preset or DEFAULT_PRESET,
        clip=_texts(clip),
        offline=offline,
    )
    return Studio(request, reporter)


def info(path: Path) -> Info:
    """What is known about a picture, a video, a run.json or its folder, or an atlas folder.

    Its ``record`` is that of the run that made the file; None where the file says nothing of t2l. ``facts``: size,
    format and the like. RequestError where it is none of these.
    """
    from t2l_cli.jobs.info import look

    return look(path)


@_with_settings(PHOTO)
def batch(
    sources: Path | Sequence[Path] = (),
    prompt: str | Sequence[str] | None = None,
    *,
    output: Path | None = None,
    jobs: Path | None = None,
    recursive: bool = False,
    each_prompt: bool = False,
    name: str | None = None,
    keep_going: bool = False,
    fail_fast: bool = False,
    overwrite: bool = False,
    watch: bool = False,
    workers: int | None = None,
    ray: str | None = None,
    gpus_per_worker: float | None = None,
    cpus_per_worker: float | None = None,
    threads: int | None = None,
    ship: bool = False,
    shard: str | None = None,
    mask: Path | None = None,
    preset: str | None = None,
    clip_weights: Path | None = None,
    offline: bool = False,
    config: Path | None = None,
    run_dir: Path | None = None,
    reporter: Reporter | None = None,
    **settings: Any,
) -> Batch:
    """Do many edits, and go on where an earlier batch ended: iterate it for its jobs as they end, or ``run()`` it.

    sources: photos, folders (``recursive``) and patterns; or jobs: a manifest (.jsonl, .csv or .toml), whose rows are
        jobs. prompt: one, or several for one edit; with ``each_prompt`` each is a job of its own.
    output: the folder of the results and of results.jsonl, the record of what is done. name: a template of the
        outputs' names, such as "{stem}-{prompt}.jpg". run_dir: a folder for each job's run directory.
    keep_going: leave out what cannot be, instead of doing nothing. fail_fast: end with the first failure. watch: go on
        with photos that come into the folders.
    workers, ray, gpus_per_worker, cpus_per_worker, ship: Ray's workers, on this machine or on the cluster ``ray``.
    threads: of the CPU, per worker. shard: "I/N", the I-th of N shares, or "auto".
    The rest is as for :func:`edit_image`, for all jobs.
    """
    from t2l_cli.jobs.batch.batch import Batch, BatchRequest

    more = {"mask": _path(mask), "preset": preset, "clip_weights": _path(clip_weights), "config": _path(config)}
    values = {name: value for name, value in {**settings, **more}.items() if value is not None}
    request = BatchRequest(
        output=_path(output) or "",
        sources=(fspath(sources),)
        if isinstance(sources, str | PathLike)
        else tuple(fspath(source) for source in sources or ()),
        prompts=_texts(prompt),
        manifest=_path(jobs),
        values=values | ({"offline": True} if offline else {}),
        run_dirs=_path(run_dir),
        recursive=recursive,
        each_prompt=each_prompt,
        name=name,
        keep_going=keep_going,
        fail_fast=fail_fast,
        overwrite=overwrite,
        watch=watch,
        workers=workers,
        ray=ray,
        gpus_per_worker=gpus_per_worker,
        cpus_per_worker=cpus_per_worker,
        threads=threads,
        ship=ship,
        shard=shard,
    )
    return Batch(request, reporter)


def merge_batch(output: Path) -> tuple[str, int]:
    """Join the results of a batch's shards in the folder ``output``: the path of results.jsonl, and its jobs."""
    from t2l_cli.jobs.batch.shards import merge_results

    path, jobs = merge_results(fspath(output))
    return str(path), jobs


def doctor(*, offline: bool = False, more: Iterable[tuple[str, Check]] = ()) -> Iterator[Finding]:
    """Look at the machine and try what t2l needs: a finding after the other, each ok, a note or a problem.

    The last is of a short edit with mini. Nothing is raised for what is broken. offline: the model hub is not asked for
    an answer. more: further checks by name, functions that return findings.
    """
    from t2l_cli.jobs.doctor import diagnose

    return diagnose(offline, more)


def _texts(prompts: str | Sequence[str] | None) -> tuple[str, ...]:
    return (prompts,) if isinstance(prompts, str) else tuple(prompts or ())


def _path(path: Path | None) -> str | None:
    return None if path is None else fspath(path)
