"""Russian as it is read aloud: numbers in their cases, dates, times, money, units, abbreviations, letters."""

import re

from imlspike.text.normalization import in_words, normalize, one_of, pairs, roman, rules

_SIGNS = pairs(
    "&=и @=собака %=процентов #=номер №=номер °=градусов §=параграф ±=плюс_минус ×=на ÷=делить_на ≈=примерно "
    "~=примерно <=меньше >=больше /=дробь ²=в_квадрате ³=в_кубе ∞=бесконечность $=долларов €=евро £=фунтов "
    "¥=иен ₽=рублей ©=копирайт ®=товарный_знак ™=товарный_знак"
) | {"=": "равно"}
_LETTERS = pairs(
    "а=а б=бэ в=вэ г=гэ д=дэ е=е ё=ё ж=жэ з=зэ и=и й=и_краткое к=ка л=эл м=эм н=эн о=о п=пэ р=эр с=эс т=тэ у=у "
    "ф=эф х=ха ц=цэ ч=че ш=ша щ=ща ъ=твёрдый_знак ы=ы ь=мягкий_знак э=э ю=ю я=я a=эй b=би c=си d=ди e=и f=эф "
    "g=джи h=эйч i=ай j=джей k=кей l=эл m=эм n=эн o=оу p=пи q=кью r=ар s=эс t=ти u=ю v=ви w=дабл+ю x=икс y=уай z=зет"
)
_ADDRESS = (
    _SIGNS
    | _LETTERS
    | pairs(
        ".=точка :=двоеточие -=дефис /=слэш ?=вопрос #=решётка ~=тильда +=плюс com=ком org=орг net=нет ru=ру"
    )
    | {"_": "подчёркивание"}
)
_UNITS = pairs(
    "км=километр м=метр см=сантиметр мм=миллиметр кг=килограмм г=грамм гр=грамм мг=миллиграмм л=литр мл=миллилитр "
    "га=гектар ц=центнер т=тонна мин=минута сек=секунда с=секунда ч=час %=процент °=градус °C=градус_Цельсия "
    "°С=градус_Цельсия км/ч=километр_в_час км/с=километр_в_секунду м/с=метр_в_секунду Гц=герц кГц=килогерц "
    "МГц=мегагерц ГГц=гигагерц Вт=ватт кВт=киловатт МВт=мегаватт В=вольт Мб=мегабайт МБ=мегабайт Гб=гигабайт "
    "ГБ=гигабайт Кб=килобайт дБ=децибел руб=рубль р=рубль ₽=рубль коп=копейка $=доллар €=евро £=фунт ¥=иена "
    "шт=штука экз=экземпляр"
)
_BIG = pairs("тыс=тысяча млн=миллион млрд=миллиард трлн=триллион")
_SHORT = pairs(
    "ул=улица им=имени проф=профессор акад=академик рис=рисунок табл=таблица см=смотри ср=сравни напр=например "
    "тов=товарищ гл=глава обл=область пос=посёлок пер=переулок пл=площадь просп=проспект наб=набережная св=святой "
    "тел=телефон чел=человек ок=около др=другие пр=прочее англ=английский лат=латинский нем=немецкий стр=страница "
    "доц=доцент изд=издание ред=редактор млн=миллионов млрд=миллиардов тыс=тысяч руб=рублей коп=копеек гг=годы"
)
_PHRASES = pairs(
    "т.д=так_далее т.п=тому_подобное т.е=то_есть т.к=так_как т.н=так_называемый т.ч=том_числе н.э=нашей_эры "
    "т.о=таким_образом и.о=исполняющий_обязанности"
)
_CASES = {
    word: case
    for case, words in {
        "g": "с со от до из без для около после более менее больше меньше свыше среди у кроме старше младше",
        "d": "к ко по",
        "i": "между над перед",
        "p": "о об при в во на",
    }.items()
    for word in words.split()
}
_MONTHS = "января февраля марта апреля мая июня июля августа сентября октября ноября декабря".split()
_YEARS = pairs("год=n года=g году=p годом=i годы=n годов=g годам=d годами=i годах=p")
_CENTURIES = pairs("век=n века=g веку=d веком=i веке=p веков=g веками=i веках=p веки=n")
_SUFFIXES = pairs(
    "й=n,m ый=n,m ий=n,m ой=n,m я=n,f ая=n,f е=n,n ое=n,n го=g,m ого=g,m му=d,m ому=d,m м=p,m ом=p,m ым=i,m ю=a,f "
    "ую=a,f х=g,p ых=g,p ми=i,p"
)
_MALE = re.compile(
    "(Пётр|Петр|Павл|Александр|Никола|Иван|Людовик|Карл|Генрих|Вильгельм|Фридрих|Филипп|Георг)(.*)"
)
_MALE_CASES = pairs("=n й=n а=g я=g у=d ю=d ом=i ем=i е=p")
_SPELLED = "ЕГЭ ООО ОАО ЗАО АЭС ОАЭ ЕС ИИ УК АО ИП МГУ БГУ НЛО ВТО ФСО ЦСКА СПбГУ".split()
_AS_SAID = pairs("США=сэ_шэ_а ФБР=фэ_бэ_эр ФРГ=фэ_эр_гэ")
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
    return _AS_SAID.get(text) or " ".join(_LETTERS.get(c, "") for c in text.lower())


