"""One model in several threads says what it says one after another."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import soundfile
import torch

from imlspike import Speech2Text, Text2Speech, Vocoder
from imlspike.data.audio import AudioError
from imlspike.inference.griffin_lim import griffin_lim
from imlspike.inference.ngram import NGramLanguageModel
from imlspike.layers.log_mel import LogMel
from imlspike.text.phonemes import front_end

ROOT = Path(__file__).parents[2]
MODELS, SOUNDS = (
    ROOT / "pretrained",
    sorted(ROOT.glob("egs/msu_ru_nsh/*/results/RESULTS_files/ru_*/natural.wav")),
)
THREADS = 3

pytestmark = pytest.mark.skipif(not SOUNDS, reason="only beside the sources")


@pytest.fixture(autouse=True)
def often_another_thread():
    """Python changes threads a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    """Parts of recordings, of different lengths."""
    whole = [soundfile.read(path, dtype="float32")[0] for path in SOUNDS[:2]]
    return [whole[n % 2][: 16000 * (n + 2) // 2] for n in range(THREADS)]


def in_threads(work, inputs: list) -> list:
    """By thread: number of an input to its result; all begin at once, each with another input."""
    together = Barrier(THREADS)

    def run(first: int) -> dict:
        together.wait()
        order = [(first + n) % len(inputs) for n in range(len(inputs))]
        return {number: work(inputs[number]) for number in order}

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


@pytest.mark.parametrize("decoding", ["greedy", "beam"])
def test_a_recogniser(waves, decoding):
    s2t = Speech2Text.from_pretrained(MODELS / "recogniser.zip", decoding)
    told = in_threads(s2t, waves[:1] if decoding == "beam" else waves)
    for number, expected in enumerate([s2t(wave) for wave in waves[: len(told[0])]]):
        assert expected and [one[number] for one in told] == [expected] * THREADS


def test_a_vocoder(waves):
    vocoder = Vocoder.from_pretrained(MODELS / "vocoder.zip")
    told = in_threads(lambda wave: vocoder.vocode(wave).numpy(), waves)
    for number, wave in enumerate(waves):
        expected = vocoder.vocode(wave).numpy()
        assert all(np.array_equal(one[number], expected) for one in told)


def test_a_voice():
    voice = Text2Speech.from_pretrained(MODELS / "voice.zip", MODELS / "vocoder.zip")
    texts = ["Да.", "Мир!"]
    told = in_threads(lambda text: voice(text).audio, texts)
    for number, text in enumerate(texts):
        expected = voice(text).audio
        assert all(np.array_equal(one[number], expected) for one in told)


def test_griffin_lim_has_its_own_random_phases():
    features = LogMel(16000, 512, 128, 20)
    mel = features(torch.randn(1, 1000))
    told = in_threads(lambda mel: griffin_lim(features, mel, iterations=1), [mel] * 60)
    expected = griffin_lim(features, mel, iterations=1)
    assert all(torch.equal(found, expected) for one in told for found in one.values())


def test_espeak_speaks_one_text_at_a_time():
    pytest.importorskip("phonemizer")
    speaker = front_end("espeak:en-us")
    texts = [" ".join("hello many others today morning".split()[n:] * 5) for n in range(4)] * 10
    expected = [speaker(text) for text in texts]
    assert [[one[n] for n in range(len(texts))] for one in in_threads(speaker, texts)] == [expected] * THREADS


def test_an_n_gram_is_counted_once(waves):
    """It is, at its first question: the others wait, or count as well, but never see the half of it."""
    texts = np.random.default_rng(0).integers(2, 20, (100, 50)).tolist()
    for _ in range(3):
        models = [NGramLanguageModel.fit(texts, 22, 4) for _ in range(2)]
        told = in_threads(models[0].log_probs, [tuple(text[:5]) for text in texts[:4]])
        for number, text in enumerate(texts[:4]):
            expected = models[1].log_probs(tuple(text[:5]))
            assert all(torch.equal(one[number], expected) for one in told)


def test_jobs_give_the_same_in_order_and_an_error_is_its_files_own(waves, tmp_path):
    s2t = Speech2Text.from_pretrained(MODELS / "recogniser.zip")
    files = [tmp_path / f"{n}.wav" for n in range(2 * len(waves))]
    for file, wave in zip(files, waves * 2, strict=True):
        soundfile.write(file, wave, 16000)
    files[3].write_bytes(b"no sound")
    heard = [
        list(s2t.transcribe(files, batch_seconds=4, on_error="return", jobs=jobs)) for jobs in (1, THREADS)
    ]
    assert heard[0] == heard[1] and [one.file for one in heard[0]] == [str(file) for file in files]
    assert [bool(one.error) for one in heard[1]] == [file == files[3] for file in files]
    assert all(one.words for one in heard[1] if not one.error)
    with pytest.raises(AudioError, match="3.wav"):
        list(s2t.transcribe(files, batch_seconds=4, jobs=THREADS))
