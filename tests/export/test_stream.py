"""The graph of a stream and its client in onnxruntime against the recognizer in PyTorch."""

import copy
import fcntl
import json
import signal
import subprocess
import sys
import termios
import time
from dataclasses import astuple

import numpy as np
import pytest
import soundfile
import torch

ort = pytest.importorskip("onnxruntime", reason="onnxruntime isn't installed (extra: onnx)")

from imlspike.bin.main import main  # noqa: E402
from imlspike.export.engine import OnnxStream  # noqa: E402
from imlspike.export.stream import export_stream  # noqa: E402
from imlspike.inference.bundle import Bundle  # noqa: E402
from imlspike.inference.recognizer import Recognizer  # noqa: E402
from imlspike.inference.stream import Stream  # noqa: E402
from imlspike.layers.level import running_gains  # noqa: E402
from tests.inference.test_stream import SPEECH, features, pieces, recognizer  # noqa: E402, F401

PIPE = subprocess.PIPE
LISTEN = """if True:
    import json, sys
    sys.modules["torch"] = None
    import numpy as np
    from dataclasses import astuple
    from imlspike.export.engine import OnnxStream
    speech, stream, results = np.load(sys.argv[2]), OnnxStream(sys.argv[1], 1, pause=0.2), []
    other = OnnxStream(stream.session)
    for cuts in json.loads(sys.argv[3]):
        parts = np.split(speech, sorted(round(cut * len(speech)) for cut in cuts))
        results.append([astuple(one) for part in parts for one in stream.accept(part) if one.final])
        results[-1] += [astuple(one) for one in stream.finish()]
        other.accept(speech[:9000])
    print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def exported(recognizer, tmp_path_factory):  # noqa: F811
    """The recognizer, and stream.onnx of it with four tokens of look-ahead."""
    made, folder = recognizer.float(), tmp_path_factory.mktemp("stream")
    made.ctc.bias.data[0] += 0.3  # for pauses between utterances
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recognizer, "from_bundle", lambda bundle: copy.deepcopy(made))
        return made, export_stream(Bundle("recognizer", "it", {}, {}, ()), folder, 4)


def test_states_go_in_and_out(exported):
    made, path = exported
    made.encoder.look_ahead, group = 4, 5
    with torch.no_grad():
        want = made([torch.from_numpy(SPEECH)])[0][0].numpy()
    session = ort.InferenceSession(path)
    about = session.get_modelmeta().custom_metadata_map
    size, on = int(about["samples"]), int(about["samples_on"])
    wave = np.concatenate([SPEECH[256:0:-1], SPEECH])  # as the first frame mirrors it
    ends = 256 + 160 * torch.arange(len(SPEECH) // 160)
    gains = running_gains(torch.from_numpy(SPEECH), 16000, float(about["level"]), ends).numpy()
    wave, gains = np.pad(wave, (0, size)), np.pad(gains, (0, 4 * group), "edge")
    state, found = np.zeros(session.get_inputs()[4].shape, np.float32), []
    for past in range(0, len(want), group):
        start, frame = past // group * on, past * 4
        given = {
            "samples": wave[None, start : start + size],
            "gains": gains[None, frame : frame + group * 4 + 3],
        }
        given |= {"past": np.array([past]), "real": np.array([len(want) - past]), "state": state}
        log_probs, state = session.run(None, given)
        found.append(log_probs[0])
    found = np.concatenate(found)[: len(want)]
    # Where rounding turns a spike over, a token and those after it differ.
    assert np.mean(np.abs(found - want).max(1) < 1e-3) > 0.9


def test_texts_and_times_are_those_of_pytorch_for_any_cut_without_torch(exported, tmp_path):
    made, path = exported
    cuts = [[], *(np.random.default_rng(n).random(4 * n).tolist() for n in range(1, 6))]
    np.save(tmp_path / "speech.npy", SPEECH)
    command = [sys.executable, "-c", LISTEN, path.parent, tmp_path / "speech.npy", json.dumps(cuts)]
    results = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert all(each == results[0] for each in results)
    stream = Stream(made, 4, pause=0.2)
    heard = stream.accept(SPEECH) + stream.finish()
    assert results[0] == [list(astuple(one)) for one in heard if one.final] != []
    assert OnnxStream(path).latency == stream.latency


@pytest.mark.parametrize("tokens_less", range(5))
def test_the_last_group_ends_where_the_sound_does(exported, tokens_less):
    made, path = exported
    ours, stream = OnnxStream(path, 1, pause=None), Stream(made, 4, pause=None)
    speech = SPEECH[: len(SPEECH) - 640 * tokens_less]
    for each in (ours, stream):
        each.given = []
        each.log_probs = lambda rows, own=each.log_probs, to=each.given: (
            to.append(np.asarray(own(rows))) or to[-1]
        )
    found, want = ours.accept(speech) + ours.finish(), stream.accept(speech) + stream.finish()
    assert found == want != []
    np.testing.assert_allclose(np.concatenate(ours.given), np.concatenate(stream.given), atol=1e-3)


def test_a_graph_of_before_is_named(exported):
    session = copy.copy(OnnxStream(exported[1]).session)
    session.names = [name for name in session.names if name != "real"]
    with pytest.raises(ValueError, match=r"stream\.onnx"):
        OnnxStream(session)


def test_the_command_prints_the_same(exported, tmp_path, capfd):
    _, path = exported
    soundfile.write(tmp_path / "it.wav", SPEECH, 16000, "FLOAT")
    command = ["stream", f"{tmp_path}/it.wav", f"--model={path.parent}", "--engine=onnx", "--pause=0.2"]
    assert main(command) == 0
    stream = OnnxStream(path, pause=0.2)
    want = [one for one in stream.accept(SPEECH) + stream.finish() if one.final]
    assert capfd.readouterr().out == "".join(f"{o.start:.2f}\t{o.end:.2f}\t{o.text}\n" for o in want)
    with pytest.raises(SystemExit):
        main([*command, "--look-ahead=2"])
    assert "--look-ahead" in capfd.readouterr().err


def test_ctrl_c_ends_listening_and_what_was_heard_is_told(exported):
    _, path = exported
    command = [sys.executable, "-m", "imlspike", "stream", "-", f"--model={path.parent}", "--engine=onnx"]
    heard = (32767 * SPEECH).astype("<i2")
    for partial in ([], ["--partial"]):
        with subprocess.Popen([*command, *partial], stdin=PIPE, stdout=PIPE, stderr=PIPE) as running:
            running.stdin.write(heard.tobytes())
            running.stdin.flush()
            while int.from_bytes(fcntl.ioctl(running.stdin, termios.FIONREAD, bytes(4)), sys.byteorder):
                time.sleep(0.05)  # until all was read; it waits for more then
            time.sleep(0.5)
            running.send_signal(signal.SIGINT)
            out, err = running.communicate()
        stream = OnnxStream(path)
        want = [one for one in stream.accept(heard) + stream.finish() if one.final]
        final = [line for line in out.decode().splitlines() if not line.startswith("...")]
        assert final == [f"{o.start:.2f}\t{o.end:.2f}\t{o.text}" for o in want] and want
        assert running.returncode == 130 and not err


def test_standard_input_that_is_a_file_or_closed_is_refused(exported, monkeypatch, capfd, tmp_path):
    command = ["stream", "-", f"--model={exported[1].parent}", "--engine=onnx"]
    soundfile.write(tmp_path / "it.wav", SPEECH, 16000)
    (tmp_path / "it.webm").write_bytes(b"\x1aE\xdf\xa3" + bytes(2000))
    (tmp_path / "it.m4a").write_bytes(bytes(3) + b"\x20ftypM4A " + bytes(2000))
    files = [open(tmp_path / f"it.{kind}", "rb") for kind in ("wav", "webm", "m4a")]  # noqa: SIM115
    for source in (*files, None):
        monkeypatch.setattr("sys.stdin", source)
        assert main(command) == 1
        printed = capfd.readouterr()
        assert not printed.out and "standard input is" in printed.err and "Error" not in printed.err
