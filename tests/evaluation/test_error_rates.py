"""Error rates: against a textbook edit distance, hand-counted cases, intervals against a closed form."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.bin.score import main
from imlspike.evaluation.bootstrap import interval, ratio
from imlspike.evaluation.error_rates import (
    align_transcripts,
    compare_transcripts,
    format_summary,
    plain,
    score_files,
    speaker_groups,
    summarize,
)
from imlspike.evaluation.report_tables import groups_table

sentences = st.lists(st.text("абв", min_size=1, max_size=3), max_size=5).map(" ".join)


def edit_distance(reference, hypothesis):
    row = list(range(len(hypothesis) + 1))
    for i, a in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(sentences.filter(bool), sentences), min_size=1, max_size=4))
def test_rates_equal_a_textbook_edit_distance(pairs):
    references, hypotheses = ({f"u{i}": pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    summary = summarize(align_transcripts(references, hypotheses), resamples=10)
    for rate, split in (("cer", list), ("wer", str.split)):
        errors = [edit_distance(split(r), split(h)) for r, h in pairs]
        lengths = [len(split(r)) for r, _ in pairs]
        row = summary[rate]
        assert (row["errors"], row["reference_length"]) == (sum(errors), sum(lengths))
        assert row["rate"] == sum(errors) / sum(lengths)
        assert row["hits"] + row["substitutions"] + row["deletions"] == sum(lengths)
        assert row["substitutions"] + row["deletions"] + row["insertions"] == sum(errors)
        each = [counts[rate] for counts in summary["per_utterance"].values()]
        assert each == [list(pair) for pair in zip(errors, lengths, strict=True)]


def test_spaces_count_unless_asked_not_to():
    summary = summarize(align_transcripts({"u": "ab cd"}, {"u": "abcd"}), resamples=10)
    assert (summary["cer"]["deletions"], summary["cer"]["reference_length"]) == (1, 5)
    references, hypotheses = {"a": "而 对", "b": "楼市"}, {"a": "而对", "b": "楼 是"}
    summary = summarize(align_transcripts(references, hypotheses, spaces=False), resamples=10, spaces=False)
    assert (summary["cer"]["errors"], summary["cer"]["reference_length"]) == (1, 4)
    assert (summary["wer"]["errors"], summary["wer"]["reference_length"]) == (1, 2)
    assert "of 4 characters\n" in format_summary(summary) and "of 2 transcripts" in format_summary(summary)


def test_groups_of_speakers_have_their_own_rates_with_intervals_over_speakers(tmp_path, capsys):
    """Of 3 speakers with 2 utterances each; whatever is drawn of one speaker has his rate."""
    tables = {"utt2spk": "a1 a\na2 a\nb1 b\nb2 b\nc1 c\nc2 c", "spk2gender": "a f\nb m\nc m"}
    tables |= {"spk2age": "a 17\nb 18\nc 6.5", "spk2utt": "a a1 a2\nb b1 b2\nc c1 c2"}
    tables |= {"ref": "a1 xx\na2 xx\nb1 xx\nb2 xx\nc1 xx\nc2 xxxxxx"}
    tables |= {"hyp": "a1 yx\na2 xx\nb1 yy\nb2 yy\nc1 xx\nc2 xxxxxx"}
    for name, content in tables.items():
        (tmp_path / name).write_text(f"{content}\n")
    words = ["--ref", tmp_path / "ref", "--hyp", tmp_path / "hyp", "--groups", tmp_path]
    assert main([*map(str, words), "--output-dir", str(tmp_path), "--resamples", "200"]) == 0
    found = json.loads((tmp_path / "score.json").read_text())["groups"]
    assert "age child, speakers: 2; CER 8.3%" in capsys.readouterr().out
    assert list(found) == ["all", "age adult", "age child", "gender f", "gender m"]
    assert [group["speakers"] for group in found.values()] == [3, 1, 2, 1, 2]
    rates = [group["cer"]["rate"] for group in found.values()]
    assert rates == [5 / 16, 1.0, 1 / 12, 1 / 4, 4 / 12]
    assert found["age adult"]["cer"]["ci95"] == [1, 1] and found["gender m"]["cer"]["ci95"] == [0, 1]
    experiment = {"name": "quick", "scores": [{"decoding": "greedy", "set": "test", "groups": found}]}
    head, _, wer, cer = groups_table([experiment], "wer").splitlines()
    assert "| gender f (1) " in head and "| quick | greedy   | test | WER " in wer
    cells = [cell.strip() for cell in cer.split("|")]
    assert cells[5] == "31.2 (0.0 to 100.0)" and cells[8:10] == ["25.0", "33.3 (0.0 to 100.0)"]
    assert not groups_table([{"name": "quick", "scores": [{"decoding": "greedy", "set": "test"}]}])
    for table, wrong in (("spk2age", "a 17\nb old\nc 6"), ("spk2gender", "a f\nc m")):
        (tmp_path / table).write_text(f"{wrong}\n")
        with pytest.raises(ValueError, match=f"{table}: speaker b"):
            speaker_groups(tmp_path, ["a1", "b1"])
        (tmp_path / table).write_text(f"{tables[table]}\n")


def test_groups_are_those_of_what_is_scored(tmp_path):
    """Of a set's speakers all recordings of one may be left out; an utterance of nobody is an error."""
    (tmp_path / "utt2spk").write_text("a1 a\nb1 b\n")
    (tmp_path / "spk2gender").write_text("a f\nb m\n")
    (tmp_path / "ref").write_text("a1 xx\n")
    files = [tmp_path / "ref", tmp_path / "ref", tmp_path]
    found = score_files(*files, resamples=10, groups_dir=tmp_path)["groups"]
    assert list(found) == ["all", "gender f"] and found["all"]["utterances"] == 1
    (tmp_path / "ref").write_text("a1 xx\nc1 xx\n")
    with pytest.raises(ValueError, match="utt2spk: no speaker for c1;"):
        score_files(*files, resamples=10, groups_dir=tmp_path)


