"""The table of settings: each configuration field that users can set, with its name and help.

The options of every command, their environment variables and the keywords of the Python functions are made from it.
Values and checks are in :mod:`t2l_cli.config`.
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import typing
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_args

from t2l_cli.config import (
    DEFAULT_PRESET,
    FIT_PRESETS,
    PRESETS,
    VIDEO_PRESETS,
    BlendMode,
    EditConfig,
    FitConfig,
    Overlay,
    value_of,
    video_config,
    with_preset,
)
from t2l_cli.config import overlaid as _overlaid
from t2l_cli.errors import RequestError
from t2l_cli.media.paths import shown

RUN, CLIP, EDIT = "Time and quality", "CLIP", "What to edit"
ATLAS = "The atlas"
ADVANCED = "Advanced: loss weights and rates (the paper's defaults)"


@dataclass(frozen=True)
class Setting:
    """A configuration field that users can set.

    name: the keyword in Python; the option is --name with hyphens, unless ``spelling`` is given. field: the name of the
    field in the configuration. default: the default in words, if its value is not clear by itself. several: whether
    more than one value may be given, each with the option, or all in its environment variable with spaces between.
    """

    name: str
    field: str
    help: str
    metavar: str | None = "X"
    panel: str = ADVANCED
    spelling: str = ""
    default: str = ""
    several: bool = False

    @property
    def option(self) -> str:
        """The option's spelling."""
        return self.spelling or "--" + self.name.replace("_", "-")

    @property
    def key(self) -> str:
        """The key in the user's file: the option's first spelling without its hyphens in front."""
        return self.option.partition("/")[0].removeprefix("--")


_TYPES: dict[type, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    str: (str, "a text"),
}
"""By the type of a setting: what a value may be, and how that is called."""

_Config = TypeVar("_Config")


@dataclass(frozen=True)
class Table(Generic[_Config]):
    """The settings of one kind of work: the edit of a photo, the edit of a video's layer, or the fit of an atlas."""

    base: _Config  # the defaults
    presets: Mapping[str, Overlay]
    settings: tuple[Setting, ...]

    def kind(self, setting: Setting) -> type:
        """The type of the setting's value, without None: a field of type ``str | None`` gives ``str``."""
        owner: Any = type(self.base)
        for part in setting.field.split("."):
            owner = typing.get_type_hints(owner)[part]
        kinds = [kind for kind in typing.get_args(owner) if isinstance(kind, type) and kind is not type(None)]
        if typing.get_origin(owner) is typing.Literal:
            return str
        return kinds[0] if kinds else typing.cast("type", owner)

    def default(self, setting: Setting) -> str:
        """The setting's default in words, for help texts."""
        if setting.default:
            return setting.default
        value = value_of(self.base, setting.field)
        if not any(setting.field in overlay for overlay in self.presets.values()):
            return _in_words(value)
        each = (f"{name} {_in_words(overlay.get(setting.field, value))}" for name, overlay in self.presets.items())
        return f"the preset's ({', '.join(each)})"

    def varies(self, setting: Setting) -> bool:
        """Whether the setting's value is the preset's."""
        fields = {field for overlay in self.presets.values() for field in overlay}
        return any(setting.field == field or setting.field.startswith(f"{field}.") for field in fields)

    def configure(self, given: Mapping[str, Any], preset: str | None = None, start: _Config | None = None) -> _Config:
        """The configuration from ``start``, overridden by ``preset``, overridden by ``given``.

        given: settings by name; None counts as not given. start: the configuration of an earlier run; None: the
        defaults. preset: None means the default preset, or no preset if there is a ``start``. Raises RequestError for
        values out of range or of another type, and TypeError for a setting that does not exist.
        """
        self.check_names(given)
        config = self.base if start is None else start
        if preset is not None or start is None:
            config = with_preset(config, preset or DEFAULT_PRESET, self.presets, self.base)
        chosen = [(setting, given[setting.name]) for setting in self.settings if given.get(setting.name) is not None]
        return _overlaid(config, {setting.field: self._typed(setting, value) for setting, value in chosen})

    def _typed(self, setting: Setting, value: Any) -> Any:
        """``value`` in the setting's own type, also from a number of NumPy; RequestError where it is of another."""
        if setting.several and isinstance(value, list | tuple):
            return tuple(self._typed(setting, one) for one in value)
        kind = self.kind(setting)
        accepted, called = _TYPES[kind]
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise RequestError(f"--{setting.key} must be {called}, not {str(value)[:40]!r}.")
        if kind is float and isinstance(value, int):  # it may be too large for a float
            return value
        return kind(value)

    def check_names(self, given: Mapping[str, Any]) -> None:
        """Raise TypeError, with similar names, if a name in ``given`` is not a setting."""
        check_names(given, [setting.name for setting in self.settings])

    def only(self, *names: str) -> Table[_Config]:
        """The table with only these settings."""
        return dataclasses.replace(self, settings=tuple(s for s in self.settings if s.name in names))


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Raise TypeError, with similar names, if a name in ``given`` is not in ``known``."""
    for name in given:
        if name not in known:
            raise TypeError(f"there is no setting {name!r}{did_you_mean(name, known)}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names what of ``known`` is close to ``name``; empty where nothing is."""
    close = difflib.get_close_matches(name, list(known))
    return f"; did you mean {' or '.join(map(shown, close))}?" if close else ""


