import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlspike.text.russian import normalize_russian

ALPHABET = "абвгдеёжзийклмнопрстуфхцчшщъыьэюя"


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("+Окна многоэтажных домов, - иные!", "окна многоэтажных домов иные"),
        ("Какой-то дом; точь-в-точь", "какой то дом точь в точь"),
        ("Ионвиль л'Аббеи: д'Артуа", "ионвиль лаббеи дартуа"),
        ("Ёлка ещё ЗЕЛЁНАЯ", "ёлка ещё зелёная"),
        ("е\u0308лка и\u0306од", "ёлка йод"),
        ("за\u0301мок — «замо\u0301к»…", "замок замок"),
        ("  \t - ! ", ""),
    ],
)
def test_russian(raw, plain):
    assert normalize_russian(raw) == plain


@pytest.mark.parametrize("character", ["5", "a", "@", "і", "\u0000", "💥"])
def test_any_other_character_names_utterance_and_character(character):
    with pytest.raises(ValueError) as error:
        normalize_russian(f"дом {character}", name="ru_0007")
    assert "ru_0007" in str(error.value)
    assert repr(character) in str(error.value)


@given(st.text(ALPHABET + ALPHABET.upper() + " ,.-+!?'\ufeff\u00ad\u200b\u2003", max_size=60))
def test_the_result_is_plain_and_stays_so(raw):
    plain = normalize_russian(raw)
    assert set(plain) <= set(ALPHABET + " ")
    assert plain == plain.strip() and "  " not in plain
    assert normalize_russian(plain) == plain
    assert [c for c in plain if c != " "] == [c for c in raw.lower() if c in ALPHABET]
