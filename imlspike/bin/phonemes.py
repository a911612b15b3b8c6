"""Write a data directory in symbols: the text as a voice speaks it.

imlspike phonemes --front-end russian --data-dir data/train --output-dir dump/symbols/train
"""

import argparse
from dataclasses import replace
from pathlib import Path

from imlspike.bin._command import command
from imlspike.bin._files import output_dir, output_file
from imlspike.data.corpus import check_left_out
from imlspike.data.files import read_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir, read_excluded, write_data_dir
from imlspike.data.keys import check_choice
from imlspike.text.phonemes import FRONT_ENDS, ON_UNKNOWN, front_end, languages_of, speak_rest, symbols_of
from imlspike.text.tokens import BLANK, SOS_EOS, SPACE, UNKNOWN, read_tokens, write_tokens


def texts_of(data_dir: Path, table: str, utterances: list[Utterance]) -> dict[str, str]:
    """The text of each utterance in the table that is asked for."""
    if table == "text":
        return {utterance.id: utterance.text for utterance in utterances}
    return read_table(data_dir, table, utterances, "does this corpus have one? Else leave --table away")


def read_table(data_dir: Path, table: str, utterances: list[Utterance], way_out: str) -> dict[str, str]:
    """The lines of a table by utterance; ValueError without the table, with the `way_out`, or a line."""
    if not (data_dir / table).is_file():
        raise ValueError(f"{data_dir}: no table {table}; {way_out}")
    found = read_kaldi(data_dir / table)
    if missing := [utterance.id for utterance in utterances if utterance.id not in found]:
        raise ValueError(f"{data_dir}/{table}: no line for {missing[0]} ({len(missing)} such); prepare again")
    return {utterance.id: found[utterance.id] for utterance in utterances}


def languages_in(data_dir: Path, front: str, utterances: list[Utterance]) -> dict[str, str]:
    """The language of each utterance, where the front end has several: that of Kaldi's table utt2lang."""
    if not (known := languages_of(front)):
        return {}
    told = f"{front} needs one, a line 'utterance language' each, of {', '.join(known)}; write it, or name a "
    return read_table(data_dir, "utt2lang", utterances, f"{told}front end of one language")


def tell_unseen(symbols: list[str], sentences, path: Path) -> None:
    """Symbols that a voice trained on these sentences will not have heard."""
    seen = {symbol for sentence in sentences for symbol in sentence}
    unseen = [symbol for symbol in symbols if symbol not in seen]
    told = f"; {len(unseen)} of them are nowhere in this text, and can't be learned: {' '.join(unseen)}"
    print(f"{path}: {len(symbols)} symbols" + (told if unseen else ""))


@command
def main(argv: list[str] | None = None) -> None:
    """Turn the text of a data directory into symbols with single blanks between (a blank between words, where
    the front end has one, is <space>). What can't be spoken is left out and listed in excluded.tsv. A front
    end of several languages (espeak:nl+cs) reads each text in its language by the table utt2lang."""
    parser = argparse.ArgumentParser(prog="imlspike phonemes", description=main.__doc__)
    add = parser.add_argument
    told = "espeak:LANGUAGE as espeak:nl, or of several espeak:nl+cs"
    add("--front-end", required=True, help=f"{', '.join(FRONT_ENDS)}, {told}")
    add("--data-dir", type=Path, required=True)
    add("--output-dir", type=output_dir, required=True)
    add(
        "--table",
        default="text",
        help="the table to read: text (default), or pinyin of corpora that have it",
    )
    add(
        "--on-unknown",
        choices=ON_UNKNOWN,
        default="error",
        help="characters that can't be spoken: their utterance is left out (error), or they are (skip)",
    )
    add("--max-left-out", type=float, default=0.05, help="share of utterances (default 0.05)")
    lists = parser.add_mutually_exclusive_group()
    told = "write ESPnet's token list there: the front end's symbols; those of this text where it has none"
    lists.add_argument("--write-tokens", type=output_file, metavar="FILE", help=told)
    lists.add_argument("--tokens", type=Path, metavar="FILE", help="a token list that must have all symbols")
    args = parser.parse_args(argv)
    utterances = read_data_dir(args.data_dir)
    texts = texts_of(args.data_dir, args.table, utterances)
    known = set(read_tokens(args.tokens)) - {BLANK, UNKNOWN, SOS_EOS} if args.tokens else None
    language_of, spoken, reasons = languages_in(args.data_dir, args.front_end, utterances), {}, {}
    choices = languages_of(args.front_end) or (None,)
    fronts = {language: front_end(args.front_end, language=language) for language in choices}
    for name, text in texts.items():
        try:
            language = language_of.get(name)
            check_choice(f"{name}: the language in utt2lang", language, fronts)
            speak = fronts[language]
            found, skipped = (
                speak_rest(speak, text, name) if args.on_unknown == "skip" else (speak(text, name), ())
            )
            if skipped:
                print(f"{name}: spoken without {' '.join(map(repr, skipped))}")
            symbols = [SPACE if symbol == " " else symbol for symbol in found]
            if known is not None and (missing := [s for s in dict.fromkeys(symbols) if s not in known]):
                shown = ", ".join(map(repr, missing))
                raise ValueError(f"{name}: not among the symbols of {args.tokens}: {shown}")
            spoken[name] = symbols
        except ValueError as error:
            reasons[name] = str(error)
    written = [replace(u, text=" ".join(spoken[u.id])) for u in utterances if u.id in spoken]
    check_left_out(
        {args.data_dir.name: (written, reasons)}, f"{args.data_dir}/{args.table}", args.max_left_out
    )
    if args.write_tokens:
        symbols = [SPACE if s == " " else s for s in symbols_of(args.front_end, spoken.values())]
        write_tokens(symbols, args.write_tokens)
        tell_unseen(symbols, spoken.values(), args.write_tokens)
    write_data_dir(args.output_dir, written, read_excluded(args.data_dir) | reasons)
    for name, reason in sorted(reasons.items()):
        print(f"left out {name}: {reason}")
    count, minutes = sum(map(len, spoken.values())), sum(u.seconds for u in written) / 60
    told = f"{len(written)} utterances, {count} symbols, {minutes:.1f} minutes, {len(reasons)} left out"
    print(f"{args.output_dir}: {told} (listed in excluded.tsv)")
