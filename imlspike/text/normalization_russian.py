"""Russian as it is read aloud: numbers in their cases, dates, times, money, units, abbreviations, letters."""

import re
import unicodedata

from imlspike.text.normalization import dates, declined, grammar, in_words, normalize, roman
from imlspike.text.tables import one_of, tables

_TABLES = tables("russian")
_SIGNS, _LETTERS, _UNITS, _BIG = (_TABLES[name] for name in ("signs", "letters", "units", "amounts"))
_YEARS, _CENTURIES, _CASES = (_TABLES[name] for name in ("years", "centuries", "prepositions"))
_MONTHS = {month: number for number, month in _TABLES["months"].items()}
_MALE, _COUNTED, _FEMININE = (re.compile(one_of(_TABLES[name])) for name in ("male", "counted", "feminine"))
_ABOUT = ("при", "о", "об", "к", "ко")  # with a unit, too, in their case
_COINS = {"₽": "копейка", "руб": "копейка", "р": "копейка", "$": "цент", "€": "цент"}
_ALIKE = str.maketrans(_TABLES["alike"] | {"á": "а\u0301", "é": "е\u0301", "ó": "о\u0301", "ý": "у\u0301"})


def say(number: int | str, case: str = "n", gender: str = "m") -> str:
    """A cardinal number."""
    number = int(number)
    below = number % 1000
    if number >= 10**6 and below and gender != "m":  # num2words makes the millions feminine, too
        return f"{say(number - below, case)} {say(below, case, gender)}"
    gender = gender if number < 10**6 else "m"
    said = in_words(number, "ru", case=case, gender=gender)
    return re.sub("^одн(а тысяча|ой тысячи|ой тысяче)", lambda m: m[1].split()[1], said)


def ordinal(number: int | str, case: str = "n", gender: str = "m") -> str:
    """An ordinal number; gender p is the plural."""
    options = {"plural": True} if gender == "p" else {"gender": gender}
    return in_words(number, "ru", to="ordinal", case=case, **options)


def letters(text: str) -> str:
    """Letters, Cyrillic or Latin, by their names."""
    names = (_LETTERS.get(c) or _LETTERS.get(unicodedata.normalize("NFD", c)[0], c) for c in text.lower())
    return _TABLES["acronyms"].get(text) or " ".join(names)


def digits(text: str) -> str:
    """Digits one by one."""
    return "плюс " * text.startswith("+") + " ".join(say(c) for c in text if c.isdecimal())


def number(text: str, case: str = "n", gender: str = "m") -> str:
    """A number with blanks between thousands, a decimal comma, points, zeros in front."""
    text = re.sub(
        r"^\d{1,3}([.,])\d{3}(\1\d{3})+$", lambda m: re.sub("[.,]", "", m[0]), text.replace(" ", "")
    )
    if re.fullmatch(r"\d{1,6}(,\d{1,3}|\.\d{0,2}[1-9])", text):
        return in_words(text.replace(",", "."), "ru")
    if not text.isdecimal():
        comma = " запятая " if text.count(",") == 1 else ", "
        text = text.replace(".", " точка ").replace(",", comma)
        return re.sub(r"\d+", lambda m: number(m[0]), text)
    if len(text) > 15 or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    return say(text, case, gender)


def _noun(text: str, noun: str, case: str) -> str:
    """The form of a noun, a word or several, behind a number."""
    one, two, five = declined(noun, _TABLES["forms"])
    if not text.replace(" ", "").isdecimal():
        return two
    number = int(text.replace(" ", ""))
    if number % 100 in range(11, 15) or number % 10 in (0, *range(5, 10)) or case != "n" and number % 10 > 1:
        plural = {"p": "ах", "d": "ам"}.get(case, "") if noun[-1] not in "оь" else ""
        return re.sub("[аыи]?( |$)", rf"{plural}\1", two, count=1) if plural else five
    return one if number % 10 == 1 and case == "n" else two


def _agreement(noun: str, case: str) -> tuple[str, str]:
    """Case and gender of an ordinal by the end of the noun, or adjective, beside it and its preposition."""
    female = bool(_FEMININE.match(noun))
    if found := next((f for end, f in _TABLES["adjectives"].items() if noun.endswith(end)), None):
        return found[0], found[1]
    match noun[-1:]:
        case "а" | "я":
            return ("g", "m") if case == "g" and not female else ("n", "f")
        case "и" | "ы":
            return "g", "f"
        case "у" | "ю":
            return ("a", "f") if female else (case if case in "dp" else "d", "m")
        case "е" if female or case in "dp":
            return ("p", "f") if female or case == "d" else ("p", "m")
        case "о" | "е":
            return "n", "n"
        case "м" if case == "p":
            return "p", "m"
    return "n", "f" if female else "m"


