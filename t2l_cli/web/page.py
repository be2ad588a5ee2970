"""The page: fields on the left, the edit on the right, all runs below. What it does is in ``runs`` and ``sources``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from PIL import Image

import t2l_cli
from t2l_cli.config import DEFAULT_LAYER, DEFAULT_PRESET, EDIT_FIT_PRESET, FIT_PRESETS, LAYERS, PRESETS, BlendMode
from t2l_cli.errors import T2LError
from t2l_cli.jobs.report.collect import Edit
from t2l_cli.media.paths import shown
from t2l_cli.media.small import reduced
from t2l_cli.settings import PHOTO, VIDEO
from t2l_cli.web import fields, looks
from t2l_cli.web.runs import Runs
from t2l_cli.web.sources import Source, Sources

REFRESH = 0.7  # s between two looks at the runs
MOST_SEEDS = 8  # runs that one press of the button starts
TILE = 256  # px of a picture among the runs
MOST_TILES = 200
PHOTOS = (".heic", ".heif", ".avif", ".tif", ".tiff")  # that browsers do not take for pictures
BRUSH = "#ff3030"
STYLE = """
.facts th { text-align: left; padding-right: 1em; font-weight: normal; opacity: 0.7; }
.facts td { font-family: monospace; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Begin:
    """What the page shows when it is opened."""

    source: Path | None = None
    preset: str = DEFAULT_PRESET
    clip: tuple[str, ...] = ()


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Within the block, what the user can mend is said on the page."""
    try:
        yield
    except (T2LError, TypeError) as error:
        raise gr.Error(str(error), duration=20, print_exception=False) from error


def page(runs: Runs, sources: Sources, begin: Begin) -> gr.Blocks:
    """The page over ``runs``. Everybody who opens it sees all of them."""
    blocks = gr.Blocks(title="t2l studio", analytics_enabled=False, fill_width=True, delete_cache=(600, 86_400))
    with blocks:
        _Page(runs, sources, begin, blocks)
    return blocks


class _Page:
    """The page's parts and what they do."""

    def __init__(self, runs: Runs, sources: Sources, begin: Begin, blocks: gr.Blocks) -> None:
        self._runs, self._sources, self._begin = runs, sources, begin
        self.source = gr.State(None)  # Source | None
        self.selected = gr.State("")  # name of the run that is shown
        self.seen = gr.State(None)  # what of it is on the page already
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self._left()
            with gr.Column(scale=3, min_width=320):
                self._right()
        self.gallery = gr.Gallery(
            label="Runs",
            columns=6,
            height="auto",
            allow_preview=False,
            interactive=False,
            visible=False,
            elem_id="runs",
        )
        self.listed = gr.State([])  # the runs in the gallery, and how they are
        self._connect(blocks)

    def _left(self) -> None:
        begin = self._begin
        self.file = gr.File(
            label="Photo or video", file_types=["image", "video", *PHOTOS], height=120, elem_id="source"
        )
        self.frames = gr.Textbox(
            label="Frames", info='Of the video: "a:b", from a to before b. Empty: all.', visible=False, elem_id="frames"
        )
        self.layer = gr.Dropdown(list(LAYERS), value=DEFAULT_LAYER, label="What of the video to edit", visible=False)
        self.fit = gr.Dropdown(
            list(FIT_PRESETS), value=EDIT_FIT_PRESET, label="How well to fit its atlas", visible=False, elem_id="fit"
        )
        with gr.Accordion("Where it may change: paint it (empty: everywhere)", open=False, visible=False) as self.where:
            self.editor = gr.ImageEditor(
                label="Brush",
                type="numpy",
                image_mode="RGBA",
                sources=(),
                transforms=(),
                layers=False,
                brush=gr.Brush(colors=[BRUSH], color_mode="fixed"),
                elem_id="mask",
            )
        self.prompt = gr.Textbox(
            label="What it should show",
            info="A line for each description of one and the same edit.",
            placeholder="red cup",
            lines=2,
            elem_id="prompt",
        )
        self.roi = gr.Textbox(label="What is there now", placeholder="chosen by CLIP", elem_id="roi")
        with gr.Row():
            self.preset = gr.Dropdown(list(PRESETS), value=begin.preset, label="Preset", elem_id="preset")
            self.seed = gr.Number(0, precision=0, minimum=0, label="Seed", elem_id="seed")
            self.seeds = gr.Slider(1, MOST_SEEDS, 1, step=1, label="How many", elem_id="seeds")
        self.clip = fields.clip_field(begin.clip)
        self.settings = [setting for panel in fields.panels().values() for setting in panel]
        self.fields: list[Any] = []
        with gr.Row():
            self.start = gr.Button("Start", variant="primary", elem_id="start")
            self.stop = gr.Button("Stop", elem_id="stop")
        with gr.Accordion("More settings", open=False):
            for heading, settings in fields.panels().items():
                with gr.Accordion(heading, open=False):
                    self.fields += [fields.field(setting) for setting in settings]

    def _right(self) -> None:
        self.status = gr.HTML(elem_id="status")
        self.live = gr.Image(label="As it is now", interactive=False, visible=False, elem_id="live", buttons=[])
        self.slider = gr.ImageSlider(
            label="Before and after", interactive=False, visible=False, elem_id="slider", buttons=["fullscreen"]
        )
        self.video = gr.Video(label="The video", interactive=False, visible=False, loop=True, elem_id="video")
        with gr.Row(visible=False) as self.adjust:
            self.opacity = gr.Slider(0, 1, 1, step=0.05, label="Opacity", elem_id="opacity")
            self.blend = gr.Dropdown(list(get_args(BlendMode)), value="normal", label="Blend", elem_id="blend")
            self.keep = gr.Button("Keep this version", elem_id="keep")
        self.files = gr.File(
            label="Files", file_count="multiple", interactive=False, visible=False, height=160, elem_id="files"
        )
        with gr.Accordion("How it was made", open=False, visible=False) as self.made:
            self.facts = gr.HTML(elem_id="facts")
            self.again = gr.Button("Fill the fields with this run's settings", elem_id="again")

    def _connect(self, blocks: gr.Blocks) -> None:
        view = [self.seen, self.status, self.live, self.slider, self.video, self.adjust, self.files, self.made]
        view += [self.facts, self.opacity, self.blend, self.gallery, self.listed]
        given = [self.source, self.editor, self.prompt, self.roi, self.preset, self.clip, self.seed, self.seeds]
        given += [self.frames, self.layer, self.fit, *self.fields]
        shown = [self.source, self.frames, self.layer, self.fit, self.where, self.editor, self.live, self.status]
        shown += [self.selected, self.slider, self.video, self.adjust, self.files, self.made]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
        plain: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": None}
        timer = gr.Timer(REFRESH)
        timer.tick(self._view, [self.selected, self.seen, self.listed], view, **quiet)
        blocks.load(self._opened, None, shown, **quiet)
        self.file.upload(self._load, [self.file], shown, **plain)
        self.file.clear(self._unload, None, shown, **quiet)
        self.frames.change(self._first_frame, [self.source, self.frames], [self.editor], **quiet)
        self.start.click(self._start, given, [self.selected], **plain)
        self.stop.click(self._stop, [self.selected], None, **quiet)
        self.gallery.select(self._select, [self.listed], [self.selected], **quiet)
        version = [self.selected, self.opacity, self.blend]
        self.opacity.input(self._adjusted, version, [self.slider], trigger_mode="always_last", **quiet)
        self.blend.input(self._adjusted, version, [self.slider], **quiet)
        self.keep.click(self._keep, version, [self.files], **plain)
        refilled = [*shown, self.prompt, self.roi, self.preset, self.clip, self.seed, self.seeds, *self.fields]
        self.again.click(self._again, [self.selected], refilled, **plain)

    # What is worked on

    def _opened(self) -> dict[Any, Any]:
        source = self._begin.source
        return self._unload() if source is None else self._load(str(source))

    def _load(self, path: str) -> dict[Any, Any]:
        with said():
            try:
                return self._shown(self._sources.keep(path))
            except T2LError as error:  # the user never saw where gradio keeps what the page sent
                raise T2LError(str(error).replace(shown(path), shown(Path(path).name))) from error

    def _shown(self, source: Source, frames: str = "") -> dict[Any, Any]:
        """A ``source`` to begin with, and no run."""
        picture, (width, height) = source.shown(frames or None), source.size
        kind = "video" if source.video else "photo"
        return self._no_run() | {
            self.source: source,
            self.frames: gr.update(value=frames, visible=source.video),
            self.layer: gr.update(visible=source.video),
            self.fit: gr.update(visible=source.video),
            self.where: gr.update(visible=True),
            self.editor: looks.canvas(picture),
            self.live: gr.update(value=picture, visible=True, label=f"The {kind}"),
            self.status: f"A {kind} of {width} x {height} px. Say what it should show, and start.",
        }

    def _unload(self) -> dict[Any, Any]:
        hidden = (self.frames, self.layer, self.fit, self.where, self.live)
        left: dict[Any, Any] = {self.source: None, self.editor: None, self.status: "Choose a photo or a video."}
        return self._no_run() | left | dict.fromkeys(hidden, gr.update(visible=False))

    def _no_run(self) -> dict[Any, Any]:
        hidden = (self.slider, self.video, self.adjust, self.files, self.made)
        return {self.selected: "", **dict.fromkeys(hidden, gr.update(visible=False))}

    def _first_frame(self, source: Source | None, frames: str) -> Any:
        if source is None or not source.video:
            return gr.skip()
        try:
            return looks.canvas(source.shown(frames or None))
        except T2LError:  # half a range, while it is typed
            return gr.skip()

    # Trainings

    def _start(self, source: Source | None, painted: Any, prompt: str, roi: str, preset: str, *rest: Any) -> str:
        clip, seed, seeds, frames, layer, fit, *values = rest
        if source is None:
            raise gr.Error("Choose a photo or a video first.", print_exception=False)
        prompts = [line.strip() for line in prompt.splitlines() if line.strip()]
        with said():
            asked = fields.keywords(self.settings, values) | {"preset": preset, "clip": clip or None}
            asked |= {"roi": roi.strip() or None}
            if source.video:
                asked |= {"frames": frames.strip() or None, "layer": layer, "fit_preset": fit}
            else:
                asked.pop("texels", None)
            mask = looks.painted(painted)
            if mask is not None:
                asked["mask"] = self._sources.keep_mask(mask)
            added = [self._runs.add(source, prompts, int(seed or 0) + k, **asked) for k in range(int(seeds))]
        return added[0].name

    def _stop(self, selected: str) -> None:
        self._runs.stop(selected)

    # What is seen

    def _select(self, listed: Sequence[Sequence[str]], event: gr.SelectData) -> str:
        return str(listed[event.index][0])

    def _view(self, selected: str, seen: Any, listed: Any) -> dict[Any, Any]:
        """What has changed of the selected run and of the list of all of them."""
        runs = self._runs
        run = runs.get(selected)
        now = [selected, None if run is None else run.version, [one.name for one in runs.queue]]
        tiles = [[name, looks.state(runs.get(name))] for name in runs.names[:MOST_TILES]]
        changes: dict[Any, Any] = {}
        if tiles != listed:
            changes |= {
                self.listed: tiles,
                self.gallery: gr.update(value=[self._tile(*tile) for tile in tiles], visible=True),
            }
        if now == seen or not selected:
            return changes or {self.seen: now}
        changes |= {self.seen: now, self.status: looks.status(selected, run, runs.queue)}
        if seen is not None and now[:2] == seen[:2]:  # only the queue is another: what was chosen here stays
            return changes
        if run is None or run.ended:
            return changes | self._result(selected)
        changes |= dict.fromkeys(
            (self.slider, self.video, self.adjust, self.files, self.made), gr.update(visible=False)
        )
        if run.look is not None:  # until then, what was there stays
            changes[self.live] = gr.update(value=run.look, visible=True, label="As it is now")
        return changes

    def _result(self, name: str) -> dict[Any, Any]:
        """What is shown of a run that has ended."""
        changes: dict[Any, Any] = dict.fromkeys((self.live, self.slider, self.video), gr.update(visible=False))
        edit = self._runs.edit(name)
        if edit is None or edit.result is None:
            return changes | dict.fromkeys((self.adjust, self.files, self.made), gr.update(visible=False))
        if edit.video:
            changes[self.video] = gr.update(value=str(edit.result), visible=True)
        else:
            changes[self.slider] = gr.update(value=looks.pair(edit.before, edit.result), visible=True)
        return changes | {
            self.adjust: gr.update(visible=not edit.video and edit.before is not None),
            self.opacity: 1,
            self.blend: "normal",
            self.files: gr.update(value=self._files(name, edit), visible=True),
            self.made: gr.update(visible=True),
            self.facts: looks.facts(edit),
        }

    def _files(self, name: str, edit: Edit) -> list[str]:
        """The run's results, its versions, its layers and its record."""
        own = sorted(path for path in self._runs.folder.glob(f"{name}*") if path.is_file())
        layers = [layer.picture for layer in edit.layers if layer.picture is not None]
        return [str(path) for path in (*own, *layers, self._runs.folder / name / "run.json")]

    def _tile(self, name: str, state: str) -> tuple[Image.Image, str]:
        """The picture and the words of a run among all of them."""
        picture, run = Image.new("RGB", (TILE, TILE * 3 // 4), "gray"), self._runs.get(name)
        edit = self._runs.edit(name) if run is None or run.ended else None
        if edit is not None and edit.result is not None:
            with contextlib.suppress(T2LError):
                picture = looks.small(edit.result, edit.video, TILE)
        return picture, f"{name}: {state}"

    # The finished layer

    def _version(self, name: str, opacity: float, blend: BlendMode) -> Any:
        edit = self._runs.edit(name)
        if edit is None or edit.before is None or not edit.layers or edit.layers[0].picture is None:
            raise gr.Error("The photo or the layer of this run is no longer there.", print_exception=False)
        return edit, t2l_cli.composite(edit.before, edit.layers[0].picture, opacity=opacity, blend=blend)

    def _adjusted(self, name: str, opacity: float, blend: BlendMode) -> Any:
        with said():
            edit, job = self._version(name, opacity, blend)
            return gr.update(value=(looks.small(edit.before, False), reduced(job.image.convert("RGB"), looks.SIDE)))

    def _keep(self, name: str, opacity: float, blend: BlendMode) -> Any:
        with said():
            edit, job = self._version(name, opacity, blend)
            place = self._runs.folder / f"{name}-{blend}-{round(100 * opacity)}.png"
            job.save(place, overwrite=True)
            gr.Info(f"{place.name} is in the studio's folder.")
            return gr.update(value=self._files(name, edit))

    def _again(self, name: str) -> dict[Any, Any]:
        """The fields as they were for the run ``name``."""
        with said():
            edit = self._runs.edit(name)
            if edit is None or edit.before is None:
                raise gr.Error("What this run was made from is no longer there.", print_exception=False)
            config, frames = self._runs.config(name)
            preset, values = fields.filled(self.settings, config, VIDEO if edit.video else PHOTO)
            shown = self._shown(self._sources.keep(edit.before), frames)
            return (
                shown
                | dict(zip(self.fields, values, strict=True))
                | {
                    self.prompt: "\n".join(edit.prompts),
                    self.roi: config.roi or "",
                    self.preset: preset,
                    self.clip: list(config.clips),
                    self.seed: config.seed,
                    self.seeds: 1,
                }
            )
