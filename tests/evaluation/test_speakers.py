"""Whose voice a synthetic one is: similarity to speakers of natural recordings, and who is taken for whom."""

import csv
import json
import sys
import types

import numpy as np
import pytest

from imlspike.bin.score import main
from imlspike.data.audio import read_audio
from imlspike.data.files import read_kaldi
from imlspike.evaluation import sound
from imlspike.evaluation.measures import VOICE, nearest_speaker, own_speaker, speaker_similarity, why_not
from imlspike.evaluation.score_tables import MOST, speakers_table
from imlspike.evaluation.sound import Sound
from imlspike.evaluation.speakers import speakers_without
from imlspike.evaluation.systems import NATURAL
from tests.evaluation.speechlike import RATE, noisy, voice, write_set, write_system

PITCHES = {"low": 100, "high": 270}
OTHER = {"low": "high", "high": "low"}


@pytest.fixture
def embedded(monkeypatch):
    """The library's interface, its network replaced by spectra of few bands; how often it was asked."""
    asked = []

    class VoiceEncoder:
        def __init__(self, device, verbose):
            assert device == "cpu"

        def embed_utterance(self, wave):
            asked.append(len(wave))
            return np.abs(np.fft.rfft(wave, RATE))[:1200].reshape(60, 20).sum(1)

    library = types.ModuleType("resemblyzer")
    library.__spec__ = types.SimpleNamespace(submodule_search_locations=[str(VoiceEncoder)])
    library.VoiceEncoder, library.preprocess_wav = VoiceEncoder, lambda wave: wave
    monkeypatch.setitem(sys.modules, "resemblyzer", library)
    for key in ("speaker", "own_speaker"):
        monkeypatch.setitem(VOICE, key, VOICE[key]._replace(lacks=str))  # its weights aren't looked for
    sound._speaker_encoder.cache_clear()
    yield asked
    sound._speaker_encoder.cache_clear()


@pytest.fixture
def corpus(tmp_path):
    """Three utterances of each of two speakers; a system that speaks as they do, one with voices swapped."""
    waves, speakers = {}, {}
    for who, pitch in PITCHES.items():
        for n in range(3):
            waves[f"{who}{n}"] = voice(0.6, pitch + 3 * n, n)
            speakers[f"{who}{n}"] = who
    write_set(tmp_path, waves, speakers=speakers)
    write_system(tmp_path / "right", {name: noisy(wave, 0.002) for name, wave in waves.items()})
    swapped = {name: waves[f"{OTHER[who]}{name[-1]}"] for name, who in speakers.items()}
    write_system(tmp_path / "swapped", swapped)
    return tmp_path


def score(corpus, *options, systems=("right", "swapped")):
    given = ["--data-dir", str(corpus / "data"), "--output-dir", str(corpus / "out"), "--resamples", "50"]
    named = [f"{name}={corpus / name}" for name in systems]
    status = main([*given, "--measures", "speaker", "own_speaker", *options, "--systems", *named])
    return json.loads((corpus / "out/scores.json").read_text()) if status == 0 else status


def test_each_speaker_is_nearest_to_its_own_voice_and_to_no_swapped_one(embedded, corpus, capsys):
    report = score(corpus)
    systems, text = report["systems"], (corpus / "out/scores.md").read_text()
    shares = {name: entry["scores"]["own_speaker"] for name, entry in systems.items()}
    assert {name: share["mean"] for name, share in shares.items()} == {
        NATURAL: 100,
        "right": 100,
        "swapped": 0,
    }
    assert systems["right"]["nearest"] == {who: {who: 3} for who in PITCHES}
    assert systems["swapped"]["nearest"] == {who: {OTHER[who]: 3} for who in PITCHES}
    alike = [systems[name]["scores"]["speaker"]["mean"] for name in (NATURAL, "right", "swapped")]
    assert 1 > alike[0] >= alike[1] - 0.01 > alike[2] + 0.1
    for line in ("| swapped        | low     | 3               | 0              |", "own speaker, % ↑"):
        assert line in text and line in capsys.readouterr().out + text
    with open(corpus / "out/scores.csv", newline="") as table:
        rows = {(row["utterance"], row["system"]): row["nearest"] for row in csv.DictReader(table)}
    assert (rows["low0", "right"], rows["low0", "swapped"]) == ("low", "high")


def test_a_share_has_an_interval_around_it(embedded, corpus):
    waves = {
        name: read_audio(corpus / f"right/{name}.wav", RATE) for name in read_kaldi(corpus / "data/text")
    }
    write_system(corpus / "mixed", waves | {"low0": waves["high0"], "low1": waves["high1"]})
    share = score(corpus, systems=["mixed"])["systems"]["mixed"]["scores"]["own_speaker"]
    low, high = share["ci95"]
    assert share["mean"] == pytest.approx(100 * 4 / 6) and 0 <= low < share["mean"] < high <= 100


