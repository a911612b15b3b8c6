"""Text for a language model from Debian's packages of fortune: sentences of sayings, jokes and verse."""

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from imlspike.data.download import DownloadError, download_package
from imlspike.data.files import make_folder, read_kaldi, read_text, write_kaldi

MEGABYTES = 450  # apt's lists, a package and its files
SAID_BY = re.compile(r"^[ \t]+(--|\(c\)).*$", re.MULTILINE | re.IGNORECASE)
END = re.compile(r"(?<=[.!?…])[\"»)]*\s+")


def sentences(sayings: str) -> Iterator[str]:
    """The sentences of a file of fortune, whose sayings stand between lines of %."""
    for saying in re.split(r"^%\s*$", sayings, flags=re.MULTILINE):
        yield from filter(None, END.split(" ".join(SAID_BY.sub("", saying).split())))


def lm_text(files: Iterable[Path], normalize: Callable[[str], str]) -> tuple[dict[str, str], int]:
    """A Kaldi text of the files' sentences, each once, and how many were left out.

    Args:
        files: in UTF-8; ValueError for others.
        normalize: from a sentence to its words as transcripts have them. Sentences for which it raises
            ValueError, and those of fewer than two words, are left out.
    """
    kept, left_out = {}, 0
    for file in files:
        for sentence in sentences(read_text(file)):
            try:
                text = normalize(sentence)
            except ValueError:
                text = ""
            if " " in text:
                kept.setdefault(text, f"fortune_{len(kept):06d}")
            else:
                left_out += 1
    return {name: text for text, name in kept.items()}, left_out


def program(
    about: str, package: str, folder: str, language: str, normalizer: Callable[[list[str]], Callable]
) -> None:
    """A recipe's program for --lm_text_program: reads sys.argv, writes the text; SystemExit if it can't.

    Args:
        about: its docstring.
        package, folder: the Debian package, and where its files of fortune are in it.
        language: for errors.
        normalizer: from the training transcripts to the `normalize` of `lm_text`.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--train", required=True, help="Kaldi text of the training set")
    parser.add_argument("--output", type=Path, required=True, help="the Kaldi text to write")
    parser.add_argument("--source", type=Path, help="folder of fortune's files (default: fetch the package)")
    parser.add_argument("--downloads", default="downloads", help="where the package is unpacked")
    args = parser.parse_args()
    try:
        normalize = normalizer(list(read_kaldi(args.train).values()))
        source = args.source or download_package(package, args.downloads, MEGABYTES) / folder
        files = [file for file in source.glob("*") if file.is_file() and file.suffix not in (".dat", ".u8")]
        text, left_out = lm_text(sorted(files), normalize)
        if not text:
            told = f"expected those of {package}'s {folder}"
            raise ValueError(f"{source}: no {language} sentences in its {len(files)} files; {told}")
        make_folder(args.output.parent)
        write_kaldi(args.output, text)
    except DownloadError as error:
        why = str(error).partition(";")[0]
        sys.exit(
            f"{why}; unpack {package} as {args.downloads}/{package}, or do without: --lm_text_program ''"
        )
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(f"{args.output}: {len(text)} sentences; {left_out} left out (other characters, single words)")
