"""Ablations: the runs of a list, the overrides themselves, and the table over seeds."""

import inspect
import json
import shutil
import statistics
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
import yaml
from hypothesis import given, settings

from imlspike.evaluation.ablations import (
    collect,
    difference,
    read_known,
    read_list,
    sentences,
    spread,
    table,
    times_base,
    turns,
    write_report,
)
from imlspike.evaluation.bootstrap import crossed_interval, interval, ratio
from imlspike.evaluation.energy import FIGURES
from imlspike.models import IMLSpikeformerEncoder

LISTS = [  # with the folder of a recipe and the base
    ("conf/ablations/main.txt", "egs/msu_ru_nsh/asr1", "conf/quick.yaml"),
    ("conf/ablations/tuning.txt", "egs/msu_ru_nsh/asr1", "conf/quick.yaml"),
    ("conf/ablations/gap.txt", "egs/msu_ru_nsh/asr1", "conf/quick.yaml"),
    ("conf/ablations/front.txt", "egs/msu_ru_nsh/asr1", "conf/quick.yaml"),
    ("conf/ablations/quick.txt", "egs/msu_ru_nsh/asr1", "conf/quick.yaml"),
    ("conf/ablations/paper.txt", "egs/aishell/asr1", "conf/train_asr_iml_spikeformer.yaml"),
    ("conf/ablations/paper.txt", "egs/librispeech/asr1", "conf/train_asr_iml_spikeformer.yaml"),
]
LOG = (
    "x INFO: {}epoch results: [train] loss=2.0, time={} seconds, total_count=6, "
    "[valid] loss=1.0, time=1 second, total_count=2\n"
)


def names(runs):
    return [run.name for run in runs]


def test_a_line_goes_seed_by_seed_and_a_run_stands_once(tmp_path, repository):
    own = tmp_path / "mine.yaml"
    own.write_text("# my own\nencoder_conf: {}\n")
    text = f"# the claims\nbase decay_none : 1 0\n\nqk_both+levels_2  # one\n{own}\ndecay_none : 0 2\n"
    runs = read_list(text, seeds=[7], places=[repository])
    assert names(runs) == [
        *(
            "base_s1",
            "decay_none_s1",
            "base_s0",
            "decay_none_s0",
            "qk_both+levels_2_s7",
            "mine_s7",
            "decay_none_s2",
        )
    ]
    assert [turns(run.overrides) for run in runs[:1] + runs[5:6]] == ["", "my own"]
    assert turns(runs[4].overrides).count("; ") == 1
    (tmp_path / "list.txt").write_text(text)
    assert read_list(str(tmp_path / "list.txt"), [7], places=[repository]) == runs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base decay_non", "line 1: there is no conf/ablations/decay_non.yaml; did you mean decay_none?"),
        ("qk_both+decay_non", "line 1: there is no conf/ablations/decay_non.yaml"),
        ("base\nzzzzzz", "line 2: .*there are: base amplitude_theta"),
        ("base : one", "line 1: .*'one'"),
        ("# nothing\n", "no runs"),
        ("nowhere.txt", "there is no list nowhere.txt"),
    ],
)
def test_a_wrong_list_is_named_with_the_way_out(repository, text, message):
    with pytest.raises(ValueError, match=message):
        read_list(text, places=[repository])


