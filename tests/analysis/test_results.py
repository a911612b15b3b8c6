"""The report: what it reads out of experiment folders, how it compares twins, what it does without files."""

import json
import subprocess

import pytest

from imlspike.analysis.results import compare, error_ratio, gather, sentences, table
from imlspike.analysis.scoring import score_files
from imlspike.bin.report import git_state, main, notes

LOG = (
    "x INFO: {}epoch results: [train] loss=2.0, time={} seconds, total_count=6, "
    "[valid] loss=1.0, time=1 second, total_count=2\n"
)


def scope(paper, full, int8):
    return {"paper": paper, "full": full, "int8": int8}


def experiment(folder, hypotheses, seconds, energy=None, memory=None):
    references = {f"u{i}": "abcd" for i in range(len(hypotheses))}
    (folder / "decode_greedy/test").mkdir(parents=True)
    (folder / "config.yaml").write_text("encoder: iml_spikeformer\nseed: 7\n")
    (folder / "train.log").write_text("".join(LOG.format(i + 1, s) for i, s in enumerate(seconds)))
    if memory:
        with open(folder / "train.log", "a") as log:
            log.write(f"x INFO: peak resident memory: {memory} MB\n")
    for name, texts in (("ref", references), ("hyp", dict(zip(references, hypotheses, strict=True)))):
        (folder / name).write_text("".join(f"{utterance} {text}\n" for utterance, text in texts.items()))
    score_files(folder / "ref", folder / "hyp", folder / "decode_greedy/test", "greedy", resamples=50)
    if energy:
        (folder / "profile").mkdir()
        costs = {"mac": 4.6, "accumulate": 0.9, "int8_mac": 0.23}
        report = {
            "encoder": energy,
            "model": energy,
            "costs_pj": costs,
            "beam": 10,
            "mean_count": 1.1,
            "utterances": 3,
        }
        (folder / "profile/energy.json").write_text(json.dumps(report | {"parameters": {"model": 2_100_000}}))
    return folder


@pytest.fixture
def pair(tmp_path):
    spiking = experiment(
        tmp_path / "quick", ["abcx", "abcd", "abxx"], [30, 50, 40], scope(1, 2, 1), memory=900
    )
    twin = experiment(
        tmp_path / "quick_ann", ["abxx", "abcx", "abxx"], [20, 20, 20], scope(5, 6, 1), memory=600
    )
    return spiking, twin


def test_twins_are_compared(pair):
    [comparison] = compare([gather(folder) for folder in pair], resamples=200)
    assert (comparison["name"], comparison["twin"]) == ("quick", "quick_ann")
    [cer] = comparison["errors"]
    assert cer["ratio"] == 3 / 5
    assert cer["ci95"][0] == 0 and cer["ci95"][1] == 1  # all drawn: the sentence without errors; the third
    assert (comparison["seconds_per_epoch"], comparison["peak_memory_mb"]) == (2.0, 1.5)
    said = "\n".join(sentences([comparison]))
    assert "an epoch takes 2.00 times the twin's, its memory is 1.50 times" in said
    assert "LOSES to int8: 2.00 times" in said


def test_the_error_rate_that_counts_comes_first_and_is_the_one_compared(pair, capsys, tmp_path):
    (pair[0] / "command").write_text("./run.sh --model quick\n")
    for piece, seconds in (("1", 5.0), ("2", 2.5)):
        (pair[0] / "decode_greedy/test/pieces" / piece).mkdir(parents=True)
        times = json.dumps({"audio_seconds": 30.0, "seconds": seconds})
        (pair[0] / "decode_greedy/test/pieces" / piece / "text.json").write_text(times)
    (tmp_path / "lm/perplexity").mkdir(parents=True)
    (tmp_path / "lm/perplexity/ppl").write_text("12.345\n")
    arguments = ["--primary", "wer", "--lm", tmp_path / "lm", "--output", tmp_path / "R.md"]
    assert main(list(map(str, [*pair, *arguments]))) == 0
    text = (tmp_path / "R.md").read_text(encoding="utf-8")
    head, _, row = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()[2:5]]
    shown = dict(zip(head, row, strict=True))
    assert head.index("WER %") < head.index("CER %")
    assert (shown["decoding"], shown["set"], shown["RTF"]) == ("greedy", "test", "0.125")
    assert shown["WER / twin"].startswith("0.67 (")  # of 3 sentences 2 are wrong against 3
    assert "language model: lm, perplexity 12.3" in text
    assert "- command: `./run.sh --model quick`\n- command: ``" in text  # the twin's isn't known


def test_without_spaces_the_table_says_sentences_and_not_words(pair):
    for folder in pair:
        place = folder / "decode_greedy/test"
        score_files(folder / "ref", folder / "hyp", place, resamples=50, spaces=False)
    experiments = [gather(folder) for folder in pair]
    shown = table(experiments, compare(experiments, resamples=50))
    assert "sentences wrong %" in shown and "WER" not in shown
    assert "CER leaves spaces out" in notes(experiments)


def test_a_ratio_of_equals_has_no_spread_and_other_utterances_are_refused(pair):
    score = gather(pair[0])["scores"][0]
    assert error_ratio(score, score, resamples=50) == (1.0, 1.0, 1.0)
    other = score | {"per_utterance": {"ghost": {"cer": [0, 4]}}}
    with pytest.raises(ValueError, match="ghost"):
        error_ratio(score, other)


def test_the_command_line_writes_table_and_record(pair, tmp_path, capsys):
    output = tmp_path / "RESULTS.md"
    assert main([*map(str, pair), "--command", "./run.sh", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    text = output.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| quick")]
    assert len(rows) == 2 and all(row in printed for row in rows)
    assert "| 25.0 (" in rows[0] and "| 41.7 (" in rows[1] and "0.60 (" in rows[0]
    assert "- command: `./run.sh`" in text and "- seed: 7" in text and "torch 2" in text
    record = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [e["name"] for e in record["experiments"]] == ["quick", "quick_ann"]
    assert record["experiments"][0]["training"]["seconds_per_epoch"] == 40
    assert str(output) in printed


def test_what_is_not_there_yet_leaves_gaps_and_a_wrong_folder_is_named(tmp_path, capsys):
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/config.yaml").write_text("seed: 1\n")
    bare = gather(tmp_path / "bare")
    assert (bare["training"], bare["scores"], bare["energy"]) == (None, [], None)
    assert "| bare " in table([bare], compare([bare]))
    assert main([str(tmp_path / "nothing"), "--output", str(tmp_path / "R.md")]) == 1
    assert "nothing: no config.yaml" in capsys.readouterr().err


def test_git_state(tmp_path):
    assert git_state(tmp_path) == "unknown"

    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "file").write_text("a")
    git("init")
    git("add", "file")
    git("commit", "-m", "first", "--no-verify")
    clean = git_state(tmp_path)
    assert len(clean) == 40
    (tmp_path / "file").write_text("b")
    assert git_state(tmp_path) == f"{clean} (dirty)"
