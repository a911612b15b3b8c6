"""The models that come with the project say something, and hear what was said."""

from pathlib import Path

import jiwer
import pytest
import torch

from imlspike import Speech2Text, Text2Speech
from imlspike.inference import Bundle

MODELS = Path(__file__).parents[2] / "pretrained"

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="only beside the sources")


def test_what_the_voice_says_the_recogniser_hears():
    voice = Text2Speech.from_pretrained(MODELS / "voice.zip", MODELS / "vocoder.zip")
    speech = voice("Добрый день.")
    assert 0.5 < speech.seconds < 3 and abs(speech.audio).max() > 0.05
    recogniser = Speech2Text.from_pretrained(MODELS / "recogniser.zip")
    heard = recogniser(speech.audio, sampling_rate=speech.sampling_rate)
    assert jiwer.cer("добрый день", heard) < 0.5


def test_the_conformer_teaches_what_the_recogniser_learns():
    """`distill_from` of conf/full_taught.yaml: the same tokens, features and statistics."""
    teacher, student = (Bundle.load(MODELS / f"{name}.zip") for name in ("conformer", "recogniser"))
    assert teacher.config["model"]["encoder"] == "conformer" and teacher.tokens == student.tokens
    assert teacher.config["features"] == student.config["features"]
    for name in ("features.mean", "features.std"):
        torch.testing.assert_close(teacher.states[name], student.states[name], rtol=1e-3, atol=1e-3)
