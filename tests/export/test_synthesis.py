"""A vocoder and a voice in onnxruntime against PyTorch."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("onnxscript")

from imlspike.bin.main import main  # noqa: E402
from imlspike.export.bundles import export_bundle  # noqa: E402
from imlspike.export.engine import OnnxVocoder, OnnxVoice, Session  # noqa: E402
from imlspike.export.voice import SymbolsToMel, export_voice  # noqa: E402
from imlspike.inference import Vocoder  # noqa: E402
from imlspike.inference.vocoder import vocoder_bundle  # noqa: E402
from imlspike.inference.voice import TrainedVoice  # noqa: E402
from tests.models.small_spikevoice import SYMBOLS, VARIANTS, small_voice  # noqa: E402
from tests.models.small_vocos import small_mel, small_vocos  # noqa: E402

NEAR = dict(rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def vocoder(tmp_path_factory):
    """A small vocoder, and the folder that it was exported to."""
    model = small_vocos("learned shift", dtype=torch.float32)
    folder, bundle = tmp_path_factory.mktemp("vocoder"), vocoder_bundle(model, "small", level=-20.0)
    assert [path.name for path in export_bundle(bundle, folder)] == ["model.onnx", "mel.onnx"]
    bundle.save(folder / "bundle")
    return Vocoder(model, level=-20.0), folder


def test_mels_and_waveforms_of_any_length_become_what_pytorch_makes_of_them(vocoder):
    theirs, folder = vocoder
    ours = OnnxVocoder(folder, threads=1, chunk_seconds=0.2)
    for frames in (1, 2, 21, 300):
        mel = small_mel(frames, 1, torch.float32)[0]
        audio = np.concatenate(list(ours.stream([mel.numpy()[:, :1], mel.numpy()[:, 1:]])))
        np.testing.assert_allclose(audio, theirs.decode(mel).numpy(), **NEAR)
    wave = 0.01 * np.random.default_rng(0).standard_normal(9001).astype(np.float32)
    gain = ours.gain([wave])
    assert gain == pytest.approx(theirs.gain([wave]), rel=1e-5)
    audio = np.concatenate(list(ours.stream(np.split(wave, [7, 4000]), gain)))
    np.testing.assert_allclose(audio, theirs.vocode(wave).numpy(), **NEAR)


def test_vocode_needs_no_torch(vocoder, tmp_path):
    _, folder = vocoder
    wave = 0.01 * np.random.default_rng(0).standard_normal(9001)
    soundfile.write(tmp_path / "a.wav", wave, 8000)
    code = """if True:
        import sys
        for name in ("torch", "torchaudio", "onnx", "sentencepiece", "jiwer"):
            sys.modules[name] = None
        from imlspike.bin.main import main
        sys.exit(main(sys.argv[1:]))"""
    files = ["vocode", str(tmp_path / "a.wav"), "--threads", "1"]
    onnx = [*files, str(tmp_path / "ours.wav"), "--engine", "onnx", "--model", str(folder)]
    done = subprocess.run([sys.executable, "-c", code, *onnx], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert main([*files, str(tmp_path / "theirs.wav"), "--model", str(folder / "bundle")]) == 0
    ours, theirs = (soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("ours", "theirs"))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_a_voice_speaks_the_mel_and_durations_of_pytorch(tmp_path, monkeypatch):
    model = small_voice(dtype=torch.float32, **VARIANTS["lif"])
    sizes = dict(sampling_rate=8000, hop_length=64, n_mels=model.config["n_mels"])
    voice = TrainedVoice(model, [f"s{n}" for n in range(SYMBOLS)], sizes, mean=-3.0, deviation=2.0)
    monkeypatch.setattr(TrainedVoice, "from_bundle", lambda bundle: voice)

    class Bundle:
        name = "small"

    export_voice(Bundle, tmp_path)
    ours, theirs = OnnxVoice(tmp_path, threads=1), SymbolsToMel(voice)
    for count in (2, 13, 40):
        numbers = torch.randint(SYMBOLS, (1, count))
        mel, durations = ours([f"s{n}" for n in numbers[0].tolist()])
        with torch.no_grad():
            expected, frames = theirs(numbers)
        assert durations.tolist() == frames[0].tolist()
        np.testing.assert_allclose(mel, expected[0].numpy(), **NEAR)
    with pytest.raises(ValueError, match="x9"):
        ours(["s1", "x9"])
    with pytest.raises(ValueError, match="speaker"):
        ours(["s1"], speaker=1)
    with pytest.raises(ValueError, match="imlspike_ctc"):
        Session(tmp_path, "imlspike_ctc")
