"""Dutch and Czech for espeak-ng: what it doesn't say by itself is put in words; plain numbers stay digits."""

import re
from collections.abc import Callable, Mapping

from imlspike.text.normalization import Rule, abbreviations, in_words, normalize, one_of, roman, rules, tables

_DUTCH, _CZECH = tables("dutch"), tables("czech")
_NUMBER = r"(?<![\d.,])(?:\d{1,3}(?:[. ]\d{3})+(?:,\d+)?(?![\d.])|\d+(?:,\d+)?)"
_MALE = re.compile(f"(?:{one_of(_CZECH['male'])})(.*)")
_FEMALE = re.compile(one_of(_CZECH["female"]))


def dutch_ordinal(number: int) -> str:
    """A Dutch ordinal number."""
    return in_words(number, "nl", to="ordinal")


def czech_ordinal(number: int, ending: str = "ý") -> str:
    """A Czech ordinal number below 10,000 with the ending of its gender and case (á é ého ému ém ým ou).

    >>> czech_ordinal(1), czech_ordinal(23, "ého"), czech_ordinal(1984)
    ('první', 'dvacátého třetího', 'tisící devítistý osmdesátý čtvrtý')
    """
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
    before, number = m["b"] or "", int(m["n"]) if m["n"].isdecimal() else roman(m["n"])
    if not number or number > 9999:
        return m[0]
    return f"{before} {czech_ordinal(number, _ending(m['a'], before))} ".lstrip()


def _ruler(m: re.Match) -> str:
    number, male = roman(m["n"]), _MALE.fullmatch(m["b"])
    if not number:
        return m[0]
    endings = _CZECH["male_endings" if male else "female_endings"]
    ending = next((said for end, said in endings.items() if m["b"].endswith(end)), "ý")
    return f"{m['b']} {czech_ordinal(number, ending)} "


def _forms(noun: str) -> list[str]:
    """A Czech noun, a word or several, after 1, 2, 5 and a number with a comma."""
    first, *more = noun.split()
    stem = first[:-1]
    if more and more[-1][-1] in "íý":  # metr čtvereční, krychlový
        ends = ("í", "í", "ích", "ího") if more[-1][-1] == "í" else ("ý", "é", "ých", "ého")
        return [f"{form} {more[-1][:-1]}{end}" for form, end in zip(_forms(first), ends, strict=True)]
    forms = {
        "a": [first, stem + "y", stem, stem + "y"],
        "o": [first, stem + "a", stem, stem + "a"],
        "ň": [first, first[:-2] + "ně", first[:-2] + "ňů", first[:-2] + "ně"],  # stupeň
        "c": [first, first + "e", first, first + "e"],
    }.get(first[-1], [first, first + "y", first + "ů", first + "u"])
    return [" ".join([form, *more]) for form in forms]


def _czech_number(number: str, noun: str = "") -> str:
    """A number with its noun; one with a comma is celá, celé, celých."""
    whole, _, part = number.partition(",")
    female = bool(part) or noun.split(" ")[0][-1:] == "a"
    said = (
        {"1": "jedna" if female else "jedno", "2": "dvě"}.get(whole, whole)
        if female or noun.endswith("o")
        else whole
    )
    nth = 0 if whole == "1" else 1 if whole in "234" else 2
    if not whole:
        return f" {_forms(noun)[3]} "
    if part:
        said += f" {('celá', 'celé', 'celých')[0 if whole == '0' else nth]} "
        said, nth = said + (" ".join(part) if part[0] == "0" or len(part) > 2 else part), 3
    return f"{said} {_forms(noun)[nth] if noun else ''} "


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


def _dutch_roman(m: re.Match) -> str:
    if not (number := roman(m["n"])):
        return m[0]
    return f"{m['b']} {number if m['b'].lower() in _DUTCH['counted'] else 'de ' + dutch_ordinal(number)}"


