"""A stream against the same model on the whole, for any cut; its utterances; many streams of one model."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imlspike import Speech2Text
from imlspike.bin.main import main
from imlspike.inference import Bundle
from imlspike.inference.decoding import Decoder
from imlspike.inference.recognizer import Recognizer, SpeechFeatures, Tokens
from imlspike.inference.stream import FeatureStream, Stream
from imlspike.models import IMLSpikeformerEncoder

RATE = 16000
FEATURES = dict(sampling_rate=RATE, n_fft=512, win_length=400, hop_length=160, n_mels=16)
TOKENS = Tokens(["<blank>", "<unk>", "<space>", *"abcdefg", "<sos/eos>"], "char")
SPEECH = np.random.default_rng(0).standard_normal(3 * RATE) * np.repeat([0.001, 0.1, 0.0, 0.03], 12000)
SPEECH = SPEECH.astype(np.float32)


def features(**conf) -> SpeechFeatures:
    made = SpeechFeatures(**FEATURES | dict(level=-20.0, causal_level=True, floor=-60.0) | conf)
    made.bands.copy_(torch.rand(257, 16).pow(8))
    return made


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    torch.manual_seed(1)
    conf = dict(output_size=16, attention_heads=2, linear_units=32, num_blocks=2, conv_kernel=7, rep_kernel=3)
    ways = dict(direction=["past", "both"], look_ahead=[None, 0, 100], positions="sinusoidal")
    encoder = IMLSpikeformerEncoder(16, **conf, **ways)
    ctc = torch.nn.Linear(16, len(TOKENS))
    ctc.bias.data[0] += 0.5  # some are blank
    made = Recognizer(features(), encoder, ctc, TOKENS, 7)
    # In double precision, in which no rounding turns a spike over.
    made.double()
    for _ in range(8):
        encoder(made.features(torch.from_numpy(SPEECH))[None])
    encoder.reparameterize()
    return made.eval()


def pieces(samples: np.ndarray, cuts: list[float]) -> list[np.ndarray]:
    return np.split(samples, sorted(round(cut * len(samples)) for cut in cuts))


def listen(stream: Stream, parts) -> tuple[torch.Tensor, list]:
    """All log-probabilities of a stream, and its final results."""
    seen, inner = [torch.zeros(0, len(TOKENS), dtype=torch.double)], stream.log_probs
    stream.log_probs = lambda frames: seen.append(inner(frames)) or seen[-1]
    results = [one for part in parts for one in stream.accept(part)] + stream.finish()
    stream.log_probs = inner
    return torch.cat(seen), [one for one in results if one.final]


CUTS = st.lists(st.floats(0, 1), max_size=12)


@settings(max_examples=12, deadline=None)
@given(cuts=CUTS, look_ahead=st.sampled_from([0, 1, 4, 16, 100]), length=st.floats(0, 1))
def test_log_probabilities_are_those_of_the_whole(recognizer, cuts, look_ahead, length):
    samples = SPEECH[: round(length * len(SPEECH))]
    stream = Stream(recognizer, look_ahead, pause=None)
    for _ in range(2):  # the second after a reset
        got, heard = listen(stream, pieces(samples, cuts))
        if len(samples) < 1000:
            assert not len(got)
            continue
        recognizer.encoder.look_ahead = look_ahead
        with torch.no_grad():
            want, _ = recognizer([torch.from_numpy(samples)])
        torch.testing.assert_close(got, want[0], rtol=0, atol=1e-6)
        text = TOKENS.text(torch.unique_consecutive(want[0].argmax(-1)).tolist())
        assert [one.text for one in heard] == ([text] if text else [])


@settings(max_examples=15, deadline=None)
@given(cuts=CUTS, center=st.booleans(), level=st.sampled_from([None, -20.0]), length=st.integers(0, 9000))
def test_frames_are_those_of_the_whole(cuts, center, level, length):
    torch.manual_seed(0)
    made = features(center=center, level=level, causal_level=level is not None)
    source, samples = FeatureStream(made), SPEECH[8000 : 8000 + length]
    got = [source.rows(part) for part in pieces(samples, cuts)]
    got = torch.cat([*got, source.rows(samples[:0], last=True)])
    if length < made.least_samples:
        assert not len(got)
    else:
        torch.testing.assert_close(got, made(torch.from_numpy(samples)), rtol=0, atol=1e-4)


@settings(max_examples=5, deadline=None)
@given(cuts=CUTS, look_ahead=st.sampled_from([0, 4]))
def test_utterances_do_not_depend_on_the_cut(recognizer, cuts, look_ahead):
    stream = Stream(recognizer, look_ahead, pause=0.2)
    assert listen(stream, pieces(SPEECH, cuts))[1] == listen(stream, [SPEECH])[1] != []


def test_streams_of_one_model_do_not_mix(recognizer):
    parts = [pieces(np.roll(SPEECH, 5000 * n), np.linspace(0, 1, 30)) for n in range(4)]
    alone = [listen(Stream(recognizer, 4, None), each)[1] for each in parts]
    by_turns, results = [Stream(recognizer, 4, None) for _ in parts], []
    for turn in zip(*parts, strict=True):
        for stream, part in zip(by_turns, turn, strict=True):
            stream.accept(part)
    assert [stream.finish() for stream in by_turns] == alone
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda each: listen(Stream(recognizer, 4, None), each)[1], parts))
    assert results == alone


def size(stream: Stream) -> int:
    source = stream.source
    kept = [stream.rows, source.held, source.unheard, *(each.numpy() for each in stream.carried.values())]
    return sum(each.size for each in kept) + len(source.levels) + len(stream.numbers)


def test_memory_does_not_grow(recognizer):
    stream, sizes = Stream(recognizer, 4), []
    for second in range(60):
        stream.accept(SPEECH[:RATE] if second % 3 else np.zeros(RATE, np.float32))
        sizes.append(size(stream))
    assert max(sizes[30:]) <= max(sizes[:30])


class Loud(torch.nn.Module):
    """An encoder that hears a where it is loud, b where louder; 4 frames are a token."""

    def __init__(self):
        super().__init__()
        self.embed = SimpleNamespace(frames_per_token=lambda: 4, least_frames=lambda: 4)

    def check_stream(self, look_ahead):
        return look_ahead or 0

    def step(self, xs, carried, look_ahead, ctc):
        level = xs.mean(2).unflatten(1, (-1, 4)).mean(2)
        kind = 3 * (level > -10) + (level > -4)
        return torch.nn.functional.one_hot(kind.long(), len(TOKENS)).float() * 50


def burst(*parts: tuple[float, float]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.concatenate([gain * rng.standard_normal(round(RATE * seconds)) for gain, seconds in parts])


@pytest.fixture
def loud() -> Stream:
    ctc = torch.nn.Linear(len(TOKENS), len(TOKENS))
    torch.nn.init.eye_(ctc.weight), torch.nn.init.zeros_(ctc.bias)
    made = features(level=None, causal_level=False)
    return Speech2Text(Decoder(Recognizer(made, Loud(), ctc, TOKENS))).stream(pause=0.8, max_seconds=5.0)


def test_an_utterance_ends_at_a_pause(loud):
    samples = burst((0, 1), (0.1, 0.5), (0, 0.4), (0.1, 0.5), (0, 1.5), (0.1, 0.3), (0, 0.2))
    results = [one for part in pieces(samples, np.linspace(0, 1, 45)) for one in loud.accept(part)]
    results += loud.finish()
    assert results[0].text == results[0].text[:1] and not results[0].final  # a partial result comes first
    first, second = (one for one in results if one.final)
    assert results[-1] is second and len(first.text) > len(second.text) > 0
    for found, want in zip(
        (first.start, first.end, second.start, second.end), (1, 2.4, 3.9, 4.2), strict=True
    ):
        assert found == pytest.approx(want, abs=0.06)
    assert loud.finish() == []  # nothing came since


def test_a_long_one_ends_at_a_short_pause(loud):
    samples = burst(*[(0.1, 0.6), (0, 0.4)] * 12)
    finals = [one for one in loud.accept(samples) if one.final]
    assert len(finals) == 2 and finals[0].end > 5


@pytest.mark.parametrize(
    "key, conf, encoder",
    [
        ("causal_level", {"causal_level": False}, {}),
        ("normalize", {"normalize": "utterance"}, {}),
        ("peak", {"peak": 1.0}, {}),
        ("threshold", {}, {"threshold": "layer"}),
        ("look_ahead", {}, {"look_ahead": None}),
    ],
)
def test_what_needs_the_whole_is_refused_by_name(key, conf, encoder):
    small = dict(output_size=8, attention_heads=2, linear_units=8, num_blocks=1, look_ahead=[None, 4])
    made = Recognizer(
        features(**conf), IMLSpikeformerEncoder(16, **small | encoder), torch.nn.Linear(8, 11), TOKENS
    )
    with pytest.raises(ValueError, match=key):
        Stream(made)


def test_look_ahead_is_at_least_none_and_at_most_that_of_the_training():
    encoder = IMLSpikeformerEncoder(16, 8, 2, 8, 1, look_ahead=[None, 4])
    assert (encoder.check_stream(None), encoder.check_stream(3)) == (4, 3)
    with pytest.raises(ValueError, match="look_ahead"):
        encoder.check_stream(5)
    for wrong in (-1, [], [None, 1.5]):
        with pytest.raises(ValueError, match="look_ahead"):
            IMLSpikeformerEncoder(16, 8, 2, 8, 1, look_ahead=wrong)


def test_a_file_and_standard_input_on_the_command_line(tmp_path, capfd, monkeypatch):
    torch.manual_seed(0)
    conf = dict(output_size=16, attention_heads=2, linear_units=32, num_blocks=1, look_ahead=[None, 4])
    made = Recognizer(features(), IMLSpikeformerEncoder(16, **conf), torch.nn.Linear(16, len(TOKENS)), TOKENS)
    about = {"features": FEATURES | dict(level=-20.0, causal_level=True, floor=-60.0), "token_type": "char"}
    about |= {"model": {"encoder": "iml_spikeformer", "encoder_conf": conf}}
    Bundle("recognizer", "it", about, made.state_dict(), tuple(TOKENS.names)).save(tmp_path / "it.zip")
    soundfile.write(tmp_path / "it.wav", SPEECH, RATE, subtype="PCM_16")
    assert main(["stream", f"{tmp_path}/it.wav", f"--model={tmp_path}/it.zip", "--partial"]) == 0
    from_file = capfd.readouterr().out
    assert from_file.startswith("...\t") and from_file.splitlines()[-1].count("\t") == 2
    (tmp_path / "it.raw").write_bytes(soundfile.read(tmp_path / "it.wav", dtype="int16")[0].tobytes())
    with open(tmp_path / "it.raw") as raw:
        monkeypatch.setattr("sys.stdin", raw)
        assert main(["stream", "-", f"--model={tmp_path}/it.zip", "--partial"]) == 0
    assert capfd.readouterr().out == from_file