def _in_words(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


_EDIT = (
    Setting("roi", "roi", 'What is there now ("swan").', "TEXT", EDIT, default="chosen by CLIP from the prompt"),
    Setting("layer_text", "layer_text", 'The edit alone ("fog" for "foggy park").', "TEXT", EDIT, default="the prompt"),
    Setting(
        "blend",
        "blend",
        "How the paint meets what is below it: shade keeps light and shadow; the others are the modes of CSS.",
        "|".join(get_args(BlendMode)),
        EDIT,
    ),
    Setting(
        "matte",
        "matte",
        "Bring the paint's outlines to those of the picture; auto leaves soft paint, such as smoke, as it is.",
        "auto|on|off",
        EDIT,
    ),
    Setting("steps", "optim.steps", "Optimisation steps, for a video per layer.", "N", RUN),
    Setting("size", "size", "Short side in training, px; the result has full size.", "PX", RUN),
    Setting("views", "views.n_views", "Augmented views of a picture that CLIP sees per step.", "N", RUN),
    Setting("tries", "tries", "Short starts from different seeds; CLIP's favourite is continued.", "N", RUN),
    Setting(
        "seed", "seed", "The same seed, inputs and number of threads give the same result; always reported.", "N", RUN
    ),
    Setting("device", "device", "Where to train.", "auto|cpu|cuda[:N]|mps", RUN),
    Setting("precision", "precision", "CLIP's arithmetic; auto is fp32.", "auto|fp32|fp16|bf16", RUN),
    Setting(
        "clip",
        "clip",
        "CLIP model: name, name:tag or hf-hub:owner/name; mini is the small one inside the package, robust one that "
        "was trained against attacks. Several, each with --clip: the mean of their losses.",
        "NAME",
        CLIP,
        several=True,
    ),
    Setting("screen_weight", "weights.screen", "lambda_g, of L_screen."),
    Setting("structure_weight", "weights.structure", "lambda_s, of L_structure."),
    Setting("sparsity_weight", "weights.sparsity", "lambda_r, of L_reg."),
    Setting("l1_weight", "weights.l1", "gamma, the L1 part of L_reg."),
    Setting(
        "bootstrap_weight", "weights.bootstrap", "Relevancy bootstrap; for photos annealed to 0, except on a cutout."
    ),
    Setting(
        "bootstrap_to",
        "bootstrap_to",
        "What it draws the opacity to: CLIP's relevancy map (the paper; always with --layer-text), or the thing under "
        "it, cut out of the picture.",
        "map|cutout",
    ),
    Setting("distance", "weights.distance", "D(x, y) of the text terms.", "spherical|cosine"),
    Setting("lr", "optim.lr", "MADGRAD's learning rate."),
    Setting("lr_decay", "optim.lr_decay", "Factor on the learning rate per step."),
    Setting("lr_min", "optim.lr_min", "Floor of the learning rate."),
    Setting("weight_decay", "optim.weight_decay", "MADGRAD's weight decay."),
    Setting("momentum", "optim.momentum", "MADGRAD's momentum."),
    Setting("source_every", "optim.source_every", "Steps between visits of the un-augmented picture.", "N"),
    Setting("try_steps", "try_steps", "Length of one of the --tries.", "N"),
    Setting(
        "shared_draws",
        "views.shared_draws",
        "Show CLIP the source through the composite's random views instead of (the paper) views of its own.",
        None,
        spelling="--shared-draws/--own-draws",
    ),
)
_VIDEO = (
    *_EDIT,
    Setting(
        "texels",
        "segment.texels",
        "Texels of the atlas per pixel of the frames in training; fewer in little memory.",
    ),
)
_FIT = (
    Setting("size", "size", "Short side that the fit works at, px.", "PX", RUN),
    Setting("visits", "visits", "How often each frame is looked at.", "N", RUN),
    Setting("seed", "seed", "The same seed, video and number of threads give the same atlas.", "N", RUN),
    Setting("device", "device", "Where to compute.", "auto|cpu|cuda[:N]|mps", RUN),
    Setting("flow", "flow", "Optical flow of the fit: OpenCV's, or RAFT, a download.", "dis|raft", ATLAS),
    Setting(
        "mask_class",
        "mask_class",
        "For the fit: Mask R-CNN, a download, finds the objects of this COCO class, such as dog.",
        "NAME",
        ATLAS,
        default="what moves",
    ),
)

_ANY_PROMPT = ("-",)
PHOTO: Table[EditConfig] = Table(EditConfig(_ANY_PROMPT), PRESETS, _EDIT)
VIDEO: Table[EditConfig] = Table(video_config(_ANY_PROMPT), VIDEO_PRESETS, _VIDEO)
FIT: Table[FitConfig] = Table(FitConfig(), FIT_PRESETS, _FIT)
FIT_SETTINGS = ("flow", "mask_class")  # for the fit that the edit of a video may need


def edit_config(
    table: Table[EditConfig],
    prompts: tuple[str, ...],
    preset: str | None,
    given: Mapping[str, Any],
    earlier: EditConfig | None = None,
) -> EditConfig:
    """``table.configure`` with ``prompts``, or, if there are none, with those of the ``earlier`` run."""
    config = table.configure(given, preset, earlier)
    if prompts or earlier is None:
        config = dataclasses.replace(config, prompts=prompts)
    return config
