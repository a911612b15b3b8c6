"""Small corpora made on the spot: tones for speech, Festival's transcript format."""

import numpy as np
import pytest
import soundfile

WORDS = ["привет", "мир", "снег", "окно", "вода", "лес", "ёлка", "трава", "пот+ом", "дом"]


def tone(seconds: float, rate: int = 16000, pitch: float = 220.0) -> np.ndarray:
    """A sine of amplitude 0.3."""
    return (0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


@pytest.fixture
def corpus(tmp_path):
    """24 sentences ru_0001 to ru_0024, half a second each: 20 for train, 2 for valid, 2 for test."""
    root = tmp_path / "corpus"
    (root / "wav").mkdir(parents=True)
    (root / "etc").mkdir()
    lines = []
    for number in range(1, 25):
        name = f"ru_{number:04d}"
        soundfile.write(root / "wav" / f"{name}.wav", tone(0.5 + number / 100), 16000)
        again = "раз " * (number // 8)
        text = f"{WORDS[number % 10].capitalize()}, {WORDS[number % 7]} - {again}{WORDS[number % 9]}."
        lines.append(f'( {name} "{text} {WORDS[number // 10]}" )\n')
    (root / "etc" / "txt.done.data").write_text("".join(lines), encoding="utf-8")
    return root
