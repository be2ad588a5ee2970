"""Cases about photos: pictures of every kind as source, layer and mask, from files and pipes, to every format."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.fuzz import damage, pictures, texts
from tests.fuzz.case import SHORT, Case, words
from tests.fuzz.dice import Dice

OUTPUTS = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".avif", ".bmp", ".PNG", ".ora", ".psd")
_LOSSLESS = (".png", ".tif", ".tiff", ".PNG", ".ora")  # .bmp is, but holds no transparency: such a picture is flattened
_REAL = 0.03


def any_picture(dice: Dice, folder: Path) -> Case:
    """A photo of any kind, composited with a layer or edited."""
    case = Case(folder)
    made = pictures.make(dice)
    truth = pictures.decoded(made.data)
    piped = dice.maybe(0.08)
    suffix = made.suffix if dice.maybe(0.9) else dice.one(".png", ".jpg", ".gif", "")
    name = texts.name(dice, suffix, odd=0.1)
    source = "-" if piped else case.put(name, made.data)
    case.stdin = made.data if piped else b""
    _due(case, truth)
    if dice.maybe(0.75):
        _layered(dice, case, source, truth)
    else:
        _edited(dice, case, source, truth)
    return case


def _due(case: Case, truth: pictures.Decoded | None) -> None:
    """What the source alone lets expect."""
    if truth is None:
        case.due(2, "Pillow cannot read the source")
    elif truth.drawing or min(truth.size) < 16:
        case.due(2, "the source is a drawing, or smaller than 16 px")
    else:
        case.size = truth.size
        if truth.whole:
            case.due(0, "all is well")


def _target(dice: Dice, case: Case) -> str:
    """Where to write: mostly a new file of any format, now and then to a pipe."""
    if dice.maybe(0.06):
        case.output = "-"
    else:
        case.output = texts.name(dice, dice.choice(OUTPUTS), odd=0.1).replace("photo", "result")
        if (case.folder / case.output).exists():
            case.output = "result.png"
    return case.output


def _layered(dice: Dice, case: Case, source: str, truth: pictures.Decoded | None) -> None:
    clear = dice.maybe()
    size = truth.size if truth else (32, 24)
    if dice.maybe(0.1):
        size = (size[0] + dice.one(-1, 1, 0), size[1] + dice.one(-1, 1, 2))
    data = pictures.layer(dice, size, clear) if min(size) > 0 and max(size) < 5000 else pictures.plain()
    if dice.maybe(0.08):
        data = dice.one(pictures.make(dice).data, damage.damaged(dice, data), pictures.plain())
    own = pictures.decoded(data)
    if own is None or not own.alpha or own.drawing or (truth is not None and own.size != truth.size):
        case.due(2, "the layer cannot be read, has no alpha or another size")
    elif not own.whole:
        case.code = None
    layer, output = case.put("layer.png", data), _target(dice, case)
    if case.code == 0 and clear and truth is not None and Path(output).suffix in _LOSSLESS:
        case.pixels = truth.rgb
    case.argv = words("composite", _options(dice, case), "-o", output, "--", source, layer)


def _edited(dice: Dice, case: Case, source: str, truth: pictures.Decoded | None) -> None:
    output = _target(dice, case)
    more = []
    if dice.maybe(0.25):
        case.put("mask.png", pictures.plain(truth.size if truth and max(truth.size) < 5000 else (32, 24), "PNG", "L"))
        more += ["--mask", "mask.png"]
    if dice.maybe(0.25):
        more += ["--run-dir", "run"]
    case.real = dice.maybe(_REAL)
    case.argv = words("edit-image", SHORT, _options(dice, case), more, "-o", output, "--", source, "red swan")


def _options(dice: Dice, case: Case) -> list[str]:
    options = dice.choice(([], [], [], ["-q"], ["-v"], ["--json"]))
    if options == ["--json"] and case.output == "-":
        case.due(2, "both would go to the standard output")
    return options


def flat_and_real(dice: Dice, folder: Path) -> Case:
    """Photos of one colour and other edge cases of the training itself, which is real in some."""
    case = Case(folder, real=dice.maybe(0.35))
    pixels = dice.one((0, 0, 0), (255, 255, 255), (0, 177, 64), tuple(dice.randbytes(3)))
    case.put("photo.png", _flat(pixels))
    case.size, case.output = (32, 24), "out.png"
    case.due(0, "a photo of one colour is a photo")
    odd: list[str] = []
    if dice.maybe(0.4):
        option = dice.one("--screen-weight", "--structure-weight", "--l1-weight", "--lr", "--roi", "--bootstrap-weight")
        odd = [f"{option}={texts.text(dice) if option == '--roi' else texts.real(dice)}"]
        case.code = None
    start = ["--bootstrap-to", dice.one("map", "cutout", "cutout")]
    case.argv = words("edit-image", "photo.png", "red", SHORT, "-o", "out.png", start, odd)
    return case


def _flat(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (32, 24), colour).save(out, "PNG")
    return out.getvalue()


def streams(dice: Dice, folder: Path) -> Case:
    """Pipes that are full or closed at the other end, and standard input that is no picture."""
    case = Case(folder)
    photo = case.put("photo.png", pictures.plain())
    layer = case.put("layer.png", pictures.layer(dice, (32, 24), clear=False))
    case.stdout, case.stderr = dice.one("pipe", "full", "closed"), dice.one("pipe", "pipe", "full", "closed")
    case.input = dice.one("pipe", "pipe", "pipe", "closed", "full")
    case.stdin = dice.one(b"", pictures.plain(), pictures.plain()[:100], b"\0" * 70_000, b"text")
    case.output = dice.one("out.png", "out.png", "-")
    source = dice.one(photo, photo, "-")
    more = dice.choice(([], ["--json"], ["-q"], ["-v"]))
    commands = (
        words("composite", source, layer, "-o", case.output),
        words("composite", photo, dice.one("-", layer), "-o", case.output),
        words("edit-image", source, "swan", SHORT, "-o", case.output),
        words("models", dice.one("list", "path")),
        words(dice.one("--help", "--version")),
        words("edit-image", "missing.jpg", "swan"),
    )
    case.argv = dice.choice(commands)
    if case.argv[0] in ("composite", "edit-image"):
        case.argv += more
    return case
