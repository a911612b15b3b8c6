"""The page's folder: exported models, what the page has to know of them, and onnxruntime-web."""

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from imlspike.data.files import make_folder
from imlspike.data.yaml_file import ConfigError
from imlspike.demo.spikes import Watched, energy_table
from imlspike.evaluation.spikes import spiking_neurons
from imlspike.export.engine import STREAM, Session
from imlspike.export.program import write_onnx
from imlspike.export.recognizer import WaveformToLogProbs, spelled
from imlspike.export.stream import export_stream
from imlspike.export.vocoder import export_vocoder
from imlspike.export.voice import export_voice
from imlspike.inference import Bundle, Text2Speech, Vocoder
from imlspike.inference.recognizer import Recognizer
from imlspike.inference.vocoder import spiking_vocos
from imlspike.inference.voice import TrainedVoice
from imlspike.inference.word_times import WordTimes
from imlspike.text.phonemes import languages_of
from imlspike.text.punctuation import UnspeakableError

STATIC = Path(__file__).parent / "static"
RUNTIME, RUNTIME_SHA256 = "1.30.0", "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LOOK_AHEAD = 8  # tokens of a stream, where it was trained with so many: 0.4 s until a word is there
ABOUT = (
    "Everything is computed by onnxruntime-web in this browser: no sound and no text leaves it, and nothing "
    "is loaded from elsewhere. Times of words are those of the best path's own frames."
)
SERVED = ABOUT.replace(
    "no sound and no text leaves it",
    "no sound leaves it, a text that you type goes to this page's own server",
)
SENTENCES = {  # by the first word of a voice's front end; + stands before a stressed vowel
    "russian": [
        "Д+обрый день, я говор+ю по-р+усски.",
        "Сег+одня хор+ошая пог+ода, и м+ы пойд+ём гул+ять в п+арк.",
        "Весн+ой в лес+у по+ют пт+ицы.",
    ],
    "english": [
        "Good morning.",
        "This voice is made of spikes.",
        "The quick brown fox jumps over the lazy dog.",
    ],
    "mandarin": ["你好。", "今天天气很好。"],
}


