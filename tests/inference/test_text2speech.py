"""Text2Speech: sentences, streams and sets are the same speech; what does not fit is refused by name."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from imlspike import Text2Speech, Vocoder
from imlspike.data.yaml_file import ConfigError
from imlspike.inference import Bundle
from imlspike.inference.griffin_lim import griffin_lim
from imlspike.inference.loudness import loudness_of
from imlspike.inference.voice import TrainedVoice
from imlspike.layers.log_mel import LogMel
from tests.inference.small_tts import DEVIATION, HOP, MEAN, RATE, TOKENS, write_voice
from tests.inference.small_vocoder import SIZES, save, small_model
from tests.models.small_spikevoice import small_voice

TEXT = "A cab came. Who came! No one, " + "no one, " * 11 + "I said!"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> Path:
    """A recipe's folder with one voice and a vocoder."""
    recipe = tmp_path_factory.mktemp("recipe")
    save(small_model("imls"), recipe / "voc")
    return write_voice(recipe / "exp" / "small")


@pytest.fixture(scope="module")
def speak(experiment) -> Text2Speech:
    """The voice, opened, with its vocoder."""
    return Text2Speech.from_pretrained(experiment, experiment.parents[1] / "voc")


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Text2Speech:
    """A voice with three numbers of speakers, two of them with names, and Griffin-Lim."""
    folder = tmp_path_factory.mktemp("several")
    return Text2Speech.from_pretrained(write_voice(folder, names=["ann", "bob"], speakers=3))


def open_voice(folder: Path, model_file: str | None = None) -> TrainedVoice:
    return TrainedVoice.from_bundle(Bundle.load(folder, "voice", model_file=model_file))


def spelled(text: str) -> list[str]:
    """Its symbols, as `imlspike phonemes` writes them."""
    return ["<space>" if letter == " " else letter for letter in text]


def same(one, other):
    assert one.durations.tolist() == other.durations.tolist() and one.symbols == other.symbols
    assert np.array_equal(one.mel, other.mel) and np.array_equal(one.audio, other.audio)


@pytest.mark.parametrize("text", [None, 5, b"a cab"])
def test_what_is_no_text_is_refused(speak, text):
    with pytest.raises(TypeError, match=type(text).__name__):
        speak(text)


# What is spoken


def test_it_speaks_the_models_mel_through_the_vocoder(experiment, speak):
    """One sentence: what the core model says before its norms are folded, then the vocoder.

    In fp64, where rounding moves no spike.
    """
    voice, symbols = open_voice(experiment), spelled("a cab came.")
    voice.model.double()
    exact = Text2Speech(voice, speak.vocoder)
    said = exact("A cab came.", loudness=None)
    assert list(said.symbols) == symbols and said.text == "A cab came." and said.sampling_rate == RATE
    model = small_voice(dtype=torch.float32).double()
    wanted = model.synthesize(torch.tensor([TOKENS.index(symbol) for symbol in symbols])) * DEVIATION + MEAN
    assert wanted.std() > 0.5 and len(wanted) > len(symbols)
    np.testing.assert_allclose(said.mel, wanted.numpy(), atol=1e-5)
    assert said.durations.sum() == len(said.mel) and len(said.durations) == len(symbols)
    assert np.array_equal(said.audio, speak.vocoder.decode(said.mel.T).numpy())
    assert said.audio.dtype == np.float32 and len(said.audio) == (len(said.mel) - 1) * HOP
    same(said, exact.speak(symbols))


def test_sentences_joined_are_the_text_and_the_stream(speak):
    """Each sentence alone, between them the pause; nothing of the text is lost."""
    speak.longest = 50
    try:
        whole, stream = speak(TEXT, speed=1.3, pause=0.05), list(speak.stream(TEXT, speed=1.3, pause=0.05))
    finally:
        speak.longest = 300
    sentences = [part.text for part in stream]
    assert sentences[:2] == ["A cab came.", "Who came!"] and len(sentences) == 5
    silence = np.zeros(round(0.05 * RATE), dtype=np.float32)
    for number, part in enumerate(stream):
        alone = speak(part.text, speed=1.3)
        audio = [silence, alone.audio] if number else [alone.audio]
        assert np.array_equal(part.audio, np.concatenate(audio)) and np.array_equal(part.mel, alone.mel)
    for name in ("audio", "mel", "durations"):
        assert np.array_equal(getattr(whole, name), np.concatenate([getattr(part, name) for part in stream]))
    assert whole.durations.sum() == len(whole.mel) and whole.text == TEXT
    assert "".join(whole.symbols).replace("<space>", "") == TEXT.lower().replace(" ", "")


