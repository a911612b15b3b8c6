"""A recognizer in onnxruntime and in sherpa-onnx against PyTorch."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch

from imlspike.bin.main import main
from imlspike.data.yaml_file import ConfigError
from imlspike.export.engine import OnnxDecoder, Session
from imlspike.export.integers import IntegerConv, IntegerLinear, Spikes, to_integers
from imlspike.export.recognizer import GraphFeatures, WaveformToLogProbs, export_recognizer
from imlspike.inference import Bundle
from imlspike.inference.decoding import open_decoder
from imlspike.inference.recognizer import Recognizer, SpeechFeatures
from imlspike.neurons import IMLS, ReLU
from tests.export.conftest import noises, recognizer_bundle

CLOSE = dict(rtol=1e-6, atol=1e-5)  # in all frames: no spike may turn over
SECONDS = (0.13, 1.0, 3.7, 20.0)  # the last has chunks of attention
ADAPTIVE = dict(threshold="token", qk="both", conv_kernel=5, direction="split")
WHOLE = dict(conv_kernel=5, rep_kernel=3, input_channels=4, input_groups=2)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    bundle, folder = recognizer_bundle(**ADAPTIVE), tmp_path_factory.mktemp("onnx")
    export_recognizer(bundle, folder)
    return bundle, folder


def test_log_probabilities_and_texts_are_those_of_pytorch(exported):
    bundle, folder = exported
    decoder, ours, waves = open_decoder(bundle), OnnxDecoder(folder, threads=1), noises(*SECONDS)
    for wave in waves:
        with torch.no_grad():
            expected = decoder.recognizer([torch.from_numpy(wave)])[0][0].numpy()
        np.testing.assert_allclose(ours.log_probs(wave), expected, **CLOSE)
    assert ours(waves[:3]) == decoder(waves[:3])
    assert ours([waves[0][:479]]) == [None] == decoder([waves[0][:479]])


def test_the_file_holds_no_paths_and_is_taken_before_others_beside_it(exported, tmp_path):
    content = (exported[1] / "model.onnx").read_bytes()
    assert not any(word in content for word in (b"site-packages", b"imlspike/", b"stack_trace", b"File "))
    shutil.copytree(exported[1], tmp_path / "onnx")
    (tmp_path / "onnx/model.int8.onnx").write_bytes(content)
    assert OnnxDecoder(tmp_path / "onnx").session.path == f"{tmp_path}/onnx/model.onnx"
    (tmp_path / "onnx/model.onnx").rename(tmp_path / "onnx/model.other.onnx")
    with pytest.raises(ValueError, match="model.int8.onnx, model.other.onnx"):
        OnnxDecoder(tmp_path / "onnx")


def test_threads_share_a_model(exported):
    bundle, folder = exported
    waves = noises(*np.linspace(0.3, 1.5, 12))
    for decoder in (OnnxDecoder(folder, threads=1), open_decoder(bundle)):
        alone = [decoder([wave]) for wave in waves]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda wave, run=decoder: run([wave]), waves * 3))
        assert together == alone * 3


def test_sherpa_onnx_reads_the_same_text(exported):
    """It brings the waveform to another level, which must not matter."""
    sherpa = pytest.importorskip("sherpa_onnx").OfflineRecognizer
    _, folder = exported
    ours = OnnxDecoder(folder, threads=1)
    files = dict(model=f"{folder}/model.onnx", tokens=f"{folder}/tokens.txt")
    client = sherpa.from_omnilingual_asr_ctc(**files)
    for wave in noises(0.5, 1.0, 2.0):
        stream = client.create_stream()
        stream.accept_waveform(16000, wave)
        client.decode_stream(stream)
        assert " ".join(stream.result.text.split()) == ours([wave - wave.mean()])[0]


def test_the_command_needs_no_torch(exported, tmp_path, capsys):
    """A file of another rate, longer than a piece; in a process that can't import torch."""
    bundle, folder = exported
    [wave] = noises(30.0)
    soundfile.write(tmp_path / "a.wav", wave, 8000)
    code = """if True:
        import sys
        for name in ("torch", "torchaudio", "onnx", "sentencepiece", "jiwer"):
            sys.modules[name] = None
        from imlspike.bin.main import main
        sys.exit(main(sys.argv[1:]))"""
    words = ["transcribe", str(tmp_path / "a.wav"), "--format", "json", "--threads", "1"]
    onnx = [*words, "--engine", "onnx", "--model", str(folder)]
    done = subprocess.run([sys.executable, "-c", code, *onnx], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    bundle.save(tmp_path / "bundle")
    assert main([*words, "--model", str(tmp_path / "bundle")]) == 0
    ours, theirs = (json.loads(out)["segments"] for out in (done.stdout, capsys.readouterr().out))
    assert len(ours) > 1 and [each["text"] for each in ours] == [each["text"] for each in theirs]
    assert all(each["end"] - each["start"] <= 25 for each in ours)


def test_int8_is_the_same_network_with_rounded_weights(tmp_path):
    bundle = recognizer_bundle(**WHOLE)
    export_recognizer(bundle, tmp_path, int8=True)
    session = Session(tmp_path / "model.int8.onnx", "imlspike_ctc", 1)
    model = WaveformToLogProbs(Recognizer.from_bundle(bundle), int8=True)
    for wave in noises(*SECONDS[:3]):
        with torch.no_grad():
            expected = model(torch.from_numpy(wave)[None])
        np.testing.assert_allclose(session(wave[None])[0], expected.numpy(), **CLOSE)
    types = {node.op_type for node in _graph(tmp_path / "model.int8.onnx").node}
    assert {"MatMulInteger", "QuantizeLinear"} <= types


def _graph(path):
    import onnx

    model = onnx.load(path)
    assert {each.domain for each in model.opset_import} <= {"", "pkg.onnxscript.torch_lib"}
    return model.graph


def test_an_integer_map_is_that_of_its_rounded_weights():
    linear, counts = torch.nn.Linear(5, 3), torch.randint(7, (4, 5), dtype=torch.uint8)
    integer = IntegerLinear(linear)
    assert torch.allclose(integer.weight.T * integer.scale[:, None], linear.weight, atol=5e-3)
    rounded = (integer.weight.T * integer.scale[:, None]) @ counts.float().T
    torch.testing.assert_close(integer(counts), rounded.T + linear.bias)


def test_an_integer_convolution_is_that_of_its_rounded_weights():
    conv = torch.nn.Conv2d(4, 6, 3, stride=2, groups=2)
    counts = torch.randint(7, (1, 4, 11, 9), dtype=torch.uint8)
    near = dict(atol=0.05, rtol=0)
    torch.testing.assert_close(IntegerConv(conv)(counts), conv(counts.float()), **near)


def test_spikes_in_uint8_are_the_neuron_s():
    neuron = IMLS(levels=6, threshold="token", amplitude="unit")
    x = torch.randn(50, 8)
    assert torch.equal(Spikes(neuron)(x).float(), neuron(x))


@pytest.mark.parametrize(("neuron", "what"), [(IMLS(), "amplitude"), (ReLU(), "relu")])
def test_int8_refuses_what_sends_no_whole_numbers(neuron, what):
    with pytest.raises(ValueError, match=what):
        Spikes(neuron)


@pytest.mark.parametrize("normalized", [False, True])
def test_features_without_complex_numbers(normalized):
    sizes = (8000, 256, 200, 80, "hann", True, normalized)
    features = SpeechFeatures(*sizes, n_mels=20, normalize="none", level=-20.0)
    features.bands.copy_(torch.rand(129, 20))
    for wave in noises(0.1, 0.5):
        wave = torch.from_numpy(wave)
        torch.testing.assert_close(GraphFeatures(features)(wave), features(wave), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("files", "told"), [([], "no .onnx"), (["stream.onnx"], "stream.onnx")])
def test_what_is_there_instead_of_a_model_is_told(files, told, tmp_path):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"{tmp_path}: {told}"):
        OnnxDecoder(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}/none: no such file"):
        OnnxDecoder(tmp_path / "none")


