"""t2l: edit photos and videos from text, after Text2LIVE (ECCV 2022).

    import t2l_cli as t2l

    edit = t2l.edit_image("photo.jpg", "crochet swan", clip="mini", preset="draft")
    for step in edit:  # optional: edit.run() does the same
        print(step.i, step.n)
    edit.image.save("out.png")

The functions of :mod:`t2l_cli.api` are what the command line calls. Importing the package imports neither torch nor any
picture library; a name is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing and importlib would be most of the time before the program can take a Ctrl-C
if TYPE_CHECKING:
    from typing import Any

    from t2l_cli.api import (
        batch,
        composite,
        doctor,
        edit_image,
        edit_video,
        fit_atlas,
        info,
        merge_batch,
        render_atlas,
        report,
        studio,
    )
    from t2l_cli.config import PRESETS, EditConfig, FitConfig
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.layers import EditLayer
    from t2l_cli.engine.optimize import Step
    from t2l_cli.engine.photo import PhotoEdit
    from t2l_cli.errors import (
        DeviceMemoryError,
        DivergedError,
        OutputError,
        RequestError,
        StoppedError,
        T2LError,
        WeightsError,
        WorkerError,
    )
    from t2l_cli.jobs.job import Result
    from t2l_cli.progress import Reporter, Silent, Tick
    from t2l_cli.weights.loading import LoadedClip, load_clip

__version__ = "0.2.0"

_ERRORS = (
    "T2LError",
    "RequestError",
    "StoppedError",
    "WeightsError",
    "DeviceMemoryError",
    "DivergedError",
    "OutputError",
    "WorkerError",
)
_HOMES = {
    **dict.fromkeys(
        (
            "batch",
            "composite",
            "doctor",
            "edit_image",
            "edit_video",
            "fit_atlas",
            "info",
            "merge_batch",
            "render_atlas",
            "report",
            "studio",
        ),
        "api",
    ),
    **dict.fromkeys(("PRESETS", "EditConfig", "FitConfig"), "config"),
    "Clip": "engine.clip",
    "EditLayer": "engine.layers",
    "Step": "engine.optimize",
    "PhotoEdit": "engine.photo",
    **dict.fromkeys(_ERRORS, "errors"),
    "Result": "jobs.job",
    **dict.fromkeys(("Reporter", "Silent", "Tick"), "progress"),
    **dict.fromkeys(("LoadedClip", "load_clip"), "weights.loading"),
}
__all__ = [
    "PRESETS",
    "Clip",
    "DeviceMemoryError",
    "DivergedError",
    "EditConfig",
    "EditLayer",
    "FitConfig",
    "LoadedClip",
    "OutputError",
    "PhotoEdit",
    "Reporter",
    "RequestError",
    "Result",
    "Silent",
    "Step",
    "StoppedError",
    "T2LError",
    "Tick",
    "WeightsError",
    "WorkerError",
    "batch",
    "composite",
    "doctor",
    "edit_image",
    "edit_video",
    "fit_atlas",
    "info",
    "load_clip",
    "merge_batch",
    "render_atlas",
    "report",
    "studio",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
