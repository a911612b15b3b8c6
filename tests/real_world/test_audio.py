"""What a file holds is what is read, or its lack is told: of each kind the length, the note or the error.

Kinds of trouble that recorders, pipes, phones and disks make, as trackers of speech tools describe them.
"""

import os
import struct
import tracemalloc
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.data.audio import AudioError, audio_format, read_audio, stream_audio
from imlspike.data.ogg import _checksum
from tests.real_world.sounds import (
    RATE,
    chunk,
    cut,
    ffmpeg,
    flipped,
    hole,
    pcm,
    sndfile,
    speech,
    wav,
)

MP3, OGG, OPUS = (
    lambda *a: sndfile("MP3", *a),
    lambda *a: sndfile("OGG", *a),
    lambda *a: ffmpeg("ogg", "libopus", *a),
)
M4A, AAC = lambda *a: ffmpeg("mp4", "aac", *a), lambda *a: ffmpeg("adts", "aac", *a)
WEBM, MKV = lambda *a: ffmpeg("webm", "libopus", *a), lambda *a: ffmpeg("matroska", "pcm_s16le", *a)
ID3 = b"ID3\4\0\0\0\0\0\12" + bytes(10)
LIST, TAG = chunk(b"LIST", b"INFOISFT\6\0\0\0Lavf60\0\0" * 200), b"TAG" + b"x" * 125
APE = b"APETAGEX" + struct.pack("<IIII", 2000, 40, 1, 0x80000000) + bytes(8) + b"a" * 40
FLAC = ffmpeg("flac", "flac")
VOC = b"Creative Voice File\x1a\x1a\0\x14\1\x1f\x11\t\x4c\x1f\0" + bytes(range(200, 256)) * 2
U8 = (128 + speech() * 127).astype(np.uint8).tobytes()
FLOATS = (speech() * 20000).astype("<f4").tobytes()
HUGE = (speech() * 2e9).astype("<f4").tobytes()
LOUD = (speech() * 20).astype("<f4").tobytes()
SPIKE = np.where(np.arange(RATE) == 9, 1e30, speech()).astype("<f4").tobytes()


def au(size: int) -> bytes:
    content = sndfile("AU")
    return content[:8] + struct.pack(">I", size) + content[12:]


def aiff(size: int, frames: int = RATE) -> bytes:
    content = sndfile("AIFF")
    sound, about = content.index(b"SSND") + 4, content.index(b"COMM") + 10
    content = content[:about] + struct.pack(">I", frames) + content[about + 4 :]
    return content[:sound] + struct.pack(">I", size) + content[sound + 4 :]


def caf(size: int) -> bytes:
    content = sndfile("CAF")
    at = content.index(b"data") + 4
    return content[:at] + struct.pack(">q", size) + content[at + 8 :]


def rf64(size: int) -> bytes:
    content = sndfile("RF64")
    at = content.index(b"ds64") + 16
    return content[:at] + struct.pack("<Q", size) + content[at + 8 :]


def without_end_of_stream(content: bytes) -> bytes:
    """An Ogg file less its last page, as a recorder that lost its power leaves it."""
    return content[: content.rindex(b"OggS")]


def without_a_page(content: bytes) -> bytes:
    """An Ogg file less its fourth page: the second of sound or so."""
    starts = [at for at in range(len(content)) if content[at : at + 4] == b"OggS"]
    return content[: starts[3]] + content[starts[4] :]


def shouted(seconds: float = 6.0) -> bytes:
    """An Ogg file of many pages: noise takes space."""
    out, noise = BytesIO(), np.random.default_rng(0).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(out, noise, RATE, format="OGG")
    return out.getvalue()


def back_in_time(content: bytes) -> bytes:
    """An Ogg file of many pages whose last one tells the time 0."""
    at = content.rindex(b"OggS")
    page = content[at : at + 6] + bytes(8) + content[at + 14 : at + 22] + bytes(4) + content[at + 26 :]
    return content[:at] + page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def ages_in_a_packet(content: bytes) -> bytes:
    """An m4a file whose table says that all is in packets of a day."""
    at = content.index(b"stts") + 12
    return content[:at] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + content[at + 8 :]


