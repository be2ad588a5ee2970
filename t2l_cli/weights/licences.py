"""Licences of published CLIP weights, as far as they are known.

open_clip does not say them. The table has families of repositories, with the licence that model cards, timm's list of
models or the authors' own repositories state. A repository that is not in it is "unknown", which is not a permission.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

UNKNOWN = "unknown"
NON_COMMERCIAL = ("cc-by-nc-4.0", "apple-amlr")  # apple-amlr: for research only

_OF_REPOSITORIES = (  # the first pattern that fits
    ("laion/CLIP-*", "mit"),
    ("laion/*CoCa-*", "mit"),
    ("chs20/TeCoA*", "mit"),
    ("chs20/FARE*", "mit"),
    ("apple/DFN*-CLIP-*", "apple-amlr"),
    ("apple/MobileCLIP-*", "apple-amlr"),
    ("timm/MobileCLIP2-*", "apple-amlr"),
    ("timm/*.metaclip*", "cc-by-nc-4.0"),
    ("timm/*_clip_*.openai", "mit"),
    ("timm/resnet*_clip.*", "mit"),
    ("timm/vit_*_clip_*.laion*", "mit"),
    ("timm/eva*_clip_*", "mit"),
    ("timm/ViT-*-SigLIP*", "apache-2.0"),
    ("timm/PE-Core-*", "apache-2.0"),
    ("UCSC-VLAA/ViT-*-CLIPA-*", "apache-2.0"),
    ("jienengchen/ViTamin-L2-336px", "mit"),
    ("visheratin/nllb-clip-*", "cc-by-nc-4.0"),
)


def licence_of(repo: str) -> str:
    """The licence of the weights in ``repo`` ("owner/name" on the hub), by its SPDX name or the hub's; or "unknown"."""
    return next((licence for pattern, licence in _OF_REPOSITORIES if fnmatchcase(repo, pattern)), UNKNOWN)
