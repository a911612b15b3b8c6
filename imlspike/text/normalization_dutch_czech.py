"""Dutch and Czech for espeak-ng: what it doesn't say by itself is put in words; plain numbers stay digits."""

import re
from collections.abc import Callable, Mapping

from imlspike.text.normalization import dates, declined, grammar, in_words, normalize, roman
from imlspike.text.tables import one_of, tables

_DUTCH, _CZECH = tables("dutch"), tables("czech")
_MALE, _FEMALE = (re.compile(one_of(_CZECH[name])) for name in ("male", "female"))


def dutch_ordinal(number: int | str) -> str:
    """A Dutch ordinal number from digits or a Roman numeral."""
    return in_words(number, "nl", to="ordinal")


def czech_ordinal(number: int | str, ending: str = "ý") -> str:
    """A Czech ordinal number below 10,000 with the ending of its gender and case (á é ého ému ém ým ou).

    >>> czech_ordinal(1), czech_ordinal(23, "ého"), czech_ordinal(1984)
    ('první', 'dvacátého třetího', 'tisící devítistý osmdesátý čtvrtý')
    """
    number = roman(str(number)) or int(number)
    parts = [number // 1000 * 1000, number // 100 % 10 * 100]
    parts += [number % 100] if number % 100 < 20 else [number // 10 % 10 * 10, number % 10]
    soft = {"ého": "ího", "ému": "ímu", "ém": "ím", "ým": "ím"}.get(ending, "í")
    said = [_CZECH["ordinals"].get(str(part), str(part)) for part in parts if part]
    return " ".join(word[:-1] + (soft if word[-1] == "í" else ending) for word in said)


def _ending(noun: str, before: str) -> str:
    """The ending of a Czech ordinal beside a noun, or an adjective, behind a preposition."""
    if re.search("(ech|ách|let)$", noun):
        return "ých"
    if adjective := re.search("(ého|ému|ých|ým|ém|ou|á|é|ý)$", noun):
        return adjective[0]
    if noun in _CZECH["months"].values():
        return "ého"
    case, last = _CZECH["prepositions"].get(before.lower(), ""), noun[-1:]
    if _FEMALE.match(noun):
        return {"a": "á", "u": "ou"}.get(last, "é" if case or last in "yě" else "á")
    if last in "aeiěuí":
        return case or {"a": "á", "u": "ého", "ě": "ém"}.get(last, "é")
    return {"o": "é", "y": "é"}.get(last, "ý")


def _nth(m: re.Match) -> str:
    before = m["b"] or ""
    return f"{before} {czech_ordinal(m['n'], _ending(m['a'], before))} ".lstrip()


def _ruler(m: re.Match) -> str:
    endings = _CZECH["male_endings" if _MALE.match(m["b"]) else "female_endings"]
    ending = next((said for end, said in endings.items() if m["b"].endswith(end)), "ý")
    return f"{m['b']} {czech_ordinal(m['n'], ending)} "


def _czech_number(number: str, noun: str = "") -> str:
    """A number with its noun; one with a comma is celá, celé, celých."""
    whole, _, part = number.partition(",")
    forms = declined(noun, _CZECH["forms"])
    female = bool(part) or noun.split(" ")[0][-1:] == "a"
    said = whole
    if female or noun.endswith("o"):
        said = {"1": "jedna" if female else "jedno", "2": "dvě"}.get(whole, whole)
    nth = 0 if whole == "1" else 1 if whole in "234" else 2
    if not whole:
        return f" {forms[3]} "
    if part:
        said += f" {('celá', 'celé', 'celých')[0 if whole == '0' else nth]} "
        said, nth = said + (" ".join(part) if part[0] == "0" or len(part) > 2 else part), 3
    return f"{said} {forms[nth] if noun else ''} "


def _czech_fraction(top: int, bottom: int) -> str:
    return _czech_number(str(top), _CZECH["fractions"].get(str(bottom), czech_ordinal(bottom, "ina")))


def _dutch_fraction(top: int, bottom: int) -> str:
    if bottom in (2, 4):
        return "een half" if bottom == 2 else "een kwart" if top == 1 else "driekwart"
    return f"{'een' if top == 1 else top} {dutch_ordinal(bottom)}"


def _dutch_number(number: str, noun: str = "") -> str:
    one, _, many = noun.partition("/")
    return f"{number} {one if number in ('', '1') or not many else many} "


def _czech_gender(m: re.Match) -> str:
    """1 and 2 before a noun: jedna, jedno, dvě."""
    noun, last = m["a"], m["a"][-1]
    if m["n"] == "1":
        return {"a": "jedna", "o": "jedno", "í": "jedno"}.get(last, "1") + " "
    return "dvě " if last in "aey" and not re.match(one_of(_CZECH["masculine"]), noun) else "2 "


def _functions(
    words: Mapping[str, Mapping[str, str]],
    number: Callable[[str, str], str],
    part: Callable[[int, int], str],
    accusative: Callable[[str], str] = str,
) -> dict[str, Callable]:
    """Functions by which the rules of both languages speak."""
    say, units = words["words"], words["units"]

    def fraction(m: re.Match) -> str:
        top, bottom = int(m["n"]), int(m["d"])
        if not 0 < top < bottom <= 20:
            return m[0]
        said = say["half"] if m["w"] and bottom == 2 else part(top, bottom)
        said += number("", units[m["u"]]) if m["u"] else ""
        return f"{m['w']} {say['and']} {said} " if m["w"] else f"{said} "

    def quantity(m: re.Match) -> str:
        noun, text = units[m["u"]], m["n"].replace(".", "")
        if m["u"] in ("€", "$", "£", "Kč") and re.search(r",\d\d$", text):
            return f"{number(text[:-3], noun)} {text[-2:].lstrip('0')} "
        return number(text, say[m["p"]].replace("*", noun) if m["p"] else noun)

    def counted(unit: str, count: str) -> str:
        return number(count, units[unit]).split(" ", 1)[1]

    return {
        "date": dates(lambda m, day, month, year: f"{day}{say['nth']} {words['months'][str(month)]} {year} "),
        "digits": lambda text: " ".join(re.sub("[- ]", "", text)),
        "fraction": fraction,
        "number": lambda text: number(text.replace(".", "")),
        "quantity": quantity,
        "plural": lambda unit: counted(unit, "5"),
        "rate": lambda unit: accusative(counted(unit, "1")),
        "span": lambda m: f"{m[1]} {say['to'] * (int(m[1]) < int(m[2]))} ",  # 2-1 is a score
    }


_DUTCH_GRAMMAR, _CZECH_GRAMMAR = (
    grammar(
        language,
        words,
        globals() | _functions(words, *functions),
        whole_unit=one_of(u for u in words["units"] if not re.search("^.$|[aeiou]", u) or u[0] == "°"),
    )
    for language, words, *functions in (
        ("dutch", _DUTCH, _dutch_number, _dutch_fraction),
        ("czech", _CZECH, _czech_number, _czech_fraction, lambda noun: re.sub("a( |$)", "u ", noun)),
    )
)


def dutch_words(text: str) -> str:
    """Plain Dutch text in words and numbers that espeak-ng reads.

    >>> dutch_words("Lodewijk XIV, d.w.z. de 3e, op 5-12-2024")
    'Lodewijk de veertiende, dat wil zeggen de derde , op 5 december 2024'
    """
    return normalize(text, _DUTCH_GRAMMAR, _DUTCH["address"], _DUTCH["signs"])


def czech_words(text: str) -> str:
    """Plain Czech text in words and numbers that espeak-ng reads.

    >>> czech_words("Karel IV. má 1. místo, 25 Kč a 5. 5. 2024")
    'Karel čtvrtý má první místo, 25 korun a pátého května 2024'
    """
    return normalize(text, _CZECH_GRAMMAR, _CZECH["address"], _CZECH["signs"])
