"""Bundles: opened from wherever they lie; what is damaged, of another kind or made to harm is refused."""

import inspect
import shutil
import stat
import sys
import tempfile
import zipfile
from types import SimpleNamespace

import pytest
import torch
import yaml

from imlspike import Speech2Text, Text2Speech, Vocoder
from imlspike.data.yaml_file import ConfigError
from imlspike.inference import Bundle, bundle
from imlspike.inference.recognizer import Recognizer, SpeechFeatures, Tokens
from imlspike.models import IMLSpikeformerEncoder, SpikeVoice, SpikingVocos
from tests.inference.small_tts import write_voice
from tests.inference.small_vocoder import save, small_model

NAMES = ("<blank>", "<unk>", "<space>", *"abc", "<sos/eos>")
FEATURES = dict(sampling_rate=8000, n_fft=64, win_length=64, hop_length=32, n_mels=12)
OPENERS = {"recognizer": Speech2Text, "voice": Text2Speech, "vocoder": Vocoder}


def small_recognizer() -> Bundle:
    """A recognizer's bundle with random weights that talk, made without ESPnet."""
    torch.manual_seed(0)
    conf = dict(output_size=16, attention_heads=2, linear_units=16, num_blocks=1)
    encoder, ctc = IMLSpikeformerEncoder(12, **conf), torch.nn.Linear(16, len(NAMES))
    torch.nn.init.normal_(ctc.weight, std=10)
    model = Recognizer(SpeechFeatures(**FEATURES), encoder, ctc, Tokens(NAMES, "char"))
    model.features.bands.uniform_()
    parts = {"features": FEATURES, "model": {"encoder": "iml_spikeformer", "encoder_conf": conf}}
    return Bundle("recognizer", "tiny", parts | {"token_type": "char"}, model.state_dict(), NAMES)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A recipe's folder with a bundle of each kind below exp/, and a training that has only begun."""
    folder = tmp_path_factory.mktemp("recipe")
    save(small_model(), folder / "exp/vocoder")
    small_recognizer().save(folder / "exp/recognizer")
    Bundle.load(write_voice(folder / "trained")).save(folder / "exp/voice")
    shutil.rmtree(folder / "trained")
    (folder / "exp/begun").mkdir()
    (folder / "exp/begun/config.yaml").write_text("ctc_conf: {}\n")
    return folder


def pack(folder, archive, top=""):
    with zipfile.ZipFile(archive, "w") as out:
        for file in folder.iterdir():
            out.writestr(top + file.name, file.read_bytes())
    return archive


def result(kind, place):
    """Numbers that the opened model makes."""
    opened = OPENERS[kind].from_pretrained(place)
    assert opened.name == str(place) if kind != "voice" else opened.voice.name == str(place)
    if kind == "recognizer":
        waves = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0)).unbind()
        log_probs, _ = opened.decoder.recognizer(list(waves))
        assert not opened.decoder.recognizer.training and len(set(opened(list(waves), 8000))) > 1
        return log_probs
    if kind == "voice":
        return torch.from_numpy(opened("a cab.").mel)
    return opened.decode(torch.randn(8, 20, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("kind", OPENERS)
def test_it_opens_from_wherever_it_lies(places, kind, tmp_path, monkeypatch):
    """Its folder, the recipe's, a zip, a zipped folder, the hub: the same, and nothing left behind."""
    own = places / "exp" / kind
    hub = SimpleNamespace(snapshot_download=lambda name, cache_dir: str(own))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    zips = pack(own, tmp_path / "a.zip"), pack(own, tmp_path / "b.zip", "folder/")
    Bundle.load(own).save(tmp_path / "c.zip")
    expected = result(kind, own)
    monkeypatch.setattr(torch, "load", None)  # what needs no pickle calls it not
    for place in (places, places / "exp", str(own), *zips, tmp_path / "c.zip", "someone/model"):
        assert torch.equal(result(kind, place), expected)
    assert {path.name for path in tmp_path.iterdir()} == {"a.zip", "b.zip", "c.zip"}


@pytest.mark.parametrize("wanted", OPENERS)
@pytest.mark.parametrize("found", OPENERS)
def test_another_kind_is_named_with_the_verb_that_opens_it(places, wanted, found):
    if wanted != found:
        with pytest.raises(ConfigError, match=f"exp/{found} is a {found}.*{bundle.KINDS[found]}"):
            OPENERS[wanted].from_pretrained(places / "exp" / found)


def test_what_is_not_there_is_told(places, tmp_path, monkeypatch):
    monkeypatch.chdir(places)
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace())
    for path in ("exp/tniy", "nowhere", "/a/b", "../a"):  # the hub isn't asked for what looks like a path
        with pytest.raises(ConfigError, match=f"^{path}: no such file or folder"):
            Bundle.load(path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="someone/tiny.*pip install huggingface_hub"):
        Bundle.load("someone/tiny")

    def fails(name, cache_dir):
        raise OSError("404")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=fails))
    with pytest.raises(ConfigError, match="someone/tiny.*404"):
        Bundle.load("someone/tiny")
    with pytest.raises(ConfigError, match="nothing"):
        Bundle.load(tmp_path)
    with pytest.raises(ConfigError, match="several models"):
        Bundle.load(places)
    with pytest.raises(ConfigError, match="begun"):
        Bundle.load(places / "exp/begun", "recognizer")


