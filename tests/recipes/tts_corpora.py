"""LJSpeech, Baker, AISHELL-3, Fish Fillets in miniature: their layout, names and quirks, tones for speech.

Sentences are those of `tests.recipes.corpus` in another script, numbered so that each of our sets has some.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile

from imlspike.data.fillets import _set_of
from tests.recipes.corpora import ENGLISH, MANDARIN, in_script, write_wav
from tests.recipes.corpus import RATE, sentence, tones

CHARACTERS = MANDARIN[:-1] + "体"  # one for each of `tests.recipes.corpus.LETTERS`
_SYLLABLES = (
    "er2 dui4 lou2 shi4 cheng2 jiao1 yi4 zhi4 zuo4 yong4 zui4 da4 de5 xian4 gou4 ye3 jian4 bei4 fang4 song1 "
    "bei3 jing1 shang4 hai3 ren2 you3 bu4 zai4 zhe4 li3 zhong1 ti3"
).split()
PINYIN = dict(zip(CHARACTERS, _SYLLABLES, strict=True))
SETS = {"train": 16, "valid": 2, "test": 2}


def make_ljspeech(root: Path, sentences: Mapping[str, int] = SETS, seconds: float = 0.12) -> Path:
    """Write `LJSpeech-1.1/` below `root`; returns `root`.

    Args:
        sentences: how many each of our sets has.
        seconds: how long a letter is.
    """
    rng, top, lines = np.random.default_rng(0), root / "LJSpeech-1.1", []
    for which, number in enumerate(_numbers(sentences), start=1):
        name = f"LJ001-{number:04d}"
        _speak(top / "wavs" / f"{name}.wav", sentence(which), rng, 22050, seconds)
        first, second = in_script(ENGLISH, sentence(which)).capitalize().split()
        lines.append(f'{name}|{first}, "{second}" 2.|{first}, "{second}" two.\n')
    (top / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    (top / "README").write_text("miniature\n")
    return root


def make_baker(root: Path, sentences: Mapping[str, int] = SETS, seconds: float = 0.12) -> Path:
    """Write `BZNSYP/` below `root`, sentences with prosody marks and punctuation; as `make_ljspeech`."""
    rng, top, lines = np.random.default_rng(0), root / "BZNSYP", []
    for which, number in enumerate(_numbers(sentences), start=1):
        name = f"{number:06d}"
        length = _speak(top / "Wave" / f"{name}.wav", sentence(which), rng, 48000, seconds)
        first, second = _mandarin(which)
        syllables = [PINYIN[c] for c in first + second]
        lines += [f"{name}\t{first[0]}#1{first[1:]}#3，{second}#4。\n", f"\t{' '.join(syllables)}\n"]
        interval = top / "PhoneLabeling" / f"{name}.interval"
        interval.parent.mkdir(exist_ok=True)
        head = ['File type = "ooTextFile short"', '"TextGrid"', "", "0", f"{length:.6f}", "<exists>", "1"]
        tier = ['"IntervalTier"', '"phones"', "0", f"{length:.6f}", "1", "0", f"{length:.6f}", '"sil"']
        interval.write_text("\r\n".join([*head, *tier, ""]))
    labels = top / "ProsodyLabeling" / "000001-010000.txt"
    labels.parent.mkdir()
    labels.write_text("".join(lines), encoding="utf-8")
    return root


def make_aishell3(root: Path, sentences: Mapping[str, int] = SETS, seconds: float = 0.12) -> Path:
    """Write `train/`, `test/` and `spk-info.txt` into `root` (the archive has no folder above); returns it.

    As `make_ljspeech`, so many for each of two speakers, who are in both parts, and one more in test.
    """
    rng, which = np.random.default_rng(0), 0
    speakers = {"train": ("SSB0005", "SSB0009"), "test": ("SSB0005", "SSB0009", "SSB0784")}
    for part, names in speakers.items():
        content, labels = [], []
        here = ("test",) if part == "test" else ("train", "valid")
        counts = {split: sentences[split] if split in here else 0 for split in sentences}
        for speaker in names:
            for number in _numbers(counts):
                which += 1
                name = f"{speaker}{number:04d}"
                wav = root / part / "wav" / speaker / f"{name}.wav"
                _speak(wav, sentence(which), rng, 44100, seconds)
                first, second = _mandarin(which)
                pairs = [f"{c} {PINYIN[c]}" for c in first + second]
                content.append(f"{name}.wav\t{' '.join(pairs)}\n")
                said = " % ".join(" ".join(PINYIN[c] for c in word) for word in (first, second))
                labels.append(f"{name}|{said} $|{first}%{second}$\n")
        (root / part / "content.txt").write_text("".join(content), encoding="utf-8")
        if part == "train":
            (root / part / "label_train-set.txt").write_text("# head\n" + "".join(labels), encoding="utf-8")
    everyone = sorted({speaker for names in speakers.values() for speaker in names})
    head = "# speaker\tage group\tgender\taccent\n"
    (root / "spk-info.txt").write_text(head + "".join(f"{name}\tB\tfemale\tnorth\n" for name in everyone))
    for name in ("ChangeLog", "ReadMe.txt", "phone_set.txt"):
        (root / name).write_text("miniature\n")
    return root


def make_fillets(root: Path, sentences: Mapping[str, int] = SETS, seconds: float = 0.12) -> Path:
    """Write Debian's fillets-ng-data, fillets-ng-data-nl and -cs below `root`, unpacked; returns
    `root`. As `make_ljspeech`, so many of each fish and language, in two levels with the same names.

    A third level was not recorded, the robot's line in Czech alone. Dutch is stereo, Czech of two rates.
    """
    rng, tops = np.random.default_rng(0), {}
    for part in ("", "-nl", "-cs"):
        tops[part[1:]] = root / f"fillets-ng-data{part}" / "usr/share/games/fillets-ng"
    for language in ("nl", "cs"):
        lines: dict[str, list] = {"city": [], "reef": [], "silent": []}
        number = 0
        for fish, letter in (("small", "m"), ("big", "v")):
            left = dict(sentences)
            while any(left.values()):
                number += 1
                text = in_script(ENGLISH, sentence(number)).capitalize() + "."
                if left[_set_of(text)]:
                    left[_set_of(text)] -= 1
                    level = ("city", "reef")[number % 2]
                    wav = tops[language] / "sound" / level / language / f"x-{letter}-{number // 2}.ogg"
                    rate = 44100 if language == "cs" and fish == "big" else 22050
                    _speak(wav.with_suffix(".wav"), sentence(number), rng, rate, seconds)
                    samples = soundfile.read(wav.with_suffix(".wav"))[0]
                    wav.with_suffix(".wav").unlink()
                    soundfile.write(wav, np.stack([samples] * 2, 1) if language == "nl" else samples, rate)
                    string = (
                        f'dialogId("{wav.stem}", "font_{fish}", "It \\"is\\".")\ndialogStr(\n"{text}")\n\n'
                    )
                    lines[level].append(string)
        robot = 'dialogId("x-r-0", "font_robot", "Hello.")\ndialogStr("Bip.")\n'
        lines["city"].append(robot)
        if language == "cs":
            soundfile.write(tops["cs"] / "sound/city/cs/x-r-0.ogg", 0.1 * rng.standard_normal(4000), 22050)
        lines["silent"].append('dialogId("m", "font_small", "No.")\ndialogStr("Nee.")\n')
        for level, told in lines.items():
            script = tops[""] / "script" / level / f"dialogs_{language}.lua"
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text("-- lines\n" + "".join(told), encoding="utf-8")
    return root


def _numbers(sentences: Mapping[str, int]) -> list[int]:
    """Numbers whose rule gives the sets: n % 50 is 0 for test, 25 for valid."""
    train = [n for n in range(1, 2 * sentences["train"] + 2) if n % 25][: sentences["train"]]
    valid = [25 + 50 * i for i in range(sentences["valid"])]
    return train + valid + [50 + 50 * i for i in range(sentences["test"])]


def _mandarin(number: int) -> list[str]:
    """Both words of a sentence."""
    return in_script(CHARACTERS, sentence(number)).split()


def _speak(path: Path, text: str, rng: np.random.Generator, sampling_rate: int, seconds: float) -> float:
    """Write tones, made at 16 kHz and interpolated at the rate wanted; returns their length in seconds."""
    made = tones(text, rng, seconds)
    length = round(len(made) / RATE * sampling_rate)
    place = np.arange(length) * RATE / sampling_rate
    write_wav(path, np.interp(place, np.arange(len(made)), made), sampling_rate)
    return length / sampling_rate
