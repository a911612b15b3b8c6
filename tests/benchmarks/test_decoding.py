"""The comparison of decodings: what it counts and what it calls met; times are never asserted."""

import torch

from benchmarks.decoding import race, section
from benchmarks.measure import Comparison

REFERENCES = {"u1": "a bc", "u2": "abab"}


def test_both_decode_all_utterances_by_turns():
    """Each turn both peers see every batch, one by one after each other, the first one alternating."""
    seen = []
    groups = [[("u1", torch.ones(1)), ("u2", torch.ones(2))], [("u3", torch.ones(3))]]

    def peer(name):
        def run(waves):
            seen.append((name, [len(wave) for wave in waves]))
            return [f"{name}{len(wave)}" for wave in waves]

        return run

    both, texts = race(peer("a"), peer("b"), groups, turns=2)
    assert len(both.ours) == len(both.theirs) == 2
    assert texts == {
        "ours": {"u1": "a1", "u2": "a2", "u3": "a3"},
        "theirs": {"u1": "b1", "u2": "b2", "u3": "b3"},
    }
    long, short = [1, 2], [3]
    assert seen == [
        *(("a", short), ("b", short)),  # warms up
        *(("a", long), ("b", long), ("b", short), ("a", short)),
        *(("b", long), ("a", long), ("a", short), ("b", short)),
    ]


def test_the_section_has_ratio_cer_and_differences():
    """A slow and different decoder meets no target; the transcripts that differ are listed."""
    texts = {"ours": {"u1": "a bc", "u2": "ab"}, "theirs": {"u1": "a bc", "u2": "abab"}}
    both = Comparison([4.0, 5.0, 6.0], [10.0, 10.0, 9.0])
    report = section(both, texts, REFERENCES, {"u1": 6.0, "u2": 4.0}, {"beam_size": 5})
    assert "2 utterances, 10 s of audio; beam_size 5; 3 turns" in report
    assert "| imlspike, batches | 5.0 | 0.5000 | 25.00 |" in report
    assert "| ESPnet, one by one | 10.0 | 1.0000 | 0.00 |" in report
    assert "| times as fast | 2.00 (1.50-2.50) | >= 3 | **not met** |" in report
    assert "| CER apart, points | +25.00 | within 0.1 | **not met** |" in report
    assert "| transcripts that differ | 1 of 2 |" in report
    assert "- u2: ours: ab\n  - ESPnet's: abab" in report
    same = {"ours": texts["theirs"], "theirs": texts["theirs"]}
    report = section(Comparison([1.0], [4.0]), same, REFERENCES, {"u1": 10.0}, {})
    assert report.count("| met |") == 2 and "0 of 2" in report
