"""Russian as it is read aloud: numbers in their cases, dates, times, money, units, abbreviations, letters."""

import re
import unicodedata

from imlspike.text.normalization import abbreviations, in_words, normalize, one_of, roman, rules, tables

_TABLES = tables("russian")
_SIGNS, _LETTERS, _UNITS, _BIG = (_TABLES[name] for name in ("signs", "letters", "units", "amounts"))
_SHORT, _PHRASES, _CASES = (_TABLES[name] for name in ("abbreviations", "phrases", "prepositions"))
_YEARS, _CENTURIES = _TABLES["years"], _TABLES["centuries"]
_MONTHS = "января февраля марта апреля мая июня июля августа сентября октября ноября декабря".split()
_MALE = re.compile("(Пётр|Петр|Павл|Александр|Никола|Иван|Людовик|Карл|Генрих|Вильгельм|Фридрих|Георг)(.*)")
_COUNTED = re.compile("глав|том|част|раздел|тип|степен|групп|класс|курс|акт|этап|категор|съезд|книг|фаз")
_FEMININE = re.compile(
    "квартир|комнат|школ|страниц|глав|групп|улиц|палат|стран|строк|строч|верси|недел|минут|половин|част|"
    "степен|категор|книг|фаз|очеред|лиг|ступен|четверт|декад|бригад|дивизи|арми|сери|сесси|рот|лини|стать|ноч|жизн|дочь|вещ|тетрад|площад|област"
)
_ABOUT = ("при", "о", "об", "к", "ко")  # with a unit, too, in their case
_COINS = {"₽": "копейка", "руб": "копейка", "р": "копейка", "$": "цент", "€": "цент"}
_ALIKE = dict(zip("ABCEHKMOPTXaceopxy", "АВСЕНКМОРТХасеорху", strict=True))
_ALIKE = str.maketrans(_ALIKE | {"á": "а\u0301", "é": "е\u0301", "ó": "о\u0301", "ý": "у\u0301"})


def say(number: int, case: str = "n", gender: str = "m") -> str:
    """A cardinal number."""
    below = number % 1000
    if number >= 10**6 and below and gender != "m":  # num2words makes the millions feminine, too
        return f"{say(number - below, case)} {say(below, case, gender)}"
    gender = gender if number < 10**6 else "m"
    said = in_words(number, "ru", case=case, gender=gender)
    return re.sub("^одн(а тысяча|ой тысячи|ой тысяче)", lambda m: m[1].split()[1], said)


def ordinal(number: int, case: str = "n", gender: str = "m") -> str:
    """An ordinal number; gender p is the plural."""
    options = {"plural": True} if gender == "p" else {"gender": gender}
    return in_words(number, "ru", to="ordinal", case=case, **options)


def letters(text: str) -> str:
    """Letters, Cyrillic or Latin, by their names."""
    plain = (unicodedata.normalize("NFD", c)[0] if c > "z" and c not in "йё" else c for c in text.lower())
    return _TABLES["acronyms"].get(text) or " ".join(
        _LETTERS.get(p, c) for p, c in zip(plain, text.lower(), strict=True)
    )


def digits(text: str) -> str:
    """Digits one by one."""
    return "плюс " * text.startswith("+") + " ".join(say(int(c)) for c in text if c.isdecimal())


def number(text: str, case: str = "n", gender: str = "m") -> str:
    """A number with blanks between thousands, a decimal comma, points, zeros in front."""
    text = re.sub(
        r"^\d{1,3}([.,])\d{3}(\1\d{3})+$", lambda m: re.sub("[.,]", "", m[0]), text.replace(" ", "")
    )
    if re.fullmatch(r"\d{1,6}(,\d{1,3}|\.\d{0,2}[1-9])", text):
        return in_words(text.replace(",", "."), "ru")
    if not text.isdecimal():
        return "".join(
            number(p)
            if p.isdecimal()
            else {".": " точка ", ",": " запятая " if text.count(",") == 1 else ", "}[p]
            for p in re.findall(r"\d+|.", text)
        )
    if len(text) > 15 or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    return say(int(text), case, gender)


