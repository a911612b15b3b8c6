"""The mel spectrogram of a voice is its vocoder's, and fits ESPnet's pitch and energy frame by frame."""

from pathlib import Path

import pytest
import torch
import yaml

from imlspike.espnet import LOG_MEL_KEY, register
from imlspike.inference import Vocoder
from imlspike.models import SpikingVocos

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture(scope="module")
def small() -> dict:
    """What conf/spikevoice_small.yaml says."""
    return yaml.safe_load((CONF / "spikevoice_small.yaml").read_text())


@pytest.fixture(scope="module")
def extract(small):
    """The extractor that ESPnet builds from it."""
    register()
    from espnet2.tasks.tts import feats_extractor_choices

    assert small["feats_extract"] == LOG_MEL_KEY
    return feats_extractor_choices.get_class(LOG_MEL_KEY)(**small["feats_extract_conf"])


def test_a_voices_mel_is_its_vocoders(extract):
    """The two YAMLs that belong together give the same features, to the last bit."""
    generator = yaml.safe_load((CONF / "voc_small.yaml").read_text())["generator"]
    vocoder = Vocoder(SpikingVocos(**{**generator, "dim": 8, "intermediate_dim": 8, "num_layers": 1}))
    audio = 0.1 * torch.randn(9000)
    mel, frames = extract(audio[None])
    assert torch.equal(mel[0].T, vocoder.features(audio)) and frames.tolist() == [9000 // 256 + 1]
    assert extract.output_size() == vocoder.n_mels


def test_alone_equals_padded_in_a_batch(extract):
    """Garbage in the padding does not reach the last frames, and padding is zero."""
    lengths = torch.tensor([5000, 3001, 513])
    audio = torch.randn(3, 5000)
    together, frames = extract(audio, lengths)
    for wave, length, mel, count in zip(audio, lengths, together, frames, strict=True):
        assert torch.equal(mel[:count], extract(wave[None, :length])[0][0])
        assert not mel[count:].any()


@pytest.mark.parametrize("samples", [513, 767, 768, 769, 16000, 16127, 16128])
def test_it_has_the_frames_of_espnets_pitch_and_energy(extract, small, samples):
    from espnet2.tts.feats_extract.dio import Dio
    from espnet2.tts.feats_extract.energy import Energy

    audio = 0.1 * torch.randn(1, samples)
    frames = [int(extract(audio)[1])]
    for kind, name in ((Dio, "pitch"), (Energy, "energy")):
        frames.append(int(kind(**small[f"{name}_extract_conf"])(audio)[1]))
    assert len(set(frames)) == 1, frames


def test_what_is_too_short_is_named(extract):
    with pytest.raises(ValueError, match="utterance 1 of the batch has 512 samples; .* more than 512"):
        extract(torch.zeros(2, 2000), torch.tensor([2000, 512]))
