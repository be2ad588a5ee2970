"""The classes of COCO, which Mask R-CNN was trained on. To ask torchvision for them takes an import of seconds."""

from __future__ import annotations

import difflib

from t2l_cli.errors import RequestError

# In the order of the network's outputs. Those without a name are the background and numbers that COCO does not use.
_NAMES = """
, person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, ,
stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, ,
backpack, umbrella, , , handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat,
baseball glove, skateboard, surfboard, tennis racket, bottle, , wine glass, cup, fork, knife, spoon, bowl,
banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant,
bed, , dining table, , , toilet, , tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster,
sink, refrigerator, , book, clock, vase, scissors, teddy bear, hair drier, toothbrush
"""
CLASSES = {name.strip(): number for number, name in enumerate(_NAMES.split(",")) if name.strip()}
"""Name -> number among the network's outputs."""


def class_number(name: str) -> int:
    """Mask R-CNN's number of the COCO class ``name``; RequestError, with similar names, if there is none."""
    wanted = name.strip().lower()
    if wanted in CLASSES:
        return CLASSES[wanted]
    near = difflib.get_close_matches(wanted, CLASSES, n=4, cutoff=0.5)
    some = ", ".join(list(CLASSES)[:8])
    hint = f"Did you mean {', '.join(near)}?" if near else f"There are {len(CLASSES)}, such as {some}."
    raise RequestError(f"Mask R-CNN knows no class {name!r}. {hint}")