def test_controls_reach_the_voice(speak):
    """Speed divides the predicted durations; pitch and energy change the mel, factors of 1 nothing."""
    plain = speak("a cab, came.")
    numbers = speak.voice.numbers(plain.symbols)[None]
    with torch.no_grad():
        found = speak.voice.model(numbers, torch.tensor([numbers.shape[1]]))
    for speed in (0.5, 1.0, 2.0):
        frames = (found.log_durations.expm1() / speed).round().clamp(min=1)
        assert speak("a cab, came.", speed=speed).durations.tolist() == frames[0].tolist()
    assert speak("a cab, came.", speed=0.5).seconds > 1.5 * plain.seconds
    for control in ("pitch", "energy"):
        assert not np.allclose(speak("a cab, came.", **{control: 1.5}).mel, plain.mel)
        same(speak("a cab, came.", **{control: 1.0}), plain)
        with pytest.raises(ValueError, match=f"{control} is 0"):
            speak("a", **{control: 0})
    with pytest.raises(ValueError, match="pause is -1"):
        speak("a", pause=-1)


def test_a_recording_through_the_vocoder_is_what_the_vocoder_makes_of_it(speak):
    audio = np.random.default_rng(0).normal(scale=0.1, size=2000).astype(np.float32)
    said = speak.resynthesize(audio)
    mel = speak.vocoder.features(audio)
    assert np.array_equal(said.mel, mel.T.numpy())
    assert np.array_equal(said.audio, speak.vocoder.decode(mel).numpy())
    with pytest.raises(ValueError, match="u1: 32 samples; a mel needs more than 32"):
        speak.resynthesize(audio[:32], "u1")


def test_griffin_lim_stands_in_for_a_vocoder(several):
    said = several("a cab.", speaker="ann", loudness=None)
    features = LogMel(**SIZES)
    wanted = griffin_lim(features, torch.from_numpy(said.mel.T.copy())[None])[0]
    np.testing.assert_allclose(said.audio, wanted.numpy(), atol=1e-5 * float(wanted.abs().max()))
    assert len(wanted) > 0


def test_speakers_have_names_and_numbers(several):
    """Two names for three numbers: number 0 is ESPnet's, for unknown speakers."""
    ann, bob = several("a cab.", speaker="ann"), several("a cab.", speaker="bob")
    same(ann, several("a cab.", speaker=1))
    same(bob, several("a cab.", speaker=2))
    assert ann.mel.shape != bob.mel.shape or not np.allclose(ann.mel, bob.mel)
    same(bob, Text2Speech(replace(several.voice, speakers=()))("a cab.", speaker="2"))
    same(bob, Text2Speech(replace(several.voice, speakers=("7", "1")))("a cab.", speaker="1"))
    for speaker, message in {
        None: "several speakers, say which: ann, bob$",
        "bobb": r"no speaker 'bobb'; there are ann, bob; did you mean 'bob'\?",
        "x": "no speaker 'x'; there are ann, bob",
        "1": "no speaker '1'; there are ann, bob",
        3: "numbered 0 to 2, got 3",
    }.items():
        with pytest.raises(ValueError, match=message):
            several("a", speaker=speaker)


# What can't be spoken


def test_what_cannot_be_spoken_is_named_before_the_first_word(speak):
    for text, message in {
        "A cab. It cost 5, ok. Bye.": r"text: character '5' \(U\+0035\) at 16 in 'A cab. It cost 5, ok.",
        "A cab. Why? Bye.": r"text: character '\?' \(U\+003F\) at 11 in",
        "": "nothing to speak",
        " \n ": "nothing to speak",
        "...": "text: nothing to speak in '...'",
    }.items():
        with pytest.raises(ValueError, match=message):
            next(speak.stream(text))
    with pytest.raises(ValueError, match="u7: symbol 'ж' .number 2."):
        speak.speak(["a", "ж"], name="u7")
    with pytest.raises(ValueError, match="has one voice: give no speaker"):
        speak("a", speaker="ann")


def test_what_cannot_be_spoken_is_skipped_where_asked_for(speak):
    """With characters that the voice doesn't know; short texts get the mark that voices learn to end with."""
    said = speak("A cab 5. Who w\u00ad\U0001f4a5? Bac!", on_unknown="skip")
    assert {"5", "\U0001f4a5"} < set(said.skipped) and said.symbols[:4] == ("a", "<space>", "c", "a")
    with pytest.raises(ValueError, match="on_unknown"):
        speak("a", on_unknown="ignore")
    assert speak("A").symbols == ("a", ".") and speak("A!").symbols == ("a", "!")


