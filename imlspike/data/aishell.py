"""AiShell-1: 178 h of read Mandarin (its authors' figure), 16 kHz (Bu et al. 2017; openslr.org/33)."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from imlspike.data.corpus import Found, Prepared, check_left_out, join
from imlspike.data.files import read_kaldi
from imlspike.data.kaldi import write_data_dir
from imlspike.data.openslr import BASE_URL, Archive, fetch_and_unpack, unpack
from imlspike.data.progress import Progress

SPLITS = ("train", "dev", "test")
# MD5 and size as in PaddleSpeech's and Kaldi's recipes.
ARCHIVES = (
    Archive("33/data_aishell.tgz", 15_582_913_665, "2f494334227864a8a8fec932999db9d8"),
    Archive("33/resource_aishell.tgz", 1_246_920, "957d480a0fcac85fc18e550756f624e5"),
)
_TRANSCRIPTS = Path("transcript/aishell_transcript_v0.8.txt")
_LAYOUT = (
    f"data_aishell/{_TRANSCRIPTS} and data_aishell/wav/{{train,dev,test}}/S0002/*.wav (or wav/S0002.tar.gz)"
)
_FULL_WIDTH = {0xFF21 + i: chr(ord("A") + i) for i in range(26)} | {
    0xFF41 + i: chr(ord("a") + i) for i in range(26)
}


def download_aishell(target_dir: str | os.PathLike, base_url: str = BASE_URL) -> Path:
    """Fetch AiShell-1 and its resources and unpack them below `target_dir`.

    15.6 GB are fetched; with the speakers unpacked beside their archives 36 GB stay. An interrupted download
    goes on where it stopped; each archive is held against its published MD5 and removed once it is unpacked.
    A second call returns at once.

    Args:
        base_url: the server's `resources/`, for mirrors.

    Returns: the folder above `data_aishell`, for `prepare_aishell`.

    Raises:
        ImportError: without lhotse (extra asr), whose download this is.
        imlspike.data.debian.DownloadError: one line: what failed and what to do.
    """
    target_dir = Path(target_dir).resolve()
    for archive in ARCHIVES:
        name = Path(archive.path).stem
        if not (target_dir / name).is_dir():
            unpacked = fetch_and_unpack(archive, target_dir, base_url)
            (unpacked / name).rename(target_dir / name)
            shutil.rmtree(unpacked)
            (target_dir / f"{name}.tgz").unlink()
    return target_dir


def normalize_mandarin(text: str) -> str:
    """AiShell's transcript as characters: no blanks between words, letters plain and upper-case.

    Full-width letters become ASCII, as in lhotse's recipe (which knows the five that occur).

    >>> normalize_mandarin("这 件 ｔ 恤 卡拉ok")
    '这件T恤卡拉OK'
    """
    return "".join(text.translate(_FULL_WIDTH).upper().split())


def split_of(utterance: str) -> str:
    """The published set of a speaker: S0002 to S0723 train, to S0763 dev, to S0916 test.

    Raises:
        ValueError: for a name without speaker.

    >>> split_of("BAC009S0002W0122"), split_of("BAC009S0763W0122"), split_of("BAC009S0764W0122")
    ('train', 'dev', 'test')
    """
    speaker = re.fullmatch(r".*S(\d{4})W\d+", utterance)
    if not speaker:
        raise ValueError(f"{utterance}: expected a name like BAC009S0002W0122, whose speaker is S0002")
    return "train" if int(speaker[1]) < 724 else "dev" if int(speaker[1]) < 764 else "test"


def prepare_aishell(
    corpus_dir: str | os.PathLike,
    output_dir: str | os.PathLike,
    max_left_out: float = 0.05,
    progress: Callable[[int, int], None] = lambda done, total: None,
    unpack_dir: str | os.PathLike | None = None,
) -> Prepared:
    """Write Kaldi directories `train`, `dev` and `test` below `output_dir`.

    Speakers that are still archives (`wav/S0002.tar.gz`, as in the distribution) are unpacked beside them or
    into `unpack_dir`, each whole or not at all; a speaker whose folder is there isn't unpacked again.
    lhotse's recipe reads the same files, but drops wavs without transcript and transcripts without wav, and
    stops at a broken file; here each is left out with its reason in `excluded.tsv` (see
    `imlspike.data.corpus.join`). Of the published corpus these are the 325 wavs without transcript.

    Args:
        corpus_dir: the folder above `data_aishell`, or `data_aishell` itself.
        output_dir: where the three directories go.
        max_left_out: the share of utterances that may be left out.
        progress: called with (done, total) utterances.
        unpack_dir: where speakers are unpacked to, where the corpus can't be written.

    Returns: set -> (utterances kept, utterance -> reason for those left out).

    Raises:
        ValueError: if the folder isn't the corpus, an archive is damaged or can't be unpacked, an utterance
            stands twice, or more than `max_left_out` of the utterances are left out.
    """
    data = _find(Path(corpus_dir).resolve())
    wav_dirs = [data / "wav"] + ([Path(unpack_dir).resolve()] if unpack_dir else [])
    _unpack_speakers(wav_dirs)
    found = {split: Found() for split in SPLITS}
    for wav_dir in wav_dirs:
        for split in SPLITS:
            found[split].add_audio(sorted((wav_dir / split).rglob("*.wav")))
    _refuse_overlap(found)
    split_of_speaker = {file.parent.name: split for split in SPLITS for file in found[split].audio.values()}
    for utterance, text in read_kaldi(data / _TRANSCRIPTS).items():
        usual = split_of(utterance)
        speaker = utterance.rpartition("W")[0][-5:]
        found[split_of_speaker.get(speaker, usual)].texts[utterance] = normalize_mandarin(text)
    result = join(found, lambda utterance, file: file.parent.name, progress)
    check_left_out(result, data, max_left_out)
    for split, (kept, excluded) in result.items():
        write_data_dir(Path(output_dir) / split, kept, excluded)
    return result


def _find(corpus_dir: Path) -> Path:
    """The folder `data_aishell`."""
    for folder in (corpus_dir, corpus_dir / "data_aishell"):
        if (folder / _TRANSCRIPTS).is_file() and (folder / "wav").is_dir():
            return folder
    hint = ""
    if (corpus_dir / "data_aishell.tgz").is_file():
        hint = f". The archive is there: --download-dir {corpus_dir} checks and unpacks it"
    raise ValueError(f"{corpus_dir}: not AiShell-1; expected {_LAYOUT}{hint}")


def _unpack_speakers(wav_dirs: list[Path]) -> None:
    """Unpack the archives in the first folder whose speakers have no folder yet, into the last one."""
    there = {
        folder.name for wav_dir in wav_dirs for split in SPLITS for folder in (wav_dir / split).glob("*/")
    }
    archives = [path for path in sorted(wav_dirs[0].glob("*.tar.gz")) if path.name[:-7] not in there]
    target = wav_dirs[-1]
    progress = Progress(f"speakers unpacked to {target}")
    for done, archive in enumerate(archives, start=1):
        _unpack_speaker(archive, target)
        progress(done, len(archives))


def _unpack_speaker(archive: Path, target: Path) -> None:
    """Unpack `<split>/<speaker>/*.wav` and move each speaker's folder into its place as a whole."""
    try:
        partial = unpack(archive, target / f".{archive.name}.partial")
        folders = [folder for split in SPLITS for folder in (partial / split).glob("*/")]
        for folder in folders:
            place = target / folder.relative_to(partial)
            place.parent.mkdir(exist_ok=True)
            folder.rename(place)
    except OSError as error:
        raise ValueError(
            f"{archive} can't be unpacked to {target} ({error.strerror or error}); name a folder that can be "
            "written and has 21 GB free, with --unpack-dir"
        ) from None
    shutil.rmtree(partial)
    if not folders:
        raise ValueError(f"{archive}: expected train/, dev/ or test/ in it; fetch AiShell-1 again")


def _refuse_overlap(found: dict[str, Found]) -> None:
    """One file for each utterance, in one set."""
    seen = Found()
    for here in found.values():
        seen.add_audio(here.audio.values())