def _number(m: re.Match) -> str:
    """A number in the case of its preposition, or of the noun behind, with its unit."""
    before, text, big, unit, after = m["b"] or "", m["n"], m["big"], m["u"], m["a"] or ""
    case, gender, said = _CASES.get(before.lower(), "n"), "m", ""
    case = case if case == "g" or not (big or unit) and case == "i" or before.lower() in _ABOUT else "n"
    if not (big or unit):
        case = next((c for end, c in _TABLES["noun_endings"].items() if after.endswith(end)), case)
        if after.endswith("е") and case == "n" and _CASES.get(before.lower()) == "p" and text.isdecimal():
            case, gender = _agreement(after, "p")
            if text[-1] != "1":  # в 8 классе
                return f"{before} {ordinal(text, case, gender)} "
    if unit in _COINS and not big and re.fullmatch(r"[\d ]+[.,]\d\d", text):
        whole, part = text[:-3].replace(" ", ""), text[-2:].lstrip("0") or "0"
        gender = "f" if _COINS[unit] == "копейка" else "m"
        coins = f"{number(part, gender=gender)} {_noun(part, _COINS[unit], 'n')}"
        return f"{before} {number(whole, case)} {_noun(whole, _UNITS[unit], case)} {coins} ".lstrip()
    noun = _BIG.get(big or "") or _UNITS.get(unit or "")
    if text[-1:] == "1" and text[-2:-1] != "1" and case == "n" and not noun and after.endswith(("у", "ю")):
        return f"{before} {number(text, 'a', 'f')} ".lstrip()  # вижу 1 кошку
    if noun:
        gender = "f" if noun.split()[0][-1] in "ая" else "m"
        said = _noun(text, noun, case) + (" " + _noun("5", _UNITS[unit], "n") if big and unit else "")
    elif text[-2:-1] != "1" and text[-1] in "12":
        woman = "f" if _FEMININE.match(after) else "m"
        gender = gender if case == "p" else _TABLES["genders"].get(text[-1] + after[-1:], woman)
    power = _TABLES["words"][m["p"]] if m["p"] else ""
    return f"{before} {number(text, case, gender)} {power} {said} ".lstrip()


def _cyrillic(text: str) -> str:
    return text.translate(_ALIKE)


def _year(m: re.Match) -> str:
    before, word = m["b"] or "", m["w"].rstrip(".")
    case = _CASES.get(before.lower(), "g" if before in _MONTHS else "n")
    if word in _YEARS:
        case = case if word == "году" and case == "d" else _YEARS[word]
    else:
        word = _TABLES["year_words"][case].split()[len(word) - 1]
    years = " - ".join(ordinal(year, case) for year in m.group("from", "y") if year)
    return f"{before} {years} {word} ".lstrip()


def _day(m: re.Match) -> str:
    case = _TABLES["days"].get((m["b"] or "").lower(), "g")
    days = " - ".join(ordinal(day, case, "n") for day in m.group("from", "d") if day)
    return f"{m['b'] or ''} {days} ".lstrip()


@dates
def _date(m: re.Match, day: int, month: int, year: str) -> str:
    case = _TABLES["days"].get((m["b"] or "").lower(), "g")
    month_and_year = f"{_TABLES['months'][str(month)]} {ordinal(year, 'g')} года"
    return f"{m['b'] or ''} {ordinal(day, case, 'n')} {month_and_year} ".lstrip()


def _time(m: re.Match) -> str:
    before, *parts = [part for part in m.groups("") if part] if m["b"] else ["", *filter(None, m.groups())]
    case = _CASES.get(before.lower(), "n")
    zero = [("ноль " * (part[0] == "0") + say(part)) for part in parts[1:]]
    return f"{before} {say(parts[0], case if case in 'gd' else 'n')} {' '.join(zero)}".lstrip()