def _grammar(
    words: Mapping[str, Mapping[str, str]],
    number: Callable[[str, str], str],
    fraction: Callable[[int, int], str],
    own: list[Rule],
) -> list[Rule]:
    """The rules that both languages share, and a language's own behind its dates."""
    say, units, coins, week = words["words"], words["units"], "€$£", words["days"]
    whole = one_of(unit for unit in units if not re.search("^.$|[aeiou]", unit) or unit[0] == "°")

    def date(m: re.Match) -> str:
        month = words["months"].get(m["m"].lstrip("0"))
        return f"{m['d'].lstrip('0')}{say['nth']} {month} {m['y']} " if month else m[0]

    def share(m: re.Match) -> str:
        top, bottom = int(m["n"]), int(m["d"])
        if not 0 < top < bottom <= 20:
            return m[0]
        said = say["half"] if m["w"] and bottom == 2 else fraction(top, bottom)
        said += number("", units[m["u"]]) if m["u"] else ""
        return f"{m['w']} {say['and']} {said} " if m["w"] else f"{said} "

    def counted(m: re.Match) -> str:
        noun, text = units[m["u"]], m["n"].replace(".", "")
        if (m["u"] in coins or m["u"] == "Kč") and re.search(r",\d\d$", text):
            return f"{number(text[:-3], noun)} {text[-2:].lstrip('0')} "
        power = {"²": "2", "³": "3"}.get(m["p"] or "", m["p"] or "")
        return number(text, say[power].replace("*", noun) if power else noun)

    def alone(m: re.Match) -> str:
        per, noun = m["b"], units[m["u"]]
        said = number("1" if per else "5", noun).split(" ", 1)[1]
        return (
            f" {say['per']} {re.sub('a( |$)', 'u ', said) if say['per'] == 'za' else said}" if per else said
        )

    def days(m: re.Match) -> str:
        return f"{week[m[1].lower()]} {say['to']} {week[m[2].lower()]}"

    def span(m: re.Match) -> str:
        return f"{m[1]} {say['to'] * (int(m[1]) < int(m[2]))} "  # 2-1 is a score

    return [
        *rules(
            (rf"(?<!\w)({one_of(words['literal'])})(?!\w)", lambda m: words["literal"][m[1]] + " "),
            (r"\b(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)\b", date),
            (r"\b(?P<d>\d{1,2})([-/.]) ?(?P<m>\d{1,2})\2 ?(?P<y>\d{4})\b", date),
            (r"(?<=\d[:.]\d\d) ?-+>? ?(?=\d{1,2}[:.]\d\d)", f" {say['to']} "),
            (rf"\b(?i:({one_of(week)}) ?- ?({one_of(week)}))\b", days),
            (rf"\b(?i:({one_of(week)}))\.?(?= \d\d?(?:[.:]\d\d| ?[-h]))", lambda m: week[m[1].lower()]),
            (r"(?<![\w.])([A-ZČŘŠŽ])\. ?(?=[A-ZÁČŘŠŽ]|(?:van|de[nr]?|te[nr]) )", r"\1 "),
        ),
        *rules(abbreviations(words["abbreviations"])),
        *own,
        *rules(
            (r"(?<=\d) ?[x×*] ?(?=[\d.,]+ ?=)", f" {say['times']} "),
            (r"(?<=\d) ?[:/] ?(?=[\d.,]+ ?=)", f" {say['divided']} "),
            (r"(?<=\d) ?- ?(?=[\d.,]+ ?=)|(?<![\w)])-(?=\d)", f" {say['minus']} "),
            (r"(?:(?<=\d)|(?<=\dm)|(?<=[ckm]m)) ?[x×] ?(?=\d)", f" {say['by']} "),
            (r"\b0\d{1,3}[- ]?\d{6,8}\b|\+\d{8,}", lambda m: " ".join(re.sub("[- ]", "", m[0]))),
            (
                r"(?<![\w./])(?:(?P<w>\d+) )?(?P<n>\d+)/(?P<d>\d+)(?![\d/])"
                rf"(?: ?(?P<u>{one_of(units)}))?(?!\w)",
                share,
            ),
            (r"(?<=\d),-+", ""),
            (rf"([{coins}]) ?({_NUMBER})( (?:{one_of(words['amounts'])}))?", r"\2\3 \1"),
            (
                rf"(?P<n>{_NUMBER}) ?(?P<u>{one_of(units)})(?P<p>[²³]|(?<=m)[23])?(?!\w)(?:\.(?= *\S))?",
                counted,
            ),
            (rf"(?:(?P<b> ?/ ?)|(?<!\w))(?P<u>{whole})(?!\w)", alone),
            (r"(\d+) ?- ?(?=(\d+))", span),
            (rf"(?=\d+[.,]){_NUMBER}", lambda m: number(m[0].replace(".", ""))),
        ),
    ]


