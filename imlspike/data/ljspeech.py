"""LJSpeech-1.1: 24 h of read English, one female speaker, 22.05 kHz (Ito and Johnson 2017; public domain)."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from imlspike.data.corpus import Found, Prepared, check_left_out, join
from imlspike.data.kaldi import write_data_dir
from imlspike.data.openslr import Archive, fetch_and_unpack

SPLITS = ("train", "valid", "test")
SAMPLING_RATE = 22050
BASE_URL = "https://data.keithito.com/data/speech"
# MD5 as the corpus's page states it; the size as others saw the server tell it.
ARCHIVE = Archive("LJSpeech-1.1.tar.bz2", 2_748_572_632, "c4763be9595ddfa79c2fc6eaeb3b6c8e")
_NAME = "LJSpeech-1.1"
_SPEAKER = "LJ"


def download_ljspeech(target_dir: str | os.PathLike, base_url: str = BASE_URL) -> Path:
    """Fetch LJSpeech (2.7 GB) and unpack it below `target_dir`.

    An interrupted download goes on where it stopped; the archive is held against its published MD5 and
    removed once it is unpacked. A second call returns at once.

    Args:
        base_url: the folder on the server, for mirrors.

    Returns: the folder `LJSpeech-1.1`, for `prepare_ljspeech`.

    Raises:
        ImportError: without lhotse (extra asr), whose download this is.
        imlspike.data.debian.DownloadError: one line: what failed and what to do.
    """
    target_dir = Path(target_dir).resolve()
    corpus = target_dir / _NAME
    if not corpus.is_dir():
        unpacked = fetch_and_unpack(ARCHIVE, target_dir, base_url)
        (unpacked / _NAME).rename(corpus)
        shutil.rmtree(unpacked)
        (target_dir / ARCHIVE.path).unlink()
    return corpus


def split_of(utterance: str) -> str:
    """Our fixed split, since the corpus has none: of `LJ<chapter>-<n>` each n that is a multiple of 50 is
    test, each n 25 after one is valid, all others are train.

    The name alone decides, so what is missing from a copy moves nothing else. Test and valid hold about 2 %
    each and have sentences of all books, between those that are trained on.

    Raises:
        ValueError: for another name.

    >>> split_of("LJ001-0050"), split_of("LJ050-0275"), split_of("LJ001-0001")
    ('test', 'valid', 'train')
    """
    match = re.fullmatch(r"LJ\d{3}-(\d{4})", utterance)
    if not match:
        raise ValueError(
            f"{utterance}: expected a name like LJ001-0001 (its number sets the split); rename it"
        )
    return {0: "test", 25: "valid"}.get(int(match[1]) % 50, "train")


def read_metadata(path: str | os.PathLike) -> dict[str, str]:
    """Read `metadata.csv` as utterance -> normalised text (numbers and abbreviations spelled out).

    A line is `name|text|normalised text`, UTF-8, with quotation marks that are part of the text.

    Raises:
        ValueError: naming file and line for another form or a name that stands twice; naming the file if it
            isn't UTF-8.
    """
    table: dict[str, str] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split("|")
        if len(fields) != 3:
            raise ValueError(f"{path}, line {number}: {line!r}; expected name|text|normalised text")
        name = fields[0].strip()
        if name in table:
            raise ValueError(f"{path}, line {number}: {name!r} stands twice; remove one of the two lines")
        table[name] = " ".join(fields[2].split())
    return table


def prepare_ljspeech(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Write Kaldi directories `train`, `valid` and `test` below `output_dir` (see `split_of`).

    The text is the normalised one, with capitals and punctuation. Audio without transcript, a transcript
    without audio, an empty transcript and audio that isn't 22.05 kHz mono are left out with their reason in
    `excluded.tsv` (see `imlspike.data.corpus.join`). The published corpus has 13,100 utterances.

    Args:
        corpus_dir: the folder `LJSpeech-1.1` (with `metadata.csv` and `wavs/`), or the one above it.
        output_dir: where the three directories go.
        max_left_out: the share of utterances that may be left out.
        progress: called with (done, total) utterances.

    Returns: split -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: if the folder isn't the corpus, `metadata.csv` has another form, an utterance has a
            strange name, or more than `max_left_out` of the utterances are left out.
    """
    corpus = _find(Path(corpus_dir).resolve())
    found = {split: Found() for split in SPLITS}
    for name, text in read_metadata(corpus / "metadata.csv").items():
        found[split_of(name)].texts[name] = text
    for file in sorted((corpus / "wavs").glob("[!.]*.wav")):
        found[split_of(file.stem)].add_audio([file])
    result = join(found, lambda utterance, file: _SPEAKER, progress, sampling_rate=SAMPLING_RATE)
    check_left_out(result, corpus, max_left_out)
    for split, (kept, excluded) in result.items():
        write_data_dir(Path(output_dir) / split, kept, excluded)
    return result


def _find(corpus_dir: Path) -> Path:
    """The folder `LJSpeech-1.1`."""
    for folder in (corpus_dir, corpus_dir / _NAME):
        if (folder / "metadata.csv").is_file() and (folder / "wavs").is_dir():
            return folder
    hint = ""
    if (corpus_dir / ARCHIVE.path).is_file():
        hint = f". The archive is there: --download-dir {corpus_dir} checks and unpacks it"
    raise ValueError(
        f"{corpus_dir}: not LJSpeech; expected {_NAME}/metadata.csv and {_NAME}/wavs/LJ001-0001.wav{hint}"
    )
