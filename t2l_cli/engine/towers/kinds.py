"""The kinds of towers that are known."""

from __future__ import annotations

from t2l_cli.engine.towers.timm_vit import TimmTower
from t2l_cli.engine.towers.tower import Tower, unreadable
from t2l_cli.engine.towers.vit import OpenClipTower

KINDS: tuple[type[OpenClipTower] | type[TimmTower], ...] = (OpenClipTower, TimmTower)


def tower_of(visual: object) -> Tower:
    """The tower that reads ``visual``, the picture side of an open_clip model.

    RequestError, with the reason, if there is none.
    """
    for kind in KINDS:
        if kind.reads(visual):
            return kind(visual)
    raise unreadable(
        f"this CLIP's image tower is a {type(visual).__name__}, not an open_clip ViT or one of timm's: "
        "its tokens cannot be read"
    )
