import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imlspike.data.audio import (
    AudioError,
    AudioFormat,
    audio_format,
    read_audio,
    resample_blocks,
    stream_audio,
)
from tests.data.conftest import tone


def test_samples_come_back_exactly(tmp_path):
    samples = np.array([0, 1, -1, 16384, -32768, 32767], dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    read = read_audio(tmp_path / "a.wav")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, samples.astype(np.float32) / 32768)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg"])
@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_another_rate_keeps_length_and_pitch(tmp_path, rate, suffix):
    soundfile.write(tmp_path / f"a{suffix}", tone(1.0, rate, pitch=440), rate)
    read = read_audio(tmp_path / f"a{suffix}", on_mismatch="convert")
    assert abs(len(read) - 16000) <= 1
    assert np.argmax(np.abs(np.fft.rfft(read[:16000], 16000))) == 440
    np.testing.assert_allclose(read[2000:14000], tone(1.0, 16000, pitch=440)[2000:14000], atol=0.02)


def test_two_channels_are_their_mean(tmp_path):
    left, right = tone(0.2, pitch=300), tone(0.2, pitch=700)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16000, subtype="FLOAT")
    np.testing.assert_allclose(
        read_audio(tmp_path / "a.wav", on_mismatch="convert"), (left + right) / 2, atol=1e-6
    )


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (44100, 2)])
def test_a_mismatch_is_refused_by_name_unless_allowed(tmp_path, rate, channels):
    soundfile.write(tmp_path / "a.wav", np.zeros((rate, channels)), rate)
    with pytest.raises(
        AudioError, match=rf"ru_0001 \(.*a\.wav\): {rate} Hz with {channels} .*expected 16000 Hz mono"
    ):
        read_audio(tmp_path / "a.wav", name="ru_0001")


def test_an_unknown_policy_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(0.1), 16000)
    with pytest.raises(ValueError, match="'guess'"):
        read_audio(tmp_path / "a.wav", on_mismatch="guess")