def counted_half(content: bytes) -> bytes:
    """A FLAC file of a second whose header counts half of the samples."""
    return content[:22] + struct.pack(">I", RATE // 2) + content[26:]


# name: (content, seconds that are read without a word)
WHOLE = {
    "size_0.wav": (wav(size=0), 1),  # row 07: a recorder that was killed
    "size_and_riff_0.wav": (wav(size=0, riff=0), 1),
    "size_7fffffff.wav": (wav(size=0x7FFFFFFF), 1),
    "size_80000000.wav": (wav(size=0x80000000), 1),
    "size_ffffffff.wav": (wav(size=0xFFFFFFFF, riff=0xFFFFFFFF), 1),  # row 09: ffmpeg to a pipe
    "size_of_sox_in_a_pipe.wav": (wav(size=0x7FFFF000, riff=0x7FFFF024), 1),
    "size_less_the_header_ffffffdb.wav": (wav(size=0xFFFFFFDB), 1),
    "size_ffffffff_behind_a_list.wav": (wav(size=0xFFFFFFFF, before=LIST), 1),
    "size_counts_the_header.wav": (wav(size=32044), 1),  # row 08
    "size_counts_the_riff_header.wav": (wav(size=32008), 1),
    "size_one_too_many.wav": (wav(size=32001, pad=False), 1),
    "riff_size_wrong_alone.wav": (wav(riff=7), 1),
    "unfinished.au": (au(0xFFFFFFFF), 1),
    "size_0.aiff": (aiff(0), 1),
    "size_of_sox_in_a_pipe.aiff": (aiff(0x7F000008, 0x7F000000 // 2), 1),
    "size_ffffffff.aiff": (aiff(0xFFFFFFFF), 1),
    "size_minus_1.caf": (caf(-1), 1),
    "list_before.wav": (wav(before=LIST), 1),
    "list_behind.wav": (wav(behind=LIST), 1),
    "cue_and_private_chunks.wav": (wav(behind=chunk(b"cue ", bytes(28)) + chunk(b"_PMX", b"p" * 9000)), 1),
    "broadcast_chunk_and_junk.wav": (wav(before=chunk(b"bext", b"b" * 602) + chunk(b"JUNK", bytes(4000))), 1),
    "odd_chunk_without_padding.wav": (wav(behind=chunk(b"LIST", b"INFOx", pad=False) + LIST), 1),
    "zeros_up_to_the_sector.wav": (wav(behind=bytes(9000)), 1),
    "id3_behind.wav": (wav(behind=b"ID3\4" + bytes(6) + b"t" * 9000), 1),
    "header_counts_half.flac": (counted_half(sndfile("FLAC")), 1),
    "bytes_in_a_second_0.wav": (wav()[:28] + bytes(4) + wav()[32:], 1),
    "odd_samples_without_padding.wav": (wav(U8[:15999], bits=8, pad=False, behind=LIST), 1),
    "u8.wav": (wav(U8, bits=8), 1),
    "mulaw.wav": (sndfile("WAV", 1.0, 8000, "ULAW"), 1),
    "adpcm.wav": (sndfile("WAV", 1.0, RATE, "IMA_ADPCM"), 1.03),
    "gsm.wav": (sndfile("WAV", 1.0, 8000, "GSM610"), 1),
    "24bit.wav": (sndfile("WAV", 1.0, RATE, "PCM_24"), 1),
    "float64.wav": (sndfile("WAV", 1.0, RATE, "DOUBLE"), 1),
    "extensible.wav": (sndfile("WAVEX"), 1),
    "wav_named.mp3": (wav(), 1),
    "mp3_named.wav": (MP3(), 1),
    "m4a_named.wav": (M4A(), 1.06),
    "flac_named.ogg": (sndfile("FLAC"), 1),
    "12:30.ogg": (OGG(), 1),  # no protocol "12"
    "12:30.m4a": (M4A(), 1.06),
    "concat:a|b.mp3": (MP3(), 1),
    "two_joined.ogg": (OGG() + OGG(2.0), 3),  # row 13
    "two_joined.opus": (OPUS(1.0, 48000) + OPUS(1.0, 48000), 2),
    "two_joined.mp3": (MP3() + MP3(2.0), 3.1),  # row 15
    "with_tags_joined.mp3": ((ID3 + MP3() + TAG) * 2, 2.1),
    "two_joined.aac": (AAC() + AAC(2.0), 3.15),
    "two_joined.flac": (sndfile("FLAC") + sndfile("FLAC", 2.0), 3),
    "two_joined_with_latin_1_in_a_tag.flac": (FLAC.replace(b"Lavf", b"\xa3\xa3vf") * 2, 2),
    "id3v2_before.flac": (ID3 + sndfile("FLAC"), 1),
    "mp3_inside.wav": (ffmpeg("wav", "libmp3lame"), 1.02),
    "g722_inside.wav": (ffmpeg("wav", "g722"), 1),
    "alac.m4a": (ffmpeg("ipod", "alac"), 1),
    "phone.3gp": (ffmpeg("3gp", "aac"), 1.06),
    "video.mov": (ffmpeg("mov", "pcm_s16le"), 1),
    "video.avi": (ffmpeg("avi", "pcm_s16le"), 1),
    "stream.ts": (ffmpeg("mpegts", "aac"), 1.06),
    "two_joined.ts": (ffmpeg("mpegts", "aac") + ffmpeg("mpegts", "aac", 2.0), 3.15),
    "tags_behind.mp3": (MP3() + APE + TAG, 1),
    "zeros_behind.mp3": (MP3() + bytes(5000), 1),
    "id3v2_before.aac": (ID3 + AAC(), 1.06),
    "without_its_header.mp3": (MP3()[288:], 1.08),
    "zeros_behind.ogg": (OGG() + bytes(3000), 1),
    "8_khz.wav": (wav(pcm(1, 8000), rate=8000), 1),
    "768_khz.wav": (wav(pcm(0.1, 768000), rate=768000), 0.1),
    "one_sample.wav": (wav(b"\1\0"), 0),
    "float_above_1.wav": (wav(LOUD, bits=32, kind=3), 1),  # 7 dB above
}  # fmt: skip
# name: (content, seconds that are read, what is told)
TOLD = {
    "float_in_int16_scale.wav": (wav(FLOATS, bits=32, kind=3), 1, "full scale.*divided by 32768"),  # row 05
    "hole.mp3": (hole(MP3(8.0)), 7.85, "damaged, about 0.[12]"),  # row 17
    "two_holes.mp3": (hole(hole(MP3(8.0), 0.3), 0.6), 7.7, "damaged, about 0.[23]"),
    "hole.aac": (hole(AAC(8.0)), 7.8, "damaged"),
    "hole.m4a": (hole(M4A(8.0)), 7.8, "damaged"),
    "hole.amr": (hole(ffmpeg("amr", "libopencore_amrnb", 4.0, 8000), size=100)[:-3], 4, "truncated"),
    "a_page_less.ogg": (without_a_page(shouted()), 5, "damaged, about"),
    "a_bit_in_a_page.ogg": (flipped(shouted(), 0.6), 5.1, "damaged, about"),
    "without_its_last_page.ogg": (without_end_of_stream(shouted()), 5.3, "truncated, no mark of its end"),
    "half_a_frame_at_the_end.aac": (AAC(2.0)[:-40], 2, "truncated"),
    "zeros_at_the_beginning.mp3": (bytes(2000) + MP3(8.0)[2000:], 7.5, "damaged, about [01]."),
    "zeros_at_the_beginning.aac": (bytes(2000) + AAC(8.0)[2000:], 7.6, "damaged, about 0.[2345]"),
    "back_in_time.ogg": (back_in_time(shouted(0.85)), 0.85, "last page tells"),
    "two_tracks.mkv": (ffmpeg("matroska", "pcm_s16le", 1.0, RATE, 2), 1, "first of 2 audio tracks"),
    "rate_changes.aac": (AAC() + AAC(1.0, 44100), 2.1, "rate changes from 16000 to 44100 Hz"),
    "rate_changes.flac": (
        sndfile("FLAC") + sndfile("FLAC", 1.0, 44100), 2, "rate changes from 16000 to 44100 Hz"),
    "rate_changes.mp3": (MP3() + MP3(1.0, 24000), 2.1, "rate changes from 16000 to 24000 Hz"),
}  # fmt: skip
# name: (content, the error)
REFUSED = {
    # What fuzzing found: of an unknown codec, a name that isn't UTF-8, an index of nowhere.
    "unknown_codec.voc": (VOC, "truncated"),
    "sizes_beyond_the_file.caf": (caf(2**63 - 1), "not readable"),
    "rate_changes.ogg": (OGG() + OGG(1.0, 8000), "can't be read on after 1"),
    "kind_changes.ogg": (OGG() + OPUS(1.0, 48000), "can't be read on after 1"),
    "two_joined.wv": (ffmpeg("wv", "wavpack") + ffmpeg("wv", "wavpack"), "can't be read on|joined"),
    "rf64_size_unknown.wav": (rf64(0), "no samples|not readable"),
    "header_says_half.wav": (wav(size=16000), "bytes lie behind the 16000 bytes"),  # row 06
    "header_says_half.aiff": (aiff(16008), "lie behind"),
    "header_says_half.caf": (caf(16004), "lie behind"),
    "header_says_half.au": (au(16000), "lie behind"),
    "two_chunks_of_samples.wav": (wav(behind=chunk(b"data", pcm())), "lie behind"),
    "two_joined.wav": (wav() + wav(), "lie behind"),
    "text_behind.wav": (wav(behind=b"<html>502 Bad Gateway</html>" * 200), "lie behind"),
    "cut.wav": (cut(wav()), "truncated.*16022 more bytes"),
    "cut_by_a_page.wav": (wav()[:-4096], "truncated.*4096 more bytes"),
    "cut_3_gb.wav": (wav(size=3 * 2**30), "truncated"),
    "cut.flac": (cut(sndfile("FLAC")), "truncated|damaged"),
    "cut.mp3": (cut(MP3(4.0)), "truncated, .* of 4"),
    "second_half_cut.mp3": (MP3(1.0) + cut(MP3(4.0)), "truncated"),
    "cut.ogg": (cut(shouted()), "truncated"),  # row 18
    "second_cut.ogg": (OGG() + cut(shouted()), "truncated"),
    "cut.m4a": (cut(M4A(4.0)), "not readable|truncated"),
    "cut.webm": (cut(WEBM(4.0, 48000)), "truncated"),
    "cut.mkv": (cut(MKV(4.0)), "truncated"),
    "cut.aiff": (cut(sndfile("AIFF")), "truncated"),
    "cut.au": (cut(sndfile("AU")), "truncated"),
    "cut.caf": (cut(sndfile("CAF")), "truncated"),
    "cut.sph": (cut(sndfile("NIST")), "truncated"),
    "cut_mp3_inside.mkv": (cut(ffmpeg("matroska", "libmp3lame", 4.0, 44100)), "truncated"),
    "cut_mp3_inside.flv": (cut(ffmpeg("flv", "libmp3lame", 4.0, 44100)), "truncated"),
    "ages_in_a_packet.m4a": (ages_in_a_packet(M4A(4.0)), "truncated"),
    "noise.mp3": (np.random.default_rng(1).bytes(100_000), "truncated|damaged|not readable"),
    "headerless.raw": (pcm(), "not readable|no audio"),
    "two_channels_said.wav": (wav()[:22] + b"\2" + wav()[23:], "2 channel"),
    "8_bits_said.wav": (wav()[:34] + b"\10" + wav()[35:], "8 bits"),
    "cut.avi": (cut(ffmpeg("avi", "pcm_s16le", 4.0)), "truncated"),
    "cut.flv": (cut(ffmpeg("flv", "aac", 4.0, 44100)), "truncated"),
    "two_joined.avi": (ffmpeg("avi", "pcm_s16le") + ffmpeg("avi", "pcm_s16le"), "joined|truncated"),
    "two_joined.webm": (WEBM(1.0, 48000) + WEBM(2.0, 48000), "joined"),
    "two_rates_joined.mkv": (MKV() + MKV(1.0, 44100), "joined"),
    "two_joined.m4a": (M4A() + M4A(2.0), "joined"),
    "two_joined.au": (sndfile("AU") + sndfile("AU"), "lie behind"),
    "two_joined.aiff": (sndfile("AIFF") + sndfile("AIFF"), "lie behind"),
    "two_joined.caf": (sndfile("CAF") + sndfile("CAF"), "lie behind"),
    "two_joined.w64": (sndfile("W64") + sndfile("W64"), "joined|truncated"),
    "two_joined.sph": (sndfile("NIST") + sndfile("NIST"), "joined"),
    "rate_1.wav": (wav(rate=1), "sampling_rate is 1;"),  # row 10
    "rate_0.wav": (wav(rate=0), "rate|not readable"),
    "rate_999.wav": (wav(rate=999), "sampling_rate is 999;"),
    "rate_768001.wav": (wav(rate=768001), "sampling_rate is 768001;"),
    "rate_4_ghz.wav": (wav(rate=2**32 - 1), "rate|not readable"),
    "no_channel.wav": (wav(channels=0), "not readable|no samples"),
    "65535_channels.wav": (wav(channels=65535), "not readable|no samples|lie behind"),
    "float_beyond_all_scales.wav": (wav(SPIKE, bits=32, kind=3), "beyond full scale"),
    "float_in_int32_scale.wav": (wav(HUGE, bits=32, kind=3), "beyond full scale"),
    "float_of_nan.wav": (wav(b"\0\0\xc0\x7f" * 9, bits=32, kind=3), "NaN or infinity at sample 0"),
    "only_a_header.wav": (wav(b""), "no samples|not readable"),
    "header_cut.wav": (wav()[:30], "not readable|no samples"),
    "only_a_header.mp3": (b"ID3\4\0\0\0\0\0\0", "not readable"),
    "only_a_header.ogg": (OGG()[:100], "not readable|truncated"),
    "zeros.wav": (bytes(5000), "not readable"),
    "html.mp3": (b"<!DOCTYPE html><title>404 Not Found</title>" * 90, "not readable"),
    "playlist.mp3": (b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n", "not readable"),
    "list_of_files.mp3": (b"ffconcat version 1.0\nfile other.wav\n", "not readable"),
    "pointer_of_git_lfs.wav": (b"version https://git-lfs.github.com/spec/v1\noid 0\n", "not readable"),
    "picture.mp3": (b"\x89PNG\r\n\x1a\n" + bytes(900), "not readable|no audio"),
}  # fmt: skip


def put(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


def read(path, **options):
    """The samples at the file's own rate, and what is told."""
    notes: list[str] = []
    rate = audio_format(path).sampling_rate
    return (
        read_audio(path, rate, on_mismatch="convert", note=notes.append, **options) if rate else None,
        rate,
        notes,
    )


@pytest.mark.parametrize("name", WHOLE)
def test_all_is_read_and_there_is_nothing_to_tell(tmp_path, capfd, name):
    content, seconds = WHOLE[name]
    samples, rate, notes = read(put(tmp_path, name, content))
    assert len(samples) / rate == pytest.approx(seconds, abs=0.07) and not notes
    assert capfd.readouterr() == ("", "")
    if seconds >= 0.9:
        assert np.sqrt(np.mean(samples**2)) == pytest.approx(
            np.sqrt(np.mean((speech() * (20 if "above" in name else 1)) ** 2)), rel=0.15
        )


@pytest.mark.parametrize("name", TOLD)
def test_what_can_be_read_is_read_and_the_rest_is_told(tmp_path, name):
    """Only where the user allows it: a corpus has no such file."""
    content, seconds, told = TOLD[name]
    path = put(tmp_path, name, content)
    samples, rate, notes = read(path)
    assert len(samples) / rate == pytest.approx(seconds, abs=0.25)
    assert len(notes) == 1
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(notes[0])
    if "track" not in told and "changes" not in told:
        with pytest.raises(AudioError, match=name):
            read_audio(path, rate)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_all_there_is_refused_by_name(tmp_path, capfd, name):
    """In a line, and no library says a word of its own."""
    content, error = REFUSED[name]
    path = put(tmp_path, name, content)
    with pytest.raises(AudioError, match=f"{name}.*({error})"):
        read_audio(path, on_mismatch="convert")
    with pytest.raises(AudioError, match=name):
        read_audio(path)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=60)
@given(st.sampled_from(sorted(WHOLE | TOLD | REFUSED)), st.randoms(use_true_random=False))
def test_whatever_happens_to_a_file_it_is_read_or_refused(tmp_path_factory, name, random):
    """Bits turned, bytes lost, zeros, parts moved: sound, or an AudioError; nothing else, and no end."""
    content = bytearray({**WHOLE, **TOLD, **REFUSED}[name][0][:100_000])
    for _ in range(random.choice([1, 2, 5, 20])):
        at, other = random.randrange(min(len(content), 200)), random.randrange(len(content))
        change = random.randrange(5)
        if change == 0:
            content[at] ^= 1 << random.randrange(8)
        elif change == 1:
            content[at : at + 4] = random.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"])
        elif change == 2:
            content[other : other + 700] = bytes(random.randrange(700))
        elif change == 3:
            content[at:at] = content[other : other + 300]
        elif len(content) > 20:
            del content[-(other // 3 + 1) :]
    path = put(tmp_path_factory.mktemp("fuzz"), name, bytes(content))
    with suppress(AudioError):
        for block in stream_audio(path, RATE, None, "convert", note=lambda text: None):
            assert block.dtype == np.float32 and np.isfinite(block).all()


def test_a_header_of_any_size_takes_no_memory(tmp_path):
    """Neither its channels nor its rate, nor the samples that it promises."""
    path = put(tmp_path, "a.wav", wav(pcm(), channels=1000, rate=768000, size=2**32 - 1))
    tracemalloc.start()
    with suppress(AudioError):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**26


@pytest.mark.parametrize("kind", ["missing", "dangling link", "loop", "folder", "pipe", "empty"])
def test_what_is_no_file_is_refused_by_name_and_nothing_waits(tmp_path, kind):
    path = tmp_path / "a.wav"
    {
        "missing": lambda: None,
        "dangling link": lambda: path.symlink_to("nowhere.wav"),
        "loop": lambda: path.symlink_to("a.wav"),
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "empty": path.touch,
    }[kind]()
    with pytest.raises(AudioError, match="a.wav"):
        read_audio(path)


def test_a_name_that_is_not_utf_8_is_a_name(tmp_path):
    for content in (wav(), MP3()):
        path = tmp_path / os.fsdecode(b"\xff\xe9.x")
        path.write_bytes(content)
        assert len(read(path)[0]) == RATE


def test_without_anyone_to_tell_it_is_logged(tmp_path, caplog):
    path = put(tmp_path, "a.mp3", hole(MP3(8.0)))
    read_audio(path, on_mismatch="convert")
    assert "a.mp3: damaged" in caplog.text


@pytest.mark.parametrize("name", ["two_joined.ogg", "hole.mp3", "float_in_int16_scale.wav", "size_0.wav"])
def test_in_blocks_it_is_the_same(tmp_path, name):
    path = put(tmp_path, name, {**WHOLE, **TOLD}[name][0])
    whole, notes = read(path)[0], []
    blocks = list(stream_audio(path, RATE, None, "convert", 0.11, note=notes.append))
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    assert len(notes) == (name in TOLD)
