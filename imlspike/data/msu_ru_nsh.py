"""msu_ru_nsh: 620 read Russian sentences of one male speaker (99.5 min, 16 kHz), Debian's festvox-ru."""

import os
import re
import unicodedata
from pathlib import Path

from imlspike.data.corpus import Prepared, Report, Transcript, check_left_out, join, read_headers, write
from imlspike.data.download import download_package
from imlspike.text.normalize import normalize_russian

SAMPLING_RATE = 16000
_PACKAGE = "festvox-ru"
_SPEAKER = "nsh"
_VOICE = Path("usr/share/festival/voices/russian/msu_ru_nsh_clunits")
_LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')


def download_msu_ru_nsh(target_dir: str | os.PathLike) -> Path:
    """Fetch and unpack the corpus below `target_dir` (179 MB to download, 240 MB unpacked).

    Returns: the corpus folder, for `prepare_msu_ru_nsh`.

    Raises:
        imlspike.data.download.DownloadError: one line: what is missing (apt, network, disk) and what to do.
    """
    return download_package(_PACKAGE, target_dir, megabytes=450) / _VOICE


def split_of(utterance: str, file: Path | None = None) -> str:
    """The fixed published split: number n of `ru_n` is test if n % 12 == 0, valid if n % 12 == 6, else train.

    Raises:
        ValueError: for a name that isn't `ru_` and digits.

    >>> split_of("ru_0012"), split_of("ru_0018"), split_of("ru_0001")
    ('test', 'valid', 'train')
    """
    match = re.fullmatch(r"ru_(\d+)", utterance)
    if not match:
        raise ValueError(f"{utterance}: expected a name like ru_0001 (its number sets the split); rename it")
    return {0: "test", 6: "valid"}.get(int(match[1]) % 12, "train")


def read_transcripts(path: str | os.PathLike) -> dict[str, str]:
    """Read Festival's `txt.done.data`: a line `( name "text" )` for each sentence, UTF-8.

    Raises:
        ValueError: naming file and line for another form or a name that stands twice.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        if not match:
            raise ValueError(f'{path}, line {number}: {line.strip()!r}; expected ( name "text" )')
        if match[1] in table:
            raise ValueError(f"{path}, line {number}: {match[1]!r} stands twice; remove one of the two lines")
        table[match[1]] = match[2]
    return table


def prepare_msu_ru_nsh(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Report = lambda done, total: None,
    as_written: bool = False,
) -> Prepared:
    """Write Kaldi directories `train`, `valid` and `test` below `output_dir`.

    What is left out stands with its reason in `excluded.tsv`: see `imlspike.data.corpus.join`; also a
    sentence with a character that is not Russian.

    Args:
        corpus_dir: the folder with `wav/` and `etc/txt.done.data`.
        max_left_out: the share of sentences that may be left out.
        progress: called with (done, total) recordings.
        as_written: keep capitals, punctuation and stress marks, for voices; if not, the text is what
            `normalize_russian` makes of it.

    Raises:
        ValueError: if the folder isn't the corpus, the same transcript stands in two splits, or more than
            `max_left_out` of the sentences are left out.
    """
    corpus_dir = Path(corpus_dir).resolve()
    transcripts = corpus_dir / "etc" / "txt.done.data"
    if not transcripts.is_file() or not (corpus_dir / "wav").is_dir():
        raise ValueError(f"{corpus_dir}: expected etc/txt.done.data and wav/, as in Debian's {_PACKAGE}")
    said = [_transcript(name, text, as_written) for name, text in read_transcripts(transcripts).items()]
    audio = read_headers((corpus_dir / "wav").glob("*.wav"), progress)
    result = join(said, audio, SAMPLING_RATE, split_of, ("train", "valid", "test"))
    seen: dict[str, tuple[str, str]] = {}
    for split, (kept, _) in result.items():
        for utterance in kept:
            other_split, other = seen.setdefault(utterance.text, (split, utterance.id))
            if other_split != split:
                raise ValueError(
                    f"{corpus_dir}: {other} ({other_split}) and {utterance.id} ({split}) have the same "
                    "transcript, so the splits would overlap; remove one of the two"
                )
    check_left_out(result, corpus_dir, max_left_out)
    write(output_dir, result)
    return result


def _transcript(name: str, written: str, as_written: bool) -> Transcript:
    try:
        text = normalize_russian(written, name)
    except ValueError as error:
        return Transcript(name, split_of(name), written, _SPEAKER, fault=str(error))
    if text and as_written:
        text = " ".join(unicodedata.normalize("NFC", written).split())
    return Transcript(name, split_of(name), text, _SPEAKER)
