"""Seconds of tones in the layout of the corpus msu_ru_nsh, with the faults that real ones have."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
LETTERS = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
WORDS_WITHOUT_AUDIO = "ru_0025"
AUDIO_WITHOUT_WORDS = "ru_0026"
TOO_SHORT = "ru_0027"


def tones(text: str, rng: np.random.Generator, seconds: float = 0.12) -> np.ndarray:
    """One tone a character, silence for a blank, and a little noise."""
    time = np.arange(round(seconds * RATE)) / RATE
    pitch = {letter: 200 + 90 * i for i, letter in enumerate(LETTERS)}
    parts = [np.sin(2 * np.pi * pitch[c] * time) if c in pitch else 0 * time for c in text]
    wave = 0.3 * np.concatenate(parts)
    return wave + 0.01 * rng.standard_normal(len(wave))


def sentence(number: int) -> str:
    """Two words; any 16 numbers in a row use every letter, and no two sentences are the same."""
    letters = [LETTERS[(2 * number + k) % len(LETTERS)] for k in (0, 1, 7, 3, 18, number // 16)]
    return "".join(letters[:3]) + " " + "".join(letters[3:])


def write_corpus(folder: Path) -> Path:
    """20 sentences to train on, 2 to validate, 2 to test, and three that can't be used."""
    rng = np.random.default_rng(0)
    (folder / "wav").mkdir(parents=True)
    (folder / "etc").mkdir()
    transcripts = {f"ru_{number:04d}": sentence(number) for number in range(1, 25)}
    for name, text in transcripts.items():
        soundfile.write(folder / "wav" / f"{name}.wav", tones(text, rng), RATE, subtype="PCM_16")
    transcripts[WORDS_WITHOUT_AUDIO] = "слова без звука"
    soundfile.write(folder / "wav" / f"{AUDIO_WITHOUT_WORDS}.wav", tones("аб", rng), RATE, subtype="PCM_16")
    transcripts[TOO_SHORT] = "слишком много букв для такого короткого звука"
    soundfile.write(folder / "wav" / f"{TOO_SHORT}.wav", tones("аб", rng), RATE, subtype="PCM_16")
    lines = [f'( {name} "{text.capitalize()}." )\n' for name, text in transcripts.items()]
    (folder / "etc" / "txt.done.data").write_text("".join(lines), encoding="utf-8")
    return folder