def _forms(noun: str) -> tuple[str, str, str]:
    """A noun after 1, 2 and 5."""
    if noun[-1] == "а":
        five = re.sub("([жшй])к$", lambda m: m[1].strip("й") + "ек", noun[:-1])  # ложек, копеек
        return noun, noun[:-1] + ("и" if noun[-2] in "кч" else "ы"), five
    if noun[-1] == "я":
        return noun, noun[:-2] + "ые", noun[:-2] + "ых"
    if noun[-1] in "ьо":
        return (noun, noun[:-1] + "я", noun[:-1] + "ей") if noun[-1] == "ь" else (noun,) * 3
    return noun, noun + "а", noun + ("" if noun.endswith(("ватт", "герц", "вольт", "байт")) else "ов")


def _noun(text: str, noun: str, case: str) -> str:
    """The form of a noun, a word or several, behind a number."""
    first, *more = noun.split()
    one, two, five = _forms(first)
    if not text.replace(" ", "").isdecimal():
        form = two
    elif (n := int(text.replace(" ", ""))) % 100 in range(11, 15) or n % 10 in (0, *range(5, 10)):
        form = five
    elif n % 10 == 1:
        form = one if case == "n" else two
    else:
        form = two if case == "n" else five
    plural = {"p": "ах", "d": "ам"}.get(case)
    if plural and not noun.endswith(("о", "ь")) and form == five:
        form = re.sub("[аыи]$", "", two) + plural
    if first.endswith("ая"):  # столовая ложка
        form += " " + _noun(text, more.pop(0), case)
    return " ".join([form, *more])


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
    if (
        not (big or unit)
        and after.endswith("е")
        and case == "n"
        and _CASES.get(before.lower()) == "p"
        and text.isdecimal()
    ):
        case, gender = _agreement(after, "p")
        if text[-1] != "1":  # в 8 классе
            return f"{before} {ordinal(int(text), case, gender)} "
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
    power = {"2": "квадратных ", "3": "кубических ", "": ""}[unicodedata.normalize("NFKC", m["p"] or "")]
    return f"{before} {number(text, case, gender)} {power}{said} ".lstrip()


def _year(m: re.Match) -> str:
    before, word = (m["b"] or ""), m["w"].rstrip(".")
    case = _CASES.get(before.lower(), "g" if before in _MONTHS else "n")
    if word in _YEARS:
        case = _YEARS[word] if word != "году" or case != "d" else "d"
    else:
        word = _TABLES["year_words"][case].split()[len(word) - 1]
    years = " - ".join(ordinal(int(year), case) for year in (m["from"], m["y"]) if year)
    return f"{before} {years} {word} ".lstrip()


def _day_case(before: str | None) -> str:
    return {"к": "d", "ко": "d", "на": "n", "по": "n", "сегодня": "n", "это": "n"}.get(
        (before or "").lower(), "g"
    )


def _day(m: re.Match) -> str:
    case = _day_case(m["b"])
    days = " - ".join(ordinal(int(day), case, "n") for day in (m["from"], m["d"]) if day)
    return f"{m['b'] or ''} {days} ".lstrip()


def _date(m: re.Match) -> str:
    day, month, year = int(m["d"]), int(m["m"]), m["y"]
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return m[0]
    year = int(year) + (0 if len(year) == 4 else 2000 if year < "50" else 1900)
    before = f"{m['b']} " if m["b"] else ""
    return f"{before}{ordinal(day, _day_case(m['b']), 'n')} {_MONTHS[month - 1]} {ordinal(year, 'g')} года "


