"""Captions, CTM and TextGrid of a transcript, read by others' parsers."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.data.captions import LINE, captions, ctm, srt, textgrid, vtt, write_format
from imlspike.data.transcript import Segment, Transcript, Word, join_texts

LETTERS = st.text("aбß你<&>\"'-я", min_size=1, max_size=60)


@st.composite
def transcripts(draw) -> Transcript:
    """Words of any lengths in whole milliseconds, with and without pauses, hours behind the beginning."""
    words, at = [], draw(st.integers(0, 10**7))
    for text in draw(st.lists(LETTERS, max_size=60)):
        at += draw(st.sampled_from([0, 0, 1, 80, 400, 5000]))
        end = at + draw(st.sampled_from([1, 40, 300, 9000]))
        words.append(Word(text, at / 1000, end / 1000, draw(st.floats(0, 1))))
        at = end
    half = len(words) // 2
    parts = [
        Segment(0, 1, " ".join(w.text for w in part), tuple(part)) for part in (words[:half], words[half:])
    ]
    return Transcript("a b.wav", tuple(parts), (at + draw(st.integers(0, 999))) / 1000, 16000, 1)


def seconds(clock: str) -> float:
    hours, minutes, rest = clock.split(":")
    return round(int(hours) * 3600 + int(minutes) * 60 + float(rest), 3)


@given(transcripts())
@settings(max_examples=60, deadline=None)
def test_captions_hold_every_word_once_in_two_short_lines_that_dont_overlap(heard):
    shown = captions(heard.words, heard.seconds)
    assert all(end <= heard.seconds for _, end, _ in shown)
    lines = [line for _, _, lines in shown for line in lines]
    assert "".join(lines).replace(" ", "") == "".join(word.text for word in heard.words)
    texts = {word.text for word in heard.words}
    assert all(len(lines) <= 2 for _, _, lines in shown)
    assert all(len(line) <= LINE or line in texts for line in lines)
    assert all(start < end for start, end, _ in shown)
    assert all(one[1] <= other[0] for one, other in zip(shown, shown[1:], strict=False))


@given(transcripts())
@settings(max_examples=40, deadline=None)
def test_strict_parsers_read_the_same(heard):
    srt_parser, webvtt = pytest.importorskip("srt"), pytest.importorskip("webvtt")
    shown = captions(heard.words, heard.seconds)
    expected = [(round(start, 3), round(end, 3), "\n".join(lines)) for start, end, lines in shown]
    found = list(srt_parser.parse(srt(heard), ignore_errors=False))
    assert [(c.start.total_seconds(), c.end.total_seconds(), c.content) for c in found] == expected
    assert [caption.index for caption in found] == list(range(1, len(found) + 1))
    read = webvtt.from_string(vtt(heard))
    assert [(seconds(c.start), seconds(c.end)) for c in read] == [row[:2] for row in expected]
    assert [c.raw_text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for c in read] == [
        text for _, _, text in expected
    ]


@given(transcripts())
@settings(max_examples=30, deadline=None)
def test_praatio_reads_the_words_of_a_textgrid(tmp_path_factory, heard):
    textgrids = pytest.importorskip("praatio.textgrid")
    path = tmp_path_factory.mktemp("grid") / "a.TextGrid"
    path.write_text(textgrid(heard), encoding="utf-8")
    grid = textgrids.openTextgrid(str(path), includeEmptyIntervals=False)
    assert grid.tierNames == ("words",) and grid.maxTimestamp == pytest.approx(heard.seconds, abs=1e-3)
    found = [(start, end, label) for start, end, label in grid.getTier("words").entries]
    assert found == [(word.start, word.end, word.text) for word in heard.words]


def test_a_line_of_ctm_has_six_columns():
    word = Word("a b", 1.5, 1.75, 0.5)
    heard = Transcript("x/my talk.wav", (Segment(0, 2, "a b", (word,)),), 2, 16000, 2, channel=2)
    assert ctm(heard) == "my_talk 2 1.500 0.250 a_b 0.500\n"


def test_names_that_tell_recordings_apart_are_those_of_ctm():
    heard = Transcript("x/a.wav", (Segment(0, 2, "b", (Word("b", 1.5, 1.75, 0.5),)),), 2, 16000, 1)
    assert ctm(heard).startswith("a 1 ") and ctm(replace(heard, name="x/a.wav")).startswith("x/a.wav 1 ")


def test_no_interval_of_a_textgrid_is_empty():
    """Not of words that are shorter than its steps, or begin before the last one ends."""
    words = Word("a", 0, 0.0002, 1), Word("b", 0.0003, 0.0004, 1), Word("c", 0.5, 0.4, 1)
    heard = Transcript("a.wav", (Segment(0, 1, "a b c", words),), 1, 16000, 1)
    times = [float(line.split(" = ")[1]) for line in textgrid(heard).splitlines() if "xm" in line][4:]
    begins, ends = times[::2], times[1::2]
    assert all(begin < end for begin, end in zip(begins, ends, strict=True))
    assert begins[1:] == ends[:-1] and ends[-1] == 1


def test_a_sample_alone_is_a_textgrid_of_a_millisecond():
    assert "xmax = 0.001" in textgrid(Transcript("a.wav", (), 1 / 16000, 16000, 1))


def test_scripts_without_blanks_are_joined_without():
    words = tuple(Word(text, n / 10, (n + 1) / 10, 1.0) for n, text in enumerate("你好世界"))
    assert captions(words)[0][2] == [join_texts("你好世界")] == ["你好世界"]


@pytest.mark.parametrize("kind", ["srt", "textgrid"])
def test_without_times_of_words_there_are_none(kind):
    with pytest.raises(ValueError, match=kind):
        write_format(Transcript("a.wav", (Segment(0, 1, "one"),), 1.0), kind)
    assert isinstance(write_format(Transcript("a.wav", (), 1.0), kind), str)
