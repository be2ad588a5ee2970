"""t2l: edit photos and clips from text, after Text2LIVE (ECCV 2022).

    picture = t2l_cli.load_picture("photo.jpg")
    loaded = t2l_cli.load_clip("ViT-B-32")
    edit = t2l_cli.PhotoEdit(pixels, t2l_cli.Clip(loaded.model, loaded.tokenizer), t2l_cli.EditConfig(("red cup",)))
    for step in edit: ...
    layer = edit.result()

Importing the package imports neither torch nor any picture library; a name is fetched when it is first asked for.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing and importlib would be most of the time before the program can take a Ctrl-C
if TYPE_CHECKING:
    from typing import Any

    from t2l_cli.config import PRESETS, EditConfig
    from t2l_cli.engine.clip import Clip
    from t2l_cli.engine.layers import EditLayer
    from t2l_cli.engine.optimize import Step
    from t2l_cli.engine.photo import PhotoEdit
    from t2l_cli.errors import T2LError
    from t2l_cli.media.images import Picture, load_picture, save_picture
    from t2l_cli.weights.loading import LoadedClip, load_clip

__version__ = "0.1.0"

_HOMES = {
    "PRESETS": "config",
    "EditConfig": "config",
    "Clip": "engine.clip",
    "PhotoEdit": "engine.photo",
    "EditLayer": "engine.layers",
    "Step": "engine.optimize",
    "T2LError": "errors",
    "Picture": "media.images",
    "load_picture": "media.images",
    "save_picture": "media.images",
    "LoadedClip": "weights.loading",
    "load_clip": "weights.loading",
}
__all__ = [
    "PRESETS",
    "Clip",
    "EditConfig",
    "EditLayer",
    "LoadedClip",
    "PhotoEdit",
    "Picture",
    "Step",
    "T2LError",
    "load_clip",
    "load_picture",
    "save_picture",
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
