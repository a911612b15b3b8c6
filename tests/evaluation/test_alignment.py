"""Boundaries against labels: matching of symbols, errors that are known, files in and files out."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imlspike.bin.score import main
from imlspike.data.files import write_kaldi
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.data.labels import Phone, frames_until
from imlspike.data.write_audio import write_audio
from imlspike.evaluation.alignment import align, compare_boundaries, difference, match, summarize_boundaries
from imlspike.inference import Bundle
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.log_mel import LogMel
from imlspike.losses import beta_binomial_prior, monotonic_alignment
from imlspike.models import SpikeVoice
from imlspike.text.phonemes import symbols_of
from tests.evaluation.speechlike import RATE, voice

FRAME = 0.016
SYMBOLS = [symbol for symbol in symbols_of("russian") if symbol not in ("ur", "pau")]
sequences = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=12)


def edit_distance(one, other):
    """By recursion, as a textbook has it; short sequences only."""
    if not one or not other:
        return len(one) + len(other)
    both = edit_distance(one[1:], other[1:]) + difference(one[0], other[0])
    return min(both, 1 + edit_distance(one[1:], other), 1 + edit_distance(one, other[1:]))


@given(st.lists(st.sampled_from(SYMBOLS), max_size=5), st.lists(st.sampled_from(SYMBOLS), max_size=5))
def test_the_matching_costs_no_more_than_any(one, other):
    pairs = match(one, other)
    cost = sum(difference(one[i], other[j]) for i, j in pairs)
    cost += len(one) + len(other) - 2 * len(pairs)
    assert cost == pytest.approx(edit_distance(one, other))
    assert all(a < c and b < d for (a, b), (c, d) in zip(pairs, pairs[1:], strict=False))


@given(sequences)
def test_a_sequence_matches_itself(symbols):
    assert match(symbols, symbols) == [(i, i) for i in range(len(symbols))]


def test_sounds_of_another_kind_never_match():
    assert match(["a"], ["t"]) == [] and match([","], ["t"]) == [] and match([","], ["sil"]) == [(0, 0)]
    assert difference("AH0", "AH1") == difference("dd", "t") == difference("o", "oo") == 0.3
    assert difference("AH0", "S") == float("inf") and difference("S", "s") == 0.3


def labelled(names, rng):
    ends = np.cumsum(rng.uniform(0.06, 0.2, len(names)))
    return [Phone(*phone) for phone in zip(names, [0.0, *ends], ends, strict=False)]


@given(sequences.filter(lambda s: len(s) > 1), st.integers(0, 99))
def test_boundaries_by_the_labels_are_off_by_half_a_frame_at_most(symbols, seed):
    phones = labelled(symbols, np.random.default_rng(seed))
    ends = [phone.end for phone in phones]
    durations = frames_until(ends, int(ends[-1] / FRAME) + 1, FRAME)
    one = compare_boundaries("u", symbols, durations, phones, FRAME)
    assert len(one.errors) == one.labelled == len(symbols) - 1
    assert np.abs(one.errors).max() <= 1000 * FRAME / 2 + 1e-6


def test_a_late_aligner_is_late():
    phones = labelled(["k", "a", "t", "o", "k"], np.random.default_rng(0))
    durations = frames_until([p.end + 0.048 for p in phones], int(phones[-1].end / FRAME) + 8, FRAME)
    summary = summarize_boundaries([compare_boundaries("u", "katok", durations, phones, FRAME)])
    assert summary["bias_ms"] == pytest.approx(48, abs=8) == summary["median_ms"]
    assert summary["within"]["80"] == 1.0 and summary["within"]["20"] == 0.0


def test_only_neighbours_in_both_are_compared():
    """The labels' pause has no mark, the second mark no pause, and the e was not spoken."""
    phones = [Phone(*p) for p in [("pau", 0, 0.1), ("k", 0.1, 0.2), ("pau", 0.2, 0.3), ("t", 0.3, 0.4)]]
    phones += [Phone("o", 0.4, 0.5), Phone("n", 0.5, 0.6), Phone("pau", 0.6, 0.7)]
    symbols = ["k", "t", "o", ",", "e", "n", "."]
    durations = frames_until([0.2, 0.4, 0.46, 0.48, 0.5, 0.6, 0.7], 44, FRAME)
    one = compare_boundaries("u", symbols, durations, phones, FRAME)
    assert (len(one.errors), one.labelled) == (2, 6)  # t|o and n|.
    with pytest.raises(ValueError, match="u: 7 symbols, but 6 durations"):
        compare_boundaries("u", symbols, durations[1:], phones, FRAME)
    with pytest.raises(ValueError, match="labels of this set"):
        summarize_boundaries([compare_boundaries("u", ["a"], [44], phones, FRAME)])


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    sizes = dict(n_mels=20, dim=16, hidden_dim=16, encoder_layers=1, decoder_layers=1, postnet_layers=0)
    model = SpikeVoice(4, **sizes, aligner_dim=8, aligner_temperature=1.0).eval()  # hears the mel
    features = dict(sampling_rate=RATE, n_fft=512, hop_length=256, n_mels=20, f_min=0.0, f_max=None)
    return TrainedVoice(model, ("a", "b", "o", "."), features, mean=-5.0, deviation=2.0)