def digits(text: str) -> str:
    """Digits one by one."""
    return " ".join(say(int(c)) for c in text if c.isdecimal())


def number(text: str, case: str = "n", gender: str = "m") -> str:
    """A number with blanks between thousands, a decimal comma, points, zeros in front."""
    text = text.replace(" ", "")
    if re.fullmatch(r"\d{1,6},\d{1,3}", text):
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
    if noun == "копейка":
        return noun, "копейки", "копеек"
    if noun[-1] == "а":
        return noun, noun[:-1] + ("и" if noun[-2] in "кч" else "ы"), noun[:-1]
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
    return " ".join([form, *more])


def _number(m: re.Match) -> str:
    """A number in the case of its preposition, or of the noun behind, with its unit."""
    before, text, big, unit, after = m["b"] or "", m["n"], m["big"], m["u"], m["a"] or ""
    case, gender, said = _CASES.get(before.lower(), "n"), "m", ""
    case = case if case == "g" or not (big or unit) and case == "i" else "n"
    for ending, other in (("ами", "i"), ("ями", "i"), ("ам", "d"), ("ям", "d"), ("ах", "p"), ("ях", "p")):
        if after.endswith(ending) and not (big or unit):
            case = other
    noun = _BIG.get(big or "") or _UNITS.get(unit or "")
    if noun:
        gender = "f" if noun.split()[0][-1] == "а" else "m"
        said = _noun(text, noun, case) + (" " + _noun("5", _UNITS[unit], "n") if big and unit else "")
    elif text[-2:-1] != "1" and text[-1] in "12":
        gender = {"1а": "f", "1я": "f", "1о": "n", "1е": "n", "2ы": "f", "2и": "f"}.get(
            text[-1] + after[-1:], "m"
        )
    power = {"²": "квадратных ", "³": "кубических ", None: ""}[m["p"]]
    return f"{before} {number(text, case, gender)} {power}{said} ".lstrip()


def _year(m: re.Match) -> str:
    before, word = (m["b"] or ""), m["w"].rstrip(".")
    case = _CASES.get(before.lower(), "g" if before in _MONTHS else "n")
    if word in _YEARS:
        case = _YEARS[word] if word != "году" or case != "d" else "d"
    else:
        names = {
            "n": "год годы",
            "g": "года годов",
            "d": "году годам",
            "p": "году годах",
            "i": "годом годами",
        }
        word = names[case].split()[len(word) - 1]
    years = " - ".join(ordinal(int(year), case) for year in (m["from"], m["y"]) if year)
    return f"{before} {years} {word} ".lstrip()


def _day(m: re.Match) -> str:
    before = m["b"] or ""
    case = {"с": "g", "к": "d"}.get(before.lower()) or (
        "n" if before.lower() in ("на", "по", "сегодня", "это") else "g"
    )
    return f"{before} {ordinal(int(m['d']), case, 'n')} ".lstrip()


def _date(m: re.Match) -> str:
    day, month, year = int(m["d"]), int(m["m"]), m["y"]
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return m[0]
    return f"{ordinal(day, 'g', 'n')} {_MONTHS[month - 1]} {ordinal(int(year), 'g')} года "


