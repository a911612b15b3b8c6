"""The benchmarks run and build their report; what they measure is never asserted."""

import pytest
import torch

from benchmarks import operators, questions, vocoder, voice
from benchmarks.__main__ import main
from benchmarks.measure import Comparison, by_turns, in_own_process, table

HEAVY = dict(before_mb=1e3, peak_mb=7e3, seconds=1.0)


@pytest.fixture(autouse=True)
def threads():
    """The number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_peers_run_by_turns_and_change_places():
    calls = []
    both = by_turns(lambda: calls.append("a"), lambda: calls.append("b"), turns=2)
    assert calls == ["a", "b", "a", "b", "b", "a"]  # the first two warm up
    assert len(both.ours) == len(both.theirs) == 2


def test_a_disturbance_of_both_peers_leaves_the_ratio():
    assert Comparison([1.0, 1.0, 30.0], [2.0, 2.0, 60.0]).ratio == 0.5


def test_the_report_has_every_section_with_its_verdicts(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(questions, "by_turns", lambda *_: Comparison([3.0], [2.0]))
    monkeypatch.setattr(questions, "in_own_process", lambda *_: HEAVY)
    monkeypatch.setattr(operators, "_cases", dict)
    for sizes_of in (questions, vocoder, voice):
        monkeypatch.setattr(sizes_of, "SIZES", {})
    main(["--threads", "1", "--turns", "1", "--output", str(tmp_path / "report.md")])
    report = (tmp_path / "report.md").read_text()
    assert report.strip() in capsys.readouterr().out.replace("\n\n\n", "\n\n")
    assert [line[3:] for line in report.splitlines() if line.startswith("## ")] == [
        "Encoder inference",
        "An hour of audio",
        "A training step of the encoder",
        "Attention by length",
        "Neurons",
        "What the operators' kernels win",
        "Spiking Vocos",
        "SpikeVoice",
        "On a GPU",
    ]
    assert "torch " + torch.__version__ in report and "1 threads" in report
    assert "| 4096 | 3000.0 | 2000.0 | 1.50 (1.50-1.50) | chunked | **not met** |" in report


def test_an_hour_over_the_limit_is_not_met(monkeypatch):
    monkeypatch.setattr(questions, "in_own_process", lambda *_: HEAVY)
    assert questions.hour(1, 1).count("| 7.00 | 1 | < 6 GB | **not met** |") == len(questions.SIZES)


def test_memory_is_measured_in_a_process_of_its_own():
    seen = in_own_process("hour", "spiking", "small", "--threads", "1", "--frames", "100")
    assert 0 < seen["before_mb"] <= seen["peak_mb"]


def test_a_failed_process_is_reported():
    with pytest.raises(RuntimeError, match="nobody"):
        in_own_process("hour", "nobody", "small")


def test_a_table_has_a_rule_under_its_header():
    assert table(["a", "b"], [["1", "2"]]).splitlines()[1] == "|---|---|"
