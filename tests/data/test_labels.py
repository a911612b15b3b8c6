"""Label files of Festival and Praat, and durations that add up to the mel's frames."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imlspike.bin.durations import main
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.kaldi import Utterance, read_data_dir, write_data_dir
from imlspike.data.labels import (
    Phone,
    boundary_times,
    check_labelled,
    find_labels,
    frames_until,
    is_pause,
    punctuated,
    read_durations,
    read_labels,
    symbol_ends,
)
from imlspike.data.write_audio import write_audio
from imlspike.text.phonemes import symbols_of
from imlspike.text.tokens import write_tokens

SHORT = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n0.7\n<exists>\n1\n'
SHORT += '"IntervalTier"\n"any"\n0\n0.7\n3\n0\n0.25\n""\n0.25\n0.5\n"AH0"\n0.5\n0.7\n"s"\n'
PHONES = [("pau", 0.0, 0.25), ("AH0", 0.25, 0.5), ("s", 0.5, 0.7)]


def test_labels_of_festival(tmp_path):
    file = tmp_path / "ru_1.lab"
    file.write_text("separator ;\n#\n0.34200 125 pau \n0.39200 125 k \n 0.5 125 ay\n")
    assert read_labels(file) == [("pau", 0.0, 0.342), ("k", 0.342, 0.392), ("ay", 0.392, 0.5)]
    assert {phone.name for phone in read_labels(file)} <= set(symbols_of("russian"))
    for content, message in (
        ("#\n0.3 125\n", "line 2"),
        ("#\n0.3 1 a\n0.2 1 b\n", "line 3"),
        ("#\n0.3.1 1 a\n", "line 2"),
        ("#\n", "no phones"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=f"ru_1.lab.*{message}"):
            read_labels(file)


def write_textgrid(path, name="phones", form="long_textgrid"):
    """Words, points and phones, as Praat writes them."""
    praatio = pytest.importorskip("praatio.textgrid", reason="praatio isn't installed (extra: phonemes)")
    grid = praatio.Textgrid(0, 0.7)
    grid.addTier(praatio.IntervalTier("words", [(0, 0.7, 'say "2" 3.5')], 0, 0.7))
    grid.addTier(praatio.PointTier("clicks", [(0.3, "x")], 0, 0.7))
    grid.addTier(praatio.IntervalTier(name, [(0.25, 0.5, "AH0"), (0.5, 0.7, "s")], 0, 0.7))
    grid.save(str(path), form, includeBlankSpaces=True)
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
@pytest.mark.parametrize("form", ["long_textgrid", "short_textgrid"])
@pytest.mark.parametrize("name", ["phones", "Ann - phones"])
def test_textgrids_long_and_short(tmp_path, name, form, encoding):
    path = write_textgrid(tmp_path / "a.TextGrid", name, form)
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode(encoding))
    assert read_labels(path) == PHONES


def test_a_textgrids_tier_is_chosen_by_name(tmp_path):
    path = write_textgrid(tmp_path / "a.TextGrid", "segments")
    assert read_labels(path, "segments") == PHONES
    assert read_labels(path, "WORDS") == [('say "2" 3.5', 0.0, 0.7)]
    with pytest.raises(ValueError, match="'phones'.*'words', 'segments'"):
        read_labels(path)


def test_a_cut_or_inconsistent_textgrid_is_refused(tmp_path):
    pytest.importorskip("praatio.textgrid", reason="praatio isn't installed (extra: phonemes)")
    path = tmp_path / "a.TextGrid"
    for content in (
        *(SHORT[:end] for end in range(0, len(SHORT) - 4, 5)),
        SHORT.replace("0.5\n0.7", "0.3\n0.7"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match="a.TextGrid"):
            read_labels(path)
    path.write_text(SHORT)
    assert read_labels(path) == PHONES


def test_label_files_are_found_below_the_folder(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann/u1.lab").write_text("#\n0.7 1 a\n")
    (tmp_path / "u2.lab").write_text("#\n0.7 1 a\n")
    found = find_labels(tmp_path)
    assert sorted(found) == ["u1", "u2"]
    with pytest.raises(ValueError, match="u3"):
        check_labelled(["u1", "u3"], found, tmp_path)
    with pytest.raises(ValueError, match="u1.lab"):
        read_labels(found["u1"], seconds=1.2)
    (tmp_path / "u1.lab").write_text("#\n0.7 1 a\n")
    with pytest.raises(ValueError, match="u1.lab"):
        find_labels(tmp_path)
    with pytest.raises(ValueError, match="gone"):
        find_labels(tmp_path / "gone")


times = st.lists(st.floats(0.001, 0.3), min_size=1, max_size=30).map(lambda steps: list(np.cumsum(steps)))


@given(times, st.sampled_from([0.008, 0.016, 256 / 22050]), st.integers(0, 3))
def test_durations_add_up_and_each_symbol_has_a_frame(ends, frame, more):
    frames = max(len(ends), int(ends[-1] / frame) + 1 + more)
    durations = frames_until(ends, frames, frame)
    assert sum(durations) == frames and min(durations) >= 1 and len(durations) == len(ends)
    if min(np.diff([0, *ends], append=ends[-1] + frame)) > 2 * frame:  # no symbol had to take a frame
        found = boundary_times(durations, frame)
        assert np.abs(np.array(found) - ends[:-1]).max(initial=0) <= frame / 2 + 1e-6


def test_too_few_frames_are_refused():
    assert frames_until([0.1, 0.1, 0.1], 3, 0.01) == [1, 1, 1]
    with pytest.raises(ValueError, match="u1"):
        frames_until([0.1, 0.2, 0.3], 2, 0.01, "u1")


def phones_of(names, step=0.1):
    return [Phone(name, i * step, (i + 1) * step) for i, name in enumerate(names)]


def test_the_labels_own_phones_have_their_ends():
    names = ["pau", "pau", "a", "b", "pau"]
    phones = phones_of(names)
    assert symbol_ends(names, phones) == [phone.end for phone in phones]


def test_pauses_without_a_mark_and_marks_without_a_pause():
    phones = phones_of(["pau", "a", "pau", "b", "c", "pau"])
    ends = symbol_ends(["a", "b", ",", "-", "c", ".", "!"], phones)
    assert ends == pytest.approx([0.3, 0.4, 0.4, 0.4, 0.5, 0.6, 0.6])
    with pytest.raises(ValueError, match="u1"):
        symbol_ends(["a", "b"], phones, "u1")


@given(st.lists(st.sampled_from(["pau", "a", "b"]), max_size=12), st.sampled_from("ab"))
def test_pauses_become_the_marks_that_front_ends_write(names, last):
    """The same phones in the same order, at their times; no pause is written twice or at the beginning."""
    names = [*names, last]
    phones = phones_of(names)
    symbols = punctuated(phones)
    assert "".join(symbols) == re.sub(",+", ",", "".join(names).replace("pau", ",")).lstrip(",") + "."
    assert punctuated([*phones, Phone("pau", phones[-1].end, phones[-1].end + 0.1)]) == symbols
    ends = symbol_ends(symbols, phones)
    spoken = [place for place, symbol in enumerate(symbols) if not is_pause(symbol)]
    starts = [phone.start for phone in phones if not is_pause(phone.name)]
    assert [ends[place - 1] for place in spoken[1:]] == pytest.approx(starts[1:])
    assert ends == sorted(ends) and ends[-1] == phones[-1].end


@pytest.fixture
def corpus(tmp_path):
    """Two utterances with labels whose words the text of `words` has, and that of `symbols` spells."""
    (tmp_path / "lab").mkdir()
    utterances = []
    for name, phones in (("u1", "pau a b pau"), ("u2", "pau b a a pau")):
        count = len(phones.split())
        wave = np.zeros(round(0.1 * count * 16000) + 100, dtype=np.float32)
        write_audio(tmp_path / f"{name}.wav", [wave], 16000)
        lines = [f"{(i + 1) * 0.1:.3f} 125 {phone}\n" for i, phone in enumerate(phones.split())]
        (tmp_path / "lab" / f"{name}.lab").write_text("".join(["#\n", *lines]))
        utterances.append(Utterance(name, str(tmp_path / f"{name}.wav"), "Ab!", "s", len(wave) / 16000))
    write_data_dir(tmp_path / "words", utterances, {"u3": "noise"})
    return tmp_path


def run(corpus, *options, data="words"):
    return main(["--labels", f"{corpus}/lab", "--data-dir", f"{corpus}/{data}", *options])


def test_symbols_and_durations_of_a_set(corpus, capsys):
    made, written = corpus / "symbols", corpus / "new" / "durations"
    assert run(corpus, "--symbols-dir", str(made), "--output-file", str(written)) == 0
    assert [u.text for u in read_data_dir(made)] == ["pau a b pau", "pau b a a pau"]
    assert (made / "excluded.tsv").read_text() == "u3\tnoise\n"
    durations = read_durations(written)
    for utterance in read_data_dir(made):
        frames = round(utterance.seconds * 16000) // 256 + 1
        assert sum(durations[utterance.id]) == frames
        ends = list(itertools.accumulate(durations[utterance.id]))
        assert ends == [7, 13, 19, frames] if utterance.id == "u1" else ends == [7, 13, 19, 25, frames]
    assert "2 utterances with the phones" in capsys.readouterr().out
    assert run(corpus, "--output-file", str(corpus / "again"), data="symbols") == 0
    assert (corpus / "again").read_text() == written.read_text()


def test_symbols_with_marks_for_pauses_are_checked_against_a_list(corpus, capsys):
    for known, status in (("ab,.", 0), ("a,.", 1)):
        write_tokens(known, corpus / "tokens.txt")
        options = ["--punctuate", "--tokens", str(corpus / "tokens.txt")]
        assert run(corpus, "--symbols-dir", str(corpus / known), *options) == status
    assert [u.text for u in read_data_dir(corpus / "ab,.")] == ["a b .", "b a a ."]
    assert f"u2: not in {corpus}/tokens.txt: 'b'" in capsys.readouterr().err
    assert not (corpus / "a,.").exists()
    assert run(corpus, "--output-file", str(corpus / "durations"), data="ab,.") == 0
    durations = read_durations(corpus / "durations")
    assert durations["u1"][:2] == [13, 6] and durations["u2"][:3] == [13, 6, 6]
    with pytest.raises(SystemExit):
        run(corpus, "--output-file", "durations", "--punctuate")


def test_texts_that_are_not_the_labels_are_all_listed(corpus, capsys):
    write_kaldi(corpus / "words/text", {"u1": "a b .", "u2": "b a"})
    assert run(corpus, "--output-file", str(corpus / "durations")) == 1
    error = capsys.readouterr().err
    assert "1 of 2 utterances" in error and "u2: 2 phones in the text, 3 in the labels" in error
    write_kaldi(corpus / "words/text", {"u1": "a x", "u2": "b c a"})
    assert run(corpus, "--output-file", str(corpus / "durations")) == 1
    error = capsys.readouterr().err
    assert "u1: symbol 'x' (phone 2) stands where the labels have 'b'" in error and "u2: symbol 'c'" in error
    assert not (corpus / "durations").exists()
    (corpus / "lab/u2.lab").unlink()
    assert run(corpus, "--symbols-dir", str(corpus / "symbols")) == 1
    assert "no labels for u2 (1 of 2" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run(corpus)


def test_a_table_of_durations_is_whole_numbers(tmp_path):
    write_kaldi(tmp_path / "durations", {"u1": "3 4", "u2": "3 -1"})
    with pytest.raises(ValueError, match="u2: '3 -1'"):
        read_durations(tmp_path / "durations")
    write_kaldi(tmp_path / "durations", {"u1": "3 4"})
    assert read_durations(tmp_path / "durations") == {"u1": [3, 4]} != read_kaldi(tmp_path / "durations")
