"""Additional text for the language model: sentences of Debian's fortunes (BSD; sayings, jokes, verse).

    PYTHONPATH=. python egs/speechocean762/asr1/local/lm_text.py --train TEXT --output TEXT [--source FOLDER]

Capitals and apostrophes inside words, as in the corpus. A sentence with a digit or another character that is
no English letter is left out, as are single words and who said it; of equal sentences one stays.
"""

import re

from imlspike.recipes.fortunes import program
from imlspike.text.punctuation import plain_text

_MARKS = re.compile(r"""[,.!?;:()"-]|(?<![A-Z])'|'(?![A-Z])""")


def normalize(text: str) -> str:
    """English text as capitals, apostrophes inside words and single blanks; ValueError for other characters.

    >>> normalize("'Tis well-known - it isn't \\"mine\\".")
    "TIS WELL KNOWN IT ISN'T MINE"
    """
    plain = " ".join(_MARKS.sub(" ", plain_text(text).upper()).split())
    if other := re.search("[^A-Z' ]", plain):
        raise ValueError(f"{other[0]!r} in {text!r}; expected English letters")
    return plain


def main() -> None:
    program(__doc__, "fortunes", "usr/share/games/fortunes", "English", lambda train: normalize)


if __name__ == "__main__":
    main()
