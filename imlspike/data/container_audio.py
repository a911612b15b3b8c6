"""Audio by ffmpeg (PyAV): Ogg, MP3, m4a, AAC, WebM, G.722, video; what libsndfile reads in part or not."""

import io
import math
import mmap
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags2

from imlspike.data.boxes import JOINED, unread
from imlspike.data.chunks import TAGS
from imlspike.data.ogg import opus_seconds, survey_ogg

Note = Callable[[str], None]
CUT_SHORT = 0.1  # seconds that may lack of the length a container tells: encoders round it to packets
LONGEST_PACKET = 0.13  # seconds of Vorbis at 8 kHz
LATE = 0.25  # seconds that the sound of a video may begin after the picture, without a word
JITTER = 0.03  # seconds that timestamps may be off
RAW = "aac ac3 eac3 amr flac loas mp3 tta wv".split()  # nothing but packets and tags
# Read on, whatever begins there; or followed box by box (`imlspike.data.boxes`).
STREAMS = "aac ac3 amr eac3 flac loas mp3 mpeg mpegts ogg wv mov matroska".split()
TS_PACKET = 188, 192, 204  # bytes
MXF = b"\x06\x0e\x2b\x34"  # that its parts begin with, too; which one tell the following bytes
INDEX_OF_NUT = b"NX\xdd\x67\x2f\x23\xe6\x4e"
TOLD = "matroska mp4 mxf flac flv tta wv asf aiff caf w64 avi rm rso".split()  # tell their true length
FAILURES = (av.FFmpegError, OSError, ValueError, IndexError)  # the last two from what PyAV does in Python


class AudioError(ValueError):
    """An audio file that can't be used as it is; the message names it, what was expected and the way out."""


@dataclass(frozen=True)
class AudioFormat:
    """The header of an audio file: sampling rate in Hz, channels, duration in seconds.

    The duration of an MP3 is an estimate; that of a file written by a stream may be unknown (None). `floats`
    tells that samples are stored as floats, whose full scale is the writer's business.
    """

    sampling_rate: int
    channels: int
    seconds: float | None
    floats: bool = field(default=False, compare=False)

    def mismatch(self, sampling_rate: int) -> str:
        """The difference from mono at `sampling_rate`, in words; "" if there is none."""
        if (self.sampling_rate, self.channels) == (sampling_rate, 1):
            return ""
        found = f"{self.sampling_rate} Hz with {self.channels} channel(s)"
        return f"{found}; expected {sampling_rate} Hz mono"


def audio_format(path: Path, who: str) -> AudioFormat:
    """Read what a container tells of its first audio stream; `who` is the utterance, for errors.

    A file named .g722 is raw G.722 at 64 kbit/s, as Asterisk's prompts are.

    Raises:
        AudioError: if ffmpeg finds no audio there.
    """
    with _open(path, who) as container:
        stream, seconds = container.streams.audio[0], seconds_told(container) or None
        if container.format.name == "g722":
            seconds = 2 * path.stat().st_size / stream.rate
        floats = stream.codec_context.name.startswith("pcm_f")
        return AudioFormat(stream.rate, stream.channels, seconds, floats)


def seconds_told(container) -> float:
    """The length that a container tells of its first audio stream; 0 if it tells none."""
    stream = container.streams.audio[0]
    return float(
        stream.duration * stream.time_base if stream.duration else (container.duration or 0) / av.time_base
    )


def ogg_seconds(path: Path, who: str) -> tuple[float, float]:
    """The length that the last page of an Ogg file tells, and that of its packets, 0 if these tell none."""
    with _open(path, who) as container:
        longest = held = end = 0.0
        try:
            for packet in container.demux(container.streams.audio[0]):
                seconds = float((packet.duration or 0) * (packet.time_base or 0))
                longest = max(longest, seconds if seconds < 1 else 0)  # no packet is longer
                held += seconds if 0 < seconds < 1 or not packet.size else longest
                if packet.pts is not None:
                    begin = float(packet.pts * packet.time_base)
                    # Of Vorbis ffmpeg takes each page's first packet for one behind a short block.
                    held += begin - end if 0 < begin - end < longest else 0
                    end = begin + seconds
        except FAILURES:
            held = math.inf
        return seconds_told(container), opus_seconds(path) or held


def agree(told: float, held: float) -> bool:
    """Return True for lengths in seconds that differ by a packet at most."""
    return not held or abs(told - held) < CUT_SHORT + LONGEST_PACKET


