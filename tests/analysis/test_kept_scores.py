"""Scores that were taken before are those that would be taken now, or aren't used."""

import functools
import json

import pytest

from imlspike.analysis import kept_scores
from imlspike.analysis.kept_scores import score_or_recall
from imlspike.analysis.vocoder_scores import GRIFFIN_LIM, NATURAL, Settings, Task, score_utterance
from imlspike.data.write_audio import write_audio

from .vocoder_audio import HOP, RATE, noisy, voice

SETTINGS = Settings.of(
    {"sampling_rate": RATE, "n_fft": 512, "hop_length": HOP, "n_mels": 40}, ["mcd", "mel_l1"]
)
LIBRARIES = {"pesq": "1.0"}


@pytest.fixture
def task(tmp_path):
    """An utterance and two systems' audio of it."""
    wave = voice(0.3)
    sounds = {NATURAL: wave, "good": noisy(wave, 0.001), GRIFFIN_LIM: noisy(wave, 0.03)}
    files = {name: str(tmp_path / f"{name}.wav") for name in sounds}
    for name, sound in sounds.items():
        write_audio(files[name], [sound], RATE)
    return Task("u1", files.pop(NATURAL), files)


@pytest.fixture
def scored(monkeypatch):
    """The systems that were really scored, call by call."""
    calls = []

    def watched(settings, task):
        calls.append(sorted(task.synthetic))
        return score_utterance(settings, task)

    monkeypatch.setattr(kept_scores, "score_utterance", watched)
    return calls


def test_what_is_known_is_not_scored_again(task, scored, tmp_path):
    recall = functools.partial(score_or_recall, tmp_path / "kept", LIBRARIES, SETTINGS)
    one = Task("u1", task.natural, {"good": task.synthetic["good"]})
    recall(one)
    both, again = recall(task), recall(task)
    assert scored == [["good"], [GRIFFIN_LIM]]
    assert both == again == score_utterance(SETTINGS, task)
    assert list(again.values) == [NATURAL, "good", GRIFFIN_LIM]


def test_scores_of_other_files_settings_or_versions_count_no_more(task, scored, tmp_path):
    folder = tmp_path / "kept"
    score_or_recall(folder, LIBRARIES, SETTINGS, task)
    write_audio(task.synthetic["good"], [noisy(voice(0.3), 0.01)], RATE)
    assert score_or_recall(folder, LIBRARIES, SETTINGS, task) == score_utterance(SETTINGS, task)
    other = Settings(SETTINGS.features, ("mcd",))
    assert score_or_recall(folder, LIBRARIES, other, task) == score_utterance(other, task)
    score_or_recall(folder, {"pesq": "1.1"}, other, task)
    write_audio(task.natural, [noisy(voice(0.3), 0.002)], RATE)
    score_or_recall(folder, {"pesq": "1.1"}, other, task)
    every = sorted(task.synthetic)
    assert scored == [every, ["good"], every, every, every]


def test_failures_and_broken_files_are_not_kept(task, scored, tmp_path, monkeypatch):
    folder = tmp_path / "kept"
    folder.mkdir()
    for content in ("{", "[1]", '{"good": 3}'):
        (folder / "u1.json").write_text(content)
        assert score_or_recall(folder, LIBRARIES, SETTINGS, task) == score_utterance(SETTINGS, task)
    kept = json.loads((folder / "u1.json").read_text())
    assert set(kept) == {NATURAL, *task.synthetic}
    (folder / "u1.json").unlink()

    def failing(settings, task):
        taken = score_utterance(settings, task)
        return taken.__class__("u1", taken.seconds, taken.values | {"good": {}}, {("good", "mcd"): "why"})

    monkeypatch.setattr(kept_scores, "score_utterance", failing)
    assert score_or_recall(folder, LIBRARIES, SETTINGS, task).failed == {("good", "mcd"): "why"}
    assert set(json.loads((folder / "u1.json").read_text())) == {NATURAL, GRIFFIN_LIM}
