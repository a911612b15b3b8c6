"""AiShell-1, LibriSpeech, LibriTTS in miniature: their exact layout, names and quirks, tones for speech.

The sentences are those of `tests.recipes.corpus`, letter by letter in another script, so a train set of 16
sentences or more holds every character there is.
"""

import io
import tarfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from tests.recipes.corpus import LETTERS, RATE, sentence, tones

# The last is a letter of full width.
MANDARIN = "而对楼市成交抑制作用最大的限购也渐被放松北京上海人有不在这里中ｔ"
ENGLISH = "ABCDEFGHIJKLMNOPQRSTUVWXYZ'ETAOI"
AISHELL_SETS = {"train": ("S0002", "S0003"), "dev": ("S0724",), "test": ("S0764",)}
LIBRISPEECH_PARTS = {"train-clean-100": 12, "train-clean-360": 8, "train-other-500": 4}
LIBRISPEECH_PARTS |= dict.fromkeys(("dev-clean", "dev-other", "test-clean", "test-other"), 3)


def make_aishell(
    root: Path,
    sentences: Mapping[str, int] | None = None,
    archives: Collection[str] = (),
    without_transcript: int = 1,
) -> Path:
    """Write `data_aishell/` and `resource_aishell/` below `root`; returns `root`.

    Args:
        sentences: how many sentences each set has, shared out among its speakers; 20, 4 and 4 if not given.
        archives: speakers (S0002, ...) or "all", left as `wav/<speaker>.tar.gz` as the distribution has them.
        without_transcript: wavs of the first train speaker that no transcript names.
    """
    rng = np.random.default_rng(0)
    sentences = sentences or {"train": 20, "dev": 4, "test": 4}
    number, lines = 0, []
    for part, speakers in AISHELL_SETS.items():
        for speaker, count in zip(speakers, _shares(sentences[part], len(speakers)), strict=True):
            folder = root / "data_aishell" / "wav" / part / speaker
            extra = without_transcript if speaker == "S0002" else 0
            for i in range(count + extra):
                number += 1
                name = f"BAC009{speaker}W{122 + i:04d}"
                write_wav(folder / f"{name}.wav", tones(sentence(number), rng))
                if i < count:
                    lines.append(f"{name} {in_script(MANDARIN, sentence(number))}\n")
            if "all" in archives or speaker in archives:
                _to_archive(folder, part, speaker)
    transcripts = root / "data_aishell" / "transcript" / "aishell_transcript_v0.8.txt"
    transcripts.parent.mkdir(parents=True)
    transcripts.write_text("".join(lines), encoding="utf-8")
    resource = root / "resource_aishell"
    resource.mkdir()
    lexicon = "SIL sil\n而 ee er2\n对 d ui4\n楼市 l ou2 sh ix4\n"
    (resource / "lexicon.txt").write_text(lexicon, encoding="utf-8")
    speakers = [speaker[1:] for part in AISHELL_SETS.values() for speaker in part]
    (resource / "speaker.info").write_text("".join(f"{speaker} F\n" for speaker in speakers))
    return root


def make_librispeech(root: Path, parts: Mapping[str, int] | Sequence[str] = tuple(LIBRISPEECH_PARTS)) -> Path:
    """Write `LibriSpeech/` below `root`, each part with two speakers; returns `root`.

    Args:
        parts: which parts, and how many sentences each has if not those of `LIBRISPEECH_PARTS`.
    """
    rng = np.random.default_rng(0)
    top = root / "LibriSpeech"
    counts = parts if isinstance(parts, Mapping) else {part: LIBRISPEECH_PARTS[part] for part in parts}
    number, speakers = 0, []
    for index, (part, count) in enumerate(counts.items()):
        for which, share in enumerate(_shares(count, 2)):
            speaker, chapter = str(19 + 100 * index + which), str(198 + 10 * index)
            speakers.append(f"{speaker:<4} | F | {part:<16} | 25.19 | A. Reader")
            folder = top / part / speaker / chapter
            lines = []
            for i in range(share):
                number += 1
                name = f"{speaker}-{chapter}-{i:04d}"
                write_wav(folder / f"{name}.flac", tones(sentence(number), rng))
                lines.append(f"{name} {in_script(ENGLISH, sentence(number))}\n")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    head = ";ID  |SEX| SUBSET           |MINUTES| NAME"
    (top / "SPEAKERS.TXT").write_text("\n".join([head, *speakers, ""]))
    (top / "CHAPTERS.TXT").write_text(";ID    |READER|MINUTES| SUBSET           | PROJ.|BOOK ID| CH. TITLE\n")
    for name in ("BOOKS.TXT", "LICENSE.TXT", "README.TXT"):
        (top / name).write_text("miniature\n")
    return root