def decode(path: Path, who: str, strict: bool, note: Note) -> Iterator[np.ndarray]:
    """Decode the first audio stream to float32 `(samples, channels)`, packet by packet, full scale at 1.

    Recordings that were joined (as by `cat`) are read one after the other, all at the first one's rate.

    Args:
        strict: refuse what is damaged inside; or else leave that out, and tell by `note` how much it was.

    What can't be known: whether a stream without any length or mark of its end (AAC, AC-3, AMR, G.722, MP2,
    MP3 without a Xing or Info header, MPEG-TS, IRCAM) was cut exactly between two of its frames or packets.

    Raises:
        AudioError: as `audio_format`; also for a file that ends before its container says it does (an MP3
            says so by its Xing or Info header, an Ogg by a mark on its last page), or of whose joined
            recordings ffmpeg reads only the first.
    """
    with _open(path, who) as container:
        reading = _Reading(container, path, note)
        try:
            for packet in _packets(container, who, reading):
                yield from reading.decode(packet)
            yield from reading.resample(None)
        except av.FFmpegError as error:  # of channels that can't be, as of a damaged header
            raise AudioError(f"{who}: damaged ({error.strerror}); copy or write it again") from None
    reading.judge(who, strict)


class _Reading:
    """A reading of a container's first audio stream, and what is found wrong meanwhile.

    Attributes:
        samples: that were decoded; `lost`: bytes of packets that were not, `lost_behind`: of these, the last;
        `gaps`: seconds that timestamps jump; `latest`: the end of the last packet of any stream, in seconds;
        `late`: seconds that sound begins after the picture;
        `promised`: the length that the container tells, where it's the true one; `end`: the last byte read;
        `packets_end`: where that would be if nothing lay between the packets;
        `mute`, `mute_bytes`: of the last packets, of which no sound came.
    """

    def __init__(self, container, path: Path, note: Note):
        self.path, self.note, self.stream = path, note, container.streams.audio[0]
        self.rate, self.layout, self.codec = self.stream.rate, self.stream.layout, self.stream.codec_context
        self.streams, self.form = len(container.streams.audio), container.format.name
        self.is_mp3 = self.codec.name.startswith("mp3")
        self.samples = self.bytes = self.lost_behind = self.zeros = self.end = 0
        self.packets_end = self.mute_bytes = 0
        self.gaps = self.latest = self.promised = self.mute = 0.0
        self.frames = b""  # of an MP3: how each of its frames begins
        self.tail: deque[bytes] = deque(maxlen=8)  # likewise, its last frames
        self.time: float | None = None  # where the next frame should begin
        self.start, self.late = (container.start_time or 0) / av.time_base, 0.0
        self.resampler, self.input = None, None
        if any(name in self.form for name in TOLD):
            self.promised = seconds_told(container) - max(0.0, self.start) * ("matroska" in self.form)
        self.most = None  # samples, where decoders leave out more than they should at the end
        if self.form == "caf" and self.codec.name == "alac" and self.promised:
            self.codec.flags2 |= Flags2.skip_manual
            self.most = round(self.promised * self.rate)
        with open(path, "rb") as file:
            head = file.read(2**20)
        self.promised = self._xing_seconds(head) if self.form == "mp3" else self.promised
        # Of what has no header, the first packet should be the first bytes, but for tags.
        self.lost = -1 if self.form in ("mp3", "aac") and not head.startswith((b"\xff", *TAGS)) else 0

    def decode(self, packet) -> Iterator[np.ndarray]:
        """The samples of a packet `(s, channels)`; an empty packet ends the stream."""
        if packet.size and packet.pos is not None:
            self.end = max(self.end, packet.pos + packet.size)
        if packet.pts is not None:
            end = float(packet.pts * packet.time_base) + min(
                1.0, float((packet.duration or 0) * packet.time_base)
            )
            self.latest = max(self.latest, end - self.start)
        if packet.stream is not self.stream:
            return
        self.lost = packet.pos or 0 if self.lost < 0 else self.lost
        self.packets_end = (self.packets_end or packet.pos or 0) + packet.size
        raw = bytes(packet) if self.is_mp3 or packet.size < 2**10 else b""
        if self.form == "mp3" and self.bytes:
            self.promised += self._xing_seconds(raw[:400])  # of another recording, joined
        try:
            frames = packet.decode()
            partial = (
                packet.is_corrupt
                and "pcm" not in self.codec.name
                or any(frame.is_corrupt for frame in frames)
            )
            lost = packet.size if partial else 0
            self.frames = self.frames or raw[:3]
        except FAILURES:
            frames, lost = self._frames_within(raw) if self.is_mp3 and self.frames else ([], packet.size)
            lost = min(lost, unread(raw, 0)) if raw.startswith(TAGS) else lost
        if lost and raw and not any(raw):  # at the end, these are no loss
            self.zeros, lost = self.zeros + lost, 0
        if frames and packet.size:
            self.lost, self.zeros, self.lost_behind = self.lost + self.zeros, 0, 0
        self.mute = 0.0 if frames else self.mute + float((packet.duration or 0) * (packet.time_base or 0))
        self.mute_bytes = 0 if frames else self.mute_bytes + (unread(raw, 0) if raw and not lost else 0)
        self.bytes, self.lost = self.bytes + packet.size - lost, self.lost + lost
        self.lost_behind += lost
        if self.form == "mp3" and frames and packet.size:
            self.tail.append(raw)
        for frame in frames:
            if frame.pts is not None and frame.time_base:
                begins = float(frame.pts * frame.time_base)
                if self.time is None:
                    self.late = begins - self.start
                elif begins > self.time + JITTER:
                    self.gaps += begins - self.time
                self.time = begins + frame.samples / frame.sample_rate
            yield from self.resample(frame)

    def resample(self, frame) -> Iterator[np.ndarray]:
        """A frame, or None at the end, as float32 `(s, channels)` at the first rate and layout."""
        form = frame and (frame.format.name, frame.layout.name, frame.sample_rate)
        outs = []
        if form != self.input:
            outs += self.resampler.resample(None) if self.resampler else []
            if self.input and form and form[2] != self.input[2]:
                self.note(f"its sampling rate changes from {self.input[2]} to {form[2]} Hz on the way")
                self.gaps = -math.inf  # timestamps say nothing then
            self.input, self.resampler = form, av.AudioResampler("flt", self.layout, self.rate)
        for out in (*outs, *(self.resampler.resample(frame) if frame else ())):
            left = None if self.most is None else self.most - self.samples
            samples = out.to_ndarray().reshape(out.samples, -1)[
                :left
            ]  # packed: PyAV dies of more than 8 planes
            self.samples += len(samples)
            yield samples

    def judge(self, who: str, strict: bool) -> None:
        """Raise AudioError for what isn't read, or tell of it; see `decode`."""
        if self.form.split(",")[0] not in STREAMS and begins_again(self.path, self.end):
            raise AudioError(f"{who}: {JOINED}")
        if len(self.tail) == self.tail.maxlen:  # ffmpeg decodes a part of an MP3's frame without a word
            parser = av.CodecContext.create(self.codec.name, "r")
            if sum(len(parser.parse(frame)) for frame in self.tail) < len(self.tail):
                self.mute_bytes += len(self.tail[-1])
        if self.form in RAW:
            self.lost, self.lost_behind = self.lost + self.mute_bytes, self.lost_behind + self.mute_bytes
        seconds, cut, odd = self.samples / self.rate, False, self.lost + self._unread()
        if self.form == "ogg":
            streams, _, odd, cut, backwards = survey_ogg(self.path)
        lost = max(self.gaps, odd / self.bytes * seconds if self.bytes else 1.0) if odd else 0
        if cut or max(seconds + lost, self.latest) < self.promised - CUT_SHORT:
            of = f" of {self.promised:.2f}" if self.promised else ""
            raise AudioError(f"{who}: truncated, {seconds:.2f}{of} s can be read; copy it again")
        told = f"about {lost:.2f} of {seconds + lost:.2f} s ({odd} bytes) can't be read" if odd else ""
        if self._lacks_end() or self.mute > CUT_SHORT:
            told = f"truncated, no mark of its end follows what was read, {seconds:.2f} s"
        elif told:
            told = f"truncated or damaged at its end, {told}" if self.lost_behind else f"damaged, {told}"
        elif self.form == "ogg" and streams == 1:
            page, held = ogg_seconds(self.path, who)
            if backwards or not agree(page, held):
                told = f"damaged, its last page tells {page:.2f} s, but its packets hold {held:.2f} s"
                told = f"{told}, of which {seconds:.2f} are read"
        if told and (strict or lost >= seconds):  # most of it, or all
            raise AudioError(f"{who}: {told}; copy or write it again")
        if told:
            self.note(told)
        elif self.gaps > CUT_SHORT:
            self.note(f"{self.gaps:.2f} s of its time have no sound in the file and are left out")
        if self.late > LATE:
            self.note(f"its sound begins {self.late:.2f} s after its picture; times count from there")
        if self.streams > 1:
            self.note(f"the first of {self.streams} audio tracks is taken")

    def _unread(self) -> int:
        """Bytes that are neither packets nor tags, of raw streams and transport streams."""
        with open(self.path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if self.form == "mpegts":
                return _odd_bytes(content)
            return unread(content, self.packets_end) if self.form in RAW else 0

    def _lacks_end(self) -> bool:
        """Return True for an Ogg or NUT file without the mark or the index that its end has."""
        if self.form == "nut":
            with (
                open(self.path, "rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            ):
                return content.find(INDEX_OF_NUT, self.end) < 0
        return self.form == "ogg" and bool(survey_ogg(self.path).unfinished)

    def _frames_within(self, raw: bytes) -> tuple[list, int]:
        """Decode the frames of an MP3 that are found in damaged bytes, and count the other bytes."""
        third = b"".join(re.escape(bytes([byte])) for byte in range(256) if not (byte ^ self.frames[2]) & 12)
        begins = re.escape(self.frames[:2]) + b"[" + third + b"]"
        starts = [found.start() for found in re.finditer(begins, raw)]
        frames, lost = [], len(raw)
        for start, end in pairwise([*starts, len(raw)]):
            try:
                frames += self.codec.decode(av.Packet(raw[start:end]))
                lost -= end - start
            except FAILURES:
                pass
        return frames, lost

    def _xing_seconds(self, raw: bytes) -> float:
        """The length that the Xing or Info header of an MP3 tells; 0 without one."""
        found = re.search(rb"(?:Xing|Info)\0\0\0[\1\3\5\7\x09\x0b\x0d\x0f](.{4})", raw, re.DOTALL)
        per_frame = 1152 if self.rate >= 32000 else 576  # after the encoder's delay, at most two frames
        return max(0, int.from_bytes(found[1], "big") - 2) * per_frame / self.rate if found else 0.0


class _File(io.FileIO):
    """A file in which a seek to nowhere, as of a damaged index, gives -1 as ffmpeg expects, no traceback."""

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return super().seek(offset, whence)
        except OSError:
            return -1


@contextmanager
def _open(path: Path, who: str) -> Iterator:
    """The container, with at least one audio stream."""
    form = "g722" if path.suffix.lower() == ".g722" else None
    with ExitStack() as opened:
        # A file, not its name, which might be of another protocol (12:30.mp3); no other file that it names.
        file = opened.enter_context(_File(path))
        try:
            options = {"protocol_whitelist": "none"}
            container = av.open(file, format=form, options=options, metadata_errors="replace")
        except FAILURES as error:
            why = f"by ffmpeg either ({getattr(error, 'strerror', None) or error}); write it again"
            raise AudioError(f"{who}: not readable as audio, {why}") from None
        streams = opened.enter_context(container).streams
        if not streams.audio:
            raise AudioError(f"{who}: holds no audio, only {len(streams)} stream(s) of other kinds")
        codec = streams.audio[0].codec_context
        if not codec or not codec.rate or not codec.channels:
            raise AudioError(f"{who}: not readable as audio, of an unknown kind or rate; write it again")
        yield container


def _packets(container, who: str, reading: _Reading) -> Iterator:
    """The packets of all streams.

    Raises:
        AudioError: where ffmpeg can't go on.
    """
    packets = container.demux()
    while True:
        try:
            yield next(packets)
        except StopIteration:
            return
        except FAILURES as error:
            why = getattr(error, "strerror", None) or error
            told = f"can't be read on after {reading.samples / reading.rate:.2f} s ({why})"
            raise AudioError(f"{who}: {told}; are several recordings joined there? Split it") from None


def _odd_bytes(content: mmap.mmap) -> int:
    """Bytes of an MPEG transport stream outside of its packets, each of which begins with G."""
    at = 0
    for size in TS_PACKET:
        if found := re.search(b"G(?=.{%d}G.{%d}G)" % (size - 1, size - 1), content, re.DOTALL):
            at = found.start()
            break
    lost = 0
    while at < len(content):
        if content[at] == ord("G") and at + TS_PACKET[0] <= len(content):  # of 192, 4 lie before it
            at += size
            continue
        following = content.find(b"G", at + 1)
        following = len(content) if following < 0 else following
        at, lost = following, lost + following - at
    return lost


def begins_again(path: Path, behind: int = 0) -> bool:
    """Tell that a file's first bytes stand in it again, `behind` what was read: recordings were joined."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        magic = content[: 14 if content[:4] == MXF else 4 if behind else 8]
        return any(magic) and content.find(magic, max(behind, 8)) >= 0