def test_another_model_s_table_is_refused(exported, tmp_path):
    """Of as many tokens, as an export into one folder may leave it."""
    shutil.copytree(exported[1], tmp_path / "onnx")
    table = (tmp_path / "onnx/tokens.txt").read_text().splitlines()
    (tmp_path / "onnx/tokens.txt").write_text("".join(f"{line}\r\n" for line in table))
    OnnxDecoder(tmp_path / "onnx")  # other ends of lines are no other tokens
    first, second = (line.split(" ")[0] for line in table[3:5])
    table[3:5] = [f"{second} 3", f"{first} 4"]
    (tmp_path / "onnx/tokens.txt").write_text("\n".join(table))
    with pytest.raises(ValueError, match=f"{tmp_path}/onnx/tokens.txt: another model's"):
        OnnxDecoder(tmp_path / "onnx")


def test_a_token_may_end_lines_elsewhere(exported, tmp_path):
    """U+2028: the table is one of as many tokens, and of another model."""
    shutil.copytree(exported[1], tmp_path / "onnx")
    table = (tmp_path / "onnx/tokens.txt").read_text().split("\n")
    table[3] = "\u2028 3"
    (tmp_path / "onnx/tokens.txt").write_text("\n".join(table))
    with pytest.raises(ValueError, match="another model's"):
        OnnxDecoder(tmp_path / "onnx")


def test_a_table_without_a_blank_is_named(exported, tmp_path):
    (tmp_path / "model.onnx").write_bytes((exported[1] / "model.onnx").read_bytes())
    table = (exported[1] / "tokens.txt").read_text()
    (tmp_path / "tokens.txt").write_text(table.replace("<blank>", "<x>"))
    with pytest.raises(ValueError, match=f"{tmp_path}/tokens.txt: no <blank>"):
        OnnxDecoder(tmp_path)


def test_pytorch_sends_exported_files_to_the_other_engine(tmp_path):
    (tmp_path / "model.onnx").touch()
    for path in (tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(ConfigError, match=f"{path}: .*--engine onnx"):
            Bundle.load(path)


def test_errors_name_the_file_and_the_key(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no")
    with pytest.raises(ValueError, match="model.onnx: .*imlspike export"):
        OnnxDecoder(tmp_path)
    recognizer = Recognizer.from_bundle(recognizer_bundle())
    recognizer.features.peak = 0.9
    with pytest.raises(ValueError, match="peak"):
        WaveformToLogProbs(recognizer)
    recognizer.ctc = None
    with pytest.raises(ValueError, match="ctc_weight"):
        WaveformToLogProbs(recognizer)
    assert to_integers(torch.nn.Identity())
