"""Mandarin as it is read aloud: numbers, dates, times, money, units, Latin letters in Chinese characters."""

import re

from imlspike.text.normalization import normalize, one_of, roman, rules, tables

_DIGITS = "零一二三四五六七八九"
_TABLES = tables("mandarin")
_LETTERS, _SIGNS, _UNITS = _TABLES["letters"], _TABLES["signs"], _TABLES["units"]
_MEASURES = "小个只本张条位名次天年周点分秒块件套层间台辆种家岁人斤公米千万亿百双倍页杯瓶口"


def cardinal(text: str) -> str:
    """A whole number up to 10^16; longer ones, and with zeros in front, digit by digit.

    >>> cardinal("10"), cardinal("1005"), cardinal("20300"), cardinal("100000000")
    ('十', '一千零五', '两万零三百', '一亿')
    """
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


def _counted(m: re.Match) -> str:
    power = {"²": "平方", "³": "立方", None: ""}[m[4]]
    return ("两" if m[1] == "2" else number(m[1])) + (m[2] or "") + power + _UNITS[m[3]]


def _time(m: re.Match) -> str:
    hour, minute, second = (int(part or 0) for part in m.groups())
    if hour > 24 or minute > 59:
        return f"{cardinal(str(hour))}比{cardinal(str(minute))}"
    said = f"{'两' if hour == 2 else cardinal(str(hour))}点"
    said += f"{'零' * (0 < minute < 10)}{cardinal(str(minute))}分" if minute else "" if second else "整"
    return said + (f"{cardinal(str(second))}秒" if second else "")


def _date(m: re.Match) -> str:
    return f"{digits(m[1])}年{cardinal(m[2].lstrip('0'))}月{cardinal(m[3].lstrip('0'))}日"


def _roman(m: re.Match) -> str:
    value = roman(m[0])
    return m[0] if value is None else cardinal(str(value))


_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)*"
_WHOLE_UNIT = one_of(unit for unit in _UNITS if len(unit) > 1)  # known without a number, too
_GRAMMAR = rules(
    (r"(?<=[^\W\dA-Za-z])-(?=[^\W\dA-Za-z])", " - "),
    (r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?!\d)", _date),
    (r"(?<!\d)(\d{4}) ?[-~] ?(?=\d{4}年)", lambda m: digits(m[1]) + "到"),
    (r"\b[Nn][Oo]\. ?(?=\d)", "第"),
    (r"(?<=\d°C) ?[-~] ?(?=-?\d)", "到"),
    (r"(?<=[^\W\d年月日]) ?/ ?(?=小时|分钟|秒|天|年|月|人|次|平方米|公里|千克|公斤|吨|升)", "每"),
    (
        r"(?<!\d)(\d{4}(?= ?年)|\d0(?=后)|(?:0\d|[89]\d|\d\d(?=年\d+月))"
        r"(?=年(?!级|纪|龄|以|来|前|后|间|代)))",
        lambda m: digits(m[1]),
    ),
    (r"(?<=\d:\d\d) ?[-~]+>? ?(?=\d{1,2}:\d\d)|-+>", "到"),
    (r"(?<!\d)(\d{1,2}):(\d\d)(?::(\d\d))?(?!\d)", _time),
    (r"(\d+):(\d+)", lambda m: f"{number(m[1])}比{number(m[2])}"),
    (
        r"(?<![\d.])(?:\+?86[ -]?)?1\d\d[ -]?\d{4}[ -]?\d{4}(?!\d)|\d{3,4}-\d{7,8}|\d{3}-\d{3,4}-\d{4}",
        lambda m: digits(m[0], "幺"),
    ),
    (
        r"(?P<b>(?:邮编|邮政编码|编号|验证码|密码|尾号|车牌|号码|电话|热线|拨打?|学号|工号|账号|卡号|QQ群?|微信群?|航班|房间|转|分机)号?[是为:]?\s?)?"
        r"(?P<n>(?<![\d./])1(?:10|19|20|22)(?:/1(?:10|19|20|22))+(?!\d)|(?(b)\d{3,}(?!\d|\.\d)|(?!)))",
        lambda m: (m["b"] or "") + digits(m["n"], "幺"),
    ),
    (rf"({_NUMBER}) ?[-~] ?({_NUMBER})%", r"\1%到\2%"),
    (r"(?<=\d) ?- ?(?=[\d.]+ ?=)", "减"),
    (r"(\d+)\^(-?)(\d+)", lambda m: f"{number(m[1])}的{'负' * bool(m[2])}{number(m[3])}次方"),
    (r"\d+(?:-\d+){2,}", lambda m: "杠".join(digits(part) for part in m[0].split("-"))),
    (r"(?<=\d米)\d\d(?!\d)|(?<![\d,.])(\d)\1{2,}(?!\d|[.,]\d)", lambda m: digits(m[0])),
    (
        r"(?<=[A-Za-z])\d{3,}(?!\d|\.\d)|\d{3,4}(?=[室路])|(?<!\d)(?:211|985|315|618|911)(?=[大高工晚事])",
        lambda m: digits(m[0], "幺"),
    ),
    (r"(\d+) ?- ?(?=(\d+))", lambda m: m[1] + ("到" if int(m[1]) < int(m[2]) else "比")),
    (r"(?<=[\d%]) ?[-~] ?(?=\d)", "到"),
    (r"(?<![A-Za-z\d.)])-(?=\d+(?:\.\d+)? ?°)", "零下"),
    (r"(?<![A-Za-z\d)])-(?=\d)", "负"),
    (rf"({_NUMBER})%", lambda m: f"百分之{number(m[1])}"),
    (rf" ?/ ?({_WHOLE_UNIT})(?![A-Za-z])", lambda m: "每" + _UNITS[m[1]]),
    (
        r"(\d+)/(\d+)",
        lambda m: (
            f"{number(m[2])}分之{number(m[1])}"
            if int(m[1]) < int(m[2])
            else f"{number(m[1])}比{number(m[2])}"
        ),
    ),
    (r"(?<=\d)\.00(?!\d)", ""),
    (rf"([$€£¥]) ?({_NUMBER})(百|千|万|亿)?", r"\2\3\1"),
    (rf"({_NUMBER}) ?(百|千|万|亿)? ?({one_of(_UNITS)})([²³])?(?![A-Za-z])", _counted),
    (rf"(?<![A-Za-z])({_WHOLE_UNIT})(?![A-Za-z])", lambda m: _UNITS[m[1]]),
    (rf"(?<![\d.第])2(?=[{_MEASURES}](?!月|号|级))", "两"),
    (_NUMBER, lambda m: number(m[0])),
    (r"(?<![A-Za-z])[IVX]{2,}(?![A-Za-z])|(?<=第)[IVX]+", _roman),
    ("[A-Za-z]", lambda m: f" {_LETTERS[m[0].lower()]} "),
)


def mandarin_words(text: str) -> str:
    """Plain Chinese text in Chinese characters.

    >>> mandarin_words("2024年2月25日,2个人花了50%")
    '二零二四年二月二十五日,两个人花了百分之五十'
    """
    return normalize(text, _GRAMMAR, _LETTERS | _SIGNS | _TABLES["address"], _LETTERS | _SIGNS)
