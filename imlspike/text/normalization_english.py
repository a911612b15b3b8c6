"""English as it is read aloud: numbers, dates, times, money, units, abbreviations and letters in words."""

import re

from imlspike.text.normalization import abbreviations, in_words, normalize, one_of, roman, rules, tables

_TABLES = tables("english")
_SIGNS, _MONEY, _UNITS, _SHORT = (_TABLES[name] for name in ("signs", "money", "units", "abbreviations"))
_DAYS, _LITERAL, _DOLLARS = (_TABLES[name] for name in ("days", "literal", "dollars"))
_MONTHS = "January February March April May June July August September October November December".split()
_COUNTED = (
    "chapter part volume book act scene war section appendix phase type title article level bowl figure"
)
_RULERS = (
    "King|Queen|Pope|Charles|Elizabeth|George|Edward|Henry|James|William|Mary|Philip|Napoleon|Peter|Paul"
)


def say(number: int, to: str = "cardinal") -> str:
    """A number in words: cardinal, ordinal or year."""
    return in_words(number, "en", to=to)


def letters(text: str) -> str:
    """Letters by their names: A is a word too, and stands as `ay`."""
    return " ".join("ay" if c in "Aa" else c.upper() for c in text if c.isalnum())


def digits(text: str) -> str:
    """Digits one by one."""
    return "plus " * text.startswith("+") + " ".join(say(int(c)) for c in text if c.isdecimal())


def number(text: str, to: str = "year") -> str:
    """A number with commas between thousands, a decimal point or several, zeros in front."""
    whole, *parts = re.sub("[, ]", "", text).split(".")
    if len(whole) > 15 or (len(whole) > 1 and whole[0] == "0"):
        said = digits(whole)
    else:
        said = say(int(whole), to if len(text) == 4 and "1100" <= text < "2100" else "cardinal")
    return " point ".join([said, *map(digits if len(parts) == 1 else number, parts)])


def counted(text: str, unit: str, before: str = "") -> str:
    """A number and its unit, whose first word is in the plural if it must be; `before` it stands square."""
    first, *more = unit.split()
    if first in ("square", "cubic"):
        before, first, *more = first, *more
    if text != "1" and not first.endswith(("hertz", "yen")):
        first = {"foot": "feet", "penny": "pence", "inch": "inches"}.get(first, first + "s")
    return " ".join([number(text, "cardinal"), *before.split(), first, *more]) + " "


def _money(m: re.Match) -> str:
    amount, (unit, cent) = m["a"] or m["b"], _MONEY[m["s"] or m["t"]].split()
    land = _DOLLARS.get(m["land"] or "", "")
    if m["big"]:
        big = _TABLES["amounts"].get(m["big"].lower(), m["big"])
        return f"{number(amount)} {big} {land} {counted('0', unit).split()[1]} "
    whole, _, part = amount.partition(".")
    if len(part) != 2 or part == "00":
        return counted(amount if part.strip("0") else whole, unit, land)
    return "and ".join([counted(whole, unit, land)] * (whole != "0") + [counted(part.lstrip("0"), cent)])


def _time(m: re.Match) -> str:
    hour, minute, second, half = int(m["h"]), m["m"] or "00", m["s"], m["half"] or ""
    if hour > 24 or minute > "59":
        return f"{number(m['h'])} {f'to {number(minute)}' if m['m'] else ''} {letters(half)} "
    if minute == "00":
        said = say(hour) + ("" if half else " o'clock" if 0 < hour < 13 else " hundred")
    else:
        said = f"{say(hour)} {'oh ' * (minute[0] == '0')}{say(int(minute))}"
    seconds = "and " + counted(str(int(second)), "second") if second else ""
    return f"{said} {seconds}{letters(half)} "


def _date(m: re.Match) -> str:
    month, day = sorted(map(int, m.group("m", "d"))) if int(m["m"]) > 12 else map(int, m.group("m", "d"))
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return m[0]
    year = m["y"] if len(m["y"]) == 4 else ("20" if m["y"] < "50" else "19") + m["y"]
    return f"{_MONTHS[month - 1]} {say(day, 'ordinal')}, {number(year)} "


