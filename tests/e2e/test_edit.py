"""`t2l edit-image` and `t2l composite` on small pictures: files, streams, repetition, interruption."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, IptcImagePlugin
from PIL.TiffImagePlugin import IFDRational
from program import SHORT, Run, command, draw_scene, lines, pixels, slow


def done(run: Run) -> Run:
    """``run``, which must have worked."""
    assert run.returncode == 0, run.stderr.decode()
    return run


def test_a_run_keeps_its_promises(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    """Default name, streams, run directory; layer over photo is the composite; repetition; another seed."""
    first = done(t2l("edit-image", photo, "red ball", *SHORT, "--run-dir", "run"))
    assert lines(first.stdout) == ["photo-red-ball.png"]
    assert b"mini knows" in first.stderr
    assert b"seed 0" in first.stderr
    assert b"\x1b" not in first.stderr
    out, run = tmp_path / "photo-red-ball.png", tmp_path / "run"
    assert out.read_bytes() == (run / "composite.png").read_bytes()

    _check_run_dir(run)
    _check_layer_over_photo(run, photo, out)

    done(t2l("composite", photo, run / "layer.png", "-o", "again.png", "-q"))
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(out))

    repeated = done(t2l("edit-image", "--config", "run/run.json", "-o", "repeated.png", "--json", "-q"))
    assert (tmp_path / "repeated.png").read_bytes() == out.read_bytes()
    assert repeated.stderr == b""
    said = json.loads(repeated.stdout)
    assert said["files"] == ["repeated.png"]
    assert (said["seed"], said["ended"], said["steps_done"]) == (0, "done", 2)

    done(t2l("edit-image", "--config", "run/run.json", "-o", "other.png", "-q", "--seed", "1"))
    assert (tmp_path / "other.png").read_bytes() != out.read_bytes()


def _check_run_dir(run: Path) -> None:
    record = json.loads((run / "run.json").read_text())
    assert record["config"]["seed"] == record["seed"] == 0
    assert record["config"]["optim"]["steps"] == record["steps_done"] == 2
    assert record["texts"]["prompts"] == ["red ball"]
    assert len(record["weights_sha256"]) == 64
    assert {"t2l", "torch", "open_clip_torch"} <= set(record["versions"])
    assert record["device"]
    assert record["seconds"]["optimise"] > 0
    rows = list(csv.DictReader((run / "losses.csv").open()))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["total"]) == pytest.approx(record["losses"]["total"])
    assert list((run / "snapshots").iterdir())


def _check_layer_over_photo(run: Path, photo: Path, out: Path) -> None:
    """The layer, opened over the photo by another program (Pillow), looks as the composite does."""
    layer, source = Image.open(run / "layer.png"), Image.open(photo)
    assert (layer.mode, layer.size) == ("RGBA", source.size)
    over = Image.alpha_composite(source.convert("RGBA"), layer).convert("RGB")
    assert np.abs(np.asarray(over).astype(int) - pixels(out)).max() <= 1
    alpha = np.asarray(layer.getchannel("A"))
    assert np.array_equal(np.asarray(Image.open(run / "alpha.png").convert("L")), alpha)
    clear = alpha == 0
    assert np.array_equal(pixels(out)[clear], pixels(photo)[clear])


@pytest.mark.parametrize("blend", ["shade", slow("multiply"), slow("color")])
def test_a_blended_layer_is_what_it_looks_like(
    blend: str, t2l: Callable[..., Run], photo: Path, tmp_path: Path
) -> None:
    """The layer holds the colours as blended: any editor, and `t2l composite`, show the result."""
    line = ("edit-image", photo, "red ball", *SHORT, "--blend", blend, "--matte", "on", "--run-dir", "run")
    done(t2l(*line, "-o", "out.png"))
    _check_layer_over_photo(tmp_path / "run", photo, tmp_path / "out.png")
    done(t2l("composite", photo, "run/layer.png", "-o", "again.png", "-q"))
    assert np.array_equal(pixels(tmp_path / "again.png"), pixels(tmp_path / "out.png"))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["blend"] == blend


def test_through_pipes(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    line = ("edit-image", "-", "red ball", *SHORT, "-o", "-", "--run-dir", "run")
    through = done(t2l(*line, stdin=photo.read_bytes()))
    assert (tmp_path / "run" / "composite.png").read_bytes() == through.stdout
    with Image.open(io.BytesIO(through.stdout)) as image:
        assert (image.format, image.size) == ("PNG", (320, 240))


def test_a_mask_bounds_the_edit(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    mask = np.zeros((240, 320), np.uint8)
    mask[:, :160] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    done(t2l("edit-image", photo, "red ball", *SHORT, "--mask", "mask.png", "-o", "out.png", "-q"))
    changed = (pixels(tmp_path / "out.png") != pixels(photo)).any(axis=2)
    assert changed[:, :150].any()
    assert not changed[:, 165:].any()


def _save_as(kind: str, scene: Image.Image, folder: Path) -> Path:
    small = scene.resize((200, 150))
    match kind:
        case "grey 130x300":
            scene.convert("L").resize((130, 300)).save(path := folder / "in.png")
        case "cmyk":
            small.convert("CMYK").save(path := folder / "in.jpg")
        case "16 bit":
            deep = np.asarray(small.convert("L")).astype(np.uint16) * 257
            Image.fromarray(deep).save(path := folder / "in.png")
        case "alpha":
            small.putalpha(Image.linear_gradient("L").resize(small.size))
            small.save(path := folder / "in.png")
        case "palette":
            small.convert("P", palette=Image.Palette.ADAPTIVE).save(path := folder / "in.gif")
        case "rotated":
            exif = Image.Exif()
            exif[0x0112] = 6
            small.save(path := folder / "in.jpg", exif=exif)
        case _:
            small.save(path := folder / "in.webp")
    return path


@pytest.mark.parametrize(
    "kind", ["alpha", *map(slow, ("16 bit", "grey 130x300", "cmyk", "palette", "rotated", "webp"))]
)
def test_every_kind_of_picture(kind: str, t2l: Callable[..., Run], tmp_path: Path) -> None:
    scene = Image.fromarray(draw_scene("ball", tmp_path).rgb)
    path = _save_as(kind, scene, tmp_path)
    short = [option if option != "2" else "1" for option in SHORT]
    run = done(t2l("edit-image", path, "red ball", *short, "-o", "out.png"))
    with Image.open(tmp_path / "out.png") as image, Image.open(path) as source:
        assert image.size == {"grey 130x300": (130, 300), "rotated": (150, 200)}.get(kind, (200, 150))
        assert image.getexif().get(0x0112, 1) == 1
        if kind == "alpha":
            assert image.mode == "RGBA"
            assert np.array_equal(np.asarray(image.getchannel("A")), np.asarray(source.getchannel("A")))
        else:
            assert image.mode == "RGB"
    if kind in ("grey 130x300", "cmyk", "palette"):
        assert b"converted" in run.stderr


@pytest.mark.slow
def test_a_twelve_megapixel_photo_keeps_size_and_tags(t2l: Callable[..., Run], tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    scene = Image.fromarray(draw_scene("ball", tmp_path).rgb).resize((4000, 3000))
    scene.save(tmp_path / "photo.jpg", quality=90, icc_profile=profile, exif=exif)
    done(t2l("edit-image", "photo.jpg", "red ball", *SHORT, "-o", "out.jpg"))
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.size == (4000, 3000)
        assert image.info["icc_profile"] == profile
        assert image.getexif()[0x010F] == "Maker"


@pytest.mark.slow
def test_a_cameras_photo_becomes_a_tiff_with_all_its_exif(t2l: Callable[..., Run], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x011A], exif[0x0128] = "Maker", IFDRational(0, 0), 0
    exif[ExifTags.IFD.Exif] = {0x829D: IFDRational(28, 10), 0x9003: "2024:05:06 07:08:09", 0x927C: b"its own" * 99}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (52.0, 30.0, 1.5)}
    Image.fromarray(draw_scene("ball", tmp_path).rgb).save(tmp_path / "photo.jpg", exif=exif)
    edited = done(t2l("edit-image", "photo.jpg", "red ball", *SHORT, "-o", "out.tif", "--run-dir", "run"))
    done(t2l("composite", "photo.jpg", "run/layer.png", "-o", "again.tif"))
    assert b"EXIF" not in edited.stderr
    assert np.array_equal(pixels(tmp_path / "again.tif"), pixels(tmp_path / "out.tif"))
    with Image.open(tmp_path / "out.tif") as image:
        assert image.size == (320, 240)
        back = image.getexif()
        assert back[0x010F] == "Maker"
        assert back.get_ifd(ExifTags.IFD.Exif) == exif[ExifTags.IFD.Exif]
        assert back.get_ifd(ExifTags.IFD.GPSInfo) == exif[ExifTags.IFD.GPSInfo]


@pytest.mark.slow
def test_words_about_a_photo_stay_through_jpeg_tiff_and_png(t2l: Callable[..., Run], tmp_path: Path) -> None:
    """IPTC in Photoshop's block and a comment; from a file whose other words are broken, these alone are lost."""
    iptc = b"\x1c\x02\x50\0\4Iris\x1c\x02\x78\0\5A cup"
    block = (
        b"Photoshop 3.0\0" + b"8BIM\x04\x25\0\0\0\0\0\x10" + bytes(16) + b"8BIM\x04\x04\0\0\0\0\0\x13" + iptc + b"\0"
    )
    segment = b"\xff\xed" + (len(block) + 2).to_bytes(2) + block
    Image.fromarray(draw_scene("ball", tmp_path).rgb).save(tmp_path / "photo.jpg", comment=b"said", extra=segment)
    done(t2l("edit-image", "photo.jpg", "red ball", *SHORT, "-o", "out.jpg", "--run-dir", "run"))
    for source, out in [("out.jpg", "out.tif"), ("out.tif", "back.jpg"), ("out.jpg", "out.png")]:
        done(t2l("composite", source, "run/layer.png", "-o", out))
    for name in ("out.jpg", "out.tif", "back.jpg"):
        with Image.open(tmp_path / name) as image:
            assert (IptcImagePlugin.getiptcinfo(image) or {})[2, 80] == b"Iris"
            assert 0x0425 not in image.info.get("photoshop", {})
    with Image.open(tmp_path / "out.png") as image:
        assert image.text["Comment"] == "said"
        assert b"<rdf:li>Iris</rdf:li>" in image.info["xmp"]
    assert b"said" in done(t2l("info", "out.jpg")).stdout
    bare = done(t2l("composite", "photo.jpg", "run/layer.png", "-o", "bare.jpg", "--no-metadata"))
    assert bare.stderr == b""
    for word in (b"Iris", b"said", b"Photoshop"):
        assert word not in (tmp_path / "bare.jpg").read_bytes()
    (tmp_path / "photo.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes().replace(b"\0\5A cup", b"\7\5A cup"))
    broken = done(t2l("composite", "photo.jpg", "run/layer.png", "-o", "broken.jpg"))
    assert b"a part of its IPTC data is damaged and was left out" in broken.stderr
    with Image.open(tmp_path / "broken.jpg") as image:
        assert image.info["comment"] == b"said"


@pytest.mark.parametrize("number", [signal.SIGINT, *map(slow, (signal.SIGTERM, signal.SIGHUP))])
def test_an_interruption_saves_the_result_so_far(number: signal.Signals, photo: Path, tmp_path: Path) -> None:
    long = [option if option != "2" else "5000" for option in SHORT]
    line = [*command(), "edit-image", str(photo), "red ball", *long, "--run-dir", "run", "-o", "out.png"]
    program = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    losses = tmp_path / "run" / "losses.csv"
    end = time.monotonic() + 300
    while time.monotonic() < end and (not losses.exists() or losses.read_text().count("\n") < 3):
        time.sleep(0.2)
    program.send_signal(number)
    out, err = program.communicate(timeout=200)
    assert program.returncode == 128 + number, err
    assert lines(out) == ["out.png"]
    assert b"Stopping" in err
    assert pixels(tmp_path / "out.png").shape == (240, 320, 3)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["ended"] == "interrupted"
    assert 2 <= record["steps_done"] < 5000


def test_an_interruption_before_the_first_step_writes_nothing(photo: Path, tmp_path: Path) -> None:
    line = [*command(), "edit-image", str(photo), "red ball", *SHORT, "-o", "out.png"]
    program = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert program.stderr is not None
    os.read(program.stderr.fileno(), 10)  # mini's line: torch is about to be imported
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=100)
    assert program.returncode == 130, err
    assert out == b""
    assert b"Traceback" not in err
    assert not (tmp_path / "out.png").exists()


