"""Baker (BZNSYP, CSMSC): 12 h of read Mandarin, one female speaker, 48 kHz; not for commercial use."""

import os
import re
from collections.abc import Callable
from pathlib import Path

from imlspike.data.corpus import Found, Prepared, check_left_out, join
from imlspike.data.pinyin import leave_out, with_punctuation, write_with_pinyin

SPLITS = ("train", "valid", "test")
SAMPLING_RATE = 48000
_LABELS = Path("ProsodyLabeling/000001-010000.txt")
_NAMES = ("BZNSYP", "CSMSC")
_SPEAKER = "baker"


def split_of(utterance: str) -> str:
    """Our fixed split, since the corpus has none: each number that is a multiple of 50 is test, each number
    25 after one is valid, all others are train (9,600, 200 and 200 of the 10,000).

    Raises:
        ValueError: for a name that isn't six digits.

    >>> split_of("000050"), split_of("009975"), split_of("000001")
    ('test', 'valid', 'train')
    """
    if not re.fullmatch(r"\d{6}", utterance):
        raise ValueError(f"{utterance}: expected a name like 000001 (it sets the split); rename it")
    return {0: "test", 25: "valid"}.get(int(utterance) % 50, "train")


def read_labels(path: str | os.PathLike) -> dict[str, tuple[str, list[str]]]:
    """Read `ProsodyLabeling/000001-010000.txt` as utterance -> (text, syllables of pinyin).

    Two lines an utterance, UTF-8: `000001<TAB>卡尔普#2陪外孙#1玩滑梯#4。`, then `<TAB>ka2 er2 pu3 pei2 ...`.
    The marks #1 to #4 (ends of a prosodic word, a phrase, an intonation phrase, a sentence) go; punctuation
    stays.

    Raises:
        ValueError: naming file and line for another form or a name that stands twice; naming the file if it
            isn't UTF-8.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
    filled = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    table: dict[str, tuple[str, list[str]]] = {}
    for first, second in zip(filled[::2], filled[1::2] + [(len(lines), "")], strict=False):
        number, line = first
        name, *text = line.split(maxsplit=1)
        if not re.fullmatch(r"\d{6}", name) or not text or not re.match(r"\D", second[1]):
            raise ValueError(
                f"{path}, line {number}: {line!r}; expected 000001<TAB>text, and its pinyin in the next line"
            )
        if name in table:
            raise ValueError(f"{path}, line {number}: {name!r} stands twice; remove one of the two")
        table[name] = "".join(re.sub("#[1-5]", "", text[0]).split()), second[1].split()
    return table


def prepare_baker(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Write Kaldi directories `train`, `valid` and `test` below `output_dir` (see `split_of`).

    `text` holds characters with punctuation; `pinyin` the syllables that the corpus gives, which know every
    reading, with the same punctuation. Left out with their reason in `excluded.tsv` are utterances without
    audio or text, audio that isn't 48 kHz mono, and sentences whose pinyin doesn't fit their characters
    (other toolkits name sentences with Latin letters, whose pinyin has `IY1`). The phone boundaries in
    `PhoneLabeling/` aren't read.

    The corpus is given away by its makers (data-baker.com) without a published checksum, so there is no
    download here. Layout and text form are as lhotse's recipe and others read them; the archive itself has
    not been seen.

    Args:
        corpus_dir: the folder with `Wave/` and `ProsodyLabeling/`, or the one above `BZNSYP` or `CSMSC`.
        output_dir: where the three directories go.
        max_left_out: the share of utterances that may be left out.
        progress: called with (done, total) utterances.

    Returns: split -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: if the folder isn't the corpus, the labels have another form, a recording has a strange
            name, or more than `max_left_out` of the utterances are left out.
    """
    corpus = _find(Path(corpus_dir).resolve())
    found = {split: Found() for split in SPLITS}
    pinyin: dict[str, str] = {}
    misfits: dict[str, str] = {}
    for name, (text, syllables) in read_labels(corpus / _LABELS).items():
        found[split_of(name)].texts[name] = text
        try:
            pinyin[name] = with_punctuation(text, syllables)
        except ValueError as error:
            misfits[name] = str(error)
    for file in sorted((corpus / "Wave").glob("[!.]*.wav")):
        found[split_of(file.stem)].add_audio([file])
    joined = join(found, lambda utterance, file: _SPEAKER, progress, sampling_rate=SAMPLING_RATE)
    result = leave_out(joined, misfits)
    check_left_out(result, corpus, max_left_out)
    write_with_pinyin(output_dir, result, pinyin)
    return result


def _find(corpus_dir: Path) -> Path:
    """The folder with `Wave/` and `ProsodyLabeling/`."""
    for folder in (corpus_dir, *(corpus_dir / name for name in _NAMES)):
        if (folder / _LABELS).is_file() and (folder / "Wave").is_dir():
            return folder
    raise ValueError(f"{corpus_dir}: not Baker; expected BZNSYP/{_LABELS} and BZNSYP/Wave/000001.wav")
