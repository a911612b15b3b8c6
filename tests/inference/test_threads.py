"""One model in several threads says what it says one after another."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import soundfile

from imlspike import Speech2Text, Text2Speech, Vocoder
from imlspike.data.audio import AudioError

ROOT = Path(__file__).parents[2]
MODELS, SOUNDS = (
    ROOT / "pretrained",
    sorted(ROOT.glob("egs/msu_ru_nsh/*/results/RESULTS_files/ru_*/natural.wav")),
)
THREADS = 4

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
    """Results of each input, all begun at once, in each thread another one first; twice, to be compared."""
    together = Barrier(THREADS)

    def run(first: int) -> dict:
        together.wait()
        order = [(first + n) % len(inputs) for n in range(len(inputs))]
        return {number: work(inputs[number]) for number in order}

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(run, range(THREADS)))


@pytest.mark.parametrize("decoding", ["greedy", "beam"])
def test_a_recogniser(waves, decoding):
    s2t = Speech2Text.from_pretrained(MODELS / "recogniser.zip", decoding)  # the n-gram isn't counted yet
    told = in_threads(s2t, waves[:2] if decoding == "beam" else waves)
    for number, expected in enumerate([s2t(wave) for wave in waves[: len(told[0])]]):
        assert expected and [one[number] for one in told] == [expected] * THREADS


def test_a_vocoder(waves):
    vocoder = Vocoder.from_pretrained(MODELS / "vocoder.zip")
    mels = [vocoder.mel(wave) for wave in waves]
    told = in_threads(lambda mel: vocoder.decode(mel).numpy(), mels)
    for number, mel in enumerate(mels):
        expected = vocoder.decode(mel).numpy()
        assert all(np.array_equal(one[number], expected) for one in told)


@pytest.mark.parametrize("vocoder", ["griffin_lim", MODELS / "vocoder.zip"])
def test_a_voice(vocoder):
    voice = Text2Speech.from_pretrained(MODELS / "voice.zip", vocoder)
    texts = ["Добрый день.", "Кот спит. Мир!"]
    told = in_threads(lambda text: voice(text).audio, texts)
    for number, text in enumerate(texts):
        expected = voice(text).audio
        assert all(np.array_equal(one[number], expected) for one in told)


def test_espeak():
    pytest.importorskip("phonemizer")
    from imlspike.text.phonemes import front_end

    texts = [" ".join(["hello", "many", "others", "today"][n:] * 3) for n in range(4)]
    speaker = front_end("espeak:en-us")
    told = in_threads(speaker, texts)
    for number, text in enumerate(texts):
        assert [one[number] for one in told] == [speaker(text)] * THREADS


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
