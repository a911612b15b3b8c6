"""LibriSpeech: 960 h of read English to train on, 16 kHz FLAC (Panayotov et al. 2015; openslr.org/12)."""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from imlspike.data.corpus import Found, Prepared
from imlspike.data.files import read_kaldi
from imlspike.data.openslr import BASE_URL
from imlspike.data.parts import PartedCorpus

# What openslr.org publishes (size in bytes, MD5), and how many utterances the part has.
PARTS = {
    "train-clean-100": (6_387_309_499, "2a93770f6d5c6c964bc36631d331a522", 28539),
    "train-clean-360": (23_049_477_885, "c0e676e450a7ff2f54aeade5171606fa", 104014),
    "train-other-500": (30_593_501_606, "d1a0fd59409feb2c614ce4d30c387708", 148688),
    "dev-clean": (337_926_286, "42e2234ba48799c1f50f24a7926300a1", 2703),
    "dev-other": (314_305_928, "c8d0bcc9cca99d4f8b62fcc847357931", 2864),
    "test-clean": (346_663_984, "32fa31d27d2e1cad72775fee3f4849a9", 2620),
    "test-other": (328_757_843, "fb5a50374b501bb3bac4815ee91d3135", 2939),
}
COMBINED = {
    "train_960": ("train-clean-100", "train-clean-360", "train-other-500"),
    "dev": ("dev-clean", "dev-other"),
}
_CORPUS = PartedCorpus(
    name="LibriSpeech",
    resource=12,
    parts=PARTS,
    combined=COMBINED,
    sampling_rate=16000,
    layout="LibriSpeech/dev-clean/84/121123/84-121123.trans.txt and 84-121123-0000.flac beside it",
)


def download_librispeech(
    target_dir: str | os.PathLike, parts: Sequence[str] | None = None, base_url: str = BASE_URL
) -> Path:
    """Fetch parts of LibriSpeech and unpack them below `target_dir`; all seven take 62 GB.

    An interrupted download goes on where it stopped; each archive is held against its published MD5, unpacked
    whole and removed. Parts that are there aren't fetched again.

    Args:
        parts: some of `PARTS`; all of them if not given.
        base_url: the server's `resources/`, for mirrors.

    Returns: the folder `LibriSpeech`, for `prepare_librispeech`.

    Raises:
        ValueError: for a part that there isn't.
        ImportError: without lhotse (extra asr), whose download this is.
        imlspike.data.debian.DownloadError: one line: what failed and what to do.
    """
    return _CORPUS.download(target_dir, parts, base_url)


def prepare_librispeech(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
    parts: Sequence[str] | None = None,
) -> Prepared:
    """Write a Kaldi directory for each part below `output_dir`: `train_clean_100`, `dev_other`, ...

    Where all their parts are there, also `train_960` (the three train parts) and `dev` (both dev parts). The
    text is left as it is, upper-case. Speakers are `<speaker>-<chapter>`, as in Kaldi's and ESPnet's recipes.
    lhotse's recipe reads the same files, but drops what lacks its half and stops at a broken file; here each
    is left out with its reason in `excluded.tsv` (see `imlspike.data.corpus.join`). A part that is absent, or
    hasn't as many utterances as published, is named on stderr.

    Args:
        corpus_dir: the folder `LibriSpeech`, or the one above it.
        output_dir: where the directories go.
        max_left_out: the share of utterances that may be left out.
        progress: called with (done, total) utterances.
        parts: some of `PARTS`, which all have to be there; whatever is there if not given.

    Returns: set -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: if the folder isn't the corpus, a part that was asked for isn't there, an utterance stands
            twice or has a strange name, or more than `max_left_out` of the utterances are left out.
    """
    return _CORPUS.prepare(corpus_dir, output_dir, _scan, _speaker, max_left_out, progress, parts)


def _scan(part_dir: Path) -> Found:
    """All audio and all transcripts of one part."""
    found = Found()
    for folder, folders, files in os.walk(part_dir):
        folders.sort()
        found.add_audio(Path(folder, file) for file in sorted(files) if file.endswith(".flac"))
        for file in sorted(files):
            if file.endswith(".trans.txt"):
                texts = read_kaldi(Path(folder, file))
                if both := sorted(texts.keys() & found.texts.keys()):
                    raise ValueError(
                        f"{folder}/{file}: {both[0]!r} stands in another trans.txt too; remove one"
                    )
                found.texts.update(texts)
    for name in (*found.audio, *found.texts):
        if not re.fullmatch(r"\d+-\d+-\d+", name):
            raise ValueError(
                f"{part_dir}: {name!r}; expected <speaker>-<chapter>-<number>, as 84-121123-0000"
            )
    return found


def _speaker(utterance: str, file: Path) -> str:
    return utterance.rpartition("-")[0]
