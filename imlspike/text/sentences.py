"""A long text cut into sentences, so that each can be spoken by itself."""

import re
from collections.abc import Iterator

from imlspike.text.tables import LANGUAGES, abbreviated, tables

LONGEST = 300  # characters: some 20 s in an alphabet, about as long as the longest recordings of most corpora

# A sentence's marks with what closes behind them, or a line left blank.
_END = re.compile(r"[.!?…]+[\"'»”’)\]]*(?=\s)|[。！？…]+[”’」』）]*|(?<=\S)\s*\n\s*\n")
# A point behind an initial ends no sentence, unless a word follows that often begins one; nor does one behind
# what stands before a name, or before a number. Others (etc., p.m., 1984 г.) end one where a capital follows.
_INITIAL = re.compile(r"(?<![^\W_])(?<!°)[A-ZА-ЯЁ]\.$")


def _listed(*names: str) -> str:
    """A pattern of what stands in these tables of any language."""
    found = [tables(language) for language in LANGUAGES]
    return abbreviated([word for table in found for name in names for word in table.get(name, ())])


_BEFORE_NAME = re.compile(
    rf"(?<![^\W_])(?:{_listed('before_names')}|(?<!и )[Пп]р|[Тт]\. ?[екн]"
    r"|(?<!\d)(?<!\d )(?:(?<!год )(?<!года )(?<!году )г|р))\.$"
)
_BEFORE_NUMBER = re.compile(
    rf"(?<![^\W_])(?:[ap]\. ?m|{_listed('before_numbers', 'numbered', 'short_months')}|(?<!т\.)(?<!т\. )д)\.$"
)
_BEGINS = re.compile(
    r"\s+(?:The|It|He|She|They|We|You|I|This|That|There|Then|But|And|In|On|At|If|When|My|His|Her|Our|Their|What|Who|"
    r"How|Why|Yes|No|So|Он|Она|Оно|Они|Мы|Вы|Это|Но|Там|Тут|Так|Если|Когда|Его|Её|Их|Что|Кто|Как)\b(?!\.)"
)
_IN_YEAR = re.compile(r"[ВКСД]о? \d{3,4} г\.")  # what opens a sentence doesn't end it
# Where what is too long is cut, the best place first.
_BREAKS = [re.compile(p) for p in (r"[.!?…;]+(?=\s)|[。！？；]", r"[,:)–—-](?=\s)|[，、：]", r"\s+")]


def split_sentences(text: str, longest: int = LONGEST) -> list[str]:
    """The sentences of a text, in their order, each with its marks: nothing but white space is lost.

    A sentence ends at `.`, `!`, `?`, `…` and their like with a blank behind them (Chinese marks need none),
    if what follows doesn't go on in small letters, and at a blank line. One of more than `longest` characters
    is cut behind a lesser mark, between words, or where there are neither between characters. What has no
    letter is left with its neighbor. Initials and common abbreviations before names and numbers end none.

    >>> split_sentences('"Stop!" he said. But... why?\\n\\nChapter 2\\n\\nIt rained.')
    ['"Stop!" he said.', 'But... why?', 'Chapter 2', 'It rained.']
    >>> split_sentences("Mr. J. Smith, А. С. Пушкин и г. Москва. Да.")
    ['Mr. J. Smith, А. С. Пушкин и г. Москва.', 'Да.']
    >>> split_sentences("你好。再见！")
    ['你好。', '再见！']
    >>> split_sentences("to be, or not to be", longest=12)
    ['to be,', 'or not to be']
    """
    pieces: list[str] = []
    for sentence in _sentences(text):
        for piece in filter(None, _shorten(sentence, longest)):
            if pieces and not (_speaks(piece) and _speaks(pieces[-1])):
                pieces[-1] += " " + piece
            else:
                pieces.append(piece)
    return pieces


def _sentences(text: str) -> Iterator[str]:
    start = 0
    for end in _END.finditer(text):
        follows = next((c for c in text[end.end() : end.end() + 20] if c.isalnum()), "")
        blank_line = not end[0].strip()
        opens = _IN_YEAR.fullmatch(text[start : end.end()].strip())
        if blank_line or not (follows.islower() or opens or _goes_on(text, end)):
            yield text[start : end.end()].strip()
            start = end.end()
    yield text[start:].strip()


def _goes_on(text: str, end: re.Match) -> bool:
    """Return True if a sentence goes on behind a point."""
    before = text[max(0, end.end() - 20) : end.end()]
    if _INITIAL.search(before):
        return not _BEGINS.match(text, end.end())
    after = text[end.end() : end.end() + 9]
    if re.search(r"(?<!\d)\d{1,2}\.$", before) and re.match(r" \d{1,2}\.(?: \d{4}|\D| ?$)| \d{4}\b", after):
        return True  # 5. 5. 2024
    is_number = bool(re.match(r"(?: -)? ?(?:[+№$€]? ?\d|[IVXL]+\b|[A-Z]{2,3}T\b|UTC)", after))
    return bool(_BEFORE_NAME.search(before) or (is_number and _BEFORE_NUMBER.search(before)))


def _shorten(sentence: str, longest: int) -> Iterator[str]:
    while len(sentence) > longest:
        window = sentence[: longest + 1]  # the blank behind a mark at its end is seen
        places = ([m.end() for m in pattern.finditer(window)] for pattern in _BREAKS)
        far = (max((p for p in found if longest // 3 < p <= longest), default=0) for found in places)
        cut = next(filter(None, far), longest)
        yield sentence[:cut].strip()
        sentence = sentence[cut:].strip()
    yield sentence


def _speaks(piece: str) -> bool:
    return any(character.isalnum() for character in piece)