def test_no_network_and_no_weights_shows_the_ways_out(t2l: Callable[..., Run], photo: Path) -> None:
    run = t2l("edit-image", photo, "red ball", "--offline", "-q")
    assert run.returncode == 1
    assert 1 <= len(lines(run.stderr)) <= 2
    for way in (b"--clip-weights", b"models pull", b"--clip mini"):
        assert way in run.stderr


@pytest.mark.slow
def test_models(t2l: Callable[..., Run], user_folders: Path) -> None:
    assert lines(done(t2l("models", "path")).stdout) == [str(user_folders)]
    listed = lines(done(t2l("models", "list")).stdout)
    assert listed[0].startswith("mini\tcached")
    assert any(line.startswith("ViT-B-32") for line in listed)
    assert t2l("models", "remove", "mini").returncode == 2


@pytest.mark.slow
def test_a_picture_says_how_it_was_made_and_repeats_it(t2l: Callable[..., Run], photo: Path, tmp_path: Path) -> None:
    done(t2l("edit-image", photo, "red ball", *SHORT, "-o", photo.parent / "out.webp", "-q"))
    shown = lines(done(t2l("info", photo.parent / "out.webp")).stdout)
    rows = dict(line.split("  ", 1) for line in shown if "  " in line)
    assert rows["source"].strip() == photo.name
    assert rows["texts / prompts"].strip() == "red ball"
    record = json.loads(done(t2l("info", photo.parent / "out.webp", "--json")).stdout)["record"]
    assert (record["command"], record["seed"]) == ("edit-image", 0)
    done(t2l("edit-image", "--config", photo.parent / "out.webp", "-o", "again.webp", "-q"))
    assert (tmp_path / "again.webp").read_bytes() == (photo.parent / "out.webp").read_bytes()
    bare = done(t2l("info", photo))
    assert lines(bare.stdout)[-1] == "no record of t2l in it"
    assert json.loads(done(t2l("info", photo, "--json")).stdout)["record"] is None
