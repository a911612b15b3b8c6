"""Times and confidences of words: by all alignments of small examples, and as properties of any."""

from dataclasses import replace
from itertools import groupby, product
from math import exp
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.functional import forced_align

from imlspike import Speech2Text
from imlspike.data.yaml_file import ConfigError
from imlspike.inference import Bundle
from imlspike.inference.decoding import open_decoder
from imlspike.inference.recognizer import Tokens
from imlspike.inference.word_times import WordTimes, find_words

CHARS = Tokens(["<blank>", "<unk>", "<space>", "a", "b", "你", "<sos/eos>"], "char")
WORDS = Tokens(["<blank>", "<unk>", "aa", "b", "<sos/eos>"], "word")
ROOT = Path(__file__).parents[2]
SENTENCE = ROOT / "egs/msu_ru_nsh/voc1/results/RESULTS_files/ru_0216/natural.wav"
needs_sources = pytest.mark.skipif(not SENTENCE.is_file(), reason="only beside the sources")


def random_log_probs(frames: int, size: int, seed: int) -> np.ndarray:
    drawn = torch.randn(frames, size, generator=torch.Generator().manual_seed(seed))
    return drawn.mul(3).log_softmax(-1).numpy()


@pytest.mark.parametrize("numbers", [[3], [3, 2, 4], [3, 3], [4, 3, 2, 4], [3, 4, 2, 2]])
@pytest.mark.parametrize("seed", [0, 1])
def test_it_is_the_most_probable_of_all_alignments(numbers, seed):
    """Of 5 ** 6 paths; the confidence is of the word's tokens and of the blanks beside it."""
    log_probs = random_log_probs(6, 5, seed)
    tokens = Tokens(["<blank>", "<unk>", "<space>", "a", "<sos/eos>"], "char")
    tokens.names[4], tokens.eos = "b", -1
    paths = [path for path in product(range(5), repeat=6)]
    fitting = [path for path in paths if [number for number, _ in groupby(path) if number] == numbers]
    best = max(fitting, key=lambda path: sum(log_probs[t, n].item() for t, n in enumerate(path)))
    spans, frame = [], 0
    for number, run in groupby(best):
        length = len(list(run))
        if number:
            spans.append((frame, frame + length, log_probs[frame : frame + length, number].mean().item()))
        frame += length
    expected, word = [], []
    for place, number in enumerate([*numbers, 2]):
        if number != 2:
            word.append(place)
        elif word:
            around = [p for p in (word[0] - 1, word[-1] + 1) if 0 <= p < len(numbers)]
            likely = exp(sum(spans[p][2] for p in word + around))
            expected.append((spans[word[0]][0], spans[word[-1]][1], likely))
            word = []
    found = find_words(log_probs, numbers, tokens, 6.0)
    assert [(w.start, w.end) for w in found] == [pytest.approx(row[:2]) for row in expected]
    assert [w.confidence for w in found] == [pytest.approx(row[2], rel=1e-4) for row in expected]


@given(
    st.lists(st.integers(0, 6), max_size=14),
    st.integers(1, 30),
    st.integers(0, 9),
    st.tuples(st.floats(-0.5, 0), st.floats(0, 0.5), st.floats(0.1, 10)),
)
@settings(max_examples=100, deadline=None)
def test_words_are_the_text_in_order_of_time(numbers, frames, seed, shifts):
    """Of any tokens, also more than the frames hold, with any shifts."""
    log_probs, seconds = random_log_probs(frames, 7, seed), frames * 0.04
    words = find_words(log_probs, numbers, CHARS, seconds, WordTimes(*shifts))
    assert "".join(word.text for word in words) == CHARS.text(numbers).replace(" ", "")
    edges = [edge for word in words for edge in (word.start, word.end)]
    assert edges == sorted(edges) and all(0 <= edge <= seconds for edge in edges)
    assert all(word.start < word.end for word in words)
    assert all(0 <= word.confidence <= 1 for word in words)


def test_the_best_path_is_the_alignment_of_its_text(monkeypatch):
    """Where CTC alone decoded, nothing is searched for: no table of frames times tokens."""
    log_probs = random_log_probs(200, 6, 0)
    numbers = [number for number, _ in groupby(log_probs.argmax(-1).tolist())]
    path, _ = forced_align(
        torch.from_numpy(log_probs)[None], torch.tensor([[number for number in numbers if number]])
    )
    assert path[0].tolist() == log_probs.argmax(-1).tolist()
    monkeypatch.setattr("imlspike.inference.word_times._aligned", None)
    assert len(find_words(log_probs, numbers, CHARS, 8.0)) > 20


def test_what_a_word_is():
    """Between blanks; each character where a script has none; each token of words."""
    log_probs = random_log_probs(20, 7, 0)
    texts = [word.text for word in find_words(log_probs, [2, 3, 4, 2, 2, 4, 5, 5, 3, 2], CHARS, 1.0)]
    assert texts == ["ab", "b", "你", "你", "a"]
    assert [word.text for word in find_words(log_probs[:, :5], [2, 3, 2], WORDS, 1.0)] == ["aa", "b", "aa"]


def test_more_tokens_than_frames_are_spread_and_not_trusted():
    words = find_words(random_log_probs(3, 7, 0), [3, 3, 2, 4, 4], CHARS, 2.0)
    assert [(word.text, word.confidence) for word in words] == [("aa", 0), ("bb", 0)]
    assert words[1].end == 2.0


@pytest.mark.parametrize(
    ("section", "key"),
    [({"start": 0.1}, "start"), ({"strat": 0}, "start"), ({"confidence": 0}, "confidence")],
)
@needs_sources
def test_a_wrong_section_of_a_bundle_is_named(section, key):
    bundle = Bundle.load(ROOT / "pretrained/recogniser.zip")
    bundle.config["word_times"] = section
    with pytest.raises(ConfigError, match=f"word_times.*{key}"):
        open_decoder(bundle)


@needs_sources
def test_words_of_a_long_file_lie_where_their_pieces_do(tmp_path):
    """A sentence, a pause and the sentence again: the same words, as much later."""
    wave, rate = soundfile.read(SENTENCE, dtype="float32")
    gap = np.zeros(2 * rate, dtype=np.float32)
    soundfile.write(tmp_path / "long.wav", np.concatenate([wave, gap, wave, gap, wave]), rate)
    s2t = Speech2Text.from_pretrained(ROOT / "pretrained/recogniser.zip", "beam")  # few words are cut in two
    (long,) = s2t.transcribe(tmp_path / "long.wav", max_seconds=len(wave) / rate + 2)
    assert len(long.segments) == 3 and long.text == " ".join(word.text for word in long.words)
    for segment in long.segments:
        assert segment.text == " ".join(word.text for word in segment.words)
        assert all(segment.start <= word.start < word.end <= segment.end for word in segment.words)
    first, later = long.segments[0].words, long.segments[2].words
    period = 2 * (len(wave) + len(gap)) / rate
    pairs = [(one, other) for one, other in zip(first, later, strict=False) if one.text == other.text]
    assert len(pairs) > len(first) / 2
    assert all(abs(one.start + period - other.start) < 0.1 for one, other in pairs)
    assert replace(first[0], start=0, end=0, confidence=0).text in long.text
