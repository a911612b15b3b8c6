"""The data module refuses what can't be trained or validated on."""

from dataclasses import replace

import pytest

pytest.importorskip("lightning")

import numpy as np  # noqa: E402
import soundfile  # noqa: E402

from imlspike.data.files import write_kaldi  # noqa: E402
from imlspike.training.config import DataConfig  # noqa: E402
from imlspike.training.data import VocoderData  # noqa: E402
from tests.training.tiny import GENERATOR, config_for  # noqa: E402


@pytest.mark.parametrize("samples", [1000, 64])
def test_pieces_are_whole_hops_and_longer_than_half_a_window(data_dir, samples):
    config = replace(config_for(data_dir), data=DataConfig(crop_samples=samples))
    with pytest.raises(ValueError, match=f"crop_samples={samples} must be a multiple of .*hop_length=32"):
        VocoderData(config, GENERATOR)


def test_a_validation_recording_that_is_too_short_is_named(data_dir, tmp_path):
    soundfile.write(tmp_path / "blip.wav", np.zeros(64), 8000)
    write_kaldi(tmp_path / "wav.scp", {"blip": str(tmp_path / "blip.wav")})
    with pytest.raises(ValueError, match=r"blip \(.*blip.wav\): 64 samples are too few .* more than 64"):
        VocoderData(replace(config_for(data_dir), valid_dirs=[str(tmp_path)]), GENERATOR)


def test_what_there_is_is_told(data_dir):
    config = replace(config_for(data_dir), data=DataConfig(crop_samples=3008, valid_utterances=None))
    assert VocoderData(config, GENERATOR).describe() == [
        "training: 6 recordings, 0.0 minutes, in memory",
        "training: 3 recordings have less than a piece of 3008 samples and are padded with zeros",
        "validation: 6 of 6 recordings",
    ]
