"""The page in headless Chromium, with small untrained models: a WAV is its microphone."""

import json
import re
import shutil
import threading
from difflib import SequenceMatcher

import numpy as np
import pytest
import soundfile
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
sync_api = pytest.importorskip("playwright.sync_api")

from imlspike.data.yaml_file import ConfigError  # noqa: E402
from imlspike.demo import build as built  # noqa: E402
from imlspike.demo.build import RUNTIME_FILES, build, runtime_cache, runtime_file  # noqa: E402
from imlspike.demo.server import TEXT_URL, Server  # noqa: E402
from imlspike.demo.spikes import of_spikes  # noqa: E402
from imlspike.export.engine import OnnxStream  # noqa: E402
from imlspike.inference import Bundle, Speech2Text  # noqa: E402
from imlspike.inference.decoding import Decoder  # noqa: E402
from imlspike.inference.recognizer import Recognizer, Tokens  # noqa: E402
from imlspike.inference.word_times import WordTimes, find_words  # noqa: E402
from tests.export.conftest import TOKENS, noises, recognizer_bundle  # noqa: E402
from tests.inference import small_tts, small_vocoder  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if not CHROMIUM:
    pytest.skip("Chromium isn't installed", allow_module_level=True)
try:
    for name in RUNTIME_FILES:
        runtime_file(runtime_cache(), name)
except ConfigError:
    pytest.skip("onnxruntime-web isn't there yet: imlspike demo fetches it", allow_module_level=True)
OPTIONS = dict(threshold="fixed", threshold_value=0.6, conv_kernel=5)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a recording, the served page (page/), and the models that it was made of."""
    folder = tmp_path_factory.mktemp("demo")
    torch.manual_seed(0)
    soundfile.write(folder / "speech.wav", noises(3.0)[0], 16000, "FLOAT")
    soundfile.write(folder / "microphone.wav", noises(3.0)[0], 16000)
    (folder / "notes.wav").write_text("no sound")
    recognizer_bundle(**OPTIONS).save(folder / "recognizer")
    streams = recognizer_bundle(**OPTIONS, look_ahead=[None, 0, 4], direction=["past", "both"])
    streams.config["features"]["causal_level"] = True
    streams.save(folder / "streams")
    small_tts.write_voice(folder / "voice")
    small_vocoder.save(small_vocoder.small_model(), folder / "vocoder")
    return folder


def export_toy(kind: str):
    """A stand-in for an export, which takes its time: of the same inputs and outputs."""
    graph = {
        "voice": """(int64[1, N] symbols, float[3] controls) => (float[1, 8, L] mel) {
            height = Constant<value_ints=[1, 8, 1]>()
            row = Cast<to=1>(symbols)
            mel = Expand(row, height)
        }""",
        "vocoder": """(float[1, 8, L] mel) => (float[1, S] audio) {
            axis = Constant<value_ints=[1]>()
            times = Constant<value_ints=[1, 1600]>()
            row = ReduceMean<keepdims=0>(mel, axis)
            long = Tile(row, times)
            audio = Sin(long)
        }""",
    }[kind]

    def export(bundle, folder):
        folder.mkdir()
        text = f'<ir_version: 8, opset_import: ["": 18]> {kind} {graph}'
        onnx.save(onnx.parser.parse_model(text), folder / "model.onnx")

    return export


@pytest.fixture(scope="module")
def address(files):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(built, "export_voice", export_toy("voice"))
        patch.setattr(built, "export_vocoder", export_toy("vocoder"))
        yield from serve(files)


def serve(files):
    bundles = [Bundle.load(files / name) for name in ("recognizer", "streams", "voice", "vocoder")]
    speech = build(files / "page", bundles, runtime_cache(), TEXT_URL, print)
    with Server(files / "page", "127.0.0.1", 0, speech) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.address
        server.shutdown()


@pytest.fixture(scope="module")
def browser(files):
    fake = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    fake.append(f"--use-file-for-fake-audio-capture={files / 'microphone.wav'}")
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *fake])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def page(browser, address):
    """The page, ready; it has asked its own server only, when the module's tests are done."""
    page = browser.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    says(page, "Ready")
    yield page
    own = (address, f"blob:{address}", "data:,")
    assert len(requests) > 5 and [url for url in requests if not url.startswith(own)] == []
    assert errors == []