def _time(m: re.Match) -> str:
    parts = [part for part in m.groups() if part]
    zero = [("ноль " * (part[0] == "0") + say(int(part))) for part in parts[1:]]
    return f"{say(int(parts[0]))} {' '.join(zero)}"


def _century(m: re.Match) -> str:
    before, word = m["b"] or "", m["w"].rstrip(".")
    case, gender = _CENTURIES.get(word) or pairs("е=n я=g ю=d м=i и=p").get(word[-1], "n"), "m"
    if word in ("в", "вв"):
        case = _CASES.get(before.lower(), "n")
        word = {"g": "века веков", "p": "веке веках"}.get(case, "век века").split()[len(word) - 1]
    elif word not in _CENTURIES:
        gender = "n"
    said = [
        ordinal(roman(r) or 0, case, gender) for r in re.findall("[IVX]+", m["r"].translate(_CYRILLIC_ROMAN))
    ]
    return f"{before} {' - '.join(said)} {word} ".lstrip()


def _ruler(m: re.Match) -> str:
    value = roman(m["r"])
    if value is None:
        return m[0]
    name, male = m["b"] or "", _MALE.fullmatch(m["b"] or "")
    if male:
        return f"{name} {ordinal(value, _MALE_CASES.get(male[2], 'n'))}"
    gender = "f" if name.endswith(("а", "я", "сть")) else "m"
    if not name and m["a"]:
        gender = {"ая": "f", "ое": "n", "ое": "n"}.get(
            m["a"][-2:], {"а": "f", "о": "n", "е": "n"}.get(m["a"][-1], "m")
        )
    return f"{name} {ordinal(value, 'n', gender)}".lstrip()


def _suffix(m: re.Match) -> str:
    value, (case, gender) = int(m[1]), _SUFFIXES[m[2]].split(",")
    if m[2] == "х" and value < 5:
        return say(value, "g")
    if case == "n" and gender == "n" and value % 10 == 0 and value > 10 and m[3]:
        gender = "p"
    return ordinal(value, case, gender)


def _adjective(m: re.Match) -> str:
    said = say(int(m[1]), "g").replace(" ", "")
    return {"ста": "сто", "одного": "одно", "девяноста": "девяносто"}.get(said, said)


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
    return m[0] if m.string.isupper() and set(m[0]) & set(_VOWELS) else letters(m[0])


