"""Speech-like sound for tests of scores, and folders with it."""

import numpy as np

from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.data.write_audio import write_audio

RATE, HOP = 16000, 128


def voice(seconds=1.2, pitch=120.0, seed=0, rate=RATE):
    """Harmonics of a gliding pitch under a slowly moving envelope, then a pause of soft noise."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(3 * time))) / rate
    wave = sum(np.sin(n * phase) * np.exp(-((n - 5 - 3 * np.sin(7 * time)) ** 2) / 20) for n in range(1, 30))
    wave *= 0.5 + 0.4 * np.sin(9 * time)
    wave[round(0.75 * len(wave)) :] = 0
    noise = np.random.default_rng(seed).normal(0, 1e-3, len(time))
    return (0.2 * wave / np.abs(wave).max() + noise).astype(np.float32)


def noisy(wave, level, seed=1):
    """The wave with white noise of that standard deviation."""
    return (wave + np.random.default_rng(seed).normal(0, level, len(wave))).astype(np.float32)


def write_set(folder, waves, rate=RATE, texts=None, speakers=None):
    """A Kaldi data directory `folder`/data and its audio in `folder`/wav; returns the directory. Texts and
    speakers are those of the utterances named, else one."""
    (folder / "wav").mkdir(parents=True)
    utterances = []
    for name, wave in waves.items():
        path = folder / "wav" / f"{name}.wav"
        write_audio(path, [wave], rate)
        text, speaker = (texts or {}).get(name, "да"), (speakers or {}).get(name, "s")
        utterances.append(Utterance(name, str(path), text, speaker, len(wave) / rate))
    write_data_dir(folder / "data", utterances)
    return folder / "data"


def write_system(folder, waves, rate=RATE):
    """A folder of synthesised audio."""
    folder.mkdir(parents=True)
    for name, wave in waves.items():
        write_audio(folder / f"{name}.wav", [wave], rate)
    return folder
