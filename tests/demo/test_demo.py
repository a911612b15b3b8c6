"""The page's folder and its server, without a browser."""

import http.client
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

pytest.importorskip("onnxscript")

from imlspike.bin.main import main  # noqa: E402
from imlspike.data.yaml_file import ConfigError  # noqa: E402
from imlspike.demo import build as built  # noqa: E402
from imlspike.demo.build import RUNTIME_FILES, build, fetch_runtime  # noqa: E402
from imlspike.demo.server import MOST_BYTES, Server  # noqa: E402
from imlspike.demo.spikes import SHOWN, amounts, energy_table, noise, of_spikes  # noqa: E402
from imlspike.evaluation.energy import energy  # noqa: E402
from imlspike.evaluation.operations import OperationCounter  # noqa: E402
from imlspike.evaluation.spikes import SpikeRecorder  # noqa: E402
from imlspike.inference import Bundle  # noqa: E402
from imlspike.inference.recognizer import Recognizer  # noqa: E402
from tests.export.conftest import recognizer_bundle  # noqa: E402


@pytest.mark.parametrize("options", [{}, {"conv_kernel": 5, "num_blocks": 2}, {"rep_kernel": 3}])
def test_the_spikes_share_of_the_energy_is_that_of_the_operations_counted(options):
    """Of two sounds of one length, all but the attention's products differs by what the spikes explain."""
    recognizer = Recognizer.from_bundle(recognizer_bundle(**options)).eval()
    table = energy_table(recognizer, (1.0,))
    network = nn.ModuleDict({"encoder": recognizer.encoder, "ctc": recognizer.ctc})
    counted, explained = [], []
    for wave in (noise(1.0, 16000), torch.sin(torch.arange(16000) / 9) * torch.linspace(0, 0.3, 16000)):
        recorder, counter = SpikeRecorder(network), OperationCounter(network)
        with recorder, counter:
            recognizer([wave])
        counted.append(energy(row for row in counter.rows.values() if row.kind != "product"))
        fired = {name: amounts(layer) for name, layer in recorder.layers.items()}
        explained.append(of_spikes(table["prices"], fired))
    for figure in SHOWN:
        differs = 1e-6 * (counted[1][figure] - counted[0][figure])
        whole = 1e-6 * counted[1][figure]
        assert explained[1][figure] - explained[0][figure] == pytest.approx(differs, abs=0.01 * whole)
    assert all(explained[0][figure] for figure in ("int8_bitwise", "rival_skipping", "memory"))


def test_the_energy_of_a_recording_is_what_profiling_counts(repository):
    """Within 2 %: the attention's accumulates alone are not this recording's."""
    folder = repository / "egs/msu_ru_nsh/voc1/results/RESULTS_files/ru_0216"
    wave = torch.from_numpy(soundfile.read(folder / "natural.wav", dtype="float32")[0][:25000])
    recognizer = Recognizer.from_bundle(Bundle.load(repository / "pretrained/recogniser.zip")).eval()
    table = energy_table(recognizer, (1.0, 2.5))
    network = nn.ModuleDict({"encoder": recognizer.encoder, "ctc": recognizer.ctc})
    recorder, counter = SpikeRecorder(network), OperationCounter(network)
    with recorder, counter:
        recognizer([wave])
    counted, seconds = energy(counter.rows.values()), len(wave) / 16000
    share = of_spikes(table["prices"], {name: amounts(layer) for name, layer in recorder.layers.items()})
    for figure, base in table["base"].items():
        each = np.interp(seconds, table["seconds"], np.divide(base, table["seconds"]))
        assert seconds * each + share[figure] == pytest.approx(counted[figure] * 1e-6, rel=0.02)


def test_models_that_make_no_page_are_refused_by_name(tmp_path):
    class One:
        source, config = "a.zip", {"features": {}}

        def __init__(self, kind):
            self.kind = kind

    def make(*kinds, folder=tmp_path / "page"):
        build(folder, map(One, kinds), tmp_path, None, print)

    for kinds, told in ((["voice"], "voice"), (["recognizer"] * 2, r"a\.zip"), (["vocoder"], "vocoder")):
        with pytest.raises(ValueError, match=told):
            make(*kinds)
    with pytest.raises(ConfigError, match=r"ort\.wasm\.min\.mjs"):
        make("recognizer")
    (tmp_path / "mine").write_text("")
    with pytest.raises(FileExistsError, match=tmp_path.name):
        make("recognizer", folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_page_may_be_made_in_an_empty_folder_where_one_stands(tmp_path, monkeypatch):
    for name in ("runtime", "here"):
        (tmp_path / name).mkdir()
    for name in RUNTIME_FILES:
        (tmp_path / "runtime" / name).write_text("")
    monkeypatch.chdir(tmp_path / "here")
    build(Path(), [], tmp_path / "runtime", None, print)
    assert (tmp_path / "here/demo.json").is_file() and (tmp_path / "here/ort" / RUNTIME_FILES[0]).is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"runtime", "here"}


