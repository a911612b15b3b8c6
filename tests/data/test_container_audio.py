"""Formats that ffmpeg reads, against what was written."""

import av
import numpy as np
import pytest
import soundfile

from imlspike.data.audio import AudioError, audio_format, read_audio, stream_audio
from tests.data.conftest import tone

# A tone of 1 kHz that swells to 12000 in 160 samples, as the package G722 1.2.8 encodes it.
G722_TONE = bytes.fromhex(
    "fade77b2b29ee0a0e1f6ce48cc5beaa5ebb9d2ccd09deee9ecba52ce92dfafeceffcd4cf94dff0ec"
    "effdd590d4dfb0ecefffd591d4dfb1ecf0fcd5d193fff2aef2fcd7d295dff1aef2fdd6d2d59ff2ee"
    "f2fdd7d3955eb3f0b0fcd793d5def5f072ff96d396ddb771f2ffd7d493fef8ef76fbd795d49cf5ef"
    "f4f9d9d398daf3f2f2fbd9d595fef6ef72b89cd496fcb2f0eefbdcd4d8ffb2edeef8ffd59afbf3ad"
)


def encode(path, samples, rate, codec):
    """Write mono `samples` by ffmpeg; the name's suffix says in which container."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        context = stream.codec_context
        context.open()
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        fit = av.AudioResampler(context.format, "mono", rate, frame_size=context.frame_size or 1024)
        for part in (*fit.resample(frame), *fit.resample(None), None):
            container.mux(stream.encode(part))
    return path


@pytest.mark.parametrize(
    ("name", "codec"), [("a.m4a", "aac"), ("a.aac", "aac"), ("a.webm", "libopus"), ("a.mp4", "aac")]
)
def test_what_was_written_is_read(tmp_path, name, codec):
    path = encode(tmp_path / name, tone(2.0, 48000, 440), 48000, codec)
    form = audio_format(path)
    assert (form.sampling_rate, form.channels) == (48000, 1)
    assert form.seconds == pytest.approx(2.0, abs=0.1)
    samples = read_audio(path, on_mismatch="convert")
    assert len(samples) == pytest.approx(32000, abs=800)
    assert np.argmax(np.abs(np.fft.rfft(samples[:16000]))) == 440
    assert np.sqrt(np.mean(samples[4000:28000] ** 2)) == pytest.approx(0.3 / 2**0.5, rel=0.1)
    blocks = list(stream_audio(path, on_mismatch="convert", block_seconds=0.3))
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.webm", "libopus")])
def test_a_truncated_one_is_refused(tmp_path, name, codec):
    path = encode(tmp_path / name, tone(2.0, 48000), 48000, codec)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=name):
        read_audio(path, on_mismatch="convert")


def test_raw_g722_is_decoded_as_the_recommendation_has_it(tmp_path):
    path = tmp_path / "a.g722"
    path.write_bytes(G722_TONE)
    samples = read_audio(path) * 32768
    assert audio_format(path).seconds == len(samples) / 16000 == 320 / 16000
    time, delay = np.arange(320), 22  # of the mirror filters, there and back
    wave = 12000 * np.sin(2 * np.pi * 1000 * time / 16000) * np.minimum(1, time / 160)
    error = samples[delay:] - wave[:-delay]
    assert 10 * np.log10((wave**2).mean() / (error**2).mean()) > 30


def test_an_mp3_is_read_whole_or_refused(tmp_path):
    """libsndfile alone reads a third of one of varying bitrate whose header is lost."""
    path = tmp_path / "a.mp3"
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 32000)
    soundfile.write(path, np.concatenate([noise, tone(2.0)]), 16000)
    content = path.read_bytes()
    assert len(read_audio(path)) == 64000
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="truncated"):
        read_audio(path)
    kbits = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)[content[2] >> 4]
    path.write_bytes(content[72 * kbits * 1000 // 16000 + (content[2] >> 1 & 1) :])
    assert len(soundfile.read(path)[0]) < 32000 and len(read_audio(path)) > 64000


def test_a_video_without_sound_is_refused(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuv420p"
        for part in (av.VideoFrame(16, 16, "yuv420p"), None):
            container.mux(stream.encode(part))
    with pytest.raises(AudioError, match="no audio"):
        audio_format(tmp_path / "a.mp4")


def test_real_mp3s_are_whole(real_audio):
    files = sorted((real_audio / "mandarin_words").glob("*.mp3"))[:100]
    assert files and all(audio_format(file).seconds > 0 for file in files)
