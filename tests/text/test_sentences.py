"""A text cut into sentences: nothing is lost, nothing is too long, and the cuts lie where people pause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlspike.text.sentences import split_sentences

WORDS = st.sampled_from(
    ["a", "word", "Bigger", "слово", "好", ".", "!", "?", "...", ",", " ", "\n\n", "\n", '"']
)


@given(st.lists(WORDS, max_size=60).map("".join), st.integers(1, 40))
def test_nothing_is_lost_and_nothing_is_too_long(text, longest):
    pieces = split_sentences(text, longest)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    if any(character.isalnum() for character in text):
        assert all(any(character.isalnum() for character in piece) for piece in pieces)
    for piece in pieces:  # but for marks without a letter, which stay with their neighbour
        assert sum(map(str.isalnum, piece)) <= longest and piece == piece.strip()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Версия 2.0 вышла. Да.", ["Версия 2.0 вышла.", "Да."]),
        ("«Да!» — сказал он. «Нет».", ["«Да!» — сказал он.", "«Нет»."]),
        ("Он ждал… и ушёл.", ["Он ждал… и ушёл."]),
        ("Он ждал… +Это всё.", ["Он ждал…", "+Это всё."]),
        ("Chapter 1\n\nit rained", ["Chapter 1", "it rained"]),
        ("one\ntwo", ["one\ntwo"]),
        ("“好。”他说。走！", ["“好。”", "他说。", "走！"]),
        ("...  Yes. *** No.", ["... Yes.", "*** No."]),
        ("", []),
        (" \n\n ", []),
        ("?!", ["?!"]),
    ],
)
def test_sentences_end_where_they_do(text, pieces):
    assert split_sentences(text) == pieces


def test_the_better_place_to_cut_is_taken():
    assert split_sentences("aa bb cc; dd ee, ff gg", longest=20) == ["aa bb cc;", "dd ee, ff gg"]
    assert split_sentences("aa bb cc dd, ee ff gg", longest=20) == ["aa bb cc dd,", "ee ff gg"]
    assert split_sentences("a, bb cc dd ee ff gg hh", longest=20) == ["a, bb cc dd ee ff", "gg hh"]
    assert split_sentences("好" * 25, longest=10) == ["好" * 10, "好" * 10, "好" * 5]