def _century(m: re.Match) -> str:
    before, word = m["b"] or "", m["w"].rstrip(".")
    case, gender = _CENTURIES.get(word) or dict(zip("еяюми", "ngdip", strict=True)).get(word[-1], "n"), "m"
    if word == "века" and "-" in m["r"]:
        case = "n"
    elif word in ("в", "вв"):
        case = _CASES.get(before.lower(), "g" if before.islower() else "n")  # в начале XIX в.
        word = _TABLES["century_words"].get(case, "век века").split()[len(word) - 1]
    elif word not in _CENTURIES:
        gender = "n"
    numerals = re.findall(r"[IVX]+|\d+", m["r"].translate(_CYRILLIC_ROMAN))
    said = [ordinal(roman(n) or int(n.isdecimal() and n), case, gender) for n in numerals]
    return f"{before} {' - '.join(said)} {word} ".lstrip()


def _ruler(m: re.Match) -> str:
    value, name, after = roman(m["r"]), m["b"] or "", m["a"] or ""
    case = _CASES.get(name.lower())
    is_noun = case is None and (name[:1].isupper() or bool(_COUNTED.match(name)))
    if value is None or (len(m["r"]) == 1 and not is_noun and (len(after) < 3 or m["r"] == "X")):
        return m[0]  # ось X
    if male := _MALE.match(name):
        return f"{name} {ordinal(value, _TABLES['male_names'].get(name[male.end() :], 'n'))}"
    return f"{name} {ordinal(value, *_agreement(name if is_noun else after, case or 'n'))}".lstrip()


def _suffix(m: re.Match) -> str:
    value, (case, gender) = int(m[1]), _TABLES["suffixes"][m[2]]
    if m[2] == "х" and value < 5:
        return say(value, "g")
    if (case, gender) == ("n", "n") and (value % 10 == 0 and value > 10 or m[3].endswith("ые")):
        gender = "n" if m[3].endswith(("о", "е")) and not m[3].endswith("ые") else "p"  # 90-е, 3-е место
    elif m[2] in ("й", "ой") and m[3].endswith(("ы", "и", "е")):  # недели
        case, gender = "g", "f"
    return ordinal(value, case, gender)


def _adjective(m: re.Match) -> str:
    if m[2]:
        return "полутора" if m[1] == "1" else say(m[1], "g").replace(" ", "") + "споловиной"
    said = say(m[1], "g").replace(" ", "")
    return {"ста": "сто", "одного": "одно", "девяноста": "девяносто", "тысячи": "тысяче"}.get(said, said)


def _per(m: re.Match) -> str:
    """A unit behind `за`, or by itself."""
    noun = _UNITS[m["u"]]
    if not m["b"]:
        return declined(noun, _TABLES["forms"])[2] + " "
    return " за " + re.sub("а( |$)", r"у\1", noun.replace("ая ", "ую "), count=1) + " "


def _fraction(m: re.Match) -> str:
    top, bottom, whole = int(m["n"]), int(m["d"]), m["w"]
    if not 0 < top < bottom <= 100:
        return m[0]
    if whole and (top, bottom) == (1, 2):
        return f"{number(whole)} с половиной"
    part = ordinal(bottom, "n", "f") if top == 1 else ordinal(bottom, "g", "p")
    return f"{number(whole, gender='f') + ' целых ' if whole else ''}{say(top, gender='f')} {part}"


def _acronym(m: re.Match) -> str:
    """Capitals one by one; in a text of capitals those with a vowel are words."""
    known = m[0] in _TABLES["acronyms"] or not set(m[0]) & set("АЕЁИОУЫЭЮЯ")
    return letters(m[0]) if known or not m.string.isupper() else m[0]


_CYRILLIC_ROMAN = str.maketrans("ХІ", "XI")
_GRAMMAR = grammar(
    "russian",
    _TABLES | {"months": _MONTHS},
    globals(),
    unit=one_of(set(_UNITS) - {"с", "В"}) + "|[сВ](?= ?[.,;!?)]| ?$)",  # which are prepositions, too
    whole_unit=one_of(u for u in _UNITS if len(u) > 1 and u not in _TABLES["abbreviations"]),
)


def russian_words(text: str) -> str:
    """Plain Russian text in words; `+` is kept before a vowel only, where it marks stress.

    >>> russian_words("А. С. Пушкин родился 6 июня 1799 г. и т. д.")
    'а эс Пушкин родился шестого июня тысяча семьсот девяносто девятого года и так далее.'
    """
    return normalize(text, _GRAMMAR, _SIGNS | _LETTERS | _TABLES["address"], _SIGNS)
