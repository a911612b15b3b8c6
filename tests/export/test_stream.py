"""The graph of a stream against the recognizer on the whole, in onnxruntime."""

import numpy as np
import pytest
import torch

ort = pytest.importorskip("onnxruntime", reason="onnxruntime isn't installed (extra: onnx)")

from imlspike.export.stream import export_stream  # noqa: E402
from imlspike.inference.bundle import Bundle  # noqa: E402
from imlspike.inference.recognizer import Recognizer  # noqa: E402
from imlspike.layers.level import running_gains  # noqa: E402
from tests.inference.test_stream import SPEECH, TOKENS, features, recognizer  # noqa: E402, F401


def test_states_go_in_and_out(recognizer, tmp_path, monkeypatch):  # noqa: F811
    made = recognizer.float()
    monkeypatch.setattr(Recognizer, "from_bundle", lambda bundle: made)
    made.encoder.look_ahead, group = 4, 5
    with torch.no_grad():
        want = made([torch.from_numpy(SPEECH)])[0][0].numpy()
    session = ort.InferenceSession(export_stream(Bundle("recognizer", "it", {}, {}, ()), tmp_path, 4))
    about = session.get_modelmeta().custom_metadata_map
    size, on = int(about["samples"]), int(about["samples_on"])
    wave = np.concatenate([SPEECH[256:0:-1], SPEECH])  # as the first frame mirrors it
    ends = 256 + 160 * torch.arange(len(SPEECH) // 160)
    gains = running_gains(torch.from_numpy(SPEECH), 16000, float(about["level"]), ends).numpy()
    state, found = np.zeros(session.get_inputs()[3].shape, np.float32), []
    for past in range(0, len(want) // group * group, group):
        start, frame = past // group * on, past * 4
        given = {
            "samples": wave[None, start : start + size],
            "gains": gains[None, frame : frame + group * 4 + 3],
        }
        given |= {"past": np.array([past]), "state": state}
        log_probs, state = session.run(None, given)
        found.append(log_probs[0])
    found = np.concatenate(found)
    # Where rounding turns a spike over, a token and those after it differ.
    assert np.mean(np.abs(found - want[: len(found)]).max(1) < 1e-3) > 0.9
