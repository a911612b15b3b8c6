"""Error rates: against a textbook edit distance, hand-counted cases, and the named errors."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike.analysis.scoring import (
    bootstrap_interval,
    format_summary,
    score_files,
    score_utterances,
    summarize,
)
from imlspike.bin.score import main

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
    references = {f"u{i}": pair[0] for i, pair in enumerate(pairs)}
    hypotheses = {f"u{i}": pair[1] for i, pair in enumerate(pairs)}
    summary = summarize(score_utterances(references, hypotheses), resamples=10)
    for measure, split in (("cer", list), ("wer", str.split)):
        errors = sum(edit_distance(split(r), split(h)) for r, h in pairs)
        length = sum(len(split(r)) for r, _ in pairs)
        row = summary[measure]
        assert (row["errors"], row["reference_length"]) == (errors, length)
        assert row["rate"] == errors / length
        assert row["hits"] + row["substitutions"] + row["deletions"] == length
        assert row["substitutions"] + row["deletions"] + row["insertions"] == errors


def test_a_lost_space_is_a_character_error():
    summary = summarize(score_utterances({"u": "ab cd"}, {"u": "abcd"}), resamples=10)
    assert (summary["cer"]["deletions"], summary["cer"]["reference_length"]) == (1, 5)


def test_without_spaces_only_characters_count_and_a_transcript_is_one_word():
    references, hypotheses = {"a": "而 对", "b": "楼市"}, {"a": "而对", "b": "楼 是"}
    summary = summarize(score_utterances(references, hypotheses, spaces=False), resamples=10, spaces=False)
    assert (summary["cer"]["errors"], summary["cer"]["reference_length"]) == (1, 4)
    assert (summary["wer"]["errors"], summary["wer"]["reference_length"]) == (1, 2)
    assert summary["characters_include_space"] is False
    assert "of 4 characters\n" in format_summary(summary) and "of 2 transcripts" in format_summary(summary)


def test_missing_hypothesis_is_all_deletions_and_named():
    summary = summarize(score_utterances({"a": "x y", "b": "zz"}, {"a": "x y"}), resamples=10)
    assert summary["missing"] == ["b"]
    assert (summary["cer"]["deletions"], summary["cer"]["hits"]) == (2, 3)
    assert summary["wer"]["rate"] == pytest.approx(1 / 3)


def test_the_interval_is_seeded_holds_the_rate_and_matches_the_normal_approximation():
    generator = np.random.default_rng(7)
    lengths = generator.integers(20, 60, size=400)
    errors = generator.binomial(lengths, 0.2)
    rate = errors.sum() / lengths.sum()
    low, high = bootstrap_interval(errors, lengths, resamples=4000, seed=3)
    assert (low, high) == bootstrap_interval(errors, lengths, resamples=4000, seed=3)
    assert (low, high) != bootstrap_interval(errors, lengths, resamples=4000, seed=4)
    assert low < rate < high
    # standard error of a ratio estimator (Cochran, eq. 2.39)
    spread = np.sqrt(np.sum((errors - rate * lengths) ** 2)) / lengths.sum()
    assert (high - low) / 2 == pytest.approx(1.96 * spread, rel=0.08)


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
        score_utterances(references, hypotheses)


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
    assert summary["cer"]["ci95"][0] <= summary["cer"]["rate"] <= summary["cer"]["ci95"][1]
    alignments = (tmp_path / "out/alignments.txt").read_text(encoding="utf-8")
    places = [alignments.index(head) for head in ("c: CER 100.0%", "a: CER 33.3%", "b: CER 0.0%")]
    assert places == sorted(places)
    assert "REF: дом\nHYP: дым\n      S" in alignments
    assert "CER" in capsys.readouterr().out


def test_errors_name_the_file_and_line(tmp_path, capsys):
    twice = tmp_path / "twice"
    twice.write_text("a x\nb y\na z\n")
    (tmp_path / "ref").write_text("a x\n")
    with pytest.raises(ValueError, match="twice, line 3"):
        score_files(tmp_path / "ref", twice, tmp_path)
    assert main(["--ref", str(tmp_path / "gone"), "--hyp", str(twice), "--output-dir", str(tmp_path)]) == 1
    assert "gone" in capsys.readouterr().err
