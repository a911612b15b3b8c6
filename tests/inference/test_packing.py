"""`imlspike pack`: what is packed says what the experiment says; its card tells what it is."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
import yaml

from imlspike.bin.pack import main
from imlspike.data.kaldi import Utterance, write_data_dir
from imlspike.inference import Bundle, Speech2Text, Text2Speech, Vocoder
from tests.inference.conftest import MODEL
from tests.inference.small_tts import write_voice
from tests.inference.small_vocoder import save, small_model
from tests.inference.test_bundle import small_recognizer


@pytest.fixture
def voice(tmp_path):
    folder = write_voice(tmp_path / "exp/voice", speakers=3, names=("Ann", "Bob"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config |= {"train_data_path_and_name_and_type": [[f"{tmp_path}/wav.scp", "speech", "sound"]]}
    config |= {"output_dir": f"{tmp_path}/exp/voice"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "command").write_text("./run.sh egs/some/tts1\n")
    return folder


@pytest.fixture
def vocoder(tmp_path):
    """As its training ends."""
    save(small_model(), tmp_path / "exp/voc")
    return tmp_path / "exp/voc"


def members(archive):
    with zipfile.ZipFile(archive) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def test_a_packed_voice_speaks_as_the_experiment(voice, tmp_path):
    archive = tmp_path / "new/voice.zip"
    assert main([str(voice), "--output", str(archive), "--license", "cc0-1.0"]) == 0
    said = [Text2Speech.from_pretrained(place)("a cab came.", "Bob") for place in (voice, archive)]
    assert said[0].mel.std() > 0.5 and np.array_equal(said[0].mel, said[1].mel)
    assert np.array_equal(said[0].audio, said[1].audio)
    files = members(archive)
    assert not any(str(tmp_path).encode() in content for content in files.values())
    card = files["README.md"].decode()
    for text in (
        "license: cc0-1.0",
        "SpikeVoice (spiking",
        "- command: `./run.sh egs/some/tts1`",
        "voice.zip",
    ):
        assert text in card


def test_half_the_bytes_say_nearly_the_same(voice, vocoder, tmp_path):
    mel = torch.randn(8, 40, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for exp in (voice, vocoder):
        for options in ([], ["--half"]):
            archive = tmp_path / f"{exp.name}{len(options)}.zip"
            assert main([str(exp), "--output", str(archive), *options]) == 0
            sizes[archive.name] = len(max(members(archive).values(), key=len))
    assert sizes["voc1.zip"] < 0.75 * sizes["voc0.zip"]  # small models have many small tensors
    assert sizes["voice1.zip"] < 0.75 * sizes["voice0.zip"]
    whole, half = (Vocoder.from_pretrained(tmp_path / f"voc{n}.zip") for n in (0, 1))
    assert torch.equal(whole.decode(mel), Vocoder.from_pretrained(vocoder).decode(mel))
    for name, weight in whole.model.state_dict().items():
        other = half.model.state_dict()[name]
        assert other.dtype == weight.dtype
        torch.testing.assert_close(other, weight, rtol=2**-11, atol=2**-25)
    assert "rounded to fp16" in members(tmp_path / "voc1.zip")["README.md"].decode()


def test_statistics_and_features_outlive_half_precision(tmp_path):
    states = {"running_var": torch.tensor([1e6]), "features.bands": torch.full((2, 2), 1 / 3)}
    config = {"features": {"sampling_rate": 8000}, "model": {}}
    Bundle("vocoder", "x", config, states | {"w": torch.full((2, 2), 1 / 3)}).save(tmp_path, half=True)
    opened = Bundle.load(tmp_path).states
    assert all(torch.equal(opened[key], states[key]) for key in states)
    assert opened["w"].dtype == torch.float32 and opened["w"][0, 0] == torch.tensor(1 / 3).half()


def test_equal_files_make_an_equal_zip_and_the_data_are_told(vocoder, tmp_path):
    write_data_dir(tmp_path / "train", [Utterance("u1", "u1.wav", "a", "s", 1800.0)])
    options = ["--train-dir", str(tmp_path / "train"), "--corpus", "one man", "--half"]
    packed = []
    for folder in ("a", "b"):
        assert main([str(vocoder), "--output", str(tmp_path / folder / "voc.zip"), *options]) == 0
        packed.append((tmp_path / folder / "voc.zip").read_bytes())
    assert packed[0] == packed[1]
    card = members(tmp_path / "a/voc.zip")["README.md"].decode()
    assert "Data: one man" in card and "Trained on 1 utterances, 0.5 hours" in card
    assert "Spiking Vocos, neuron plif, 3 time steps" in card and "--decoding" not in card


def test_what_cannot_be_packed_is_named(voice, vocoder, tmp_path, capsys):
    for arguments, message in (
        ([tmp_path / "none", "--output", "a.zip"], "no such file or folder"),
        ([vocoder, "--output", "a.tar"], "a.tar: expected a name that ends in .zip"),
        ([vocoder, "--output", "a.zip", "--lm", tmp_path], "voc is a vocoder: --lm"),
        ([voice, "--output", "a.zip", "--model", voice / "no.pth"], "no.pth: no such model"),
    ):
        assert main([str(word) for word in arguments]) == 1
        assert message in capsys.readouterr().err


def test_what_is_a_bundle_already_is_named(tmp_path, capsys):
    small_recognizer().save(tmp_path / "asr.zip")
    small_recognizer().save(tmp_path / "asr")
    save(small_model(), tmp_path / "voc")
    assert main([str(tmp_path / "voc"), "--output", str(tmp_path / "voc.zip")]) == 0
    for name, verb in {"asr.zip": "transcribe", "asr": "transcribe", "voc.zip": "vocode"}.items():
        assert main([str(tmp_path / name), "--output", str(tmp_path / "new.zip")]) == 1
        error = capsys.readouterr().err
        assert f"{tmp_path / name}: " in error and f"imlspike {verb}" in error
    assert not (tmp_path / "new.zip").exists()


def test_a_packed_recogniser_holds_all_and_its_card_tells(experiment, waves, expected, tmp_path):
    """Moved and with a language model, it says the same; ESPnet's defaults are written out."""
    exp, lm = (shutil.copytree(experiment.parent / name, tmp_path / "exp" / name) for name in ("tiny", "lm"))
    counts = {"rate": 0.125, "ci95": [0.1, 0.2]}
    score = {"cer": counts, "wer": counts | {"rate": 0.5}, "characters_include_space": True, "missing": []}
    (exp / "decode_joint/test").mkdir(parents=True)
    (exp / "decode_joint/test/score.json").write_text(json.dumps(score))
    (exp / "train.yaml").write_text("encoder: iml_spikeformer\n")
    (exp / "command").write_text("./run.sh --model quick\n")
    (tmp_path / "decode.yaml").write_text("beam_size: 2\nctc_weight: 0.5\nlm_weight: 0.4\n")
    archive = tmp_path / "quick.zip"
    options = {"--output": archive, "--decode-config": tmp_path / "decode.yaml", "--license": "cc-by-4.0"}
    options |= {"--lm": lm, "--model": exp / MODEL, "--primary": "wer", "--corpus": "one man"}
    assert main([str(exp), *(str(word) for option in options.items() for word in option)]) == 0
    shutil.rmtree(tmp_path / "exp")
    assert Speech2Text.from_pretrained(archive)(waves) == expected
    beam = Speech2Text.from_pretrained(archive, "beam")
    assert (beam.decoder.search.options.beam_size, beam.decoder.search.options.lm_weight) == (2, 0.4)
    assert beam(waves) != expected
    bundle = Bundle.load(archive)
    assert bundle.config["model"]["decoder_conf"]["normalize_before"] is True
    assert bundle.origin == {"command": "./run.sh --model quick", "seed": 0, "corpus": "one man"}
    card = members(archive)["README.md"].decode()
    for text in (
        "license: cc-by-4.0",
        "(spiking) encoder, Transformer decoder",
        "50.0 (10.0 to 20.0)",
        "one man",
        "`--decoding beam`",  # it has a language model
        "`--decoding joint --ctc-weight 0.5`",  # and a decoder
    ):
        assert text in card