def test_missing_hypothesis_is_all_deletions_and_named():
    summary = summarize(align_transcripts({"a": "x y", "b": "zz"}, {"a": "x y"}), resamples=10)
    assert summary["missing"] == ["b"] and "all deletions: b" in format_summary(summary)
    assert (summary["cer"]["deletions"], summary["cer"]["hits"]) == (2, 3)
    assert summary["wer"]["rate"] == pytest.approx(1 / 3)


def test_the_interval_is_seeded_holds_the_rate_and_matches_the_normal_approximation():
    generator = np.random.default_rng(7)
    lengths = generator.integers(20, 60, size=400)
    errors = generator.binomial(lengths, 0.2)
    rate = errors.sum() / lengths.sum()
    low, high = interval(ratio, errors, lengths, resamples=4000, seed=3)
    assert [low, high] == interval(ratio, errors, lengths, resamples=4000, seed=3)
    assert [low, high] != interval(ratio, errors, lengths, resamples=4000, seed=4)
    assert low < rate < high
    # standard error of a ratio estimator (Cochran, eq. 2.39); it is that of pairs drawn together
    spread = np.sqrt(np.sum((errors - rate * lengths) ** 2)) / lengths.sum()
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.08)
    low, high = interval(np.mean, errors, resamples=4000)
    assert (high - low) / 2 == pytest.approx(1.96 * errors.std() / 20, rel=0.08)
    assert interval(ratio, [3], [4]) == [0.75, 0.75]
    with pytest.raises(ValueError, match="resamples"):
        interval(ratio, [3, 1], [4, 4], resamples=0)


@pytest.mark.parametrize(
    ("references", "hypotheses", "message"),
    [
        ({"a": "x"}, {"a": "x", "ghost": "y"}, "ghost"),
        ({"a": "x", "mute": " "}, {"a": "x"}, "mute"),
        ({}, {}, "no reference"),
    ],
)
def test_what_cannot_be_scored_is_named(references, hypotheses, message):
    with pytest.raises(ValueError, match=message):
        align_transcripts(references, hypotheses)


def test_files_in_files_out(tmp_path, capsys):
    (tmp_path / "ref").write_text("b лес шумит\na дом\nc кот\n", encoding="utf-8")
    (tmp_path / "hyp").write_text("a дым\nb лес  шумит\nc\n", encoding="utf-8")  # c: decoded to nothing
    files = {"--ref": "ref", "--hyp": "hyp", "--output-dir": "out"}
    arguments = [part for option, file in files.items() for part in (option, str(tmp_path / file))]
    assert main([*arguments, "--name", "quick"]) == 0
    summary = json.loads((tmp_path / "out/score.json").read_text(encoding="utf-8"))
    assert (summary["name"], summary["utterances"], summary["missing"]) == ("quick", 3, [])
    assert (summary["cer"]["substitutions"], summary["cer"]["deletions"]) == (1, 3)
    assert (summary["wer"]["hits"], summary["wer"]["reference_length"]) == (2, 4)
    alignments = (tmp_path / "out/alignments.txt").read_text(encoding="utf-8")
    places = [alignments.index(head) for head in ("c: CER 100.0%", "a: CER 33.3%", "b: CER 0.0%")]
    assert places == sorted(places) and "REF: дом\nHYP: дым\n      S" in alignments
    (tmp_path / "twice").write_text("a x\nb y\na z\n")
    with pytest.raises(ValueError, match="twice, line 3"):
        score_files(tmp_path / "ref", tmp_path / "twice", tmp_path)
    assert main(["--ref", str(tmp_path / "gone"), "--hyp", "x", "--output-dir", str(tmp_path)]) == 1
    assert "gone" in capsys.readouterr().err


def test_systems_are_compared_with_one_of_them():
    texts = {"natural": {"a": "abcd", "b": "xyz"}, "v": {"a": "abd", "b": ""}}
    found = compare_transcripts({"a": "abcd", "b": "xy"}, texts, "natural", resamples=200)
    natural, other = found["natural"]["cer"], found["v"]["cer"]
    assert natural["rate"] == pytest.approx(1 / 6) and natural["over_ci95"] == [0.0, 0.0]
    assert (other["rate"], other["per_utterance"]) == (0.5, {"a": 1, "b": 2})
    assert other["over"] == pytest.approx(2 / 6) and other["over_ci95"][0] <= 2 / 6 <= other["over_ci95"][1]


def test_case_and_punctuation_cannot_be_heard():
    assert plain("«Что-то — не то!» Й ё") == "что то не то й ё"
    assert plain("It's 5 o'clock") == "its 5 oclock" and plain("你好，世界。") == "你好 世界"
    heard = {"natural": {"a": "что то"}, "v": {"a": "ЧТО, ТО!"}}
    assert compare_transcripts({"a": "Чт+о-то."}, heard, "natural", resamples=10)["v"]["wer"]["rate"] == 0