def says(page, text, where="#listen-status"):
    sync_api.expect(page.locator(where)).to_contain_text(text, timeout=120_000)


def module(page, expression, *values):
    """What an expression of recognize.js's functions gives."""
    code = f"async (values) => {{ const js = await import('./recognize.js'); return {expression}; }}"
    return page.evaluate(code, list(values))


def test_a_file_becomes_the_text_of_the_recognizer_and_its_words(page, files):
    page.set_input_files("#file", files / "speech.wav")
    says(page, "3.0 s of sound")
    recognizer = Recognizer.from_bundle(Bundle.load(files / "recognizer"))
    text = Speech2Text(Decoder(recognizer))(noises(3.0)[0])
    assert len(text) > 5 and page.inner_text("#transcript") == text
    assert page.locator("#words button").all_inner_texts() == text.split()
    assert page.locator("#gutter span").count() == 1  # block
    painted = (
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((x, i) => i % 4 == 3 && x)"
    )
    for canvas in ("#wave", "#raster"):
        assert page.eval_on_selector(canvas, painted)
    assert page.locator("#energy td.value").count() == 8
    page.select_option("#layer", "encoder.blocks.0.attention.k_neuron")
    says(page, "each row a channel", "#layer-note")
    page.locator("#words button").first.press("Enter")  # plays it
    sync_api.expect(page.locator("#playhead")).to_be_visible()


def test_a_dropped_file_is_heard(page, files):
    make = """bytes => { const all = new DataTransfer();
        all.items.add(new File([new Uint8Array(bytes)], 'dropped.wav')); return all; }"""
    data = page.evaluate_handle(make, list((files / "microphone.wav").read_bytes()))
    page.evaluate("document.getElementById('listen-status').textContent = ''")
    page.dispatch_event("#listen", "drop", {"dataTransfer": data})
    says(page, "3.0 s of sound")


def test_a_recording_becomes_words(page):
    page.click("#record")
    says(page, "Recording, 2 s")
    page.click("#record")
    says(page, "of sound in")
    assert len(page.inner_text("#transcript")) > 2 and page.locator("#words button").count()


CAPTURE = """() => {
    window.captured = [];
    const Node = window.AudioWorkletNode;
    window.AudioWorkletNode = class extends Node {
        constructor(...all) {
            super(...all);
            this.port.addEventListener("message", ({ data }) => window.captured.push(...data));
        }
    };
}"""


def test_what_is_said_live_appears_while_it_is_said(page, files):
    page.evaluate(CAPTURE)
    page.locator("#live").press("Enter")
    says(page, "Listening")
    sync_api.expect(page.locator("#partial")).to_have_text(re.compile(".{40}"), timeout=60_000)
    assert page.is_disabled("#record") and page.inner_text("#finals") == ""
    page.locator("#live").press("Enter")
    says(page, "Done")
    stream = OnnxStream(files / "page", 1)
    wave = np.array(page.evaluate("window.captured"), np.float32)
    want = " ".join(one.text for one in stream.accept(wave) + stream.finish() if one.final)
    said = " ".join(page.locator("#finals p").all_inner_texts())
    assert page.inner_text("#partial") == "" and len(said) >= 40
    assert SequenceMatcher(None, said, want).ratio() > 0.9  # rounding may turn a spike over


def test_text_is_spoken_and_heard(page):
    page.fill("#text", "hello there.")
    page.click("#say")
    says(page, "s of speech", "#speak-status")
    assert page.input_value("#symbols") == "h e l l o <space> t h e r e ."
    page.click("#recognize")
    says(page, "of sound in")
    page.fill("#text", "§")
    page.click("#say")
    says(page, "§", "#speak-status")
    page.click("summary")
    page.fill("#symbols", "h e q̃")
    page.click("#say")
    says(page, "doesn't know q̃", "#speak-status")