def effective(conf):
    """The arguments of the encoder, defaults filled in."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(IMLSpikeformerEncoder).parameters.items()
        if parameter.default is not parameter.empty
    }
    assert conf.keys() <= defaults.keys()
    return {name: tuple(v) if isinstance(v, list) else v for name, v in (defaults | conf).items()}


@pytest.mark.parametrize(
    ("file", "recipe", "base"), [one for one in LISTS if Path(one[0]).stem in ("main", "paper")]
)
def test_every_override_turns_one_factor_of_the_base(repository, file, recipe, base):
    places = [repository / recipe, repository]
    [path] = [place / base for place in places if (place / base).is_file()]
    conf = yaml.safe_load(path.read_text())["encoder_conf"]
    runs = {run.ablation: run for run in read_list(file, places=places)}
    assert len(runs) > 15 and "base" in runs
    for run in runs.values():
        if not run.overrides or run.overrides[0].parent.name != "ablations":
            continue
        [file] = run.overrides
        override = yaml.safe_load(file.read_text())
        assert override.keys() == {"encoder_conf"}, run.ablation
        before, after = effective(conf), effective(conf | override["encoder_conf"])
        changed = {key for key in before if before[key] != after[key]}
        factors = changed - {"threshold_value"} or changed
        assert len(factors) == 1, f"{run.ablation} changes {changed} of {base}"
        assert turns([file]) != file.name, f"{file}: no comment in the first line"


def test_every_override_stands_in_a_list(repository):
    listed = {
        path
        for file, recipe, _ in LISTS
        for run in read_list(file, places=[repository / recipe, repository])
        for path in run.overrides
    }
    assert listed.issuperset((repository / "conf/ablations").glob("*.yaml"))


def run_folder(exp, name, rates, seconds=(30, 50, 40), spikes=None, sets=("test", "valid")):
    """An experiment as a recipe leaves it: error rates of each set in percent of 1000 characters."""
    (exp / name).mkdir(parents=True)
    (exp / name / "config.yaml").write_text("encoder: iml_spikeformer\n")
    log = "".join(LOG.format(epoch, time) for epoch, time in enumerate(seconds, start=1))
    (exp / name / "train.log").write_text(f"  Total Number of model parameters: 1.95 M\n{log}")
    (exp / name / "source.txt").write_text("0123abc\n")
    for where, rate in zip(sets, rates, strict=False):
        score = {"rate": rate / 100, "errors": round(10 * rate), "reference_length": 1000}
        (exp / name / "decode_greedy" / where).mkdir(parents=True)
        path = exp / name / "decode_greedy" / where / "score.json"
        rates = {"cer": score, "wer": score | {"rate": 1.0}}
        each = {"a": round(4 * rate), "b": round(6 * rate)}
        told = {"per_utterance": {key: {"cer": [n, 500], "wer": [500, 500]} for key, n in each.items()}}
        path.write_text(json.dumps(rates | told | {"characters_include_space": True, "missing": []}))
    if spikes is not None:
        (exp / name / "profile").mkdir()
        energy = {"mean_count": spikes, "firing_rate": spikes / 6, "figures": FIGURES, "scope": "encoder"}
        energy["encoder"] = dict.fromkeys(FIGURES, spikes)
        (exp / name / "profile" / "energy.json").write_text(json.dumps(energy))


LIST = "base decay_none : 0 1 2\nqk_both levels_2 : 0"


@pytest.fixture
def exp(tmp_path):
    folder = tmp_path / "exp"
    for seed, (base, other) in enumerate([(50, 54), (52, 55), (51, 56)]):
        run_folder(folder, f"base_s{seed}", (base, base - 2), spikes=1.0 + seed)
        run_folder(folder, f"decay_none_s{seed}", (other, 49 + seed % 2))
    run_folder(folder, "qk_both_s0", (49.5, 47), seconds=(20, 20))
    run_folder(folder, "levels_2_s0", (70,))  # decoded one of the two sets
    return folder


def test_means_spreads_and_paired_differences(exp, repository):
    results = collect(read_list(LIST, places=[repository]), exp)
    assert results["sets"] == ["valid", "test"]
    base, none, both = results["rows"]
    assert (base["name"], none["name"], both["name"]) == ("base", "decay_none", "qk_both")
    found = none["sets"]["test"]
    assert [found[key] for key in ("mean", "sd", "min", "max")] == pytest.approx([55, 1, 54, 56])
    assert found["difference"]["by_seed"] == pytest.approx({"0": 4, "1": 3, "2": 5})
    # t = 4 / (1 / sqrt 3), two degrees of freedom; three seeds don't call a difference.
    assert found["difference"]["sd"] == pytest.approx(1) and found["difference"]["called"] is False
    assert found["difference"]["p"] == pytest.approx(0.020204, abs=1e-6)
    within = none["sets"]["valid"]["difference"]  # 49 - 48, 50 - 50, 49 - 49
    assert (within["called"], within["worse"]) == (False, 1)
    assert (base["mean_count"], none["mean_count"], base["parameters"]) == (2.0, None, "1.95 M")
    assert base["sets"]["test"]["difference"] is None
    assert results["incomplete"] == ["levels_2_s0"] and len(results["runs"]) == 7
    errors = {run["name"]: run["errors"]["test"] for run in results["runs"]}
    assert errors["qk_both_s0"] == {"a": [198, 500], "b": [297, 500]}
    times = found["times"]
    assert times["ratio"] == pytest.approx(165 / 153) and times["ci95"] == pytest.approx([55 / 52, 56 / 51])
    assert base["sets"]["test"]["times"] is None and base["8 bits, memory"] == 4.0 and none["fp32"] is None


def test_a_search_is_found_whatever_its_language_model(exp, repository):
    names = {
        "greedy": "greedy_asr_model_a",
        "joint": "joint_lm_lm_small_asr_model_a",
        "old": "joint_asr_model_b",
    }
    for decoding in names.values():
        (exp / "base_s0" / "decode_greedy").rename(exp / "base_s0" / f"decode_{decoding}")
        found = collect(read_list("base", places=[repository]), exp, decoding="joint*_asr_model_a")
        assert bool(found["runs"]) is (decoding == names["joint"])
        (exp / "base_s0" / f"decode_{decoding}").rename(exp / "base_s0" / "decode_greedy")


def test_two_decodings_of_one_search_are_not_mixed(exp, repository):
    """As with two language models: nobody knows which of them is meant."""
    (exp / "base_s0/decode_greedy").rename(exp / "base_s0/decode_joint_lm_lm_a_asr_model_a")
    shutil.copytree(
        exp / "base_s0/decode_joint_lm_lm_a_asr_model_a", exp / "base_s0/decode_joint_lm_lm_b_asr_model_a"
    )
    with pytest.raises(ValueError, match="lm_a_asr_model_a and joint_lm_lm_b"):
        collect(read_list("base", places=[repository]), exp, decoding="joint*_asr_model_a")


def test_differences_all_alike_have_no_p_and_no_errors_at_all_are_a_ratio_of_one():
    """One more error of 977 with every seed: the differences differ by the rounding of a double."""
    base = {seed: 100 * count / 977 for seed, count in enumerate((100, 123, 141, 155))}
    found = difference({seed: rate + 100 / 977 for seed, rate in base.items()}, base)
    assert found["p"] is None and found["ci95"] is None and not found["called"]
    perfect = {0: {"errors": {"test": {"a": [0, 5], "b": [0, 7]}}}}
    assert times_base(perfect, perfect, "test") == {"ratio": 1.0, "ci95": [1.0, 1.0]}


def test_runs_on_other_utterances_are_not_compared():
    """As a known one of another test set."""
    one = {0: {"errors": {"test": {"a": [1, 5], "b": [2, 7]}}}}
    for others in ({"a": [1, 5], "c": [2, 7]}, {"a": [1, 5]}, {"a": [1, 5], "b": [2, 7], "c": [0, 3]}):
        with pytest.raises(ValueError, match="other utterances of test: [bc]"):
            times_base(one, {0: {"errors": {"test": others}}}, "test")


def test_the_table_says_what_one_seed_cannot(exp, repository):
    results = collect(read_list(LIST, places=[repository]), exp)
    rows = {line.split()[1]: line for line in table(results).splitlines()}
    assert "55.0 ± 1.0 (54.0 to 56.0)" in rows["decay_none"]
    assert "+4.0 (+1.5 to +6.5), p = 0.02, 3 seeds" in rows["decay_none"] and "**" not in rows["decay_none"]
    assert "49.5 (one seed: no spread)" in rows["qk_both"] and "-0.5 (one seed: no spread)" in rows["qk_both"]
    assert "±" not in rows["qk_both"] and " p = " not in rows["qk_both"] and "levels_2" not in rows
    assert "attention: query and key fire" in rows["qk_both"]
    said = "\n".join(sentences(results))
    assert "test: the seeds of the base lie up to 2.0 points apart" in said
    assert "7 of 8 runs are complete; not yet: levels_2_s0." in said
    assert "NOT TRAINED ALIKE, epochs: base 3, decay_none 3, qk_both 2" in said


def test_words_are_counted_where_asked_for_and_without_a_base_nothing_is_compared(exp, repository):
    results = collect(read_list("qk_both", places=[repository]), exp, measure="wer")
    [row] = results["rows"]
    assert row["sets"]["test"]["mean"] == pytest.approx(100) and row["sets"]["test"]["difference"] is None
    assert "| WER % test" in table(results) and "No run of the base" in " ".join(sentences(results))


def test_nothing_is_complete_yet(tmp_path, repository):
    results = collect(read_list("base", places=[repository]), tmp_path)
    assert results["rows"] == [] and table(results) == ""
    assert sentences(results) == ["0 of 1 runs are complete; not yet: base_s0."]


rates = st.dictionaries(st.integers(0, 9), st.floats(0, 200), min_size=2)


@given(rates, rates)
@settings(max_examples=30)
def test_spread_and_difference_agree_with_numpy(ours, base):
    found = spread(ours)
    assert found["mean"] == pytest.approx(np.mean(list(ours.values())))
    assert found["sd"] == pytest.approx(np.std(list(ours.values()), ddof=1), abs=1e-9)
    common = sorted(ours.keys() & base.keys())
    if len(common) < 2:
        return
    paired = np.array([ours[seed] - base[seed] for seed in common])
    found = difference(ours, base)
    assert found["mean"] == pytest.approx(paired.mean(), abs=1e-9)
    assert found["worse"] == (paired > 0).sum()
    if paired.std(ddof=1) > 1e-6:
        error = paired.std(ddof=1) / len(paired) ** 0.5
        assert found["p"] == pytest.approx(2 * scipy.stats.t.sf(abs(paired.mean()) / error, len(paired) - 1))
        assert found["called"] == (len(paired) >= 4 and found["p"] < 0.05)
    assert difference(base, ours)["mean"] == pytest.approx(-found["mean"], abs=1e-9)
    assert statistics.median(found["by_seed"].values()) <= found["max"]


def test_chance_calls_a_difference_once_in_twenty_and_never_with_three_seeds():
    draw = np.random.default_rng(0).normal(size=(400, 2, 5))
    found = [difference(dict(enumerate(a)), dict(enumerate(b))) for a, b in draw]
    assert 5 < sum(one["called"] for one in found) < 36  # of 400; 20 +- 3.5 standard deviations
    fewer = [difference(dict(enumerate(a[:3])), dict(enumerate(b))) for a, b in draw]
    assert not any(one["called"] for one in fewer)


def test_an_interval_over_seeds_and_utterances_is_as_wide_as_both_make_it():
    """Of one seed it is the bootstrap over utterances; of utterances all alike that over seeds."""
    random = np.random.default_rng(0)
    errors, lengths = random.integers(0, 20, (1, 60)), random.integers(20, 60, (1, 60))
    assert crossed_interval(errors, lengths) == pytest.approx(
        interval(ratio, errors[0], lengths[0]), abs=0.006
    )
    seeds = random.normal(0.3, 0.05, (8, 1)).repeat(60, 1)
    over_seeds = interval(ratio, seeds[:, 0], np.ones(8))
    assert crossed_interval(seeds, np.ones((8, 60))) == pytest.approx(over_seeds, abs=0.003)
    both = crossed_interval(errors / lengths.mean() + seeds, np.ones((8, 60)))
    one = crossed_interval(errors.repeat(8, 0) / lengths.mean(), np.ones((8, 60)))
    assert np.ptp(both) > max(np.ptp(one), np.ptp(over_seeds))


def test_the_front_stands_beside_the_table_where_energy_was_counted(exp, repository):
    run_folder(exp, "relu_s0", (49, 50), spikes=3.0)
    (exp / "relu_s0/config.yaml").write_text("encoder: iml_spikeformer\nencoder_conf: {neuron: relu}\n")
    runs = read_list("base relu : 0", places=[repository])
    shown, *_ = write_report(runs, exp, exp / "front", "cer", "greedy", "ablate.sh")
    assert (exp / "front/front.png").stat().st_size > 5000 and "front.png" in (
        exp / "front/RESULTS.md"
    ).read_text()
    assert "µJ/s, 8 bits and memory" in shown
    kinds = {row["name"]: row["kind"] for row in json.loads((exp / "front/results.json").read_text())["rows"]}
    assert kinds == {"base": "iml_spikeformer", "relu": "relu"}


def test_a_table_goes_on_from_earlier_ones_whose_trainings_are_gone(exp, repository):
    runs = read_list(LIST, places=[repository])
    here = table(collect(runs, exp))
    write_report(runs, exp, exp / "before", "cer", "greedy", "ablate.sh")
    for name in ("base_s0", "base_s2", "qk_both_s0"):
        shutil.rmtree(exp / name)
    known = read_known([exp / "before/results.json"], "cer", "greedy")
    results = collect(runs, exp, known=known)
    assert table(results) == here and results["known"] == ["base_s0", "base_s2", "qk_both_s0"]
    assert "earlier tables (--known): base_s0 base_s2 qk_both_s0." in "\n".join(sentences(results))


def test_only_tables_of_the_same_rate_and_decoding_are_taken_and_each_run_once(exp, repository):
    runs = read_list(LIST, places=[repository])
    write_report(runs, exp, exp / "a", "cer", "greedy", "ablate.sh")
    (exp / "none.json").write_text("[]")
    for files, *made in (
        (["none.json"], "cer", "greedy"),
        (["missing.json"], "cer", "greedy"),
        (["a/results.json"], "wer", "greedy"),
        (["a/results.json"], "cer", "joint"),
        (["a/results.json", "a/results.json"], "cer", "greedy"),
    ):
        with pytest.raises(ValueError, match=files[-1]):
            read_known([exp / file for file in files], *made)


def test_the_report_has_the_table_and_what_made_it_and_a_broken_score_leaves_it(exp, repository):
    where = read_list(LIST, places=[repository]), exp, exp / "ablations", "cer", "greedy", "ablate.sh --nj 2"
    shown, said, files = write_report(*where)
    report, written = (file.read_text(encoding="utf-8") for file in files)
    assert all(line in report for line in [*shown.splitlines(), *said])
    for text in ("`ablate.sh --nj 2`", "git: 0123abc (of the trainings)", "seeds: 0, 1, 2", "torch 2"):
        assert text in report
    assert json.loads(written)["command"] == "ablate.sh --nj 2" and len(json.loads(written)["rows"]) == 3
    (exp / "base_s0/decode_greedy/test/score.json").write_text("{")
    with pytest.raises(ValueError, match="base_s0"):
        write_report(*where)
    assert [file.read_text(encoding="utf-8") for file in files] == [report, written]