def laughs(section):
    """A section of forty lines, each holding the one before three times."""
    lines = [f"  k{n}: &k{n} {{a: *k{n - 1}, b: *k{n - 1}, c: *k{n - 1}}}" for n in range(1, 40)]
    return "\n".join([f"{section}:", "  k0: &k0 {a: 1}", *lines]).encode()


def put(old, new):
    def change(content):
        assert old in content
        return content.replace(old, new)

    return change


def keys(section=None, **changed):
    """A change of bundle.yaml: these keys, or those of a section."""

    def change(content):
        config = yaml.safe_load(content)
        if section is None:
            config |= changed
        else:
            config[section] = config.get(section, {}) | changed
        return yaml.safe_dump(config).encode()

    return change


@pytest.mark.parametrize(
    ("kind", "change", "says"),
    [
        ("vocoder", lambda old: old + b"kind: voice\n", "'kind' stands twice"),
        ("vocoder", lambda old: b"a: [", "bundle.yaml: not usable as YAML"),
        ("vocoder", lambda old: b"a: " + b"[" * 100_000, "bundle.yaml"),
        ("vocoder", lambda old: b"", "bundle.yaml: expected 'key: value'"),
        ("vocoder", keys(orgin={}), "did you mean 'origin'"),
        ("vocoder", keys(format=2), "format is 2"),
        ("vocoder", keys(kind="vocodr"), "did you mean 'vocoder'"),
        ("vocoder", put(b"features:", b"feature:"), "did you mean 'features'"),
        ("vocoder", put(b"name: vocoder", b""), "no key 'name'"),
        ("vocoder", keys(features=None), "features"),
        ("vocoder", keys(features={"n_fft": 64}), "features"),
        ("vocoder", keys(model=[1]), "model"),
        ("vocoder", keys(origin="me"), "origin"),
        ("vocoder", keys("model", num_layers=10**9), "num_layers"),
        ("vocoder", keys("model", dim=10**9), "dim"),
        ("recognizer", keys("model", encoder_conf={"num_blocks": -1}), "num_blocks"),
        ("recognizer", keys("model", encoder_conf={"output_size": 10**9}), "output_size"),
        ("recognizer", keys("features", n_fft=2**40), "n_fft"),
        ("recognizer", keys("features", hop_length=0), "hop_length"),
        ("recognizer", keys("features", sampling_rate=-16000), "sampling_rate"),
        ("recognizer", keys("search", beam=1), "search.*did you mean .beam_size"),
        ("vocoder", keys("features", n_ftt=1), "features: .*'n_ftt'; did you mean"),
        ("voice", keys("features", n_ftt=1), "features: .*'n_ftt'; did you mean"),
        ("voice", keys("recording", pitch_extrct=1), "recording: .*'pitch_extrct'; did you mean"),
        ("recognizer", keys("model", encoder_cnf=1), "model: .*'encoder_cnf'; did you mean"),
        ("recognizer", keys("lm", lm_cnf=1), "lm: .*'lm_cnf'; did you mean"),
        # No model can be made of these.
        ("vocoder", keys("model", dimm=12), "did you mean 'dim'"),
        ("vocoder", keys("model", dim=14), "size mismatch"),
        ("vocoder", keys("model", dim=-4), "bundle.yaml"),
        ("vocoder", keys("model", num_layers="2"), "bundle.yaml"),
        ("vocoder", keys("model", neuron_conf=[1]), "bundle.yaml"),
        ("vocoder", keys("features", n_fft="512"), "bundle.yaml"),
        ("vocoder", keys("features", f_max="x"), "bundle.yaml"),
        ("recognizer", keys(token_type="bpe"), "bpe"),
        ("voice", keys("features", f_max="x"), "bundle.yaml"),
        # Of all these one line is told.
        ("vocoder", lambda old: b"a b\n" + old, "not usable as YAML"),
        ("vocoder", lambda old: old + b"a: !!bool x", "not usable as YAML: KeyError"),
        ("vocoder", lambda old: old + b"a: !!timestamp x", "not usable as YAML"),
        ("vocoder", lambda old: old + b"a: 2024-13-45", "not usable as YAML"),
        ("vocoder", lambda old: old + b"a: " + b"1" * 5000, "not usable as YAML"),
        ("vocoder", lambda old: old + b"a: {[b]: c}", "not usable as YAML"),
        ("vocoder", lambda old: old + b"a: &b {c: *b}", "not usable as YAML: .b stands in itself"),
        ("vocoder", lambda old: old + b"a: " + b"[1," * 150 + b"]" * 150, "more than 100 levels"),
        ("vocoder", lambda old: old.partition(b"model:")[0] + laughs("model"), "values"),
        # More memory than weights justify.
        ("recognizer", keys("features", n_mels=2**16), "n_mels"),
        ("vocoder", keys("features", hop_length="1"), "hop_length"),
        ("recognizer", keys("features", win_length="1"), "win_length"),
        ("recognizer", keys("features", level=[1]), "level"),
        ("vocoder", keys("features", f_min=float("nan")), "f_min"),
        ("vocoder", keys("model", dim=2**13, intermediate_dim=2**13), "memory"),
    ],
)
def test_a_damaged_configuration_says_what_is_wrong(places, tmp_path, kind, change, says):
    folder = shutil.copytree(places / "exp" / kind, tmp_path / "exp")
    content = (folder / "bundle.yaml").read_bytes()
    (folder / "bundle.yaml").write_bytes(change(content))
    for place in (folder, pack(folder, tmp_path / "a.zip")):
        with pytest.raises(ConfigError, match=f"^{place}[^\n]*{says}[^\n]*$") as error:
            OPENERS[kind].from_pretrained(place)
        assert len(str(error.value)) < 1000