_CYRILLIC_ROMAN = str.maketrans("ХІ", "XI")
_NUMBER = r"\d{1,3}(?: \d{3})+(?!\d)(?:,\d+)?|\d+(?:[.,]\d+)*"
_BEFORE = r"(?:(?<![\w-])(?P<b>[А-ЯЁа-яё]+) )?"
_END = r"(?:\.(?!\s*$))?"  # the point of an abbreviation, but for one that ends the text
_CONSONANTS, _VOWELS = "БВГДЖЗЙКЛМНПРСТФХЦЧШЩ", "АЕЁИОУЫЭЮЯ"
_GRAMMAR = rules(
    (r"(?<!\w)(?=\w*[а-яё])(?=\w*[A-Za-zÀ-ÿ])[А-яёЁÀ-ÿA-Za-z]+", lambda m: m[0].translate(_ALIKE)),
    (
        r"(?<![\w.])([а-яё])\. ?([а-яё])\.(\s*$)?",
        lambda m: (
            f"{_PHRASES[m[1] + '.' + m[2]]}{' ' if m[3] is None else '.'}"
            if f"{m[1]}.{m[2]}" in _PHRASES
            else m[0]
        ),
    ),
    (
        r"(?<![\w.])([А-ЯЁ])\. ?([А-ЯЁ])\.(\s*$)?",
        lambda m: f"{letters(m[1])} {letters(m[2])}" + (" " if m[3] is None else "."),
    ),
    (r"(?<![\w.])([А-ЯЁ])\.(?= ?[А-ЯЁ])", lambda m: letters(m[1]) + " "),
    (r"\b(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)\b", _date),
    (r"\b(?P<d>\d{1,2})[./](?P<m>\d{1,2})[./](?P<y>\d{4})\b(?: ?(?:года|г\.?)(?!\w))?", _date),
    (r"\bс (\d{4}) по (?=\d{4} г)", lambda m: f"с {ordinal(int(m[1]), 'g')} по "),
    (
        rf"{_BEFORE}(?:(?P<from>\d{{4}}) ?- ?)?(?P<y>\d{{4}}|\d{{3}}(?= год)) ?(?P<w>{one_of(_YEARS)}|гг?{_END})(?!\w)",
        _year,
    ),
    (rf"{_BEFORE}(?P<d>\d{{1,2}}) (?=(?:{'|'.join(_MONTHS)})\b)", _day),
    (r"\b(\d{1,2}):(\d\d)(?::(\d\d))?\b", _time),
    (r"\b(\d+):(?=\d)", r"\1 "),
    (r"\+?\d[ (]+\d{3}\)? ?\d{3}[- ]?\d\d[- ]?\d\d\b|\+\d{8,}|\b\d{3}-\d\d-\d\d\b", lambda m: digits(m[0])),
    (
        rf"{_BEFORE}(?P<r>[IVXХІ]+(?: ?- ?[IVXХІ]+)?) (?P<w>{one_of(_CENTURIES)}|вв?\.|(?:стол|тысячел)ети\w+)",
        _century,
    ),
    (r"(?:\b(?P<b>[А-ЯЁ][а-яё]+|[а-яё]{3,}) )?\b(?P<r>[IVX]+)\b(?= ?(?P<a>[а-яё]+)?)", _ruler),
    (rf"([$€£¥₽]) ?({_NUMBER})(?: ?(тыс|млн|млрд|трлн){_END})?", r"\2 \3 \1"),
    (r"(?<![\w./])(?:(?P<w>\d+) )?(?P<n>\d+)/(?P<d>\d+)(?![\w/])", _fraction),
    (r"\b(\d+)-?(й|ый|ий|ой|я|ая|е|ое|го|ого|му|ому|ю|ую|х|ых|ми)(?!\w)(?=( год)?)", _suffix),
    (r"\b(\d+)-(м|ом|ым)(?!\w)(?=( год)?)", _suffix),
    (r"\b(\d+)-ти(?!\w)", lambda m: say(int(m[1]), "g")),
    (r"\b(\d{1,3})-(?=[а-яё]{4,})", _adjective),
    (r"(?<=\d) ?[хx×] ?(?=\d)", " на "),
    (r"(?<![\w)])-(?=\d)", " минус "),
    (r"(?<=\d)\+|\+(?![аеёиоуыэюяАЕЁИОУЫЭЮЯ])", " плюс "),
    (r"\bг\. ?(?=[А-ЯЁ])", "город "),
    (r"\bд\. ?(?=\d)", "дом "),
    (r"\bкв\. ?(?=\d)", "квартира "),
    (
        rf"{_BEFORE}(?P<n>{_NUMBER})(?: ?(?P<big>{one_of(_BIG)}){_END}(?!\w))?"
        rf"(?: ?(?P<u>{one_of(set(_UNITS) - {'с', 'В'})}|[сВ](?= ?[.,;!?)]| ?$)){_END}(?P<p>[²³])?(?!\w))?(?= ?(?P<a>[а-яё]+)?)",
        _number,
    ),
    (rf"(?<![\w.])({one_of(_SHORT)})\. ?(\s*$)?", lambda m: _SHORT[m[1]] + (" " if m[2] is None else ".")),
    (
        rf"\b(?:{'|'.join([*_SPELLED, *_AS_SAID])}|[{_CONSONANTS}]{{2,}}|[{_VOWELS}][{_CONSONANTS}]{{2,}}"
        "|[БГДЖЗЛМНПРТФХЦЧШЩ])\\b",
        _acronym,
    ),
    ("[A-Za-z]+", lambda m: f" {letters(m[0])} "),
)


def russian_words(text: str) -> str:
    """Plain Russian text in words; `+` is kept before a vowel only, where it marks stress.

    >>> russian_words("А. С. Пушкин родился 6 июня 1799 г. и т. д.")
    'а эс Пушкин родился шестого июня тысяча семьсот девяносто девятого года и так далее.'
    """
    return normalize(text, _GRAMMAR, _ADDRESS, _SIGNS)
