"""The models that come with the project say something, and hear what was said."""

from pathlib import Path

import jiwer
import pytest

from imlspike import Speech2Text, Text2Speech

MODELS = Path(__file__).parents[2] / "pretrained"

pytestmark = pytest.mark.skipif(not MODELS.is_dir(), reason="only beside the sources")


def test_what_the_voice_says_the_recogniser_hears():
    voice = Text2Speech.from_pretrained(MODELS / "voice.zip", MODELS / "vocoder.zip")
    speech = voice("Добрый день.")
    assert 0.5 < speech.seconds < 3 and abs(speech.audio).max() > 0.05
    recogniser = Speech2Text.from_pretrained(MODELS / "recogniser.zip")
    heard = recogniser(speech.audio, sampling_rate=speech.sampling_rate)
    assert jiwer.cer("добрый день", heard) < 0.5
