"""Additional text for the language model: sentences of Debian's fortunes-ru (GPL-2; sayings, jokes, verse).

    PYTHONPATH=. python egs/msu_ru_nsh/asr1/local/lm_text.py --train TEXT --output TEXT [--source FOLDER]

A sentence with a digit, a Latin letter or another character that isn't Russian is left out, as are single
words and who said it; of equal sentences one stays. The package writes е for ё nearly always: a word that the
training transcripts spell only with ё gets it back.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from imlspike.data.download import DownloadError, download_package
from imlspike.data.files import make_folder, read_kaldi, read_text, write_kaldi
from imlspike.text.russian import normalize_russian

PACKAGE, MEGABYTES = "fortunes-ru", 450
SAID_BY = re.compile(r"^[ \t]+(--|\(c\)).*$", re.MULTILINE | re.IGNORECASE)
END = re.compile(r"(?<=[.!?…])[\"»)]*\s+")


def sentences(sayings: str) -> Iterator[str]:
    """The sentences of a file of fortune, whose sayings stand between lines of %."""
    for saying in re.split(r"^%\s*$", sayings, flags=re.MULTILINE):
        yield from filter(None, END.split(" ".join(SAID_BY.sub("", saying).split())))


def words_with_yo(texts: Iterable[str]) -> dict[str, str]:
    """Words that these texts write with ё alone, by how they are written without."""
    words = {word for text in texts for word in text.split()}
    plain = {word.replace("ё", "е"): word for word in words if "ё" in word}
    return {other: word for other, word in plain.items() if other not in words}


def lm_text(files: Iterable[Path], yo: Mapping[str, str]) -> tuple[dict[str, str], int]:
    """A Kaldi text of the files' sentences, and how many were left out; ValueError for other than UTF-8."""
    kept, left_out = {}, 0
    for file in files:
        for sentence in sentences(read_text(file)):
            try:
                words = [yo.get(word, word) for word in normalize_russian(sentence).split()]
            except ValueError:
                words = []
            left_out += len(words) < 2
            if len(words) > 1:
                kept.setdefault(" ".join(words), f"fortune_{len(kept):06d}")
    return {name: text for text, name in kept.items()}, left_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", required=True, help="Kaldi text of the training set, for its ё")
    parser.add_argument("--output", type=Path, required=True, help="the Kaldi text to write")
    parser.add_argument("--source", type=Path, help="folder of fortune's files (default: fetch the package)")
    parser.add_argument("--downloads", default="downloads", help="where the package is unpacked")
    args = parser.parse_args()
    try:
        write(args)
    except DownloadError as error:
        why = str(error).partition(";")[0]
        sys.exit(
            f"{why}; unpack {PACKAGE} as {args.downloads}/{PACKAGE}, or do without: --lm_text_program ''"
        )
    except (OSError, ValueError) as error:
        sys.exit(str(error))


def write(args: argparse.Namespace) -> None:
    """Write the text, and say how much it is; ValueError for a folder without Russian sentences."""
    package = args.source or download_package(PACKAGE, args.downloads, MEGABYTES)
    folder = args.source or package / "usr/share/games/fortunes/ru"
    files = [file for file in folder.glob("*") if file.is_file() and file.suffix not in (".dat", ".u8")]
    text, left_out = lm_text(sorted(files), words_with_yo(read_kaldi(args.train).values()))
    if not text:
        told = f"expected those of {PACKAGE}'s usr/share/games/fortunes/ru"
        raise ValueError(f"{folder}: no Russian sentences in its {len(files)} files; {told}")
    make_folder(args.output.parent)
    write_kaldi(args.output, text)
    print(f"{args.output}: {len(text)} sentences; {left_out} left out (other characters, single words)")


if __name__ == "__main__":
    main()