def test_a_runtime_that_cannot_be_fetched_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(ConfigError, match="npm"):
        fetch_runtime(print)
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    for script, told in (("echo E404; exit 1", "E404"), (": > onnxruntime-web.tgz", "SHA-256")):
        npm.write_text(f"#!/bin/sh\n{script}\n")
        npm.chmod(0o755)
        with pytest.raises(ConfigError, match=told):
            fetch_runtime(print)
    folder = tmp_path / "imlspike" / f"onnxruntime-web-{built.RUNTIME}"
    folder.mkdir()
    for name in built.RUNTIME_FILES:
        (folder / name).write_text("")
    assert fetch_runtime(print) == folder


def test_the_verb_writes_or_serves_the_page_and_tells_one_address(tmp_path, monkeypatch, capsys):
    def fill(folder, bundles, runtime, text_url, tell):
        folder.mkdir()
        (folder / "made").write_text(f"{[bundle.kind for bundle in bundles]} {text_url}")

    def serve(server):
        shown.append((Path(server.RequestHandlerClass.keywords["directory"]) / "made").read_text())
        raise KeyboardInterrupt

    shown, model = [], ["--model", str(tmp_path / "model")]
    recognizer_bundle().save(tmp_path / "model")
    monkeypatch.setattr(built, "build", fill)
    monkeypatch.setattr(Server, "serve_forever", serve)
    assert main(["demo", *model, "--port", "0"]) == 0
    assert re.fullmatch(r"demo: http://127\.0\.0\.1:\d+/ .*\n", capsys.readouterr().out)
    assert shown == ["['recognizer'] symbols"]
    assert main(["demo", *model, "--static", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "made").read_text() == "['recognizer'] None"
    with Server(tmp_path, "127.0.0.1", 0) as other:
        assert main(["demo", *model, "--port", str(other.server_address[1])]) == 1
    assert "--port" in capsys.readouterr().err


class Speller:
    """Stands in for a voice: a sentence of its letters."""

    def spell(self, text):
        if "?" in text:
            raise ValueError("'?' can't be spoken")
        return [(text, list(text), "text")], ()


@pytest.fixture
def server(tmp_path):
    (tmp_path / "index.html").write_text("page")
    (tmp_path / "ort").mkdir()
    for name in ("a.mjs", "a.wasm"):
        (tmp_path / "ort" / name).write_bytes(b"1" * 300_000)
    with Server(tmp_path, "127.0.0.1", 0, Speller()) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_200_sessions_at_once_get_each_their_own_answer(server):
    def session(number):
        _, spelled = ask(server, "POST", "/symbols", f"text {number}".encode())
        _, wasm = ask(server, "GET", "/ort/a.wasm")
        return json.loads(spelled), len(wasm)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(session, range(200)))
    assert answers == [([list(f"text {number}")], 300_000) for number in range(200)]


def test_what_the_server_says_and_refuses(server):
    answer, _ = ask(server, "GET", "/")
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    types = [ask(server, "GET", f"/ort/{name}")[0].headers["Content-Type"] for name in ("a.mjs", "a.wasm")]
    assert types == ["text/javascript", "application/wasm"]
    assert ask(server, "GET", "/../../etc/passwd")[0].status == ask(server, "GET", "/ort/")[0].status == 404
    assert ask(server, "POST", "/symbols", b"a" * (MOST_BYTES + 1))[0].status == 413
    connection = http.client.HTTPConnection(*server.server_address, timeout=60)
    connection.putrequest("POST", "/symbols")
    connection.endheaders()  # without a length
    assert connection.getresponse().status == 411
    connection.close()
    assert ask(server, "POST", "/other", b"a")[0].status == 404
    answer, told = ask(server, "POST", "/symbols", "что?".encode())
    assert answer.status == 400 and told.decode() == "'?' can't be spoken"
    assert ask(server, "POST", "/symbols", b"\xff")[0].status == 400