def test_errors_in_plain_words(page, files, browser, address):
    page.set_input_files("#file", files / "notes.wav")
    says(page, "notes.wav is no sound")
    other = browser.new_page()
    other.route("**/*.wasm", lambda route: route.abort())
    other.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', 'NotFoundError') }"
    )
    other.goto(address)
    says(other, "did not work")
    for button in ("#record", "#live"):
        other.evaluate("document.getElementById('listen-status').textContent = ''")
        other.click(button)
        says(other, "No microphone was found")
    other.close()


def test_a_phone_s_width_needs_no_scrolling(page):
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.set_viewport_size({"width": 1280, "height": 800})


def test_all_can_be_reached_by_the_keyboard_and_has_a_name(page):
    reached = set()
    page.locator("body").press("Tab")
    for _ in range(60):
        reached.add(page.evaluate("document.activeElement.id"))
        page.keyboard.press("Tab")
    assert {"live", "record", "file", "play", "layer", "text", "sentence", "say"} <= reached
    unnamed = page.eval_on_selector_all(
        "button, input, select, textarea, canvas, audio",
        "all => all.filter(e => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map(e => e.id)",
    )
    assert unnamed == []


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_words_times_and_confidences_are_those_of_the_forced_alignment(page, kind):
    """Where the best path is the alignment: each token has one frame, and is likely."""
    rng = np.random.default_rng(0)
    if kind == "bpe":
        names = ["<blank>", "<unk>", "▁a", "b", "▁cd", "▁", "你", "<sos/eos>"]
        tokens = Tokens(TOKENS, "char")
        tokens.names, tokens.kind, tokens.eos, spelled = names, "bpe", 7, names
        tokens.text = lambda numbers: "".join(names[n] for n in numbers).replace("▁", " ").strip()
    else:
        tokens = Tokens(TOKENS, "char")
        spelled = ["▁" if name == "<space>" else name for name in TOKENS]
    numbers = [n for n in rng.integers(2, len(spelled) - 1, 30).tolist()]
    frames = [n for number in numbers for n in (0, number)]
    logits = torch.from_numpy(rng.random((60, len(spelled)))) + 6 * torch.eye(len(spelled))[frames]
    log_probs, times = logits.log_softmax(-1).numpy(), WordTimes(-0.03, 0.02, 1.3)
    expected = find_words(log_probs, numbers, tokens, 2.4, times)
    about = {"tokens": spelled, "blank": 0, "eos": len(spelled) - 1, "word_times": vars(times)}
    call = "js.words(values[0], 60, 2.4, values[1])"
    found = module(page, call, log_probs.flatten().tolist(), about)
    assert [word["text"] for word in found] == [word.text for word in expected]
    for key in ("start", "end", "confidence"):
        ours = [word[key] for word in found]
        np.testing.assert_allclose(ours, [getattr(word, key) for word in expected], atol=1e-5)


def test_energy_is_the_formula_of_python(page, files):
    settings = json.loads((files / "page" / "demo.json").read_text())["recognizer"]
    table, layers = settings["energy"], settings["layers"]
    histogram = np.random.default_rng(0).integers(0, 99, (len(layers), 6))
    fired = {}
    for layer, row in zip(layers, histogram.tolist(), strict=True):
        ones = sum(number * count.bit_count() for count, number in enumerate(row, 1))
        spikes = sum(number * count for count, number in enumerate(row, 1))
        fired[layer["name"]] = {"spikes": spikes, "ones": ones, "fired": sum(row)}
    assert set(table["prices"]) == set(fired)
    pieces = [{"seconds": table["seconds"][1], "histogram": histogram.tolist()}]
    found = module(page, "js.energy(values[0], values[1], values[2])", pieces, layers, table)
    share = of_spikes(table["prices"], fired)
    for figure, base in table["base"].items():
        assert found[figure] == pytest.approx(base[1] + share[figure])
