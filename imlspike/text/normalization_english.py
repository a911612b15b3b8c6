"""English as it is read aloud: numbers, dates, times, money, units, abbreviations and letters in words."""

import re
from functools import partial

from imlspike.text.normalization import dates, grammar, in_words, normalize, roman
from imlspike.text.tables import one_of, tables

_TABLES = tables("english")
_SIGNS, _MONEY, _UNITS, _MONTHS = (_TABLES[name] for name in ("signs", "money", "units", "months"))
_TABLES["spans"] = _TABLES["days"] | {month[:3]: month for month in _MONTHS.values()}  # Mon-Fri, Jan-Mar


def say(number: int | str, to: str = "cardinal") -> str:
    """A number, a Roman numeral too, in words: cardinal, ordinal or year."""
    return in_words(number, "en", to=to)


def letters(text: str) -> str:
    """Letters by their names: A is a word too, and stands as `ay`."""
    return " ".join("ay" if c in "Aa" else c.upper() for c in text if c.isalnum())


def digits(text: str) -> str:
    """Digits one by one."""
    return "plus " * text.startswith("+") + " ".join(say(c) for c in text if c.isdecimal())


def number(text: str, to: str = "year") -> str:
    """A number with commas between thousands, a decimal point or several, zeros in front."""
    text = str(roman(text) or text)
    whole, *parts = re.sub("[, ]", "", text).split(".")
    if len(whole) > 15 or (len(whole) > 1 and whole[0] == "0"):
        said = digits(whole)
    else:
        said = say(whole, to if len(text) == 4 and "1100" <= text < "2100" else "cardinal")
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
    land = _TABLES["dollars"].get(m["land"] or "", "")
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
        said = f"{say(hour)} {'oh ' * (minute[0] == '0')}{say(minute)}"
    seconds = "and " + counted(str(int(second)), "second") if second else ""
    return f"{said} {seconds}{letters(half)} "


def _years(m: re.Match) -> str:
    first, last = m[1] + m[2], m[3]
    if last <= first[2:]:
        return m[0]
    return f"{number(first)} to {'oh ' * (last[0] == '0')}{say(last)}"


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


def _quantity(m: re.Match) -> str:
    return counted(m[1], _UNITS[m[2]], _TABLES["words"][m[3]] if m[3] else "")


def _plural(unit: str) -> str:
    return counted("2", _UNITS[unit]).partition(" ")[2]


def _spelled(m: re.Match) -> str:
    """Capitals, with points or an s behind."""
    return letters(m[0].rstrip("s")) + ("'s" if m[0][-1] == "s" else " " * (m[0][-1] == "."))


_joined = partial(re.sub, "[.,]", "")  # the digits of 1.449 and of 1,00,000
_date = dates(lambda m, day, month, year: f"{_MONTHS[str(month)]} {say(day, 'ordinal')}, {number(year)} ")
_GRAMMAR = grammar(
    "english",
    _TABLES,
    globals(),
    month=one_of(_MONTHS.values()),
    short_month=one_of(month[:3] for month in _MONTHS.values()),
    whole_unit=one_of(
        u for u in _UNITS if not re.match("[a-z]*[aeiou]|.$|ft|gal|ms|sec|mm$", u) or u[0] == "°"
    ),
)


def english_words(text: str) -> str:
    """Plain English text in words.

    >>> english_words("Dr. Smith paid $5.50 at 5:30 p.m. on St. John St.")
    'Doctor Smith paid five dollars and fifty cents at five thirty P M on Saint John Street.'
    """
    return normalize(text, _GRAMMAR, _SIGNS | _TABLES["address"], _SIGNS)