def _network(m: re.Match) -> str:
    """An address of a computer, and its port."""
    address, _, port = m[0].partition(":")
    return " dot ".join(map(number, address.split("."))) + (
        f" colon {number(port, 'cardinal')}" if port else ""
    )


def _years(m: re.Match) -> str:
    first, last = m[1] + m[2], m[3]
    if last <= first[2:]:
        return m[0]
    return f"{number(first)} to {'oh ' * (last[0] == '0')}{say(int(last))}"


def _fraction(m: re.Match) -> str:
    top, bottom = int(m["n"]), int(m["d"])
    if not 0 < top < bottom <= 100:
        return m[0]
    part = {2: "half", 4: "quarter"}.get(bottom) or say(bottom, "ordinal")
    if m["w"] and (top, bottom) == (1, 2):
        return f"{number(m['w'])} and a half"
    return f"{number(m['w']) + ' and ' if m['w'] else ''}{say(top)} {part}{'s' * (top > 1)}"


def _decade(m: re.Match) -> str:
    said = number(m[1])
    return (said[:-1] + "ies" if said.endswith("y") else said + "s") + " "


def _roman(m: re.Match) -> str:
    value = roman(m["r"])
    if value is None:
        return m[0]
    is_counted = m["b"].lower() in _COUNTED.split()
    return f"{m['b']} {say(value) if is_counted else 'the ' + say(value, 'ordinal')}"