def _time(m: re.Match) -> str:
    before, *parts = [part for part in m.groups("") if part] if m["b"] else ["", *filter(None, m.groups())]
    case = _CASES.get(before.lower(), "n")
    zero = [("ноль " * (part[0] == "0") + say(int(part))) for part in parts[1:]]
    return f"{before} {say(int(parts[0]), case if case in 'gd' else 'n')} {' '.join(zero)}".lstrip()


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
    if male := _MALE.fullmatch(name):
        return f"{name} {ordinal(value, _TABLES['male_names'].get(male[2], 'n'))}"
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
        return "полутора" if m[1] == "1" else say(int(m[1]), "g").replace(" ", "") + "споловиной"
    said = say(int(m[1]), "g").replace(" ", "")
    return {"ста": "сто", "одного": "одно", "девяноста": "девяносто", "тысячи": "тысяче"}.get(said, said)


def _per(m: re.Match) -> str:
    """A unit behind `за`, or by itself."""
    first, *more = _UNITS[m["u"]].split()
    one = first[:-1] + "у" if first[-1] == "а" else first
    return " ".join([*([" за", one] if m["b"] else [_forms(first)[2]]), *more]) + " "


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
    known = m[0] in _TABLES["acronyms"] or not set(m[0]) & set(_VOWELS)
    return letters(m[0]) if known or not m.string.isupper() else m[0]


