"""MP3s are read whole or refused: libsndfile alone reads a part of some without a word."""

import numpy as np
import pytest
import soundfile

from imlspike.data.audio import AudioError, audio_format, read_audio
from imlspike.data.mp3 import has_unknown_length, missing_mp3_bytes
from tests.data.conftest import tone

ID3 = b"ID3\x04\x00\x00" + bytes([0, 0, 2, 5]) + bytes(2 * 128 + 5)  # a tag of 261 bytes
AFTER = b"TAG" + bytes(125)


def write(path, rate=16000, channels=1, loud_first=False):
    """Two seconds of a tone, then two of noise, which take more bits; or the reverse."""
    parts = [tone(2.0, rate), np.random.default_rng(0).uniform(-0.3, 0.3, 2 * rate)]
    samples = np.concatenate(parts[::-1] if loud_first else parts)
    soundfile.write(path, np.stack([samples] * channels, axis=1), rate)
    return path.read_bytes()


def without_header(content: bytes) -> bytes:
    """Less the first frame, in which the encoder (at 16 kHz, 576 samples a frame) notes the length."""
    kbits = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[content[2] >> 4]
    return content[72 * kbits * 1000 // 16000 + (content[2] >> 1 & 1) :]


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (16000, 2), (44100, 1), (44100, 2)])
def test_a_truncated_one_is_refused(tmp_path, rate, channels):
    """Behind whatever tags the first frame notes its size, and whatever other tags follow."""
    path = tmp_path / "a.mp3"
    content = write(path, rate, channels)
    samples = read_audio(path, on_mismatch="convert")
    for before, after in ((b"", b""), (ID3, b""), (ID3 + ID3, AFTER)):
        path.write_bytes(before + content + after)
        assert len(read_audio(path, on_mismatch="convert")) == len(samples)
        for cut in (1, len(content) // 2, len(content) - 100):
            path.write_bytes(before + content[:-cut])
            with pytest.raises(AudioError, match=rf"a\.mp3: truncated, its header promises {cut} more bytes"):
                read_audio(path, on_mismatch="convert")


@pytest.mark.parametrize("loud_first", [True, False])
@pytest.mark.parametrize("before", [b"", ID3])
def test_one_of_unknown_length_is_refused(tmp_path, loud_first, before):
    """libsndfile alone would read much less than there is."""
    path = tmp_path / "a.mp3"
    content = write(path, loud_first=loud_first)
    path.write_bytes(before + without_header(content))
    assert len(soundfile.read(path)[0]) < 50000
    with pytest.raises(AudioError, match=r"a\.mp3: an MP3 of varying bitrate without .*ffmpeg -i"):
        read_audio(path)
    path.write_bytes(before + content)
    assert len(read_audio(path)) == 64000


def test_one_of_constant_bitrate_without_a_header_promises_nothing(tmp_path):
    """Its length is an estimate, but a good one; what there is is read."""
    path = tmp_path / "a.mp3"
    frame = b"\xff\xf3\xe8\xc4".ljust(72 * 160 * 1000 // 16000, b"\0")  # 160 kbit/s at 16 kHz, mono: silence
    path.write_bytes(frame * 60)
    assert not has_unknown_length(path) and missing_mp3_bytes(path) == 0
    whole = read_audio(path)
    path.write_bytes((frame * 60)[: len(frame) * 30 + 100])
    assert 0.4 < len(read_audio(path)) / len(whole) < 0.6


@pytest.mark.parametrize(
    "content", [b"", b"ID3", b"\xff", b"\xff\xf3\x80\xc4" + bytes(9) + b"Info", bytes(60)]
)
def test_what_is_no_mp3_promises_nothing(tmp_path, content):
    path = tmp_path / "a.mp3"
    path.write_bytes(content)
    assert missing_mp3_bytes(path) == 0 and not has_unknown_length(path)


def test_real_ones_are_whole(real_audio):
    files = sorted((real_audio / "mandarin_words").glob("*.mp3"))[:300]
    assert files and all(audio_format(file).seconds > 0 for file in files)
