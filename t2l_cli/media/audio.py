"""The audio of a video: packets copied unchanged from one file to another, interleaved with the video."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream

from t2l_cli.media.paths import shown


class AudioCopy:
    """Copies the packets of every audio track of ``source`` that ``target`` can hold; ``notes`` lists what is left out.

    Times are in seconds of the source.
    """

    def __init__(self, source: InputContainer, target: OutputContainer, path: Path) -> None:
        self.notes: list[str] = []
        self._target = target
        self._path = path
        self._tracks: dict[int, AudioStream] = {}  # by the track's index in the source
        for track in source.streams.audio:
            if _fits(track, target.format.name):
                self._tracks[track.index] = target.add_stream_from_template(track)
            else:
                codec = track.codec_context.name if getattr(track, "codec_context", None) else "of an unknown kind"
                self.notes.append(f"audio ({codec}) is left out: this kind of file cannot hold it, .mkv can hold most")
        self._packets = self._read(source, [source.streams[index] for index in self._tracks])
        self._ahead: tuple[Fraction, Packet[Stream]] | None = None

    def copy(self, start: Fraction | None, end: Fraction | None, shift: Fraction) -> None:
        """Write the remaining packets that begin in [start, end), ``shift`` seconds earlier; None means no bound."""
        while self._tracks:
            self._ahead = self._ahead or next(self._packets, None)
            if self._ahead is None or (end is not None and self._ahead[0] >= end):
                return
            (time, packet), self._ahead = self._ahead, None
            if start is None or time >= start:
                ticks = round(shift / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts - ticks
                packet.dts = None if packet.dts is None else packet.dts - ticks
                packet.stream = self._tracks[packet.stream_index]
                self._target.mux(packet)

    def _read(self, source: InputContainer, tracks: list[Stream]) -> Iterator[tuple[Fraction, Packet[Stream]]]:
        try:
            for packet in source.demux(*tracks) if tracks else ():
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None and packet.size:
                    yield stamp * packet.time_base, packet
        except FFmpegError as error:
            self.notes.append(f"the audio of {shown(self._path)} breaks ({error.strerror}): the rest of it is missing")


def _fits(track: AudioStream, form: str) -> bool:
    """Whether FFmpeg's format ``form`` can hold the track: tried in memory, because every muxer has its own rules."""
    try:
        with av.open(io.BytesIO(), "w", format=form) as trial:
            trial.add_stream_from_template(track)
            trial.start_encoding()
    except (FFmpegError, ValueError):
        return False
    return True
