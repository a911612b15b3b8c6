"""Containers of every kind, cut and with something behind them: the note or the error.

A stream without any length that was cut exactly between its frames can't be known, see `decode`.
"""

import struct
from functools import cache

import numpy as np
import pytest
import soundfile

from imlspike.data.audio import AudioError, audio_format, read_audio
from imlspike.data.ogg import _checksum
from tests.real_world.sounds import ffmpeg, sndfile, speech, video, wav

HTML = b"<html><body>502 Bad Gateway</body></html>\n" * 200
M4A, MP3 = lambda: ffmpeg("mp4", "aac", 4.0), lambda: sndfile("MP3", 4.0)
# By the end of a name: how ffmpeg writes it, codec, rate.
KINDS = {
    "m4a": ("mp4", "aac", 16000),
    "alac.m4a": ("ipod", "alac", 16000),
    "mov": ("mov", "pcm_s16le", 16000),
    "3gp": ("3gp", "libopencore_amrnb", 8000),
    "webm": ("webm", "libopus", 48000),
    "mkv": ("matroska", "aac", 16000),
    "wma": ("asf", "aac", 16000),
    "flv": ("flv", "aac", 44100),
    "rm": ("rm", "ac3", 48000),
    "mmf": ("mmf", "adpcm_yamaha", 44100),
    "sox": ("sox", "pcm_s32le", 16000),
    "rso": ("rso", "pcm_u8", 16000),
    "voc": ("voc", "pcm_s16le", 16000),
    "w64": ("w64", "pcm_s16le", 16000),
    "caf": ("caf", "alac", 16000),
    "ac3": ("ac3", "ac3", 48000),
    "eac3": ("eac3", "eac3", 48000),
    "mp2": ("mp2", "mp2", 16000),
    "mp3": ("mp3", "libmp3lame", 16000),
    "aac": ("adts", "aac", 16000),
    "latm": ("latm", "aac", 16000),
    "ts": ("mpegts", "mp2", 16000),
    "mpg": ("mpeg", "mp2", 16000),
    "nut": ("nut", "libopus", 48000),
    "tta": ("tta", "tta", 16000),
}


@cache
def written(kind: str) -> bytes:
    form, codec, rate = KINDS[kind]
    return ffmpeg(form, codec, 4.0, rate)


def read(folder, name, content):
    """Seconds that are read and what is told; the strict reader refuses what is told of."""
    path, notes = folder / name, []
    path.write_bytes(content)
    rate = audio_format(path).sampling_rate
    seconds = len(read_audio(path, rate, on_mismatch="convert", note=notes.append)) / rate
    if notes:
        with pytest.raises(AudioError, match=name):
            read_audio(path, rate)
    return seconds, notes


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_file_is_read_without_a_word(tmp_path, kind):
    seconds, notes = read(tmp_path, f"a.{kind}", written(kind))
    assert seconds == pytest.approx(4, abs=0.1 if kind != "caf" else 0) and not notes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("more", ["cut", "html"])
