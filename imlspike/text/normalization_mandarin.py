"""Mandarin as it is read aloud: numbers, dates, times, money, units, Latin letters in Chinese characters."""

import re

from imlspike.text.normalization import dates, grammar, normalize, roman
from imlspike.text.tables import one_of, tables

_DIGITS = "零一二三四五六七八九"
_TABLES = tables("mandarin")
_LETTERS, _SIGNS, _UNITS = (_TABLES[name] for name in ("letters", "signs", "units"))
_TABLES["letters"] |= {letter.upper(): said for letter, said in _LETTERS.items()}


def cardinal(text: str) -> str:
    """A whole number, a Roman numeral too, up to 10^16; longer ones, and with zeros in front, digit by digit.

    >>> cardinal("10"), cardinal("1005"), cardinal("20300"), cardinal("100000000")
    ('十', '一千零五', '两万零三百', '一亿')
    """
    text = str(roman(text) or text)
    if len(text) > 16 or (len(text) > 1 and text[0] == "0"):
        return digits(text)
    said, zero = "", False
    for place, digit in enumerate(text):
        power = len(text) - 1 - place
        if digit != "0":
            two = digit == "2" and not place and power > 1 and power % 4 != 1
            said += (
                "零" * (zero and bool(said))
                + ("两" if two else _DIGITS[int(digit)])
                + ["", "十", "百", "千"][power % 4]
            )
        zero = digit == "0" if power % 4 or digit == "0" else False
        group = int(text[max(0, place - 3) : place + 1])
        if power in (4, 8, 12) and (group or (power == 8 and len(text) > 12)):
            said, zero = said + ("亿" if power == 8 else "万"), False
    return re.sub("^一十", "十", said) or "零"


def digits(text: str, one: str = "一") -> str:
    """Digits one by one; in telephone numbers 1 is 幺."""
    plus = "加" * text.startswith("+")
    return plus + "".join(
        "," if c == "/" else _DIGITS[int(c)] if c != "1" else one for c in text if c in "/0123456789"
    )


def number(text: str) -> str:
    """A number with commas between thousands, a point or several."""
    whole, *parts = text.replace(",", "").split(".")
    return "点".join(
        [cardinal(whole), *(digits(part) if len(parts) == 1 else cardinal(part) for part in parts)]
    )


def _dashed(text: str) -> str:
    return "杠".join(map(digits, text.split("-")))


def _range(m: re.Match) -> str:
    return m[1] + ("到" if int(m[1]) < int(m[2]) else "比")


def _fraction(m: re.Match) -> str:
    return f"{number(m['d'])}分之{number(m['n'])}" if int(m["n"]) < int(m["d"]) else m[0]


def _quantity(m: re.Match) -> str:
    power = _TABLES["words"][m[4]] if m[4] else ""
    return ("两" if m[1] == "2" else number(m[1])) + (m[2] or "") + power + _UNITS[m[3]]


def _time(m: re.Match) -> str:
    hour, minute, second = (int(part or 0) for part in m.groups())
    if hour > 24 or minute > 59:
        return f"{cardinal(str(hour))}比{cardinal(str(minute))}"
    said = f"{'两' if hour == 2 else cardinal(str(hour))}点"
    said += f"{'零' * (0 < minute < 10)}{cardinal(str(minute))}分" if minute else "" if second else "整"
    return said + (f"{cardinal(str(second))}秒" if second else "")


@dates
def _date(m: re.Match, day: int, month: int, year: str) -> str:
    return f"{digits(year)}年{cardinal(str(month))}月{cardinal(str(day))}日"


_GRAMMAR = grammar("mandarin", _TABLES, globals(), whole_unit=one_of(u for u in _UNITS if len(u) > 1))


def mandarin_words(text: str) -> str:
    """Plain Chinese text in Chinese characters.

    >>> mandarin_words("2024年2月25日,2个人花了50%")
    '二零二四年二月二十五日,两个人花了百分之五十'
    """
    return normalize(text, _GRAMMAR, _LETTERS | _SIGNS | _TABLES["address"], _LETTERS | _SIGNS)