def test_a_voice_aligns_as_in_training(trained):
    """Against the steps written down: normalised log-mel, aligner, prior, Viterbi."""
    wave, symbols = voice(), ["b", "a", "o", "b", "."]
    durations = align(trained, symbols, wave)
    mel = LogMel(**trained.features)(torch.from_numpy(wave)[None]).transpose(1, 2)
    lengths = torch.tensor([5]), torch.tensor([mel.shape[1]])
    prior = beta_binomial_prior(*lengths)
    with torch.no_grad():
        numbers = torch.tensor([[1, 0, 2, 1, 3]])
        shares = trained.model.align(numbers, lengths[0], (mel + 5) / 2, lengths[1], prior)
    assert durations == monotonic_alignment(shares, *lengths)[0].tolist()
    assert sum(durations) == len(wave) // 256 + 1
    with pytest.raises(ValueError, match="u9: symbol 'x'"):
        align(trained, ["x"], wave, "u9")
    with pytest.raises(ValueError, match="u9: .*more|u9: .*frames"):
        align(trained, ["a"] * 500, wave, "u9")


@pytest.fixture
def corpus(tmp_path):
    """Two utterances with labels, and durations that are late by a frame."""
    (tmp_path / "lab").mkdir()
    utterances, durations = [], {}
    for name in ("u1", "u2"):
        write_audio(tmp_path / f"{name}.wav", [voice(1.2)], RATE)
        ends = [0.2, 0.4, 0.7, 1.2]
        lines = [f"{end} 125 {phone}\n" for end, phone in zip(ends, ["pau", "b", "aa", "pau"], strict=True)]
        (tmp_path / "lab" / f"{name}.lab").write_text("".join(["#\n", *lines]))
        utterances.append(Utterance(name, str(tmp_path / f"{name}.wav"), "b a .", "s", 1.2))
        table = frames_until([0.4 + FRAME, 0.7 + FRAME, 1.2], len(voice(1.2)) // 256 + 1, FRAME)
        durations[name] = " ".join(map(str, table))
    write_data_dir(tmp_path / "test", utterances)
    write_kaldi(tmp_path / "durations", durations)
    return tmp_path


def run(corpus, *options, durations="durations"):
    folders = ["--data-dir", f"{corpus}/test", "--labels", f"{corpus}/lab", "--output-dir", f"{corpus}/out"]
    return main([*folders, *(options or ("--durations", f"{corpus}/{durations}"))])


def test_files_in_files_out(corpus, capsys):
    pytest.importorskip("matplotlib")
    assert run(corpus) == 0
    report = json.loads((corpus / "out/alignment.json").read_text())
    assert (report["set"], report["boundaries"], report["labelled"]) == ("test", 4, 6)
    assert report["bias_ms"] == pytest.approx(1000 * FRAME, abs=8)
    assert sorted(p.name for p in (corpus / "out").iterdir()) == [
        "alignment.json",
        "alignment.md",
        "alignment.png",
        "errors.png",
    ]
    assert "4 of 6 (67 %)" in (corpus / "out/alignment.md").read_text()
    assert "within 40 ms" in capsys.readouterr().out


def test_utterances_without_labels_are_left_out_and_named(corpus, capsys):
    pytest.importorskip("matplotlib")
    (corpus / "lab/u2.lab").unlink()
    assert run(corpus) == 0
    report = json.loads((corpus / "out/alignment.json").read_text())
    assert (report["utterances"], report["without_labels"]) == (1, ["u2"])
    assert "no label file of them: u2." in (corpus / "out/alignment.md").read_text()


def test_the_voice_that_is_named_aligns(corpus, trained, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(Bundle, "load", lambda *_, **__: None)
    monkeypatch.setattr(TrainedVoice, "from_bundle", lambda _: trained)
    assert run(corpus, "--model", "exp/voice") == 0
    report = json.loads((corpus / "out/alignment.json").read_text())
    assert (report["aligner"], report["hop_length"], report["boundaries"]) == ("exp/voice", 256, 4)


def test_what_is_wrong_is_named(corpus, capsys):
    def error(*options, **more):
        assert run(corpus, *options, **more) == 1
        assert not (corpus / "out").exists()
        return capsys.readouterr().err

    write_kaldi(corpus / "short", {"u1": "3 4 5", "u2": "3 4 5"})
    assert "u1 has 12 frames, its recording 76 of 256 samples" in error(durations="short")
    write_kaldi(corpus / "one", {"u2": "3 4 5"})
    assert "no line for u1" in error(durations="one")
    assert "no such file or folder" in error("--model", f"{corpus}/gone")
    (corpus / "lab/u2.lab").write_text("#\n3.0 125 a\n")
    assert "u2.lab: ends at 3.000 s" in error()
    for name in ("u1", "u2"):
        (corpus / "lab" / f"{name}.lab").rename(corpus / "lab" / f"{name}_.lab")
    assert "no labels for u1 (2 of 2" in error()
