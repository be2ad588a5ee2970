"""Files with layers: OpenRaster read by second readers and back by ourselves, PSD by Pillow and ImageMagick."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageCms
from psd_tools import PSDImage

from t2l_cli.errors import RequestError
from t2l_cli.media import layered
from t2l_cli.media.compositing import over
from t2l_cli.media.images import Picture, load_picture
from t2l_cli.media.layered import Layers, check_photo_output, load_ora_layer, save_photo
from t2l_cli.media.marks import look_at
from t2l_cli.media.xmp import Mark

Y, X = np.mgrid[:60, :90]
RGB = np.stack([X * 2, Y * 4, X + Y], -1).astype(np.uint8)
ALPHA = (255 - Y * 2).astype(np.uint8)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAYER = np.zeros((60, 90, 4), np.uint8)
LAYER[20:50, 10:70] = (200, 30, 90, 255)
LAYER[20:50, 40:70, 3] = 99
MASK = np.where(X < 50, 255, 0).astype(np.uint8)


def written(path: Path, photo: Picture, **more: Any) -> Path:
    assert save_photo(path, Layers(photo, LAYER, **more), Mark('{"a": 1}')) == ()
    return path


def stack_of(path: Path) -> tuple[dict[str, str], list[dict[str, str]], dict[str, Image.Image]]:
    """An OpenRaster file as the standard says to read it: the canvas, the layers from the top, and the pictures."""
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert archive.read("mimetype") == b"image/openraster"
        root = ElementTree.fromstring(archive.read("stack.xml"))
        pictures = {n: Image.open(io.BytesIO(archive.read(n))) for n in archive.namelist() if n.endswith(".png")}
        for picture in pictures.values():
            picture.load()
    assert (root.tag, [child.tag for child in root]) == ("image", ["stack"])
    return dict(root.attrib), [dict(layer.attrib) for layer in root[0]], pictures


def test_open_raster_is_as_the_standard_says(tmp_path: Path) -> None:
    canvas, layers, pictures = stack_of(written(tmp_path / "p.ora", Picture(RGB, icc=PROFILE), mask=MASK))
    assert (canvas["w"], canvas["h"]) == ("90", "60")
    assert canvas["version"] >= "0.0.1"
    assert [layer["name"] for layer in layers] == ["mask", "edit layer", "photo"]
    assert [layer["visibility"] for layer in layers] == ["hidden", "visible", "visible"]
    mask, layer, photo = (np.asarray(pictures[layer["src"]]) for layer in layers)
    assert np.array_equal(mask[..., 0], MASK)
    assert np.array_equal(layer, LAYER)
    assert np.array_equal(photo, RGB)
    merged = pictures["mergedimage.png"]
    assert np.array_equal(np.asarray(merged), over(LAYER, RGB).whole())
    assert merged.info["icc_profile"] == PROFILE
    assert max(pictures["Thumbnails/thumbnail.png"].size) <= 256
    flat = Image.alpha_composite(Image.fromarray(RGB).convert("RGBA"), Image.fromarray(layer)).convert("RGB")
    assert np.abs(np.asarray(flat).astype(int) - np.asarray(merged)).max() <= 1


def test_without_a_mask_the_layers_opacity_is_it(tmp_path: Path) -> None:
    _, layers, pictures = stack_of(written(tmp_path / "p.ora", Picture(RGB)))
    assert np.array_equal(np.asarray(pictures[layers[0]["src"]])[..., 0], LAYER[..., 3])


def test_a_photos_own_transparency_stays(tmp_path: Path) -> None:
    _, layers, pictures = stack_of(written(tmp_path / "p.ora", Picture(RGB, ALPHA)))
    assert layers[1]["composite-op"] == "svg:src-atop"
    merged = np.asarray(pictures["mergedimage.png"])
    assert np.array_equal(merged[..., 3], ALPHA)
    assert np.array_equal(merged[..., :3], over(LAYER, RGB).whole())


def test_another_reader_of_open_raster_shows_the_same(tmp_path: Path) -> None:
    pyora = pytest.importorskip("pyora")
    project = pyora.Project.load(str(written(tmp_path / "p.ora", Picture(RGB))))
    assert project.dimensions == (90, 60)
    names = [layer.name for layer in project.children]
    assert sorted(names) == ["edit layer", "mask", "photo"]
    by_name = {layer.name: layer for layer in project.children}
    assert np.array_equal(np.asarray(by_name["edit layer"].get_image_data(raw=True).convert("RGBA")), LAYER)
    rendered = np.asarray(project.get_image_data(use_original=False).convert("RGB")).astype(int)
    assert np.abs(rendered - over(LAYER, RGB).whole()).max() <= 1


@pytest.mark.parametrize("suffix", [".ora", ".psd"])
def test_the_record_is_in_it(tmp_path: Path, suffix: str) -> None:
    facts = look_at(written(tmp_path / f"p{suffix}", Picture(RGB)))
    assert (facts.record, facts.source_type) == ('{"a": 1}', "compositeWithTrainedAlgorithmicMedia")
    assert (facts.values["width"], facts.values["height"]) == (90, 60)
    save_photo(tmp_path / f"q{suffix}", Layers(Picture(RGB), LAYER), Mark("x"), metadata=False)
    assert look_at(tmp_path / f"q{suffix}").record is None


def rebuilt(path: Path, change: Any, **pictures: Image.Image) -> Path:
    """The file with its list of layers changed, and with more pictures, as an editor would write it."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    root = ElementTree.fromstring(files["stack.xml"])
    change(root, files)
    files["stack.xml"] = ElementTree.tostring(root)
    for name, picture in pictures.items():
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        files[f"data/{name}.png"] = buffer.getvalue()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_what_a_photo_says_stands_where_the_format_has_a_place(tmp_path: Path) -> None:
    photo = Picture(RGB, iptc=b"\x1c\x02\x50\0\4Iris", texts={"Title": "A title", "Comment": "said"})
    psd, ora = written(tmp_path / "p.psd", photo), written(tmp_path / "p.ora", photo)
    _, _, pictures = stack_of(ora)
    merged = pictures["mergedimage.png"]
    assert (merged.text["Title"], merged.text["Comment"]) == ("A title", "said")  # type: ignore[attr-defined]
    assert b"<rdf:li>Iris</rdf:li>" in merged.info["xmp"]
    back = load_picture(psd)
    assert back.iptc == photo.iptc
    assert b"A title" in (back.xmp or b"")
    assert save_photo(tmp_path / "bare.psd", Layers(photo, LAYER), Mark("x"), metadata=False) == ()
    assert (load_picture(tmp_path / "bare.psd").iptc, load_picture(tmp_path / "bare.psd").xmp) == (None, None)


