"""What a file says of its making: written into every format, and read by ourselves and by others."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from t2l_cli.errors import RequestError
from t2l_cli.media.encode import VideoWriter
from t2l_cli.media.images import load_picture
from t2l_cli.media.marks import look_at
from t2l_cli.media.output import FORMATS, save_layer, save_picture
from t2l_cli.media.tags import Tags
from t2l_cli.media.video_tags import append_packet, packet_in
from t2l_cli.media.videos import VideoInfo, probe, read_frames
from t2l_cli.media.xmp import TRAINED, Mark, marked, portable_xmp
from tests.tiny_videos import make_video

RGB = np.dstack([*np.meshgrid(np.arange(30) * 8, np.arange(20) * 9), np.full((20, 30), 50)]).astype(np.uint8)
TAGGED = [suffix for suffix, form in FORMATS.items() if form.tags]
MARK = Mark('{"a": "<&>"}')
TITLE = marked(None, Mark("", trained=False)).replace(
    b"/>", b"><dc:title xmlns:dc='dc#'>a title</dc:title></rdf:Description>", 1
)
TAGS = {"title": "A title", "comment": "a comment", "location": "+52.5000+013.3000/"}


def exif_of(**texts: Any) -> bytes:
    exif = Image.Exif()
    exif[315] = "A. Person"
    exif[ExifTags.IFD.Exif] = {36867: "2024:05:06 07:08:09"} | {int(name[1:]): value for name, value in texts.items()}
    return exif.tobytes()


def as_exiftool_reads(path: Path) -> dict[str, Any]:
    """The file's tags by an independent reader, by their names there."""
    if shutil.which("exiftool") is None:
        pytest.skip("there is no exiftool here")
    run = subprocess.run(["exiftool", "-j", "-n", str(path)], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(run.stdout)[0]
    return found


@pytest.mark.parametrize("suffix", TAGGED)
def test_a_mark_and_what_the_source_said_come_back_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"p{suffix}"
    assert save_picture(path, RGB, beside=Tags(exif=exif_of(), xmp=TITLE), mark=MARK) == ()
    facts = look_at(path)
    assert (facts.record, facts.source_type) == (MARK.record, TRAINED.rpartition("/")[2])
    assert (facts.kind, facts.values["width"], facts.values["height"], facts.values["bits"]) == ("picture", 30, 20, 8)
    picture = load_picture(path)
    assert b"a title" in (picture.xmp or b"")
    assert b"A. Person" in (picture.exif or b"")
    assert picture.trained
    assert b"Record" not in (picture.xmp or b"")  # a later result has a mark of its own
    with Image.open(path) as image:  # Pillow's own reader of XMP
        assert MARK.record.replace('"', "&quot;").replace("<&>", "&lt;&amp;&gt;") in str(image.info["xmp"])
    save_picture(tmp_path / f"bare{suffix}", RGB)
    assert np.array_equal(picture.rgb, load_picture(tmp_path / f"bare{suffix}").rgb)


@pytest.mark.parametrize("suffix", TAGGED)
def test_another_reader_sees_the_mark(tmp_path: Path, suffix: str) -> None:
    save_picture(tmp_path / f"p{suffix}", RGB, beside=Tags(exif=exif_of(), xmp=TITLE), mark=MARK)
    found = as_exiftool_reads(tmp_path / f"p{suffix}")
    assert (found["Record"], found["DigitalSourceType"], found["Artist"]) == (MARK.record, TRAINED, "A. Person")
    assert "Warning" not in found
    if suffix == ".png":
        assert found["T2l"] == MARK.record


def test_a_png_whose_xmp_was_stripped_has_the_text_still(tmp_path: Path) -> None:
    save_picture(tmp_path / "p.png", RGB, mark=MARK)
    with Image.open(tmp_path / "p.png") as image:
        text = image.text["t2l"]  # type: ignore[attr-defined]
    assert text == MARK.record


def test_a_format_without_metadata_says_so(tmp_path: Path) -> None:
    path = tmp_path / "p.bmp"
    assert save_picture(path, RGB, mark=MARK) == (f"BMP cannot hold the record of the edit: {path} is without it",)
    assert look_at(path).record is None


def long_packet(length: int) -> bytes:
    packet, _ = portable_xmp(TITLE.replace(b"a title", b"t" * length))
    assert packet is not None
    return packet


def test_beside_a_long_packet_a_jpegs_mark_has_room(tmp_path: Path) -> None:
    """65,502 bytes are all that one segment's packet may have."""
    path = tmp_path / "p.jpg"
    packet = long_packet(64_800)
    assert save_picture(path, RGB, beside=Tags(exif=exif_of(), xmp=packet), mark=MARK) == ()
    assert look_at(path).record == MARK.record
    picture = load_picture(path)
    assert b"t" * 64_800 in (picture.xmp or b"")
    assert b"A. Person" in (picture.exif or b"")
    found = as_exiftool_reads(path)
    assert (found["Title"], found["Record"]) == ("t" * 64_800, MARK.record)
    assert "Warning" not in found


@pytest.mark.parametrize(
    ("exif", "iptc", "lost"),
    [
        (exif_of(t37500=bytes(65_600)), b"", "the camera maker's note in the EXIF data"),
        (exif_of(t37500=bytes(65_600)), bytes(66_000), "the camera maker's note in the EXIF data and the IPTC data"),
    ],
)
def test_what_a_jpeg_cannot_hold_is_said_and_the_rest_is_there(
    tmp_path: Path, exif: bytes, iptc: bytes, lost: str
) -> None:
    path = tmp_path / "p.jpg"
    notes = save_picture(path, RGB, beside=Tags(exif=exif, xmp=long_packet(70_000), iptc=iptc), mark=MARK)
    assert notes == (f"JPEG cannot hold {lost}: {path} is without it",)
    assert look_at(path).record == MARK.record
    assert b"A. Person" in (load_picture(path).exif or b"")
    assert b"t" * 70_000 in (load_picture(path).xmp or b"")


AS_NOTED = {
    "By-line": "J\u00fcrgen",
    "Caption-Abstract": "What it shows",
    "Keywords": ["one", "two"],
    "CopyrightNotice": "(c) J.",
    "Headline": "Said in large letters",
    "ObjectName": "A title",
}
IN_XMP = dict(zip(AS_NOTED, ("Creator", "Description", "Subject", "Rights", "Headline", "Title"), strict=True))


@pytest.mark.parametrize("source", [".jpg", ".tif"])
def test_what_another_program_noted_as_iptc_arrives_in_every_format(tmp_path: Path, source: str) -> None:
    """In Photoshop's block, or the tag of a TIFF, without the digest; or in XMP's words."""
    path = tmp_path / f"photo{source}"
    Image.fromarray(RGB).save(path)
    as_exiftool_reads(path)  # skips where there is none
    given = [
        f"-IPTC:{name}={text}"
        for name, texts in AS_NOTED.items()
        for text in (texts if isinstance(texts, list) else [texts])
    ]
    given += [
        "-IPTC:CodedCharacterSet=UTF8",
        "-IPTCDigest=new",
        "-XMP-photoshop:LegacyIPTCDigest=00",
        "-overwrite_original",
    ]
    subprocess.run(["exiftool", "-q", *given, str(path)], check=True)
    picture = load_picture(path)
    assert picture.notes == ()
    for suffix in TAGGED:
        out = tmp_path / f"out{suffix}"
        assert save_picture(out, picture.rgb, beside=picture.beside, mark=MARK) == ()
        found = as_exiftool_reads(out)
        names = AS_NOTED if suffix in (".jpg", ".jpeg", ".tif", ".tiff") else IN_XMP
        assert {name: found.get(names[name] if names is IN_XMP else name) for name in AS_NOTED} == AS_NOTED
        assert not found.keys() & {"IPTCDigest", "LegacyIPTCDigest", "Warning"}
        assert found["Record"] == MARK.record


def test_a_layer_says_that_a_model_made_it(tmp_path: Path) -> None:
    save_layer(tmp_path / "layer.png", np.dstack([RGB, RGB[..., 0]]), mark=MARK)
    assert load_picture(tmp_path / "layer.png").trained
    save_layer(tmp_path / "other.png", np.dstack([RGB, RGB[..., 0]]))
    assert not load_picture(tmp_path / "other.png").trained


@pytest.fixture
def source(tmp_path: Path) -> VideoInfo:
    return probe(make_video(tmp_path / "source.mp4", range(3)))


def copied(info: VideoInfo, path: Path, **more: Any) -> VideoWriter:
    with VideoWriter(path, info, **more) as writer:
        for frame in read_frames(info):
            writer.write(frame, frame.rgb)
    return writer


def tagged(source: Path, path: Path, tags: dict[str, str]) -> Path:
    """``source`` with ``tags`` in its container."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w", options={"movflags": "use_metadata_tags"}) as new:
        new.metadata.update(tags)
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return path


def tags_of(path: Path) -> dict[str, str]:
    import av

    with av.open(str(path)) as file:
        return {name.lower(): text for name, text in file.metadata.items()}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    "more", [{}, {"com.apple.quicktime.make": "Maker", "artist": "A. Person"}], ids=["few", "many"]
)
def test_a_video_keeps_its_tags_and_says_how_it_was_made(
    tmp_path: Path, source: VideoInfo, suffix: str, more: dict[str, str]
) -> None:
    tags = TAGS | more
    info = probe(tagged(source.path, tmp_path / "tagged.mp4", tags))
    out = tmp_path / f"out{suffix}"
    assert copied(info, out, mark=MARK).notes == ()
    facts = look_at(out)
    assert (facts.kind, facts.record, facts.source_type) == ("video", MARK.record, TRAINED.rpartition("/")[2])
    assert tags_of(out).items() >= tags.items()
    assert probe(out).frames == 3
    copied(probe(out), tmp_path / f"again{suffix}", mark=Mark("second"))
    assert look_at(tmp_path / f"again{suffix}").record == "second"
    copied(info, tmp_path / f"bare{suffix}", keep=False)
    assert not tags_of(tmp_path / f"bare{suffix}").keys() & tags.keys()
    assert look_at(tmp_path / f"bare{suffix}").record is None


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_another_reader_sees_a_videos_mark(tmp_path: Path, source: VideoInfo, suffix: str) -> None:
    copied(source, tmp_path / f"out{suffix}", mark=MARK)
    found = as_exiftool_reads(tmp_path / f"out{suffix}")
    assert found.get("Record", found.get("T2lRecord")) == MARK.record
    assert found["DigitalSourceType"] == TRAINED
    assert "Warning" not in found


def test_a_videos_xmp_packet_goes_into_the_result(tmp_path: Path, source: VideoInfo) -> None:
    append_packet(source.path, TITLE)
    copied(source, tmp_path / "out.mov", mark=MARK)
    assert b"a title" in (packet_in(tmp_path / "out.mov") or b"")
    assert look_at(tmp_path / "out.mov").record == MARK.record


def test_a_full_disk_costs_a_video_its_mark_alone(
    tmp_path: Path, source: VideoInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, packet: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("t2l_cli.media.muxing.append_packet", full)
    (note,) = copied(source, tmp_path / "out.mp4", mark=MARK).notes
    assert "no room for the XMP data and the record of the edit: No space left on device" in note
    assert probe(tmp_path / "out.mp4").frames == 3


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\0\1uuid", b"\0\0\0\0uuid", b"\0\0\0\5ftyp" * 9, b"\0\0\0\1mdat" + b"\xff" * 8]
)
def test_boxes_that_are_none_hold_no_packet(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x").write_bytes(data)
    assert packet_in(tmp_path / "x") is None


def test_what_is_neither_picture_nor_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("words")
    with pytest.raises(RequestError, match="not a picture"):
        look_at(tmp_path / "x.png")
