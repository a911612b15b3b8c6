"""Token lists in ESPnet's form, by character or by sentencepiece, and the check that they cover a text."""

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from imlspike.data.files import atomic_write, make_folder, read_text

BLANK, UNKNOWN, SPACE, SOS_EOS = "<blank>", "<unk>", "<space>", "<sos/eos>"
BLANK_MARK = "\u2581"  # what sentencepiece, and sherpa-onnx after it, writes for a blank

Tokenize = Callable[[str], list[str]]


def char_tokens(text: str) -> list[str]:
    """The characters of `text`, a blank being `<space>`: ESPnet's token_type char."""
    return [SPACE if character == " " else character for character in text]


def write_char_tokens(texts: Iterable[str], output_dir: str | os.PathLike) -> Path:
    """Write `tokens.txt`: `<blank>`, `<unk>`, the characters of `texts` by falling count, `<sos/eos>`."""
    counts = Counter(token for text in texts for token in char_tokens(text))
    ordered = sorted(counts, key=lambda token: (-counts[token], token))
    return write_tokens(ordered, Path(output_dir) / "tokens.txt")


def write_bpe_tokens(texts: Iterable[str], output_dir: str | os.PathLike, nbpe: int) -> Path:
    """Train sentencepiece (BPE, full character coverage) on `texts`; write `bpe.model` and `tokens.txt`.

    `nbpe` is the size of sentencepiece's vocabulary, `<unk>`, `<s>` and `</s>` included; ValueError if the
    texts don't hold so many pieces, or have more characters.
    """
    import sentencepiece  # here only: exported models do without

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(list(texts)),
            model_writer=model,
            vocab_size=nbpe,
            model_type="bpe",
            character_coverage=1.0,
            normalization_rule_name="identity",
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"no {nbpe} pieces can be made of this text ({error}); change --nbpe") from None
    output_dir = Path(output_dir)
    make_folder(output_dir)
    with atomic_write(output_dir / "bpe.model", "wb") as out:
        out.write(model.getvalue())
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [processor.id_to_piece(i) for i in range(len(processor)) if i not in (0, 1, 2)]
    return write_tokens(pieces, output_dir / "tokens.txt")


def write_tokens(tokens: Iterable[str], path: str | os.PathLike) -> Path:
    """Write a token list: `<blank>`, `<unk>`, the tokens, `<sos/eos>`; returns the path."""
    path = Path(path)
    make_folder(path.parent)
    with atomic_write(path) as out:
        out.writelines(f"{token}\n" for token in [BLANK, UNKNOWN, *tokens, SOS_EOS])
    return path


def read_tokens(path: str | os.PathLike) -> list[str]:
    """Read `tokens.txt`: one token a line, blank first, `<sos/eos>` last; the line number is the id.

    ValueError, naming the file, if the list isn't of that form or a token stands twice.
    """
    tokens = read_text(path).removesuffix("\n").split("\n")
    if tokens[:2] != [BLANK, UNKNOWN] or tokens[-1] != SOS_EOS:
        raise ValueError(f"{path}: expected {BLANK}, {UNKNOWN} at the head and {SOS_EOS} at the end")
    if twice := [token for token, count in Counter(tokens).items() if count > 1]:
        raise ValueError(f"{path}: token {twice[0]!r} stands twice; make the list again")
    return tokens


def load_tokenizer(bpe_model: str | os.PathLike | None = None) -> Tokenize:
    """The function text -> tokens: sentencepiece's with a model, else `char_tokens`."""
    if bpe_model is None:
        return char_tokens
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=os.fspath(bpe_model)).encode_as_pieces


def uncovered(texts: Mapping[str, str], tokens: Iterable[str], tokenize: Tokenize) -> dict[str, str]:
    """Utterances with a token outside the list, each with the reason: they would train towards `<unk>`.

    >>> uncovered({"ru_1": "aж"}, ["<blank>", "<unk>", "a", "<sos/eos>"], char_tokens)
    {'ru_1': "not in the token list: 'ж'"}
    """
    known, reasons = set(tokens) - {BLANK, UNKNOWN, SOS_EOS}, {}
    for name, text in texts.items():
        if unknown := [token for token in tokenize(text) if token not in known]:
            reasons[name] = f"not in the token list: {', '.join(map(repr, dict.fromkeys(unknown)))}"
    return reasons