def test_the_scored_utterance_is_not_in_its_own_speakers_mean():
    random = np.random.default_rng(0)
    said = {name: random.normal(size=8) for name in ("a1", "a2", "a3", "b1", "b2")}
    speaker_of = {name: name[0] for name in said}
    for name in said:
        before = {other: speakers_without(other, said, speaker_of) for other in said}
        after = {
            other: speakers_without(other, said | {name: random.normal(size=8)}, speaker_of) for other in said
        }
        for other in said:
            same = np.allclose(before[other][name[0]], after[other][name[0]])
            assert same == (other == name)
        assert all(np.linalg.norm(mean) == pytest.approx(1) for mean in before[name].values())


def test_the_audio_of_the_speakers_only_other_recording_has_similarity_one(embedded):
    low, high = (Sound(voice(0.6, pitch), RATE) for pitch in PITCHES.values())
    natural = Sound(voice(0.6, 110, 5), RATE)
    natural.speaker, natural.speakers = "low", {"low": low.embedding, "high": high.embedding}
    assert speaker_similarity(natural, Sound(low.samples.copy(), RATE)) == pytest.approx(1)
    assert (nearest_speaker(natural, high), own_speaker(natural, high)) == ("high", 0)
    assert speaker_similarity(natural, high) < 0.9


def test_who_has_no_other_recording_is_named_and_one_speaker_alone_is_nearest_to_nobody(embedded, corpus):
    speakers = read_kaldi(corpus / "data/utt2spk")
    table = corpus / "data/utt2spk"
    table.write_text("".join(f"{u} {'new' if u == 'low0' else who}\n" for u, who in speakers.items()))
    found = score(corpus)["systems"]["right"]["scores"]["speaker"]
    assert found["failed"] == {
        "low0": "ValueError: no other natural recording of its speaker new with speech in it"
    }
    assert found["utterances"] == 5
    table.write_text("".join(f"{u} one\n" for u in speakers))
    report = score(corpus)
    assert "one speaker only" in report["left_out"]["own_speaker"] and report["speakers"] == []
    assert report["systems"]["right"]["scores"]["speaker"]["utterances"] == 6
    assert speakers_table(report) == ""


def test_silence_is_no_voice(embedded, corpus):
    waves = {
        name: read_audio(corpus / f"right/{name}.wav", RATE) for name in read_kaldi(corpus / "data/text")
    }
    write_system(corpus / "quiet", waves | {"low0": 0 * waves["low0"]})
    found = score(corpus, systems=["quiet"])["systems"]["quiet"]
    assert found["scores"]["speaker"]["failed"] == {"low0": "no speech in it, only zeros"}
    assert found["nearest"]["low"] == {"low": 2}


def test_what_is_kept_depends_on_all_natural_recordings(embedded, corpus):
    def similarity():
        with open(corpus / "out/scores.csv", newline="") as table:
            return next(row["speaker"] for row in csv.DictReader(table) if row["utterance"] == "high0")

    first, asked, before = score(corpus), len(embedded), similarity()
    assert score(corpus) == first and similarity() == before
    assert len(embedded) == asked + 6  # the speakers' again, no system's
    write_system(corpus / "new", {"high2": voice(0.6, 100, 9)})
    (corpus / "new/high2.wav").replace(corpus / "wav/high2.wav")
    score(corpus)
    assert similarity() != before  # of another utterance than the changed one


def test_of_many_speakers_the_table_has_those_that_are_mistaken():
    speakers = [f"s{n:02}" for n in range(MOST + 2)]
    nearest = {who: {who: 2} for who in speakers} | {"s03": {"s03": 1, "s07": 1}}
    report = {"speakers": speakers, "systems": {"ann": {"nearest": nearest}}}
    head, _, *lines = speakers_table(report).splitlines()
    assert head == "| system | speaker | nearest to s03 | nearest to s07 |" and len(lines) == 2
    assert lines[0].split() == "| ann | s03 | 1 | 1 |".split()


def test_without_the_library_the_columns_are_empty_and_it_is_said_how_to_get_it(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "resemblyzer", None)
    report = score(corpus)
    assert report["left_out"].keys() == {"speaker", "own_speaker"}
    text = (corpus / "out/scores.md").read_text()
    assert "speaker is empty: resemblyzer can't be imported" in text
    assert "pip install 'imlspike[scores]'" in text and "nearest to" not in text


def test_the_library_tells_real_speakers_apart(real_audio):
    if reason := why_not(VOICE["speaker"]):
        pytest.skip(reason)
    spoken = {}
    for path in sorted((real_audio / "LibriSpeech").rglob("*.flac")):
        spoken.setdefault(path.stem.partition("-")[0], []).append(path)
    readers = [paths[:2] for paths in spoken.values() if len(paths) > 1][:2]
    if len(readers) < 2:
        pytest.skip(f"no two recordings of two readers under {real_audio}/LibriSpeech")
    one, two = ([Sound(read_audio(path, RATE)[: 5 * RATE], RATE) for path in paths] for paths in readers)
    natural = one[0]
    natural.speaker, natural.speakers = "one", {"one": one[1].embedding, "two": two[0].embedding}
    assert nearest_speaker(natural, natural) == "one" and nearest_speaker(natural, two[1]) == "two"
    assert natural.embedding @ natural.embedding == pytest.approx(1)
    with pytest.raises(ValueError, match="no speech"):
        _ = Sound(np.random.default_rng(0).normal(0, 0.01, RATE).astype(np.float32), RATE).embedding
