"""Lay recordings of single Mandarin words (`cmn-<characters>.mp3`) out exactly as AiShell-1.

    PYTHONPATH=. python egs/aishell/asr1/local/words_as_aishell.py WORDS_DIR OUTPUT_DIR
    egs/aishell/asr1/run.sh --corpus_dir OUTPUT_DIR

The recipe can then be run from its first stage to its last on a few thousand short recordings, such as those
of audio-cmn (https://github.com/hugolpz/audio-cmn, CC BY-SA). The split is the same on every machine: words
are taken in the order of their checksum, and a word is held out where each of its characters stands in at
least --min-count words to train on. All words are one voice's, so unlike AiShell-1's the sets share their
speaker, under three names.
"""

import argparse
import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from imlspike.data.files import atomic_write
from imlspike.data.format import format_data_dir
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.data.progress import Progress

SPEAKERS = {"train": "S0001", "dev": "S0724", "test": "S0764"}


def split_words(words: Iterable[str], held_out: int = 150, min_count: int = 3) -> dict[str, list[str]]:
    """Share words out to train, dev and test, `held_out` each to dev and test, by turns.

    Raises:
        ValueError: if fewer words can be held out.

    >>> split_words(["天上", "天下", "天上人", "上人", "人天", "人上"], held_out=1, min_count=2)
    {'train': ['上人', '人上', '天上', '天下'], 'dev': ['人天'], 'test': ['天上人']}
    """
    by_checksum = sorted(words, key=lambda word: hashlib.md5(word.encode(), usedforsecurity=False).digest())
    left = Counter(character for word in by_checksum for character in set(word))
    chosen: list[str] = []
    for word in by_checksum:
        if len(chosen) < 2 * held_out and all(left[character] > min_count for character in word):
            left.subtract(set(word))
            chosen.append(word)
    if len(chosen) < 2 * held_out:
        raise ValueError(
            f"only {len(chosen)} of {len(by_checksum)} words can be held out, {2 * held_out} are asked for; "
            "give more words, or less with --held-out or --min-count"
        )
    rest = set(by_checksum) - set(chosen)
    return {"train": sorted(rest), "dev": sorted(chosen[::2]), "test": sorted(chosen[1::2])}


def lay_out(
    words_dir: Path, output_dir: Path, held_out: int, min_count: int, nj: int
) -> dict[str, list[Utterance]]:
    """Write `output_dir/data_aishell`, which is there when it is complete and not before.

    What an interrupted run has converted is kept.

    Raises:
        ValueError: if there are no words or too few, a file is broken, or another split is there already.
    """
    files = {path.stem.removeprefix("cmn-"): path.resolve() for path in words_dir.glob("cmn-*.mp3")}
    if not files:
        raise ValueError(f"{words_dir}: no words; expected files named cmn-<characters>.mp3")
    partial, done = output_dir / ".partial", output_dir / "data_aishell"
    sets = {
        split: [
            Utterance(f"BAC009{SPEAKERS[split]}W{number:04d}", str(files[word]), word, SPEAKERS[split], 0.0)
            for number, word in enumerate(words, start=1)
        ]
        for split, words in split_words(files, held_out, min_count).items()
    }
    lines = "".join(f"{utterance.id} {utterance.text}\n" for split in sets for utterance in sets[split])
    transcripts = Path("transcript", "aishell_transcript_v0.8.txt")
    if done.exists() and (done / transcripts).read_text(encoding="utf-8") != lines:
        raise ValueError(f"{done} holds other words or another split; remove it or name another folder")
    here = done if done.exists() else partial / "data_aishell"
    for split, utterances in sets.items():
        write_data_dir(partial / split, utterances)
        sets[split], _ = format_data_dir(
            partial / split,
            partial / f"{split}_wav",
            audio_format="wav",
            audio_dir=here / "wav" / split,
            max_left_out=0.0,
            nj=nj,
            progress=Progress(f"{split}: words converted"),
        )
    (here / transcripts).parent.mkdir(exist_ok=True)
    with atomic_write(here / transcripts) as out:
        out.write(lines)
    if here != done:
        here.rename(done)
    shutil.rmtree(partial)
    return sets


def main(argv: list[str] | None = None) -> int:
    """Write the corpus and print what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("words_dir", type=Path, help="folder of cmn-<characters>.mp3")
    add("output_dir", type=Path, help="gets data_aishell/")
    add("--held-out", type=int, default=150, help="words of dev, and of test (default 150)")
    add("--min-count", type=int, default=3, help="train words that have a character of theirs (default 3)")
    add("--nj", type=int, default=2, help="processes (default 2)")
    args = parser.parse_args(argv)
    try:
        sets = lay_out(**vars(args))
    except (RuntimeError, ValueError, OSError) as error:
        print(f"words_as_aishell: {error}", file=sys.stderr)
        return 1
    print(f"{'set':<8}{'words':>8}{'minutes':>10}{'characters':>12}{'distinct':>10}")
    for split, utterances in sets.items():
        minutes, text = sum(u.seconds for u in utterances) / 60, "".join(u.text for u in utterances)
        print(f"{split:<8}{len(utterances):>8}{minutes:>10.1f}{len(text):>12}{len(set(text)):>10}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