_LOWER = "[a-záčďéěíňóřšťúůýž]"
_CZECH_GRAMMAR = _grammar(
    _CZECH,
    _czech_number,
    _czech_fraction,
    rules(
        (r"\b(\d{1,2})\. ?(\d{1,2})\.(?! ?\d)", lambda m: f"{m[1]}. {_CZECH['months'].get(m[2], m[2])}"),
        (r"\bmin\. ?(?=\d)", "minimálně "),
        (r"(?<=\d\. )min\.", "minuta"),
        (r"\bp\. ?(?=[A-ZÁČŘŠŽ])", "pan "),
        (r"\b((?i:v|ve|od|do|po|před|kolem) \d{1,2})\.(\d\d)(?![\d.]| ?h)", r"\1:\2"),
        (r"\b(\d{1,2})\.(\d\d až \d{1,2})\.(?=\d\d\b)", r"\1:\2:"),
        (r"(?<![\d.,])(?P<n>[12]) (?=(?P<a>[a-zčďěňřšťůž][a-záčďéěíňóřšťúůýž]{2,}))", _czech_gender),
        (r"\b(\d{1,2})[.:]00(?: ?h(?:od(?:in)?)?\b\.?)?(?![\d:])", r"\1 hodin "),
        (r"\b(\d{1,2})[.:](\d\d) ?h(?:od(?:in)?)?\b\.?", r"\1:\2"),
        (
            rf"\b(?P<b>[A-ZČŘŠŽ]{_LOWER}{{2,}}) (?P<n>[IVX]+)\."
            "(?! (?:stol|svět|tisíc|tříd|lig|část|díl|ročn|pol))",
            _ruler,
        ),
        (rf"(?:\b(?P<b>\w+) )?\b(?P<n>\d{{1,4}}|[IVX]+)\. (?=(?P<a>{_LOWER}{{2,}}))", _nth),
        (r"\b([B-DF-HJ-NP-TV-XZČŘŠŽ]{2,}|EU)\b", lambda m: " ".join(m[0])),
    ),
)
_DUTCH_GRAMMAR = _grammar(
    _DUTCH,
    _dutch_number,
    _dutch_fraction,
    rules(
        (r"\b(?P<b>[A-Z][a-zë]{2,}|[a-z]{4,}|WO) (?P<n>[IVX]{2,}|[IV])\b", _dutch_roman),
        (r"\b(\d{1,2})[:.]00(?: ?uur)?(?![\d:])", r"\1 uur "),
        (
            r"\b(\d{1,2})(?::(\d\d)(?![\d:])(?: uur)?|\.(\d\d) uur)",
            lambda m: f"{m[1]} uur {int(m[2] or m[3])} ",
        ),
        (
            r"(?<![\w.,])(\d{1,6}|[IVX]+)(?:e|de|ste)\b-?",
            lambda m: dutch_ordinal(int(m[1]) if m[1].isdecimal() else roman(m[1]) or 0) + " ",
        ),
    ),
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