_CYRILLIC_ROMAN = str.maketrans("ХІ", "XI")
_NUMBER = r"\d{1,3}(?: \d{3})+(?!\d)(?:,\d+)?|\d+(?:[.,]\d+)*"
_BEFORE = r"(?:(?<![\w-])(?P<b>[А-ЯЁа-яё]+) +)?"
_END = r"(?:\.(?!\s*$))?"  # the point of an abbreviation, but for one that ends the text
_YEAR, _CENTURY = f"{one_of(_YEARS)}|гг?{_END}", rf"{one_of(_CENTURIES)}|вв?\.|(?:стол|тысячел)ети\w+"
_NTH = (
    r"(?:[IVXХІ]+|\d{1,2}(?= ?-[\dIVX ]+в|(?<!\d[,.]\d)(?<!\d[,.]\d\d)"
    r" (?:вв?\.|век[еу]?\b)|(?<!\b[1-4]) века\b))"
)
_MONTH = rf"(?i:{'|'.join(_MONTHS)})\b"
_UNIT = one_of(set(_UNITS) - {"с", "В"}) + "|[сВ](?= ?[.,;!?)]| ?$)"  # which are prepositions, too
_CONSONANTS, _VOWELS = "БВГДЖЗЙКЛМНПРСТФХЦЧШЩ", "АЕЁИОУЫЭЮЯ"
_CLOCK = r"(?:[01]?\d|2[0-3])\.(?:00|1[3-9]|[2-5]\d)"  # with a point, where it's no day and month
_GRAMMAR = rules(
    (r"(?<!\w)(?=\w*[а-яё])(?=\w*[A-Za-zÀ-ÿ])[А-яёЁÀ-ÿA-Za-z]+", lambda m: m[0].translate(_ALIKE)),
    abbreviations(_PHRASES),
    (rf"(?<!\w)({one_of(_TABLES['hyphenated'])})(?!\w)", lambda m: _TABLES["hyphenated"][m[1]]),
    (r"° (?=[CС]\b)", "°"),
    (r"\b[Оо]к\. ?(?=\d)", "около "),
    (r"\b[Гг]л\. ?(?=[IVX\d])", "глава "),
    (rf"(?<=\d )({one_of(_TABLES['months'])})\.?(?= \d{{4}})", lambda m: _TABLES["months"][m[1]]),
    (rf"(?<![\d.])({_CLOCK})( ?- ?)({_CLOCK})(?![\d%]|[.,]\d)", lambda m: m[0].replace(".", ":")),
    (
        rf"(?i:\b(в|с|до|к|после|около) )({_CLOCK})(?![\d%]|[.,]\d)"
        rf"(?! ?(?:раза?|{one_of(_UNITS)}|{one_of(_BIG)})\b)",
        lambda m: m[0].replace(".", ":"),
    ),
    (r"(?<![\d,])(\d{1,4})(,5)?-(?=[а-яё]{4,})", _adjective),
    (r"(?<=\d) ?- ?(?=[\d.,]+ ?=)", " минус "),
    (r"(?<=\b[CСF])#", " шарп"),
    (r"(\d-х )гг?\.", r"\1годов"),
    (r"(\d-е )гг?\.", r"\1годы"),
    (
        r"(?<![\w.])([А-ЯЁ])\. ?([А-ЯЁ])\.(\s*$)?",
        lambda m: f"{letters(m[1])} {letters(m[2])}" + (" " if m[3] is None else "."),
    ),
    (r"(?<![\w.])([А-ЯЁ])\.(?= ?[А-ЯЁ])", lambda m: letters(m[1]) + " "),
    (rf"{_BEFORE}\b(?P<y>\d{{4}})-(?P<m>\d\d)-(?P<d>\d\d)\b", _date),
    (
        _BEFORE + r"\b(?P<d>\d{1,2})[./](?P<m>\d{1,2})[./](?P<y>\d{4}|(?<=\d\d.\d\d.)\d\d)\b(?![.\d])"
        r"(?: ?(?:года|г\.?)(?!\w))?",
        _date,
    ),
    (r"\bс (\d{4}) по (?=\d{4} г)", lambda m: f"с {ordinal(int(m[1]), 'g')} по "),
    (rf"{_BEFORE}(?:(?P<from>\d{{4}}) ?- ?)?(?P<y>\d{{4}}|\d{{3}}(?= год)) ?(?P<w>{_YEAR})(?!\w)", _year),
    (rf"({_MONTH}) (\d{{4}})\b(?! ?(?:г\b|год))", lambda m: f"{m[1]} {ordinal(int(m[2]), 'g')} года "),
    (
        rf"\b([Сс]) (\d{{1,2}}) по (?=\d{{1,2}} {_MONTH})",
        lambda m: f"{m[1]} {ordinal(int(m[2]), 'g', 'n')} по ",
    ),
    (rf"{_BEFORE}(?<!\d)(?:(?P<from>\d{{1,2}}) ?- ?)?(?P<d>\d{{1,2}}) (?={_MONTH})", _day),
    (rf"{_BEFORE}\b(\d{{1,2}}):(\d\d)(?::(\d\d))?\b", _time),
    (r"\b(\d+):(?=\d)", r"\1 "),
    (
        r"\+?\d[ (-]+\d{3}\)?[ -]?\d{3}[- ]?\d\d[- ]?\d\d\b|\+\d{8,}|\b\d{3}-\d\d-\d\d\b",
        lambda m: digits(m[0]),
    ),
    (rf"{_BEFORE}(?P<r>{_NTH}(?: ?- ?{_NTH})?) (?P<w>{_CENTURY})", _century),
    (r"(?:\b(?P<b>[А-ЯЁа-яё]+) )?\b(?P<r>[IVX]+)\b(?= ?(?P<a>[А-ЯЁа-яё]+)?)", _ruler),
    (
        rf"([$€£¥₽]) ?({_NUMBER})(?: ?(тыс|млн|млрд|трлн){_END})?",
        lambda m: " ".join(filter(None, m.group(2, 3, 1))),
    ),
    (r"\b((?:д\.|дом) ?\d+)/(?=\d)", r"\1 дробь "),
    (r"\b(д\. ?\d[^,]{0,9}, )стр\. ?(?=\d)", r"\1строение "),
    (r"\b((?:ст|п)\. ?[\d.]+,? )ч\. ?(?=\d)", r"\1часть "),
    (r"(?<![\w./])(?:(?P<w>\d+) )?(?P<n>\d+)/(?P<d>\d+)(?![\w/])", _fraction),
    (r"\b(\d+)-?(й|ый|ий|ой|я|ая|е|ое|го|ого|му|ому|ю|ую|х|ых)(?!\w)(?= ?([а-яё]*))", _suffix),
    (r"\b(\d+)-(м|ом|ым)(?!\w)()", _suffix),
    (r"\b(\d+)-(?:[тм]и|мя)(?!\w)", lambda m: say(int(m[1]), "i" if m[0].endswith("я") else "g")),
    (r"(?<=\d) ?[*×] ?(?=\d)(?=[\d., *×]+=)", " умножить на "),
    (r"(?<=\d) ?/ ?(?=[\d.,]+ ?=)", " делить на "),
    (r"№№", "номера"),
    (r"(?<=-я )мин\.(?!\s*$)", "минута"),
    (r"-+>", " - "),
    (r"(?<=\d) ?[хx×] ?(?=\d)", " на "),
    (r"(?<![\w)])-(?=\d)", " минус "),
    (r"(?<=\d)\+|\+(?![аеёиоуыэюяАЕЁИОУЫЭЮЯ])", " плюс "),
    (r"(?<=\b[Вв] )г\. ?(?=[А-ЯЁ])", "городе "),
    (r"(?<=\b[Ии]з )г\. ?(?=[А-ЯЁ])", "города "),
    (r"\bг\. ?(?=[А-ЯЁ])", "город "),
    (r"(?<!\d )\bр\. ?(?=[А-ЯЁ])", "река "),
    (r"(?<=\d) ?(кв|куб)\. ?([кс]?м)\b", lambda m: f" {m[2]}{'²' if m[1] == 'кв' else '³'}"),
    (r"(?<=[А-ЯЁ])(?=\d)", " "),
    (r"\b[Пп]р\. ?(?=[А-ЯЁ])", "проспект "),
    (r"\bс\. ?(?=\d)", "страница "),
    (r"\b[Пп]\. ?(?=\d)", "пункт "),
    (r"\b[Сс]т\. ?(?=\d)", "статья "),
    (r"\bд\. ?(?=\d)", "дом "),
    (r"\bкв\. ?(?=\d)", "квартира "),
    (
        rf"{_BEFORE}(?P<n>{_NUMBER})(?: ?(?P<big>{one_of(_BIG)}){_END}(?!\w))?"
        rf"(?: ?(?P<u>{_UNIT}){_END}(?P<p>[²³]|(?<=м)[23])?(?!\w))?(?= ?(?P<a>[а-яё]+)?)",
        _number,
    ),
    (
        r"(?<![\w/])([А-яЁё])\.?/([А-яЁё])(?![\w/])(?:\.(?!\s*$))?",
        lambda m: f"{letters(m[1])} {letters(m[2])} ",
    ),
    (r"(?<=[а-яё] )/(?= [а-яё])|(?<=\w\w)/(?=[а-яё]{3})", " или "),
    (r"\bи/или\b", "и или"),
    abbreviations(_SHORT),
    (
        rf"(?:(?P<b> ?/ ?|\bза )|(?<!\w))(?P<u>{one_of(u for u in _UNITS if len(u) > 1 and u not in _SHORT)})"
        r"(?![\w+\u0301-])(?(b)\.?(?! *$)|(?!\.(?! *$)))",
        _per,
    ),
    (
        rf"\b(?:{one_of(_TABLES['acronyms'])}|[{_CONSONANTS}]{{2,}}|[{_VOWELS}][{_CONSONANTS}]{{2,}}"
        "|[БГДЖЗЛМНПРТФХЦЧШЩ]|[ЬЪьъ]+)\\b",
        _acronym,
    ),
    ("[A-Za-zÀ-ɏ]+", lambda m: f" {letters(m[0])} "),
)


def russian_words(text: str) -> str:
    """Plain Russian text in words; `+` is kept before a vowel only, where it marks stress.

    >>> russian_words("А. С. Пушкин родился 6 июня 1799 г. и т. д.")
    'а эс Пушкин родился шестого июня тысяча семьсот девяносто девятого года и так далее.'
    """
    return normalize(text, _GRAMMAR, _SIGNS | _LETTERS | _TABLES["address"], _SIGNS)