@pytest.mark.parametrize("cut", [46, 1000, 15999])
def test_a_truncated_wav_is_refused(tmp_path, cut):
    """libsndfile reads such a file without a word; the header still promises every sample."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.5), 16000)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(AudioError, match=rf"a\.wav: truncated, its header promises {cut} more bytes"):
        read_audio(path)


@pytest.mark.parametrize("form", ["AIFF", "AU", "W64", "RF64", "CAF", "NIST"])
def test_a_truncated_file_of_another_form_is_refused(tmp_path, form):
    path = tmp_path / "a"
    soundfile.write(path, tone(0.5), 16000, format=form)
    assert len(read_audio(path)) == 8000
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(AudioError, match="a: truncated"):
        read_audio(path)


def test_a_wav_cut_inside_an_early_chunk_is_refused(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF\x00\x01\x00\x00WAVELIST\x40\x00\x00\x00INFO")
    with pytest.raises(AudioError, match="a.wav"):
        read_audio(path)


def test_chunks_around_the_samples_do_no_harm(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.1), 16000)
    plain = path.read_bytes()
    path.write_bytes(plain[:36] + b"note\x03\x00\x00\x00abc\x00" + plain[36:] + b"LIST\x04\x00\x00\x00INFO")
    np.testing.assert_allclose(read_audio(path), tone(0.1), atol=1e-4)


@pytest.mark.parametrize("suffix", [".flac", ".ogg"])
def test_a_truncated_compressed_file_is_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 32000), 16000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(AudioError, match=f"a{suffix}"):
        read_audio(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not audio at all " * 50, "not readable"),
        (b"RIFF", "not readable"),
        (None, "no such file"),
    ],
)
def test_what_is_not_audio_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=rf"ru_0001 \(.*a\.wav\): {message}"):
        read_audio(tmp_path / "a.wav", name="ru_0001")


def test_a_wav_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(AudioError, match="holds no samples"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_by_their_place(tmp_path, bad):
    samples = tone(1.0)
    samples[12345] = bad
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    for seconds in (0.1, 10):
        with pytest.raises(AudioError, match=r"a\.wav: .*sample 12345"):
            list(stream_audio(tmp_path / "a.wav", block_seconds=seconds))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (44100, 2)])
def test_blocks_joined_are_the_whole(tmp_path, rate, channels, suffix):
    """Whatever their length, up to rounding. To jump within an MP3, as soundfile does, would not be exact."""
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.stack([tone(1.0, rate)] * channels, axis=1), rate)
    samples, _ = soundfile.read(path, dtype="float32", always_2d=True)
    whole = torch.from_numpy(samples.mean(axis=1))
    if rate != 16000:
        whole = torchaudio.functional.resample(whole, rate, 16000)
    for seconds in (0.01, 0.37, 10):
        blocks = list(stream_audio(path, on_mismatch="convert", block_seconds=seconds))
        assert len(blocks) == 1 or max(map(len, blocks)) <= 16000 * (seconds + 0.05)
        np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-5 if rate != 16000 else 1e-6)


def test_a_damaged_mp3_is_read_without_a_word_of_its_library(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    soundfile.write(path, tone(3.0), 16000)
    content = bytearray(path.read_bytes())
    content[3000:3400] = bytes(400)
    path.write_bytes(content)
    soundfile.read(path)
    assert "resync" in capfd.readouterr().err
    with pytest.raises(AudioError, match="damaged"):
        read_audio(path)
    assert capfd.readouterr().err == ""


@settings(max_examples=20)
@example(rates=(44100, 16000), sizes=[1])
@given(
    rates=st.sampled_from([(8000, 16000), (48000, 16000), (44100, 16000), (11025, 16000)]),
    sizes=st.lists(st.integers(0, 1500), min_size=1, max_size=12),
)
def test_resampling_in_blocks_leaves_no_seams(rates, sizes):
    """Everywhere, at the borders of blocks too, it is what resampling of the whole gives."""
    samples = np.random.default_rng(0).uniform(-1, 1, sum(sizes)).astype(np.float32)
    blocks = np.split(samples, np.cumsum(sizes)[:-1])
    joined = np.concatenate(list(resample_blocks(blocks, *rates)))
    if len(samples) == 0:
        assert len(joined) == 0
    else:
        whole = torchaudio.transforms.Resample(*rates)(torch.from_numpy(samples)).numpy()
        np.testing.assert_allclose(joined, whole, atol=2e-6)


@pytest.mark.parametrize("rate", [0, -1, 1, 1.5, float("nan"), float("inf"), 10**9, True, "16000", None])
def test_no_rate_of_sound_is_refused_wherever_one_is_given(rate):
    for rates in ((rate, 16000), (16000, rate)):
        with pytest.raises(ValueError, match=f"sampling_rate is {rate!r}"):
            list(resample_blocks([np.zeros(9, dtype=np.float32)], *rates))


def test_a_whole_number_of_any_type_is_a_rate():
    for rate in (44100.0, np.float32(44100), np.int64(44100)):
        assert sum(map(len, resample_blocks([np.zeros(441, dtype=np.float32)], rate, 16000))) == 160


def test_a_long_block_is_resampled_in_parts(monkeypatch):
    samples = np.random.default_rng(0).uniform(-1, 1, 5000).astype(np.float32)
    whole = torchaudio.transforms.Resample(44100, 16000)(torch.from_numpy(samples)).numpy()
    monkeypatch.setattr("imlspike.data.audio.AT_ONCE", 700)
    parts = list(resample_blocks([samples], 44100, 16000))
    assert max(map(len, parts)) < 700
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=2e-6)


def test_rates_without_a_small_ratio_are_approximated():
    """A sine keeps its pitch; the exact filter would take gigabytes."""
    rate = 44101
    whole = np.concatenate(list(resample_blocks([tone(1.0, rate, pitch=440)], rate, 16000)))
    assert abs(len(whole) - 16000) <= 1
    np.testing.assert_allclose(whole[2000:14000], tone(1.0, 16000, pitch=440)[2000:14000], atol=0.02)


def test_what_a_header_tells(tmp_path):
    soundfile.write(tmp_path / "a.flac", np.zeros((22050, 3)), 44100)
    assert audio_format(tmp_path / "a.flac") == AudioFormat(44100, 3, 0.5)


def test_a_flac_of_unknown_length_is_read(tmp_path):
    """As a program writes it that doesn't know how much is to come."""
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(0.5), 16000)
    whole, content = read_audio(path), bytearray(path.read_bytes())
    content[21] &= 0xF0  # the lowest 36 bits of these eight bytes are the number of samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert audio_format(path).seconds is None
    np.testing.assert_array_equal(read_audio(path), whole)
