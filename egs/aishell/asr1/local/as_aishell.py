"""Lay a few thousand recordings out exactly as AiShell-1, so that its recipe runs from first stage to last.

    PYTHONPATH=. python egs/aishell/asr1/local/as_aishell.py words FOLDER OUTPUT_DIR
    egs/aishell/asr1/run.sh --corpus_dir OUTPUT_DIR

words: single words of one voice, `cmn-<characters>.mp3`, such as those of audio-cmn
(https://github.com/hugolpz/audio-cmn, CC BY-SA). A word is held out where each of its characters stands in at
least --min-count words to train on.
sentences, speakers: a sample of AISHELL's, `BAC009S0150W0001.opus` (.wav, .flac) with its text in
`BAC009S0150W0001.txt`. The first holds sentences out; the second all of the speaker --test-speaker for the
test set, and sentences of the others for dev.

The split is the same on every machine: texts are taken in the order of their checksum, and the same text is
in one set only (but for texts that --test-speaker shares with others). AiShell-1's sets share no speaker, so
one who is in several sets has another name in each.
"""

import argparse
import hashlib
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from imlspike.bin._command import number
from imlspike.data.files import atomic_write, read_text
from imlspike.data.format import format_data_dir
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.data.progress import Progress
from imlspike.text.normalization_mandarin import mandarin_words

FIRST_SPEAKER = {"train": 1, "dev": 724, "test": 764}  # of AiShell-1's sets
Sets = dict[str, list[Utterance]]