def test_endless_layers_of_next_to_nothing_are_refused(places):
    bundle = Bundle.load(places / "exp/vocoder")
    with pytest.raises(ConfigError, match="memory"):
        bundle.fill(lambda: torch.nn.LSTM(1, 1, 10**7))


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda old: old[:100], "damaged"), (lambda old: b"", "damaged"), (None, "no such file")],
)
def test_damaged_weights_are_told(places, tmp_path, change, says):
    folder = shutil.copytree(places / "exp/vocoder", tmp_path / "exp")
    weights = folder / "weights.safetensors"
    weights.write_bytes(change(weights.read_bytes())) if change else weights.unlink()
    for place in (folder, pack(folder, tmp_path / "a.zip")):
        with pytest.raises(ConfigError, match=f"{place}: weights.safetensors: {says}"):
            Vocoder.from_pretrained(place)


def test_a_damaged_zip_is_told(places, tmp_path):
    archive = pack(places / "exp/vocoder", tmp_path / "a.zip")
    content = bytearray(archive.read_bytes())
    content[1000:1100] = bytes(100)
    archive.write_bytes(content)
    with pytest.raises(ConfigError, match="a.zip: damaged"):
        Bundle.load(archive)
    archive.write_text("no zip")
    with pytest.raises(ConfigError, match="a.zip: not a zip"):
        Bundle.load(archive)


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../evil", "C:\\evil", "..\\evil"])
def test_a_zip_that_reaches_outside_is_refused(places, tmp_path, name):
    archive = pack(places / "exp/vocoder", tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(name, "x")
    with pytest.raises(ConfigError, match="evil"):
        Bundle.load(archive)


def test_links_and_zips_that_swell_are_refused(places, tmp_path, monkeypatch):
    archive, link = pack(places / "exp/vocoder", tmp_path / "a.zip"), zipfile.ZipInfo("tokens.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(link, "/etc/passwd")
    with pytest.raises(ConfigError, match="tokens.txt"):
        Bundle.load(archive)
    archive = pack(places / "exp/vocoder", tmp_path / "a.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("more.safetensors", bytes(2 * 2**20))
    monkeypatch.setattr(bundle, "MOST_SWELLING", 1)
    with pytest.raises(ConfigError, match="a.zip: 'more.safetensors'"):
        Bundle.load(archive)
    monkeypatch.setattr(bundle, "MOST_BYTES", 1000)
    with pytest.raises(ConfigError, match="a.zip"):
        Bundle.load(archive)
    monkeypatch.undo()
    monkeypatch.setattr(bundle, "MOST_MEMBERS", 1)
    with pytest.raises(ConfigError, match="a.zip"):
        Bundle.load(archive)


def test_a_packed_experiment_is_told_how_to_become_a_bundle(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        for name in ("meta.yaml", "exp/config.yaml", "exp/valid.acc.ave.pth"):
            out.writestr(name, "")
    with pytest.raises(ConfigError, match="imlspike pack"):
        Bundle.load(tmp_path / "a.zip")


def test_all_arguments_are_written_out_so_that_defaults_may_change(places):
    for kind, cls in (("voice", SpikeVoice), ("vocoder", SpikingVocos)):
        config = yaml.safe_load((places / "exp" / kind / "bundle.yaml").read_text())
        known = {**config["features"], **config["model"], "vocab_size": 0}
        assert set(inspect.signature(cls).parameters) <= set(known)


@pytest.mark.parametrize("kind", OPENERS)
def test_a_bundle_has_one_model_and_a_folder_of_zips_wants_one_named(places, tmp_path, kind):
    names = [str(pack(places / "exp" / kind, tmp_path / name)) for name in ("a.zip", "b.zip")]
    for place in (names[0], str(places / "exp" / kind)):
        with pytest.raises(ConfigError, match=f"{place}: model_file is 'best.pth'"):
            Bundle.load(place, kind, model_file="best.pth")
    with pytest.raises(ConfigError, match=f"^{tmp_path}: .*{', '.join(names)}"):
        Bundle.load(tmp_path, kind)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there(places):
    with pytest.raises(ValueError, match="cuda"):
        Vocoder.from_pretrained(places, device="cuda")


def test_weights_beyond_half_precision_are_kept(tmp_path):
    parts, weight = {"features": {"sampling_rate": 8000}, "model": {}}, torch.full((2, 2), 1e5)
    Bundle("vocoder", "big", parts, {"w": weight}).save(tmp_path / "b.zip", half=True)
    assert torch.equal(Bundle.load(tmp_path / "b.zip").states["w"], weight)


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(ConfigError):
        Bundle.load("x" * 5000)
    with pytest.raises(ConfigError, match="no model"):
        Bundle.load("")