def make_libritts(root: Path, parts: Mapping[str, int]) -> Path:
    """Write `LibriTTS/` below `root`, each part with two speakers, so many sentences each; returns `root`."""
    rng = np.random.default_rng(0)
    number = 0
    for index, (part, count) in enumerate(parts.items()):
        for which, share in enumerate(_shares(count, 2)):
            speaker, chapter = str(84 + 100 * index + which), str(121123 + 10 * index)
            folder = root / "LibriTTS" / part / speaker / chapter
            trans, book = [], []
            for i in range(share):
                number += 1
                name = f"{speaker}_{chapter}_{i:06d}_000000"
                write_wav(folder / f"{name}.wav", tones(sentence(number), rng), 24000)
                text = in_script(ENGLISH, sentence(number)).capitalize()
                (folder / f"{name}.normalized.txt").write_text(f"{text}.\n")
                (folder / f"{name}.original.txt").write_text(f"{text}!\n")
                trans.append(f"{name}\t{text}!\t{text}.\n")
                book.append(f"{name}\t{text}!\t{text}.\t0.0\t1.0\t21.5\n")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{speaker}_{chapter}.trans.tsv").write_text("".join(trans))
            (folder / f"{speaker}_{chapter}.book.tsv").write_text("".join(book))
    (root / "LibriTTS" / "SPEAKERS.txt").write_text("; ID  |SEX| SUBSET           |MINUTES| NAME\n")
    return root


def make_speechocean762(root: Path, seconds: float = 0.12) -> Path:
    """Write `speechocean762/` below `root` as published: 8 speakers to train on, the sixth of which by gender
    and age is 0071, and 2 to test, two sentences each; returns `root`."""
    rng, top, number = np.random.default_rng(0), root / "speechocean762", 0
    for part, speakers in (("train", range(1, 80, 10)), ("test", (3, 13))):
        tables: dict[str, list] = {
            name: [] for name in ("text", "wav.scp", "utt2spk", "spk2gender", "spk2age")
        }
        for place, speaker in enumerate(speakers):
            tables["spk2gender"].append(f"{speaker:04d}\t{'fm'[place % 2]}")
            tables["spk2age"].append(f"{speaker:04d}\t{(7, 30, 9, 8)[place % 4]}")
            for _ in range(2):
                number += 1
                name = f"0{speaker:04d}{number:04d}"
                wav = f"WAVE/SPEAKER{speaker:04d}/{name}.WAV"
                write_wav(top / wav, tones(sentence(number), rng, seconds))
                tables["text"].append(f"{name}\t{in_script(ENGLISH, sentence(number)).upper()}")
                tables["utt2spk"].append(f"{name}\t{speaker:04d}")
                tables["wav.scp"].append(f"{name}\t{wav}")
        (top / part).mkdir()
        for name, lines in tables.items():
            (top / part / name).write_text("\n".join(lines) + "\n")
    return root


def _shares(count: int, parts: int) -> list[int]:
    return [count // parts + (i < count % parts) for i in range(parts)]


def in_script(script: str, text: str) -> str:
    return text.translate(str.maketrans(LETTERS, script))


def write_wav(path: Path, samples: np.ndarray, sampling_rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, sampling_rate, subtype="PCM_16")


def _to_archive(folder: Path, part: str, speaker: str) -> None:
    """Replace a speaker's folder by `wav/<speaker>.tar.gz`, which holds `<part>/<speaker>/*.wav`."""
    with tarfile.open(folder.parents[1] / f"{speaker}.tar.gz", "w:gz") as archive:
        for wav in sorted(folder.iterdir()):
            info = tarfile.TarInfo(f"{part}/{speaker}/{wav.name}")
            info.size = wav.stat().st_size
            archive.addfile(info, io.BytesIO(wav.read_bytes()))
            wav.unlink()
    folder.rmdir()
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
