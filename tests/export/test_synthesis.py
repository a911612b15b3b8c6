"""A vocoder and a voice in onnxruntime against PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("onnxscript")

from imlspike.bin.main import main  # noqa: E402
from imlspike.data.kaldi import Utterance, write_data_dir  # noqa: E402
from imlspike.export.engine import OnnxSynthesizer, OnnxVocoder, Session  # noqa: E402
from imlspike.inference import Text2Speech, Vocoder  # noqa: E402
from imlspike.inference.vocoder import vocoder_bundle  # noqa: E402
from tests.inference.small_tts import write_voice  # noqa: E402
from tests.inference.small_vocoder import SIZES  # noqa: E402
from tests.models.small_vocos import small_vocos  # noqa: E402

NEAR = dict(rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory):
    """A small vocoder, and the folder that it was exported to, over a file that was there."""
    model = small_vocos("learned shift", dtype=torch.float32, n_mels=SIZES["n_mels"])
    folder = tmp_path_factory.mktemp("vocoder")
    vocoder_bundle(model, "small", level=-20.0).save(folder / "bundle")
    (folder / "mel.onnx").touch()
    export = ["export", f"{folder}/bundle", "--output", f"{folder}"]
    assert main(export) == 1 and not (folder / "model.onnx").exists()
    assert main([*export, "--overwrite"]) == 0
    return Vocoder(model, level=-20.0), folder


def test_mels_and_waveforms_of_any_length_become_what_pytorch_makes_of_them(vocoder):
    theirs, folder = vocoder
    ours = OnnxVocoder(folder, threads=1, chunk_seconds=0.2)
    for frames in (1, 2, 21, 300):
        mel = torch.randn(SIZES["n_mels"], frames)
        audio = np.concatenate(list(ours.stream([mel.numpy()[:, :1], mel.numpy()[:, 1:]])))
        np.testing.assert_allclose(audio, theirs.decode(mel).numpy(), **NEAR)
    wave = 0.01 * np.random.default_rng(0).standard_normal(9001).astype(np.float32)
    gain = ours.gain([wave])
    assert gain == pytest.approx(theirs.gain([wave]), rel=1e-5)
    audio = np.concatenate(list(ours.stream(np.split(wave, [7, 4000]), gain)))
    np.testing.assert_allclose(audio, theirs.vocode(wave).numpy(), **NEAR)


def without_torch(*words: str) -> subprocess.CompletedProcess:
    """A command in a process that can't import torch."""
    code = """if True:
        import os, sys
        for name in ("torch", "torchaudio", "onnx", "sentencepiece", "jiwer"):
            sys.modules[name] = None
        from imlspike.bin.main import main
        sys.exit(main(sys.argv[1:]))"""
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)


def test_vocode_needs_no_torch(vocoder, tmp_path):
    _, folder = vocoder
    wave = 0.01 * np.random.default_rng(0).standard_normal(9001)
    soundfile.write(tmp_path / "a.wav", wave, 8000)
    files = ["vocode", str(tmp_path / "a.wav"), "--threads", "1"]
    done = without_torch(*files, str(tmp_path / "ours.wav"), "--engine", "onnx", "--model", str(folder))
    assert done.returncode == 0, done.stderr
    assert main([*files, str(tmp_path / "theirs.wav"), "--model", str(folder / "bundle")]) == 0
    ours, theirs = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("ours", "theirs"))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.fixture(scope="module")
def speakers(tmp_path_factory, vocoder):
    """A small voice of two speakers with names and its ONNX files, beside those of a vocoder."""
    folder = tmp_path_factory.mktemp("voice")
    write_voice(folder / "voice", names=["Ann, B.", "Bob"], speakers=3, decoder_layers=1, postnet_layers=2)
    assert main(["export", f"{folder}/voice", "--output", f"{folder}/onnx"]) == 0
    return folder


