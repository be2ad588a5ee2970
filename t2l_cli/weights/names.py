"""Names of models as a shell completes them: what can be said of them without open_clip, which imports torch.

:mod:`t2l_cli.weights.registry` says what a name means. This module imports neither torch nor open_clip.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from t2l_cli.weights import cache, vision

MINI = "mini"  # the small CLIP inside the package
HUB = "hf-hub:"  # before "owner/name", a repository with a configuration of open_clip
ROBUST = "robust"
ALIASES = {ROBUST: "hf-hub:chs20/TeCoA4-ViT-B-32-laion2B-s34B-b79K"}
_FACTS = Path(__file__).with_name("clips.json")  # docs/make_clips.py writes it


@functools.cache
def facts() -> dict[str, dict[str, Any]]:
    """For each architecture that t2l can use, its "resolution" in px and, where they are known, how many "parameters"
    it has and the "repo" ("owner/name") of the weights that its name alone means.
    """
    known: dict[str, dict[str, Any]] = json.loads(_FACTS.read_text(encoding="utf-8"))
    return known


def clips() -> list[str]:
    """Names for --clip: mini, the aliases, and each architecture."""
    return [MINI, *ALIASES, *facts()]


def published() -> list[str]:
    """Names that `t2l models pull` has something for, with what is published for videos."""
    return [*ALIASES, *(name for name, known in facts().items() if "repo" in known), *vision.NETWORKS]


def removable() -> list[str]:
    """Names whose weights lie in t2l's own cache: architectures, or hf-hub:owner/name for any other repository."""
    here = [repo for repo in cache.repositories() if cache.find(repo, check=False)]
    names = {name: repo.removeprefix(HUB) for name, repo in ALIASES.items()}
    names |= {name: known["repo"] for name, known in facts().items() if "repo" in known}
    found = [name for name, repo in names.items() if repo in here]
    found += [HUB + repo for repo in here if repo not in names.values()]
    return found + [name for name in vision.NETWORKS if cache.find(vision.repo_of(name), check=False)]