@pytest.mark.parametrize("text", ["A", "A cab came.", "A. " * 3])
def test_speech_has_the_loudness_of_broadcasts(speak, text):
    said = speak(text)
    assert abs(loudness_of(said.audio, RATE) + 23) < 1 and np.abs(said.audio).max() < 1
    quiet = speak(text, loudness=-30)
    assert abs(loudness_of(quiet.audio, RATE) + 30) < 1


def test_without_a_front_end_a_text_is_symbols(speak, tmp_path):
    symbols = Text2Speech.from_pretrained(write_voice(tmp_path, front_end=None))
    assert symbols("c a b .").symbols == tuple("cab.")
    assert np.array_equal(symbols("c a b .").mel, speak("cab.").mel)


def test_a_vocoder_of_another_mel_is_refused(experiment, tmp_path):
    from imlspike.models import SpikingVocos

    small = {**SIZES, "dim": 8, "intermediate_dim": 8, "num_layers": 1}
    other = Vocoder(SpikingVocos(**{**small, "hop_length": 32, "f_min": 20.0}), name="other")
    wanted = (
        r"small and the vocoder other aren't of the same mel: hop_length is 16 of the voice and 32 of the"
    )
    with pytest.raises(ValueError, match=f"{wanted} vocoder, f_min is 0 .* 20 of the vocoder;"):
        Text2Speech.from_pretrained(experiment, other)
    Text2Speech.from_pretrained(experiment, Vocoder(SpikingVocos(**{**small, "f_max": RATE / 2})))
    with pytest.raises(ValueError, match="none: no such file or folder; expected a bundle"):
        Text2Speech.from_pretrained(experiment, tmp_path / "none")


def test_a_mel_that_is_not_finite_is_told(experiment):
    voice = open_voice(experiment)
    voice.model.mel.bias.data[0] = float("nan")
    with pytest.raises(FloatingPointError, match="u3: the voice's mel isn't finite"):
        Text2Speech(voice).speak(["a"], name="u3")


# What is opened


def test_the_model_is_the_average_or_the_one_named(experiment, tmp_path):
    folder = shutil.copytree(experiment, tmp_path / "exp")
    average, best = folder / "valid.loss.ave.pth", folder / "valid.loss.best.pth"
    states = torch.load(average)
    for number, name in enumerate(("valid.loss.best.pth", "7epoch.pth"), start=1):
        torch.save({key: state + number for key, state in states.items()}, folder / name)

    def offset(model_file=None):
        return float((Bundle.load(folder, model_file=model_file).states["normalize.mean"] - MEAN).mean())

    assert (offset(), offset("7epoch.pth")) == pytest.approx((0, 2))
    average.unlink()
    assert offset() == pytest.approx(1)
    with pytest.raises(ConfigError, match="8epoch.pth.*7epoch.pth, valid.loss.best.pth"):
        offset("8epoch.pth")
    best.unlink()
    assert offset() == pytest.approx(2)


def change(folder, **keys):
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | keys))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: change(f, feats_extract="fbank"), "feats_extract is 'fbank', a mel that no vocoder"),
        (lambda f: change(f, feats_extract_conf={"fs": 8000}), "doesn't say n_fft, hop_length, n_mels"),
        (lambda f: change(f, normalize="utterance_mvn"), "normalize is 'utterance_mvn'; expected global_mvn"),
        (lambda f: change(f, tts="fastspeech2"), "tts is 'fastspeech2'"),
        (lambda f: change(f, token_list=TOKENS[:-1]), "weights don't fit"),
        (lambda f: change(f, tts_conf={"dimm": 3}), "model: unknown key 'dimm'; did you mean 'dim'"),
        (lambda f: (f / "valid.loss.ave.pth").unlink(), "no trained voice here"),
        (lambda f: (f / "valid.loss.ave.pth").write_bytes(b"half"), "ave.pth: not readable as a model"),
        (lambda f: (f / "voice.yaml").write_text("frontend: x"), "'frontend'; did you mean 'front_end'"),
        (lambda f: (f / "voice.yaml").write_text("speakers: [a, b]"), "2 names, but the model has 0"),
        (lambda f: (f / "voice.yaml").write_text("- x"), "expected 'key: value' lines, found list"),
        (lambda f: (f / "config.yaml").unlink(), "no trained voice here"),
    ],
)
def test_a_damaged_experiment_is_told(experiment, tmp_path, damage, message):
    folder = shutil.copytree(experiment, tmp_path / "exp")
    damage(folder)
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        open_voice(folder)


def test_an_unknown_front_end_is_told(experiment, tmp_path):
    folder = shutil.copytree(experiment, tmp_path / "exp")
    (folder / "voice.yaml").write_text("front_end: rusian")
    with pytest.raises(ValueError, match="front end must be one of .*did you mean 'russian'"):
        Text2Speech.from_pretrained(folder)("да")