def test_a_text_to_the_file_that_pytorch_makes_without_torch(speakers, vocoder, tmp_path):
    """With all controls; the command and, of symbols, a set in two processes."""
    utterances = []
    for name in ("u1", "u2", *map(str, range(14))):
        utterances.append(Utterance(name, f"{name}.wav", "c a b ." if name == "u1" else "n o !", "Bob", 1.0))
    write_data_dir(tmp_path / "data", utterances)
    controls = "--speed 1.3 --pitch 1.2 --energy 0.8 --loudness -30".split()
    more = ["--pause", "0.05", "--on-unknown", "skip", "--speaker", "Ann, B."]
    made = {
        "text": lambda out: ["A cab. Who came, no one \U0001f4a5!", f"{out}.wav", *more],
        "set": lambda out: ["--data-dir", f"{tmp_path}/data", "--output-dir", str(out), "--nj", "2"],
    }
    for what, words in made.items():
        ours = ["synthesize", *words(tmp_path / f"{what}-ours"), *controls]
        theirs = ["synthesize", *words(tmp_path / f"{what}-theirs"), *controls]
        ours += f"--engine onnx --model {speakers}/onnx --vocoder {vocoder[1]}".split()
        theirs += f"--model {speakers}/voice --vocoder {vocoder[1]}/bundle".split()
        done = without_torch(*ours)
        assert done.returncode == 0, done.stderr
        assert main(theirs) == 0
    pairs = [(tmp_path / "text-ours.wav", tmp_path / "text-theirs.wav")]
    pairs += [(one, tmp_path / "set-theirs/wav" / one.name) for one in (tmp_path / "set-ours/wav").iterdir()]
    assert len(pairs) == 17
    for one, other in pairs:
        np.testing.assert_allclose(soundfile.read(one)[0], soundfile.read(other)[0], atol=2e-4)
    durations = [(tmp_path / f"set-{which}/durations").read_text() for which in ("ours", "theirs")]
    assert durations[0] == durations[1]


def test_symbols_and_controls_become_the_mel_of_pytorch(speakers, vocoder):
    ours, theirs = (
        OnnxSynthesizer(speakers / "onnx", vocoder[1], threads=1),
        Text2Speech.from_pretrained(speakers / "voice", vocoder[1] / "bundle"),
    )
    rng = np.random.default_rng(0)
    for count, speaker, controls in (
        (2, "Bob", {}),
        (13, 0, {"speed": 0.7}),
        (40, 1, {"pitch": 2.0, "energy": 1.5}),
    ):
        symbols = [ours.voice.symbols[n] for n in rng.integers(1, 27, count)]
        one, other = (each.speak(symbols, speaker, **controls) for each in (ours, theirs))
        assert one.durations.tolist() == other.durations.tolist() and one.symbols == other.symbols
        np.testing.assert_allclose(one.mel, other.mel, **NEAR)
    for wrong in ({"speaker": None}, {"speaker": "Bobb"}, {"speaker": 1, "speed": 0}, {"speaker": 7}):
        told = []
        for each in (ours, theirs):
            with pytest.raises(ValueError) as error:
                each.speak(["a"], **wrong)
            told.append(str(error.value).replace(each.voice.name, ""))
        assert told[0] == told[1]
    with pytest.raises(ValueError, match="imlspike_ctc"):
        Session(speakers / "onnx", "imlspike_ctc")


def test_the_gain_of_whole_numbers_is_that_of_their_floats(vocoder):
    ours = OnnxVocoder(vocoder[1], threads=1)
    ours.level = -20.0
    wave = 0.1 * np.random.default_rng(0).normal(size=ours.sampling_rate).astype(np.float32)
    whole = np.round(wave * 2**15).astype(np.int16)
    assert ours.gain([whole]) == pytest.approx(ours.gain([wave]), rel=1e-3)


def test_another_models_files_are_not_replaced(speakers, vocoder, capsys):
    there = (speakers / "onnx/model.onnx").read_bytes()
    export = ["export", f"{vocoder[1]}/bundle", "--output"]
    for folder, named in (("onnx", "onnx/model.onnx"), ("onnx/tokens.txt/below",) * 2):
        assert main([*export, f"{speakers}/{folder}"]) == 1
        [told] = capsys.readouterr().err.splitlines()
        assert f"{speakers}/{named}" in told
    assert (speakers / "onnx/model.onnx").read_bytes() == there