def test_what_is_lost_is_told_or_refused(tmp_path, kind, more):
    content = written(kind)
    content = content[: len(content) * 5 // 8 + 3] if more == "cut" else content + HTML
    try:
        seconds, notes = read(tmp_path, f"a.{kind}", content)
    except AudioError as error:
        assert f"a.{kind}" in str(error) and "Errno" not in str(error)
    else:
        assert len(notes) == 1 and seconds == pytest.approx(2.5 if more == "cut" else 4, abs=0.6)


@pytest.mark.parametrize("behind", [MP3, lambda: ID3 + HTML, lambda: sndfile("WAV"), lambda: M4A()[4:]])
@pytest.mark.parametrize("first", [M4A, MP3, lambda: written("mkv"), lambda: written("tta")])
def test_another_recording_behind_it(tmp_path, first, behind):
    """Read too (an MP3 behind an MP3), told of by its bytes, or refused."""
    try:
        seconds, notes = read(tmp_path, "a.x", first() + behind())
    except AudioError as error:
        assert "a.x" in str(error)
    else:
        assert notes or seconds > 7.9


ID3 = b"ID3\4\0\0\0\0\0\12" + bytes(10)


@pytest.mark.parametrize(
    "tags", [bytes(3000), b"TAG" + b"x" * 125, ID3, ID3 + b"TAG" + b"x" * 125 + bytes(9)]
)
@pytest.mark.parametrize("kind", ["m4a", "mkv", "aac", "tta", "flv"])
def test_zeros_and_tags_behind_are_no_loss(tmp_path, kind, tags):
    assert not read(tmp_path, f"a.{kind}", written(kind) + tags)[1]


def without_a_size(content: bytes) -> bytes:
    """A Matroska file as a stream has it."""
    for name in (b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"):
        at = content.index(name) + 4
        long = 9 - content[at].bit_length()
        content = content[:at] + bytes([2 ** (9 - long) - 1]) + b"\xff" * (long - 1) + content[at + long :]
    return content


def test_a_matroska_stream_has_no_size(tmp_path):
    content = without_a_size(written("webm"))
    assert not read(tmp_path, "a.webm", content)[1]
    assert "8400 bytes" in read(tmp_path, "b.webm", content + HTML)[1][0]
    with pytest.raises(AudioError, match="c.webm"):
        read(tmp_path, "c.webm", content[: len(content) // 2])


def lie(content: bytes, share: float) -> bytes:
    """An Ogg file whose last page tells a share of its samples."""
    at = content.rindex(b"OggS")
    granule = round(share * struct.unpack("<q", content[at + 6 : at + 14])[0])
    page = content[at : at + 6] + struct.pack("<q", granule) + content[at + 14 :]
    page = page[:22] + bytes(4) + page[26:]
    return content[:at] + page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def test_a_long_vorbis_of_short_and_long_blocks_is_whole(tmp_path):
    """Pages begin with either, which ffmpeg takes for short ones."""
    samples = np.random.default_rng(0).normal(0, 0.001, 20 * 44100)
    samples[:: 44100 // 7] = 0.8
    soundfile.write(tmp_path / "b.ogg", samples, 44100, format="OGG", subtype="VORBIS")
    content = (tmp_path / "b.ogg").read_bytes()
    assert read(tmp_path, "a.ogg", content) == (20, [])
    seconds, [told] = read(tmp_path, "c.ogg", lie(content, 1.05))
    assert "its last page tells 21.00 s, but its packets hold 20.0" in told and seconds == pytest.approx(
        20, abs=0.1
    )


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("share", [0.0, 0.4, 5.0, 1e6])
def test_an_ogg_whose_only_page_lies_about_its_length(tmp_path, subtype, share):
    content = sndfile("OGG", 0.9, 16000, subtype)
    try:
        seconds, notes = read(tmp_path, "a.ogg", lie(content, share))
    except AudioError as error:
        assert "a.ogg" in str(error)
    else:
        assert len(notes) == 1 and (seconds == pytest.approx(0.9, abs=0.1) or subtype == "OPUS")


def test_an_mp3_without_a_header_cut_within_a_frame(tmp_path):
    """Of 72 bytes each here, so that the last 47 are none."""
    seconds, notes = read(tmp_path, "a.mp3", MP3()[288 : 288 + 4007])
    assert seconds > 1 and "47 bytes" in notes[0]


def test_parts_of_an_mxf_are_no_recordings(tmp_path):
    """Which begin with the same bytes; two that are joined are read."""
    content = video("mxf", "mpeg2video", "pcm_s16le")
    assert read(tmp_path, "a.mxf", content) == (pytest.approx(1, abs=0.05), [])
    assert read(tmp_path, "b.mxf", content * 2)[0] == pytest.approx(2, abs=0.05)
    with pytest.raises(AudioError, match="c.mxf.*truncated"):
        read(tmp_path, "c.mxf", content[: len(content) // 2])


@pytest.mark.parametrize("form", ["matroska", "mp4"])
def test_sound_that_begins_late(tmp_path, form):
    """Alone it begins where it begins; behind a picture its times are others than the video's."""
    for picture in ("mpeg4", None):
        (tmp_path / "a.mkv").write_bytes(video(form, picture, "aac", late=1.5))
        notes = []
        samples = read_audio(tmp_path / "a.mkv", 48000, on_mismatch="convert", note=notes.append)
        assert len(samples) / 48000 == pytest.approx(1, abs=0.07)
        assert [note[:19] for note in notes] == (["its sound begins 1."] if picture else [])


def test_a_transport_stream_of_a_camera(tmp_path):
    """Whose packets have 192 bytes."""
    content = video("mpegts", None, "ac3", options={"mpegts_m2ts_mode": "1"})
    assert read(tmp_path, "a.m2ts", content) == (pytest.approx(1, abs=0.07), [])
    assert "bytes" in read(tmp_path, "b.m2ts", content + HTML)[1][0]


@pytest.mark.parametrize(
    "data",
    [
        lambda pcm: pcm.astype(">i2").tobytes(),
        lambda pcm: b"\0" + pcm.tobytes()[:-1],
        lambda pcm: (pcm.astype(np.int32) + 2**15).astype("<u2").tobytes(),
    ],
)
def test_samples_of_another_kind_than_the_header_says(tmp_path, data):
    pcm, notes = np.round(speech(1.0) * 32767).astype("<i2"), []
    (tmp_path / "a.wav").write_bytes(wav(data(pcm)))
    read_audio(tmp_path / "a.wav", on_mismatch="convert", note=notes.append)
    assert "byte order" in notes[0]


def test_ffmpeg_tells_in_words(tmp_path):
    with pytest.raises(AudioError, match="a.wv.*Invalid data"):
        read(tmp_path, "a.wv", ffmpeg("wv", "wavpack") + HTML)