def build(
    folder: Path,
    bundles: Iterable[Bundle],
    runtime: Path | None,
    text_url: str | None,
    tell: Callable[[str], None],
) -> Text2Speech | None:
    """Fill `folder` with the page; it is made whole or not at all.

    Args:
        bundles: a recognizer, one of streams, a voice with its vocoder, or several of these.
        runtime: folder with `RUNTIME_FILES`; None: they are fetched by npm, once.
        text_url: of the server that spells texts (POST, text to JSON lists of symbols); None: none.
        tell: called with what happens.

    Returns:
        The voice, which spells texts; None without one.

    Raises:
        ValueError: no such combination, or what can't be exported, by name.
        FileExistsError: `folder` is there and holds something.
    """
    by_kind: dict[str, Bundle] = {}
    for bundle in bundles:
        kind = "recognizer of streams" if hears_streams(bundle) else bundle.kind
        if kind in by_kind:
            raise ValueError(f"{bundle.source}: a second {kind}; the page shows one of each kind")
        by_kind[kind] = bundle
    if ("voice" in by_kind) != ("vocoder" in by_kind):
        raise ValueError(f"--model: only a {' and a '.join(by_kind)}; a voice and a vocoder go together")
    if folder.is_file() or folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is there already; remove it, or name another folder")
    folder = folder.absolute()
    make_folder(folder.parent)
    settings: dict = {"about": SERVED if text_url else ABOUT}
    speech = None
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
        made = Path(parent) / "page"
        shutil.copytree(STATIC, made)
        (made / "ort").mkdir()
        for name in RUNTIME_FILES:
            shutil.copy(runtime_file(runtime or fetch_runtime(tell), name), made / "ort")
        if "recognizer" in by_kind:
            tell("exporting the recognizer (every model takes a minute or so)")
            settings["recognizer"] = write_recognizer(by_kind["recognizer"], made)
        if "recognizer of streams" in by_kind:
            tell("exporting the recognizer of streams")
            settings["stream"] = write_stream(by_kind["recognizer of streams"], made)
        if "voice" in by_kind:
            tell("exporting the voice and its vocoder")
            settings["voice"], speech = write_voice(by_kind["voice"], by_kind["vocoder"], made)
            settings["text"] = text_url
        (made / "demo.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
        if not folder.is_dir():
            folder.mkdir()
            folder.chmod(0o755)  # for a web server; an empty one that is there may be where the user stands
        for part in sorted(made.iterdir(), key=lambda part: part.name == "demo.json"):
            shutil.move(part, folder / part.name)
    return speech


def write_recognizer(bundle: Bundle, folder: Path) -> dict:
    """Export a recognizer with its spikes as recognizer.onnx; returns what the page has to know of it."""
    recognizer = Recognizer.from_bundle(bundle).eval()
    if not spiking_neurons(recognizer.encoder):
        raise ValueError(f"{bundle.source}: its encoder has no spiking neurons, which the page shows")
    features, tokens = recognizer.features, recognizer.tokens
    least = max(features.least_samples, features.stft["hop_length"] * recognizer.least_frames)
    table = energy_table(recognizer)
    model = Watched(WaveformToLogProbs(recognizer), recognizer.encoder)
    example = 0.1 * torch.randn(1, 2 * max(least, features.sampling_rate))
    with torch.no_grad():
        _, counts, histogram = model.eval()(example)
    outputs = {"log_probs": (1, "tokens", len(tokens)), "counts": ("tokens", counts.shape[1])}
    outputs["histogram"] = tuple(histogram.shape)
    write_onnx(model, [example], {"waveform": (1, "samples")}, outputs, {}, folder / "recognizer.onnx")
    times = WordTimes(**(bundle.config.get("word_times") or {}))
    return {
        "model": "recognizer.onnx",
        "about": about(bundle, "recognizer"),
        "sampling_rate": features.sampling_rate,
        "least_samples": least,
        "tokens": spelled(tokens),
        "blank": tokens.blank,
        "eos": tokens.eos,
        "word_times": vars(times),
        "layers": model.layers,
        "bits": max(layer["levels"] for layer in model.layers).bit_length(),
        "energy": table,
    }


def hears_streams(bundle: Bundle) -> bool:
    """Return whether a bundle is a recognizer of streams, whose level isn't that of the whole."""
    return bundle.kind == "recognizer" and bool(bundle.config["features"].get("causal_level"))


def write_stream(bundle: Bundle, folder: Path) -> dict:
    """Export a recognizer of streams as stream.onnx; returns what the page has to know of it."""
    trained = (bundle.config["model"].get("encoder_conf") or {}).get("look_ahead")
    most = max((each for each in np.atleast_1d(trained) if each is not None), default=0)
    session = Session(export_stream(bundle, folder, int(min(LOOK_AHEAD, most))), STREAM)
    _, gains, *_, state = session.session.get_inputs()
    told = session.metadata | {"frames": gains.shape[1], "state": state.shape, "model": "stream.onnx"}
    return told | {"about": about(bundle, "recognizer that listens live")}


def write_voice(bundle: Bundle, vocoder: Bundle, folder: Path) -> tuple[dict, Text2Speech]:
    """Export a voice and its vocoder; returns what the page has to know of them, and the voice."""
    voice = TrainedVoice.from_bundle(bundle)
    if voice.model.config["speakers"] or languages_of(voice.front_end or ""):
        raise ValueError(f"{bundle.source}: has several speakers or languages; the page shows a voice of one")
    speech = Text2Speech(voice, Vocoder(spiking_vocos(vocoder)))  # which refuses a vocoder of another mel
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        for name, export, one in (("voice", export_voice, bundle), ("vocoder", export_vocoder, vocoder)):
            export(one, Path(made) / name)
            (Path(made) / name / "model.onnx").rename(folder / f"{name}.onnx")
    sentences, language = [], (voice.front_end or "").partition(":")[0]
    for text in SENTENCES.get(language, ()):
        try:
            sentence, _ = speech.spell(text)
        except (
            UnspeakableError,
            ImportError,
        ):  # of another set of symbols, or a front end that isn't installed
            continue
        sentences.append({"text": text, "symbols": [symbol for _, one, _ in sentence for symbol in one]})
    return {
        "model": "voice.onnx",
        "vocoder": "vocoder.onnx",
        "about": about(bundle, "voice"),
        "hint": "Text" + (", + before a stressed vowel" if language == "russian" else ""),
        "sampling_rate": voice.features["sampling_rate"],
        "symbols": list(voice.symbols),
        "sentences": sentences,
    }, speech


def about(bundle: Bundle, what: str) -> str:
    """One line on where a model comes from."""
    corpus = bundle.origin.get("corpus")
    return f"The {what} “{bundle.name}”" + (f", trained on {corpus}." if corpus else ".")


def runtime_file(folder: Path, name: str) -> Path:
    """A file of onnxruntime-web in `folder`, or in its `dist`."""
    for place in (folder / name, folder / "dist" / name):
        if place.is_file():
            return place
    raise ConfigError(f"{folder}: no {name}; expected the files of onnxruntime-web {RUNTIME}")


def runtime_cache() -> Path:
    """The folder where onnxruntime-web is kept once it was fetched."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "imlspike" / f"onnxruntime-web-{RUNTIME}"


def fetch_runtime(tell: Callable[[str], None]) -> Path:
    """onnxruntime-web from the user's npm registry, checked and kept in the user's cache; returns its folder.

    Raises:
        ConfigError: without npm, without a network, or if the package is another one than is known.
    """
    folder, package = runtime_cache(), f"onnxruntime-web@{RUNTIME}"
    if all((folder / name).is_file() for name in RUNTIME_FILES):
        return folder
    way_out = f"name a folder with {', '.join(RUNTIME_FILES)} of {package} by --onnxruntime-web"
    if not shutil.which("npm"):
        raise ConfigError(f"npm isn't installed, which fetches onnxruntime-web; install it, or {way_out}")
    tell(f"fetching {package} by npm, once")
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent) as parent:
        command = ["npm", "pack", package, "--silent", "--pack-destination", parent]
        result = subprocess.run(command, cwd=parent, capture_output=True, text=True)
        found = list(Path(parent).glob("*.tgz"))
        if result.returncode or not found:
            said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:] or ["no word"]
            raise ConfigError(f"npm could not fetch {package} ({said[0]}); check the network, or {way_out}")
        if hashlib.sha256(found[0].read_bytes()).hexdigest() != RUNTIME_SHA256:
            raise ConfigError(f"{package}: its SHA-256 isn't {RUNTIME_SHA256}; {way_out}")
        made = Path(parent) / "made"
        made.mkdir()
        with tarfile.open(found[0]) as archive:
            for name in RUNTIME_FILES:
                (made / name).write_bytes(archive.extractfile(f"package/dist/{name}").read())
        if not folder.is_dir():
            made.rename(folder)
    return folder
