"""`imlspike synthesize`: a text or a whole set in, speech out, whatever some of the texts hold."""

import io
import pickle
from functools import partial

import numpy as np
import pytest
import soundfile
import yaml

from imlspike import Text2Speech
from imlspike.bin import synthesize
from imlspike.bin._synthesis import speak_utterance
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.inference.loudness import scale_loudness
from tests.inference.small_tts import HOP, RATE, write_voice
from tests.inference.small_vocoder import save, small_model

SAID = {"u1": "c a b .", "u2": "w h o , c a m e !", "u3": "n o ."}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A voice's experiment beside a vocoder's."""
    folder = tmp_path_factory.mktemp("exp")
    save(small_model("imls"), folder / "voc")
    return write_voice(folder / "voice")


@pytest.fixture
def data(tmp_path):
    """A data directory of three recordings of noise, their texts in symbols."""
    utterances = []
    for number, (name, text) in enumerate(SAID.items()):
        audio = np.random.default_rng(number).uniform(-0.3, 0.3, 1000 + 300 * number)
        soundfile.write(tmp_path / f"{name}.wav", audio, RATE)
        utterances.append(Utterance(name, f"{tmp_path}/{name}.wav", text, "ann", len(audio) / RATE))
    write_data_dir(tmp_path / "data", utterances)
    return tmp_path / "data"


@pytest.fixture
def run(model):
    """The command line with these words, the voice and the vocoder; how it ends."""
    options = ("--model", model, "--vocoder", model.parent / "voc")
    return lambda *words: synthesize.main([str(word) for word in (*words, *options)])


@pytest.fixture
def speak(model):
    return Text2Speech.from_pretrained(model, model.parent / "voc")


def check(path, audio):
    """The file holds this, to 16 bits."""
    info = soundfile.info(path)
    assert (info.samplerate, info.channels, info.subtype) == (RATE, 1, "PCM_16")
    np.testing.assert_allclose(soundfile.read(path)[0], np.clip(audio, -1, 1 - 2**-15), atol=2**-15)


def test_a_text_to_a_file(run, speak, tmp_path, capsys):
    text = "A cab. Who came, no one!"
    controls = {"speed": 1.2, "pitch": 1.1, "energy": 0.9, "pause": 0.03}
    words = [word for key, value in controls.items() for word in (f"--{key}", value)]
    assert run(text, tmp_path / "new" / "out.flac", *words) == 0
    check(tmp_path / "new" / "out.flac", speak(text, **controls).audio)
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("synthesize: 1 files, ")


def test_loudness_and_what_cannot_be_spoken_are_choices(run, speak, tmp_path, capsys):
    text = "A cab \U0001f4a5."
    assert run(text, tmp_path / "out.wav", "--on-unknown", "skip", "--loudness", "none") == 0
    check(tmp_path / "out.wav", speak("A cab.", loudness=None).audio)
    assert "left out, as they can't be spoken: '\U0001f4a5'" in capsys.readouterr().err
    assert run("A cab.", tmp_path / "out.wav", "--loudness", -30) == 0
    check(tmp_path / "out.wav", speak("A cab.", loudness=-30).audio)
    with pytest.raises(SystemExit):
        run("A cab.", tmp_path / "out.wav", "--loudness", "loud")
    assert "--loudness" in capsys.readouterr().err


def test_a_text_from_the_standard_input(run, speak, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffa cab.\n\nno one.\n"))
    assert run("-", tmp_path / "out.wav") == 0
    check(tmp_path / "out.wav", speak("A cab. No one.").audio)


def test_a_set_freely(run, speak, data, tmp_path, capsys):
    """Each is what Text2Speech says of it; durations add up to the mel; what was done is told."""
    out = tmp_path / "out"
    assert run("--data-dir", data, "--output-dir", out, "--speed", 0.8) == 0
    durations = read_kaldi(out / "durations")
    seconds = 0.0
    for name, text in SAID.items():
        said = speak.speak(text.split(), speed=0.8)
        check(out / "wav" / f"{name}.wav", scale_loudness(said.audio, RATE))
        assert durations[name] == " ".join(map(str, said.durations))
        seconds += said.seconds
    told = yaml.safe_load((out / "synthesis.yaml").read_text())
    assert told["mode"] == "free" and told["utterances"] == 3 and told["speed"] == 0.8
    assert told["seconds_of_audio"] == pytest.approx(seconds, abs=1e-3) and not told["failed"]
    ratio, rounding = told["seconds_of_computing"] / seconds, 0.0005 / seconds + 0.00005  # ms; four decimals
    assert told["computing_per_second_of_audio"] == pytest.approx(ratio, abs=1.01 * rounding) and ratio > 0
    assert "utterances spoken 3/3" in capsys.readouterr().err


def test_natural_mels_through_the_vocoder(run, speak, data, tmp_path):
    out = tmp_path / "out"
    assert run("--data-dir", data, "--output-dir", out, "--mode", "natural") == 0
    for name in SAID:
        natural = soundfile.read(tmp_path / f"{name}.wav")[0]
        check(out / "wav" / f"{name}.wav", speak.vocoder.decode(speak.vocoder.features(natural)).numpy())
    assert not (out / "durations").exists()


def test_a_forced_set_has_the_recordings_lengths(run, data, tmp_path):
    pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")
    out = tmp_path / "out"
    assert run("--data-dir", data, "--output-dir", out, "--mode", "forced") == 0
    durations = read_kaldi(out / "durations")
    for name, text in SAID.items():
        frames = [int(word) for word in durations[name].split()]
        natural = soundfile.info(tmp_path / f"{name}.wav").frames
        assert len(frames) == len(text.split()) and sum(frames) == natural // HOP + 1
        assert soundfile.info(out / "wav" / f"{name}.wav").frames == (sum(frames) - 1) * HOP


def test_a_forced_set_speaks_by_the_durations_that_are_given(run, data, tmp_path, capsys):
    pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")
    given, forced = {}, ("--mode", "forced", "--durations", tmp_path / "given")
    for name in ("u1", "u3"):
        rest = len(SAID[name].split()) - 1
        given[name] = f"{soundfile.info(tmp_path / f'{name}.wav').frames // HOP + 1 - rest}" + " 1" * rest
    write_kaldi(tmp_path / "given", given)
    assert run("--data-dir", data, "--output-dir", tmp_path / "out", *forced) == 1
    assert read_kaldi(tmp_path / "out/durations") == given
    assert "u2: its durations are missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        run("--data-dir", data, "--output-dir", tmp_path / "free", *forced[2:])


def test_a_broken_utterance_is_named_and_the_rest_is_done(run, data, tmp_path, capsys):
    out = tmp_path / "out"
    (data / "text").write_text("u1 c a b .\nu2 w h ж\nu3 n o .\n")
    assert run("--data-dir", data, "--output-dir", out) == 1
    assert sorted(path.name for path in (out / "wav").iterdir()) == ["u1.wav", "u3.wav"]
    assert sorted(read_kaldi(out / "durations")) == ["u1", "u3"]
    said = capsys.readouterr().err.splitlines()
    assert any("u2: symbol 'ж' (number 3)" in line for line in said)
    assert said[-1] == "synthesize: 1 of 3 utterances were not spoken: u2"
    told = yaml.safe_load((out / "synthesis.yaml").read_text())
    assert list(told["failed"]) == ["u2"] and told["utterances"] == 2
    (tmp_path / "u3.wav").unlink()
    assert run("--data-dir", data, "--output-dir", out, "--mode", "natural") == 1
    assert f"synthesize: u3 ({tmp_path}/u3.wav): no such file" in capsys.readouterr().err


def test_other_processes_can_do_the_work(model, data, tmp_path):
    """What they are given survives the way there, and opens the voice."""
    args = synthesize.parse(["--data-dir", str(data), "--output-dir", str(tmp_path), "--model", str(model)])
    (tmp_path / "wav").mkdir()
    work = pickle.loads(pickle.dumps(partial(speak_utterance, args, None)))
    said = work(Utterance("u1", "", "c a b .", "ann", 1.0))
    assert said.error is None and (tmp_path / "wav/u1.wav").is_file() and len(said.durations) == 4


def test_speakers_of_a_set_are_its_own(data, tmp_path):
    several = write_voice(tmp_path / "several", names=["bob", "ann"], speakers=3)
    nameless = write_voice(tmp_path / "nameless", speakers=3)
    spoken = {}
    for name, model, *speaker in (
        ("own", several),
        ("bob", several, "--speaker", "bob"),
        ("two", nameless, "--speaker", "2"),
    ):
        out = tmp_path / name
        words = ["--data-dir", data, "--model", model, "--output-dir", out, *speaker]
        assert synthesize.main(list(map(str, words))) == 0
        spoken[name] = (out / "wav" / "u2.wav").read_bytes()
    assert spoken["own"] == spoken["two"] != spoken["bob"]


def test_wrong_places_are_one_line(run, model, data, tmp_path, capsys):
    for words, message in {
        ("a cab.", tmp_path / "out.mp3"): "out.mp3: expected a name that ends in .wav or .flac",
        ("It cost 5.", tmp_path / "out.wav"): "text: character '5' (U+0035) at 9 in 'It cost 5.'",
        ("a cab.", tmp_path / "out.wav", "--speaker", "ann"): "has one voice: give no speaker",
        ("--data-dir", tmp_path / "none", "--output-dir", tmp_path / "out"): "none: no wav.scp; expected",
    }.items():
        assert run(*words) == 1
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith("synthesize: error: ") and message in line
    assert not (tmp_path / "out.wav").exists() and not (tmp_path / "out").exists()
    assert synthesize.main(["a", str(tmp_path / "o.wav"), "--model", "exp/none"]) == 1
    assert "exp/none: no such file or folder; expected a bundle" in capsys.readouterr().err
    for words, message in {
        ("a cab.",): "expected TEXT and OUT, or --data-dir and --output-dir",
        ("--data-dir", data): "--data-dir goes with --output-dir",
        ("--data-dir", data, "--output-dir", "o", "--pause", 3): "--pause is for TEXT",
        ("--data-dir", data, "--output-dir", "o", "--on-unknown", "skip"): "--on-unknown is for TEXT",
        ("a", "o.wav", "--mode", "forced"): "--mode forced is for --data-dir",
        ("--data-dir", data, "--output-dir", "o", "--mode", "natural", "--pitch", 2): "--pitch is for --mode",
    }.items():
        with pytest.raises(SystemExit):
            run(*words)
        assert message in capsys.readouterr().err
