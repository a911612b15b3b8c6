"""msu_ru_nsh: 620 read Russian sentences of one male speaker (99.5 min, 16 kHz), Debian's festvox-ru."""

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import soundfile

from imlspike.data.audio import AudioError, read_audio
from imlspike.data.corpus import Prepared, check_left_out
from imlspike.data.debian import download_package
from imlspike.data.files import atomic_write
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.data.text import normalize_russian

SPLITS = ("train", "valid", "test")
SAMPLING_RATE = 16000
_PACKAGE = "festvox-ru"
_SPEAKER = "nsh"
_VOICE = Path("usr/share/festival/voices/russian/msu_ru_nsh_clunits")
_LINE = re.compile(r'\(\s*(\S+)\s+"(.*)"\s*\)')


def download_msu_ru_nsh(target_dir: str | os.PathLike) -> Path:
    """Fetch and unpack the corpus below `target_dir` (179 MB to download, 240 MB unpacked).

    No root is needed and the system's package lists aren't touched. A second call returns at once, an
    interrupted one goes on where it stopped.

    Returns: the corpus folder, for `prepare_msu_ru_nsh`.

    Raises:
        imlspike.data.debian.DownloadError: one line: what is missing (apt, network, disk) and what to do.
    """
    return download_package(_PACKAGE, target_dir, megabytes=450) / _VOICE


def split_of(utterance: str) -> str:
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
    progress: Callable[[int, int], None] = lambda done, total: None,
    as_written: bool = False,
) -> Prepared:
    """Write Kaldi directories `train`, `valid` and `test` below `output_dir`.

    Every recording is read and checked. Recordings at 16 kHz mono are pointed at where they lie (absolute
    paths); others are resampled and mixed down to `output_dir/wav`. Audio without transcript, transcript
    without audio, an empty transcript and broken audio are left out, each with its reason in the split's
    `excluded.tsv`.

    Args:
        corpus_dir: the folder with `wav/` and `etc/txt.done.data`.
        output_dir: where the three directories go.
        max_left_out: the share of sentences that may be left out.
        progress: called with (done, total) sentences.
        as_written: keep capitals, punctuation and stress marks, for voices; if not, the text is what
            `normalize_russian` makes of it.

    Returns: split -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: if the folder isn't the corpus, a transcript has a strange character, the same transcript
            stands in two splits, or more than `max_left_out` of the sentences are left out.
    """
    corpus_dir, output_dir = Path(corpus_dir).resolve(), Path(output_dir).resolve()
    transcripts_file = corpus_dir / "etc" / "txt.done.data"
    if not transcripts_file.is_file() or not (corpus_dir / "wav").is_dir():
        raise ValueError(f"{corpus_dir}: expected etc/txt.done.data and wav/, as in Debian's {_PACKAGE}")
    transcripts = read_transcripts(transcripts_file)
    recordings = {path.stem: path for path in (corpus_dir / "wav").iterdir() if path.suffix == ".wav"}
    names = sorted(transcripts.keys() | recordings.keys())
    result: Prepared = {split: ([], {}) for split in SPLITS}
    for done, name in enumerate(names, start=1):
        kept, excluded = result[split_of(name)]
        outcome = _utterance(name, recordings.get(name), transcripts.get(name), output_dir, as_written)
        if isinstance(outcome, Utterance):
            kept.append(outcome)
        else:
            excluded[name] = outcome
        progress(done, len(names))
    _check(result, corpus_dir, max_left_out)
    for split, (kept, excluded) in result.items():
        write_data_dir(output_dir / split, kept, excluded)
    return result


def _utterance(
    name: str, wav: Path | None, transcript: str | None, output_dir: Path, as_written: bool
) -> Utterance | str:
    """The utterance, or the reason why it is left out."""
    if transcript is None:
        return "audio without transcript"
    if wav is None:
        return "transcript without audio"
    text = normalize_russian(transcript, name)
    if not text:
        return f"empty transcript {transcript!r}"
    if as_written:
        text = " ".join(unicodedata.normalize("NFC", transcript).split())
    try:
        samples = read_audio(wav, SAMPLING_RATE, name, on_mismatch="convert")
    except AudioError as error:
        return str(error)
    info = soundfile.info(wav)
    if (info.samplerate, info.channels) != (SAMPLING_RATE, 1):
        wav = output_dir / "wav" / f"{name}.wav"
        wav.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(wav, "wb") as out:
            soundfile.write(out, samples, SAMPLING_RATE, format="WAV", subtype="PCM_16")
    return Utterance(name, str(wav), text, _SPEAKER, len(samples) / SAMPLING_RATE)


def _check(result: Prepared, corpus_dir: Path, max_left_out: float) -> None:
    """Splits that share no transcript and aren't empty, and not too many sentences left out."""
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
