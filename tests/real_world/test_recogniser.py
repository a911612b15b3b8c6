"""The recogniser of pretrained/ on two sentences of its test set, as other recorders and lines bring them."""

from pathlib import Path

import jiwer
import numpy as np
import pytest

from benchmarks.robustness import conditions
from imlspike import Speech2Text
from imlspike.data.audio import read_audio

ROOT = Path(__file__).parents[2]
SENTENCES = {
    "voc1/results/RESULTS_files/ru_0216": "лицо её казалось счастливым отец дал мне яд но я видела "
    "он не верит мне",
    "tts1/results/RESULTS_files/ru_0420": "утром лёжа с эммой в постели он смотрел как солнечный луч "
    "золотит пушок на её бледно розовых щеках полуприкрытых оборками чепца",
}
PATHS = [ROOT / f"egs/msu_ru_nsh/{folder}/natural.wav" for folder in SENTENCES]
# By how much the character error rate of these two may rise: by rounding alone spikes turn over and with them
# characters. Over the whole test set: pretrained/robustness.md.
ALLOWED = {"level": 0.04, "zeros": 0.04, "hiss": 0.04, "rate": 0.04, "codec": 0.06}

pytestmark = pytest.mark.skipif(not PATHS[0].is_file(), reason="only beside the sources")


@pytest.fixture(scope="module")
def recogniser():
    return Speech2Text.from_pretrained(ROOT / "pretrained/recogniser.zip")


@pytest.fixture(scope="module")
def waves(recogniser):
    return [read_audio(path, recogniser.sampling_rate, path.parent.name) for path in PATHS]


@pytest.fixture(scope="module")
def plain(recogniser, waves):
    return errors(recogniser(waves, sampling_rate=recogniser.sampling_rate))


def errors(heard: list[str]) -> float:
    """Their character error rate."""
    return jiwer.cer(list(SENTENCES.values()), heard)


CONDITIONS = {key: change for key, change in conditions().items() if key[0] in ALLOWED}


@pytest.mark.parametrize(("group", "value"), CONDITIONS)
def test_it_is_heard_as_well(recogniser, waves, plain, group, value):
    change, random = CONDITIONS[group, value], np.random.default_rng(0)
    changed = [change(wave, recogniser.sampling_rate, random) for wave in waves]
    heard = [recogniser(np.float32(wave), sampling_rate=rate) for wave, rate in changed]
    assert errors(heard) <= plain + ALLOWED[group]