def test_the_edit_layer_comes_back(tmp_path: Path) -> None:
    layer = load_ora_layer(written(tmp_path / "p.ora", Picture(RGB)))
    assert np.array_equal(np.dstack([layer.rgb, layer.alpha]), LAYER)
    assert layer.trained
    assert layer.notes == ()


def test_a_layer_that_an_editor_cropped_and_faded_is_put_where_it_belongs(tmp_path: Path) -> None:
    def change(root: Any, files: Any) -> None:
        for entry in root.iter("layer"):
            if entry.get("name") == "edit layer":
                entry.attrib.update(
                    {"src": "data/new.png", "x": "80", "y": "-2", "opacity": "0.5", "name": "Edit Layer"}
                )

    small = Image.new("RGBA", (20, 5), (1, 2, 3, 200))
    layer = load_ora_layer(rebuilt(written(tmp_path / "p.ora", Picture(RGB)), change, new=small))
    assert layer.alpha is not None
    assert layer.alpha.shape == (60, 90)
    assert set(layer.alpha[:3, 80:].flat) == {100}
    assert layer.alpha.sum() == 100 * 3 * 10
    assert tuple(layer.rgb[0, 85]) == (1, 2, 3)


def test_an_unnamed_layer_is_taken_where_it_is_the_only_one(tmp_path: Path) -> None:
    def rename(root: Any, files: Any) -> None:
        for entry in root.iter("layer"):
            entry.set("name", f"paint {entry.get('name')}")

    def show(root: Any, files: Any) -> None:
        for entry in root.iter("layer"):
            entry.set("visibility", "visible")

    path = rebuilt(written(tmp_path / "p.ora", Picture(RGB)), rename)
    assert np.array_equal(load_ora_layer(path).alpha, LAYER[..., 3])
    with pytest.raises(
        RequestError, match='no layer named "edit layer", but paint mask, paint edit layer, paint photo'
    ):
        load_ora_layer(rebuilt(path, show))


