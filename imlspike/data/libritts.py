"""LibriTTS: 586 h of read English, 2,456 speakers, 24 kHz, by sentences (Zen et al. 2019; openslr.org/60)."""

import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from imlspike.data.corpus import Found, Prepared
from imlspike.data.openslr import BASE_URL
from imlspike.data.parts import PartedCorpus

SAMPLING_RATE = 24000
# What openslr.org publishes (size in bytes, MD5), and how many utterances the part has.
PARTS = {
    "train-clean-100": (7_723_686_890, "4a8c202b78fe1bc0c47916a98f3a2ea8", 33236),
    "train-clean-360": (27_504_073_644, "a84ef10ddade5fd25df69596a2767b2d", 116500),
    "train-other-500": (44_565_031_479, "7b181dd5ace343a5f38427999684aa6f", 205044),
    "dev-clean": (1_291_469_655, "0c3076c1e5245bb3f0af7d82087ee207", 5736),
    "dev-other": (924_804_676, "815555d8d75995782ac3ccd7f047213d", 4613),
    "test-clean": (1_230_670_113, "7bed3bdb047c4c197f1ad3bc412db59f", 4837),
    "test-other": (964_502_297, "ae3258249472a13b5abef2a816f733e4", 5120),
}
COMBINED = {"train_960": ("train-clean-100", "train-clean-360", "train-other-500")}
_TEXT = ".normalized.txt"
_CORPUS = PartedCorpus(
    name="LibriTTS",
    resource=60,
    parts=PARTS,
    combined=COMBINED,
    sampling_rate=SAMPLING_RATE,
    layout=f"LibriTTS/dev-clean/84/121123/84_121123_000007_000000.wav and ...000000{_TEXT} beside it",
)


def download_libritts(
    target_dir: str | os.PathLike, parts: Sequence[str] | None = None, base_url: str = BASE_URL
) -> Path:
    """Fetch parts of LibriTTS and unpack them below `target_dir`; all seven are 84 GB to download.

    An interrupted download goes on where it stopped; each archive is held against its published MD5, unpacked
    whole and removed. Parts that are there aren't fetched again.

    Args:
        parts: some of `PARTS`; all of them if not given.
        base_url: the server's `resources/`, for mirrors.

    Returns: the folder `LibriTTS`, for `prepare_libritts`.

    Raises:
        ValueError: for a part that there isn't.
        ImportError: without lhotse (extra asr), whose download this is.
        imlspike.data.debian.DownloadError: one line: what failed and what to do.
    """
    return _CORPUS.download(target_dir, parts, base_url)


def prepare_libritts(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
    parts: Sequence[str] | None = None,
) -> Prepared:
    """Write a Kaldi directory for each part below `output_dir`: `train_clean_100`, `test_clean`, ...

    Where all three train parts are there, also `train_960`, which has both. The text is the normalised one,
    with capitals and punctuation; a speaker is a reader (84). What lacks its half, has no text, or isn't
    24 kHz mono is left out with its reason in `excluded.tsv`. Hidden files (`._84_...wav`, which some copies
    have) aren't looked at.

    Args:
        corpus_dir: the folder `LibriTTS`, or the one above it.
        output_dir: where the directories go.
        max_left_out: the share of utterances that may be left out.
        progress: called with (done, total) utterances.
        parts: some of `PARTS`, which all have to be there; whatever is there if not given.

    Returns: set -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: if the folder isn't the corpus, a part that was asked for isn't there, an utterance stands
            twice or has a strange name, a text isn't UTF-8, or more than `max_left_out` of the utterances are
            left out.
    """
    return _CORPUS.prepare(corpus_dir, output_dir, _scan, _speaker, max_left_out, progress, parts)


def _scan(part_dir: Path) -> Found:
    """All audio and all transcripts of one part."""
    found, texts = Found(), []
    for folder, folders, files in os.walk(part_dir):
        folders.sort()
        visible = [Path(folder, file) for file in sorted(files) if not file.startswith(".")]
        found.add_audio(file for file in visible if file.suffix == ".wav")
        texts += [file for file in visible if file.name.endswith(_TEXT)]
    with ThreadPoolExecutor(8) as pool:  # it is the disk that takes the time
        for file, text in zip(texts, pool.map(_read_text, texts), strict=True):
            name = file.name.removesuffix(_TEXT)
            if name in found.texts:
                raise ValueError(f"{file}: {name!r} has another text elsewhere in {part_dir}; remove one")
            found.texts[name] = text
    for name in (*found.audio, *found.texts):
        if not re.fullmatch(r"\d+_\d+_\d+_\d+", name):
            example = "84_121123_000007_000000"
            raise ValueError(
                f"{part_dir}: {name!r}; expected <speaker>_<chapter>_<part>_<sentence>, as {example}"
            )
    return found


def _read_text(file: Path) -> str:
    """The text in one line."""
    try:
        return " ".join(file.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 ({error.reason}); convert the file to UTF-8") from None


def _speaker(utterance: str, file: Path) -> str:
    return utterance.partition("_")[0]
