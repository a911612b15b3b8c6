"""Additional text for the language model: sentences of Debian's fortunes-ru (GPL-2; sayings, jokes, verse).

    PYTHONPATH=. python egs/msu_ru_nsh/asr1/local/lm_text.py --train TEXT --output TEXT [--source FOLDER]

A sentence with a digit, a Latin letter or another character that isn't Russian is left out, as are single
words and who said it; of equal sentences one stays. The package writes е for ё nearly always: a word that the
training transcripts spell only with ё gets it back.
"""

from collections.abc import Callable, Iterable

from imlspike.recipes.fortunes import program
from imlspike.text.russian import normalize_russian


def words_with_yo(texts: Iterable[str]) -> dict[str, str]:
    """Words that these texts write with ё alone, by how they are written without."""
    words = {word for text in texts for word in text.split()}
    plain = {word.replace("ё", "е"): word for word in words if "ё" in word}
    return {other: word for other, word in plain.items() if other not in words}


def normalizer(train: Iterable[str]) -> Callable[[str], str]:
    """`normalize_russian`, and ё as in the training transcripts."""
    yo = words_with_yo(train)
    return lambda text: " ".join(yo.get(word, word) for word in normalize_russian(text).split())


def main() -> None:
    program(__doc__, "fortunes-ru", "usr/share/games/fortunes/ru", "Russian", normalizer)


if __name__ == "__main__":
    main()