_NUMBER = r"(?<!\d)(?<!\d )\d{1,3}(?: \d{3})+(?![.,]?\d| \d)|\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)*"
_MONTH, _COIN = "|".join(_MONTHS), f"[{''.join(_MONEY)}]"
_WHOLE_UNIT = one_of(
    u for u in _UNITS if not re.match("[a-z]*[aeiou]|.$|ft|gal|ms|sec|mm$", u) or u[0] == "°"
)
_SPAN = _DAYS | {m[:3]: m for m in _MONTHS}  # Mon-Fri, Jan-Mar
_YEAR_IS_NEAR = (
    "(?:[Ii]n|[Bb]y|[Ss]ince|[Uu]ntil|[Bb]efore|[Aa]fter|[Ff]rom|[Cc]irca|[Oo]f|[Yy]ear|AD|[a-z]+(?:st|nd|rd|th),|"
    f"{_MONTH}),?"
)
_VOWELED = "US|UN|AI|IT|ID|IP|IQ|AD|OS|URL|LED|EST|VAT"  # capitals that are a word, too
_POWERS = {"²": "square", "³": "cubic", "2": "square", "3": "cubic", None: ""}
_GRAMMAR = rules(
    (r"(\d[\w ]{0,40} )St\b(?:\.(?!\s*$))?", r"\1Street"),
    *((rf"\b{code} ?(?=\d)|(?<=\d) ?{code}\b", sign) for code, sign in _TABLES["currencies"].items()),
    (r"\bSt(?:\. ?| )(?=[A-Z])", "Saint "),
    (r"\bDr(?:\. ?| )(?=[A-Z])", "Doctor "),
    (r"(?<![\w.])((?:[A-Z]\.){2,})(\s*$)?", lambda m: letters(m[1]) + (" " if m[2] is None else ".")),
    (r"(?<![\w.])([A-Z])\.(?= ?[A-Z])", lambda m: letters(m[1]) + " "),
    (r"(?<![A-Za-z])([ap])\.\s?m\.(\s*$)?", lambda m: m[1] + ("m" if m[2] is None else "m.")),
    (rf"(?<![\w.])({one_of(_TABLES['numbered'])})\. ?(?=\d)", lambda m: _TABLES["numbered"][m[1]] + " "),
    (r"-+>", " to "),
    (r"\b(\d{1,3}(?:\.\d{3})+),(\d\d)\b", lambda m: f"{m[1].replace('.', '')}.{m[2]}"),  # of the continent
    (r"(?<![\d,.])\d{1,2}(?:,\d\d)+,\d{3}(?![\d,])", lambda m: m[0].replace(",", "")),  # 1 lakh
    (r"\b(\d+(?:\.\d+)?)[eE](?:(-)|\+)(\d+)\b", r"\1 times 10^\2\3"),
    (r"\b\d{1,3}(?:\.\d{1,3}){3}\b(?::\d+)?(?!\d|\.\d)", _network),
    (r"#(?=[A-Za-z])", "hashtag "),
    (r"(?<!\S)\.(?=[A-Za-z])", "dot "),
    (r"(?<=\b[A-Z]{2} )\d{5}(?:-\d{4})?\b|\b\d+(?:-\d+){3,}\b", lambda m: digits(m[0])),
    (r"(\d+) ?ft\.? ?(\d+) ?in\b\.?", r"\1 ft \2 in."),
    (r"(\d\.\d+)s\b", r"\1 sec"),
    (r"(?<=\d) ?[*] ?(?=\d)|(?<=\d) ?[x×] ?(?=10\^)", " times "),
    (r"(?<=\d) ?/ ?(?=[\d.]+ ?=)", " divided by "),
    (r"\b(\d\d+)-(?=\1\b)", r"\1 "),
    abbreviations(_SHORT),
    (rf"\b({one_of(m[:3] for m in _MONTHS)}) (?=\d)", lambda m: f"{_SHORT.get(m[1], m[1])} "),
    (rf"(?<!\w)({one_of(_LITERAL)})(?!\w)", lambda m: _LITERAL[m[1]] + " "),
    (rf"\b({one_of(_SPAN)})\.? ?- ?({one_of(_SPAN)})\b", lambda m: f"{_SPAN[m[1]]} to {_SPAN[m[2]]}"),
    (rf"\b({one_of(_DAYS)})(?= \d|:|, )", lambda m: _DAYS[m[1]]),
    (r"° (?=[CF]\b)", "°"),
    (r"\bWW(I+|[12])\b", r"World War \1"),
    (r"\bAT&T\b", "ay T and T"),
    (r"\b(24/7|9/11)\b(?!/)", lambda m: m[0].replace("/", " ")),
    (
        r"\.(?=(?:txt|pdf|html?|js|py|md|csv|json|xml|ya?ml|exe|zip|docx?|xlsx?|jpe?g|png|mp[34]|wav)\b)",
        " dot ",
    ),
    (r"\b(\d+)' ?(\d+)\"", r"\1 ft \2 in."),
    (r"\b(?P<y>\d{4})([-/])(?P<m>\d\d?)\2(?P<d>\d\d?)\b", _date),
    (r"\b(?P<m>\d{1,2})([-/.])(?P<d>\d{1,2})\2(?P<y>\d{4})\b", _date),
    (r"\b(?P<m>\d{1,2})/(?P<d>\d{1,2})/(?P<y>\d\d)\b(?!/)", _date),
    (rf"\b({_MONTH}) (\d{{1,2}})(?:st|nd|rd|th)?\b(?!:)", lambda m: f"{m[1]} {say(int(m[2]), 'ordinal')}"),
    (rf"\b(\d{{1,2}}) (?=(?:{_MONTH})\b)", lambda m: say(int(m[1]), "ordinal") + " "),
    (rf"\b({_YEAR_IS_NEAR} )(10\d[1-9]|10[1-9]0)\b(?! [a-z]+s\b)", lambda m: m[1] + say(int(m[2]), "year")),
    (r"\b(1[1-9]\d|20\d)(\d) ?- ?(\d\d)(?![\d/.-])", _years),
    (
        r"\+\d[\d ()-]{8,}\d|\(?\b0\d{2,4}\)? \d{3,4} \d{3,4}\b"
        r"|\(?\b\d{3}\)?[ -]\d{3}-\d{4}\b|\b\d{3}-\d{4}\b",
        lambda m: digits(m[0]),
    ),
    (r"(?<=\d) ?- ?(?=[\d.]+ ?=)", " minus "),
    (rf"({_COIN}) ?({_NUMBER}) ?- ?(?=\d)(?! ?{_COIN})", r"\2 to \1"),
    (r"(\d(?: ?[ap]m|%)?)(?:- ?| - | -(?=\d{4}\b))(?=[$€£]?\d)", r"\1 to "),
    (r"(?<=[A-Za-z])-(?=\d)|(?<=\d)-(?=[A-Za-z])", " "),
    (r"(?<=\d) ?[x×] ?(?=\d)(?! ?[\d.]+ ?=)", " by "),
    (r"(?<=\d)x\b", " times"),
    (r"\b(?P<h>\d{1,2}):(?P<m>\d\d)(?::(?P<s>\d\d))?(?: ?(?P<half>[AaPp][Mm]))?\b", _time),
    (r"\b(?P<h>\d{1,2})(?P<m>)(?P<s>) ?(?P<half>[AaPp][Mm])\b", _time),
    (r"\b(\d+):(\d+)\b", lambda m: f"{number(m[1])} to {number(m[2])}"),
    (r"(?<![\w.)])-(?=[\d.$€£])", " minus "),
    (r"(?<![\w.])\.(?=\d)", "0."),
    (
        rf"(?P<land>\b(?:{one_of(_DOLLARS)})(?=\$))?"
        rf"(?:(?P<s>{_COIN}) ?(?P<a>{_NUMBER})|(?P<b>{_NUMBER}) ?(?P<t>{_COIN}))"
        r"(?: ?(?P<big>thousand|million|billion|trillion|bn|[kKmMbB])\b)?",
        _money,
    ),
    (r"(?<![\w./])(?:(?P<w>\d+) )?(?P<n>\d+)/(?P<d>\d+)(?![\w/])", _fraction),
    (
        rf"(?<![\w.])({_NUMBER}) ?({one_of(_UNITS)})([²³]|(?<=m)[23])?(?!\w)(?:\.(?= *\S))?",
        lambda m: counted(m[1], _UNITS[m[2]], _POWERS[m[3]]),
    ),
    (
        rf"((?:half|quarters?|(?:t|n)h|rds?) ?)({one_of(_UNITS)})\b(?:\.(?= ))?",
        lambda m: f"{m[1]}{_UNITS[m[2]]}",
    ),
    (rf" ?(?:/|\bper) ?({_WHOLE_UNIT})(?!\w)", lambda m: f" per {_UNITS[m[1]]} "),
    (rf"(?<![\w.])({_WHOLE_UNIT})(?!\w)", lambda m: counted("2", _UNITS[m[1]]).partition(" ")[2]),
    (r"(?<!\w)'?(\d+0)'?s\b", _decade),
    (r"\b([\d,]+)(?:st|nd|rd|th)\b", lambda m: say(int(m[1].replace(",", "") or 0), "ordinal")),
    (rf"\b(?P<b>(?i:{'|'.join(_COUNTED.split())})|{_RULERS}) (?P<r>[IVXLC]+)\b", _roman),
    (r"\b(?P<b>[A-Z][a-z]+) (?P<r>[IVX]{2,})\b", _roman),
    (r"\b[MDCLXVI]{4,}\b", lambda m: number(str(roman(m[0]))) if roman(m[0]) else m[0]),
    (r"\b([IVX]{2,})(?= centur)", lambda m: say(roman(m[1]) or 0, "ordinal")),
    (_NUMBER, lambda m: f" {number(m[0])} "),
    (r"\b([B-DF-HJ-NP-TV-XZ]{2,})(s)?\b", lambda m: letters(m[1]) + ("'s" if m[2] else "")),
    (r"(?<=[a-z] )A(?= ?[.,;:!?)]|$)", "ay"),
    (r"\b(?:[a-z]|(?!Ma?c|De|La|Le|Di|Van)[A-Za-z]?[a-z]+)(?=[A-Z])", lambda m: m[0] + " "),
    (rf"(?<=[a-z\W] )({_VOWELED})\b|\b({_VOWELED})(?= +[a-z])", lambda m: letters(m[0])),
)


def english_words(text: str) -> str:
    """Plain English text in words.

    >>> english_words("Dr. Smith paid $5.50 at 5:30 p.m. on St. John St.")
    'Doctor Smith paid five dollars and fifty cents at five thirty P M on Saint John Street.'
    """
    return normalize(text, _GRAMMAR, _SIGNS | _TABLES["address"], _SIGNS)
