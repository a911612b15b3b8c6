"""AISHELL-3: 85 h of read Mandarin, 218 speakers, 44.1 kHz (Shi et al. 2020; openslr.org/93; Apache 2.0)."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from imlspike.data.corpus import Found, Prepared, check_left_out, join
from imlspike.data.files import read_kaldi
from imlspike.data.pinyin import check_syllables, leave_out, write_with_pinyin

SPLITS = ("train", "valid", "test")
SAMPLING_RATE = 44100
_NAMES = ("data_aishell3", "AISHELL-3")


def split_of(part: str, utterance: str) -> str:
    """The published part, `train` or `test`; of train, `SSB<speaker><n>` is valid if n % 50 == 25 (our rule).

    Raises:
        ValueError: for another name.

    >>> split_of("train", "SSB00050025"), split_of("train", "SSB00050001"), split_of("test", "SSB00050025")
    ('valid', 'train', 'test')
    """
    if not re.fullmatch(r"SSB\d{8}", utterance):
        raise ValueError(
            f"{utterance}: expected a name like SSB00050001, whose speaker is SSB0005; rename it in {part}/"
        )
    return "valid" if part == "train" and int(utterance[-4:]) % 50 == 25 else part


def read_content(line: str) -> tuple[str, str]:
    """Text and pinyin of a line of `content.txt` behind its name: characters and syllables by turns.

    Raises:
        ValueError: for an odd number of words, or something other than a syllable in a syllable's place.

    >>> read_content("广 guang3 州 zhou1")
    ('广州', 'guang3 zhou1')
    """
    words = line.split()
    if len(words) % 2:
        raise ValueError(f"{len(words)} words in {line!r}; expected each character with its pinyin")
    check_syllables(words[1::2])
    return "".join(words[::2]), " ".join(words[1::2])


def prepare_aishell3(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Write Kaldi directories `train`, `valid` and `test` below `output_dir` (see `split_of`).

    `text` holds the characters and `pinyin` the syllables that the corpus gives, in which changes of tone
    (一, 不) are written as they are spoken. The corpus's `content.txt` has no punctuation, so there is none;
    the pauses that `label_train-set.txt` marks with % and $ aren't read, since test has no such file. Left
    out with their reason in `excluded.tsv` are utterances without audio or text, audio that isn't 44.1 kHz
    mono, and lines that aren't characters and syllables by turns.

    Others count 63,262 utterances in train and 24,773 in test, and 170 speakers in both; how many speakers of
    a set aren't in train is told on stderr. Speakers may read the same sentences, so valid is new recordings,
    not always new sentences. No checksum of the archive (19 GB) is known to us, so there is no download here:
    unpack `data_aishell3.tgz` of openslr.org/93. Layout and counts are as lhotse's recipe and others report
    them; the archive itself has not been seen, nor how it writes 儿 at a word's end.

    Args:
        corpus_dir: the folder with `train/` and `test/`, or the one above `data_aishell3` or `AISHELL-3`.
        output_dir: where the three directories go.
        max_left_out: the share of utterances that may be left out.
        progress: called with (done, total) utterances.

    Returns: set -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: if the folder isn't the corpus, an utterance stands twice or has a strange name, or more
            than `max_left_out` of the utterances are left out.
    """
    corpus = _find(Path(corpus_dir).resolve())
    found = {split: Found() for split in SPLITS}
    pinyin: dict[str, str] = {}
    misfits: dict[str, str] = {}
    everything = Found()
    for part in ("train", "test"):
        for key, line in read_kaldi(corpus / part / "content.txt").items():
            name = key.removesuffix(".wav")
            if name in everything.texts:
                raise ValueError(f"{corpus}/{part}/content.txt: {name!r} stands twice; remove one of the two")
            try:
                text, pinyin[name] = read_content(line)
            except ValueError as error:
                text, misfits[name] = line, str(error)
            everything.texts[name] = found[split_of(part, name)].texts[name] = text
        for file in sorted((corpus / part / "wav").rglob("[!.]*.wav")):
            everything.add_audio([file])
            found[split_of(part, file.stem)].add_audio([file])
    joined = join(found, lambda utterance, file: utterance[:7], progress, sampling_rate=SAMPLING_RATE)
    result = leave_out(joined, misfits)
    check_left_out(result, corpus, max_left_out)
    _tell_new_speakers(result)
    write_with_pinyin(output_dir, result, pinyin)
    return result


def _find(corpus_dir: Path) -> Path:
    """The folder with `train/` and `test/`."""
    for folder in (corpus_dir, *(corpus_dir / name for name in _NAMES)):
        if all(
            (folder / part / "content.txt").is_file() and (folder / part / "wav").is_dir()
            for part in ("train", "test")
        ):
            return folder
    hint = ""
    if (corpus_dir / "data_aishell3.tgz").is_file():
        hint = ". The archive is there: unpack it with tar xzf data_aishell3.tgz"
    raise ValueError(
        f"{corpus_dir}: not AISHELL-3; expected train/content.txt, train/wav/SSB0005/SSB00050001.wav, and "
        f"the same in test/{hint}"
    )


def _tell_new_speakers(result: Prepared) -> None:
    """Name on stderr the sets with speakers that train lacks: a model's table of speakers won't have them."""
    speakers = {name: {utterance.speaker for utterance in kept} for name, (kept, _) in result.items()}
    for name in ("valid", "test"):
        if new := speakers[name] - speakers["train"]:
            told = f"{name}: {len(new)} of its {len(speakers[name])} speakers aren't in train"
            print(f"{told}, as {min(new)}", file=sys.stderr)