def split_texts(words: Iterable[str], held_out: int = 150, min_count: int = 3) -> dict[str, list[str]]:
    """Share texts out to train, dev and test, `held_out` each to dev and test, by turns.

    One is held out where each of its characters stands in at least `min_count` others to train on.

    Raises:
        ValueError: if fewer words can be held out.

    >>> split_texts(["天上", "天下", "天上人", "上人", "人天", "人上"], held_out=1, min_count=2)
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
            f"only {len(chosen)} of {len(by_checksum)} texts can be held out, {2 * held_out} are asked for; "
            "give more, or ask for less with --held-out or --min-count"
        )
    rest = set(by_checksum) - set(chosen)
    return {"train": sorted(rest), "dev": sorted(chosen[::2]), "test": sorted(chosen[1::2])}


def words_of(folder: Path, held_out: int, min_count: int) -> Sets:
    """The words in a folder, in their sets."""
    files = {path.stem.removeprefix("cmn-"): path.resolve() for path in folder.glob("cmn-*.mp3")}
    if not files:
        raise ValueError(f"{folder}: no words; expected files named cmn-<characters>.mp3")
    return {
        split: [utterance(split, 0, number, files[word], word) for number, word in enumerate(words, start=1)]
        for split, words in split_texts(files, held_out, min_count).items()
    }


def sentences_of(folder: Path, held_out: int, min_count: int, test_speaker: str = "") -> Sets:
    """The sentences in a folder, in their sets; all of the `test_speaker` in test, if there is one."""
    expected = "expected BAC009S0150W0001.opus and BAC009S0150W0001.txt, ..."
    files = sorted(folder.glob("BAC009S*"))
    texts = {path.stem: spoken(path) for path in files if path.suffix == ".txt"}
    audio = {path.stem: path.resolve() for path in files if path.suffix != ".txt"}
    if not files:
        raise ValueError(f"{folder}: no sentences; {expected}")
    if odd := [path.name for path in files if not re.fullmatch(r"BAC009S\d{4}W\d+", path.stem)]:
        raise ValueError(f"{folder}: {odd[0]} ({len(odd)} such) has another name; {expected}")
    if odd := sorted(texts.keys() ^ audio.keys()) or sorted(name for name in texts if not texts[name]):
        raise ValueError(f"{folder}: {odd[0]} ({len(odd)} such) lacks its recording or its text; {expected}")
    if len(texts) + len(audio) < len(files):
        raise ValueError(f"{folder}: {len(files)} files for {len(texts)} sentences; leave one of each")
    speakers = sorted({name[6:11] for name in texts})
    if test_speaker and (test_speaker not in speakers or len(speakers) < 2):
        told = f"{folder} has {' '.join(speakers)}; expected one of at least two"
        raise ValueError(f"--test-speaker {test_speaker}: {told}")
    others = {texts[name] for name in texts if name[6:11] != test_speaker}
    sets = split_texts(others, held_out, min_count)
    if test_speaker:
        sets["train"] += sets.pop("test")
    set_of = {text: split for split, members in sets.items() for text in members}
    found: Sets = {split: [] for split in FIRST_SPEAKER}
    for name in sorted(texts):
        split = "test" if name[6:11] == test_speaker else set_of[texts[name]]
        place, number = speakers.index(name[6:11]), int(name[12:])
        found[split].append(utterance(split, place, number, audio[name], texts[name]))
    return found


def spoken(path: Path) -> str:
    """The characters of a sentence as AiShell-1 writes them: numbers in words, no marks (`[n]`: a noise)."""
    text = re.sub(r"\[\w\]", "", read_text(path))
    text = re.sub(r"\d+(\.\d+)?", lambda found: mandarin_words(found[0]), text)
    return re.sub(r"[\W_]", "", text).upper()


def utterance(split: str, speaker: int, number: int, file: Path, text: str) -> Utterance:
    """An utterance under a name that AiShell-1 has in this set."""
    name = f"S{FIRST_SPEAKER[split] + speaker:04d}"
    return Utterance(f"BAC009{name}W{number:04d}", str(file), text, name, 0.0)


def lay_out(sets: Sets, output_dir: Path, nj: int) -> Sets:
    """Write `output_dir/data_aishell`, which is there when it is complete and not before.

    What an interrupted run has converted is kept. ValueError: a file is broken, or another split is there.
    """
    partial, done = output_dir / ".partial", output_dir / "data_aishell"
    lines = "".join(f"{utterance.id} {utterance.text}\n" for split in sets for utterance in sets[split])
    transcripts = Path("transcript", "aishell_transcript_v0.8.txt")
    if done.exists() and (done / transcripts).read_text(encoding="utf-8") != lines:
        raise ValueError(f"{done} holds other texts or another split; remove it or name another folder")
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
            progress=Progress(f"{split}: recordings converted"),
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
    add("what", choices=("words", "sentences", "speakers"))
    add("folder", type=Path, help="of recordings")
    add("output_dir", type=Path, help="gets data_aishell/")
    count = number(1, 10**6, int)
    add("--held-out", type=count, help="texts of dev, and of test (default: words 150, otherwise 100)")
    told = "texts to train on that have each character of a held-out one (default: words 3, otherwise 0)"
    add("--min-count", type=number(0, 10**6, int), help=told)
    add("--test-speaker", default="S0252", help="of speakers (default %(default)s)")
    add("--nj", type=count, default=2, help="processes (default 2)")
    args = parser.parse_args(argv)
    words = args.what == "words"
    held_out = (150 if words else 100) if args.held_out is None else args.held_out
    min_count = (3 if words else 0) if args.min_count is None else args.min_count
    try:
        if words:
            sets = words_of(args.folder, held_out, min_count)
        else:
            speaker = args.test_speaker if args.what == "speakers" else ""
            sets = sentences_of(args.folder, held_out, min_count, speaker)
        sets = lay_out(sets, args.output_dir, args.nj)
    except (RuntimeError, ValueError, OSError) as error:
        print(f"as_aishell: {error}", file=sys.stderr)
        return 1
    print(f"{'set':<8}{'texts':>8}{'minutes':>10}{'characters':>12}{'distinct':>10}")
    for split, utterances in sets.items():
        minutes, text = sum(u.seconds for u in utterances) / 60, "".join(u.text for u in utterances)
        print(f"{split:<8}{len(utterances):>8}{minutes:>10.1f}{len(text):>12}{len(set(text)):>10}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