BOMB = b'<!DOCTYPE image [<!ENTITY a "aaaa">]><image w="9" h="9"><stack><layer name="&a;"/></stack></image>'


@pytest.mark.parametrize(
    "stack",
    [
        b"",
        b"<image>",
        BOMB,
        b"<image w='9' h='9'><stack/></image>",
        b"<image w='99999' h='99999'><stack><layer name='edit layer' src='data/layer.png'/></stack></image>",
        b"<image w='9' h='9'><stack><layer name='edit layer' src='../photo.png'/></stack></image>",
        b"<image w='9' h='9'><stack><layer name='edit layer' src='data/layer.png' x='nan'/></stack></image>",
        b"<image w='9' h='9'><stack><layer name='edit layer' src='mimetype'/></stack></image>",
        b"<image w='9' h='-9'><stack><layer name='edit layer' src='data/layer.png'/></stack></image>",
        b"x" * 1_000_001,
    ],
)
def test_a_list_of_layers_that_is_none_is_one_line(tmp_path: Path, stack: bytes) -> None:
    path = written(tmp_path / "p.ora", Picture(RGB))
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()} | {"stack.xml": stack}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(RequestError) as caught:
        load_ora_layer(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"x", b"PK\3\4" + b"x" * 99, None])
def test_what_is_no_open_raster_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "p.ora"
    if data is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mimetype", "application/epub+zip")
    else:
        path.write_bytes(data)
    with pytest.raises(RequestError, match="OpenRaster"):
        load_ora_layer(path)


@pytest.mark.parametrize("photo", [Picture(RGB, icc=PROFILE), Picture(RGB, ALPHA)], ids=["opaque", "transparent"])
def test_a_psd_shows_the_composite(tmp_path: Path, photo: Picture) -> None:
    path = written(tmp_path / "p.psd", photo)
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(image)[..., :3], over(LAYER, RGB).whole())
        assert image.info.get("icc_profile") == photo.icc
    psd = PSDImage.open(path)
    assert [(layer.name, layer.visible) for layer in psd] == [("photo", True), ("edit layer", True), ("mask", False)]
    colours = np.asarray(psd[1].topil())
    cover = np.asarray(psd[1].mask.topil()) if psd[1].mask else colours[..., 3]  # over an opaque photo: a layer mask
    assert np.array_equal(np.dstack([colours[..., :3], cover]), LAYER)


def test_imagemagick_shows_a_psds_composite_and_its_layers(tmp_path: Path) -> None:
    if shutil.which("identify") is None:
        pytest.skip("there is no ImageMagick here")
    path, whole = written(tmp_path / "p.psd", Picture(RGB)), over(LAYER, RGB).whole()
    ask = ["identify", "-format", "%[fx:p{20,30}.r*255] %[fx:p{50,30}.g*255] %[fx:p{50,30}.a*255]\n", str(path)]
    lines = subprocess.run(ask, capture_output=True, check=True, text=True).stdout.split("\n")[:4]
    merged, photo, layer, _ = ([round(float(value)) for value in line.split()] for line in lines)
    assert merged[:2] == [whole[30, 20, 0], whole[30, 50, 1]]
    assert photo[:2] == [RGB[30, 20, 0], RGB[30, 50, 1]]
    assert layer == [200, 30, 99]


def test_without_psd_tools_one_line_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layered.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match="pip install psd-tools"):
        check_photo_output(tmp_path / "p.psd", False)
    check_photo_output(tmp_path / "p.ora", False)
    with pytest.raises(RequestError, match=r"use one of .* \.ora \.psd"):
        check_photo_output(tmp_path / "p.xyz", False)
    monkeypatch.undo()
    with pytest.raises(RequestError, match=r"use \.ora"):
        check_photo_output(tmp_path / "p.psd", False, size=(10, 40_000))


def test_sixteen_bits_become_eight_with_a_note(tmp_path: Path) -> None:
    deep = RGB.astype(np.uint16) * 257
    layers = Layers(Picture(RGB, deep=deep), LAYER.astype(np.uint16) * 257)
    (note,) = save_photo(tmp_path / "p.ora", layers, None)
    assert "8 bits per channel" in note
    _, _, pictures = stack_of(tmp_path / "p.ora")
    assert np.array_equal(np.asarray(pictures["mergedimage.png"]), over(LAYER, RGB).whole())
