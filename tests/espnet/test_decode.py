"""Greedy and joint decoding of the tiny recogniser."""

import json
import shutil
from argparse import Namespace
from itertools import groupby

import pytest
import soundfile
import torch
import yaml

from imlspike.bin.decode import main
from imlspike.data.audio import AudioError
from imlspike.data.files import read_kaldi, write_kaldi
from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import register
from imlspike.inference import Bundle
from imlspike.inference.decoding import decode_dir, open_decoder
from imlspike.inference.experiment import find_model_file
from imlspike.inference.recognizer import Recognizer
from tests.espnet.tiny import TEXTS


@pytest.fixture(scope="module")
def experiment(tiny_experiment, tmp_path_factory):
    """The tiny recogniser with random large CTC weights, so that it says more than blanks."""
    register()
    states = torch.load(tiny_experiment / "valid.loss.ave.pth", weights_only=True)
    torch.manual_seed(1)
    states["ctc.ctc_lo.weight"].normal_(std=10)
    folder = tmp_path_factory.mktemp("talkative")
    torch.save(states, folder / "valid.loss.ave.pth")
    (folder / "config.yaml").write_text((tiny_experiment / "config.yaml").read_text())
    return folder


@pytest.fixture(scope="module")
def decoder(experiment):
    """A greedy decoder of the talkative recogniser."""
    return open_decoder(Bundle.load(experiment))


@pytest.fixture(scope="module")
def waves(tiny_data):
    """The tiny corpus as tensors."""
    return [torch.from_numpy(soundfile.read(tiny_data / f"{u}.wav", dtype="float32")[0]) for u in TEXTS]


def test_folded_greedy_equals_espnet_and_groupby(experiment, waves):
    """Folded and in a batch, it says what ESPnet's unfolded model says, collapsed the plain way."""
    decoder = open_decoder(Bundle.load(experiment), exact=True)  # without the grids of a model in use
    decoder.recognizer.encoder.reparameterize()
    decoder.recognizer.exact = False
    from espnet2.tasks.asr import ASRTask

    model, _ = ASRTask.build_model_from_file(experiment / "config.yaml", experiment / "valid.loss.ave.pth")
    model.eval()
    expected = []
    for wave in waves:
        encoded, _ = model.encode(wave[None], torch.tensor([len(wave)]))
        best = [token for token, _ in groupby(model.ctc.argmax(encoded)[0].tolist())]
        tokens = [model.token_list[token] for token in best if token not in (0, model.eos)]
        expected.append(" ".join("".join(tokens).replace("<space>", " ").split()))
    assert decoder(waves) == expected
    assert len(set(expected)) > 1


def test_transcript_does_not_depend_on_the_batch(decoder, waves):
    """Each utterance alone gives what it gives among others."""
    assert [text for wave in waves for text in decoder([wave])] == decoder(waves)


def test_command_decodes_a_directory(tiny_data, experiment, decoder, waves, tmp_path, capsys):
    """The command finds the averaged model, writes one line an utterance, and lists what is too short."""
    soundfile.write(tmp_path / "short.wav", [0.1] * 300, 16000)
    soundfile.write(tmp_path / "tiny.wav", [0.1] * 3, 16000)
    extra = {"short": f"{tmp_path}/short.wav", "tiny": f"{tmp_path}/tiny.wav"}
    write_kaldi(tmp_path / "wav.scp", read_kaldi(tiny_data / "wav.scp") | extra)
    output = tmp_path / "hyp" / "text"
    paths = {"--config": experiment / "config.yaml", "--data-dir": tmp_path, "--output": output}
    assert main([*(str(word) for pair in paths.items() for word in pair), "--batch-seconds", "2"]) == 0
    transcripts = {key: text.split() for key, text in read_kaldi(output).items()}
    expected = dict(zip(TEXTS, decoder(waves), strict=True)) | {"short": "", "tiny": ""}
    assert transcripts == {key: text.split() for key, text in expected.items()}
    said = capsys.readouterr().out
    assert "2 too short, empty transcript: short tiny" in said
    times = json.loads((tmp_path / "hyp" / "text.json").read_text())
    assert times["too_short"] == ["short", "tiny"] and times["mode"] == "greedy"
    assert times["audio_seconds"] == pytest.approx(sum(map(len, waves)) / 16000 + 303 / 16000, abs=1e-3)
    assert times["real_time_factor"] == pytest.approx(
        times["seconds"] / times["audio_seconds"], rel=0.05, abs=1e-3
    )
    told = float(said.partition("real-time factor ")[2].split()[0])
    assert told == pytest.approx(times["real_time_factor"], abs=1e-3)


def test_bad_audio_is_named_and_nothing_is_written(decoder, tmp_path):
    """Audio at another rate is refused by name; the table of an earlier run stays as it was."""
    soundfile.write(tmp_path / "a.wav", [0.1] * 8000, 8000)
    write_kaldi(tmp_path / "wav.scp", {"slow": str(tmp_path / "a.wav")})
    (tmp_path / "text").write_text("slow before\n")
    with pytest.raises(AudioError, match="slow .*8000 Hz.*expected 16000 Hz"):
        decode_dir(decoder, tmp_path, tmp_path / "text")
    assert (tmp_path / "text").read_text() == "slow before\n"
    assert decode_dir(decoder, tmp_path, tmp_path / "text", on_mismatch="convert").texts.keys() == {"slow"}


def test_a_recording_whose_header_tells_no_length_is_measured(tmp_path):
    """As one that a pipe wrote, with 0 samples in its header; so that batches have their size."""
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.flac", [0.1, -0.1] * 24000, 16000)
        content = bytearray((tmp_path / f"{name}.flac").read_bytes())
        content[21] &= 0xF0  # the 36 bits of the number of samples
        content[22:26] = bytes(4)
        (tmp_path / f"{name}.flac").write_bytes(content)
    write_kaldi(tmp_path / "wav.scp", {name: str(tmp_path / f"{name}.flac") for name in "ab"})
    sizes = []

    def count(waves):
        sizes.append(list(map(len, waves)))
        return ["" for _ in waves]

    assert decode_dir(count, tmp_path, tmp_path / "text", batch_seconds=4).audio_seconds == 6
    assert sizes == [[48000], [48000]]


def test_output_that_is_not_finite_is_named(tiny_data, tmp_path):
    """Diverged weights don't become empty transcripts."""

    def diverged(waveforms):
        raise FloatingPointError("the encoder's output isn't finite")

    with pytest.raises(FloatingPointError, match="u1.*isn't finite"):
        decode_dir(diverged, tiny_data, tmp_path / "text")
    assert not (tmp_path / "text").exists()


def test_model_file_that_does_not_fit(experiment, tmp_path):
    """A missing model file lists those there are; one of another model names what doesn't fit."""
    with pytest.raises(ConfigError, match="best.pth.*valid.loss.ave.pth"):
        Bundle.load(experiment, model_file="best.pth")
    states = torch.load(experiment / "valid.loss.ave.pth", weights_only=True)
    states.pop("ctc.ctc_lo.bias")
    torch.save(states, tmp_path / "other.pth")
    shutil.copy(experiment / "config.yaml", tmp_path)
    with pytest.raises(ConfigError, match="(?s)ctc.bias"):
        open_decoder(Bundle.load(tmp_path))


@pytest.fixture(scope="module")
def language_model(experiment, tmp_path_factory):
    """The experiment folder of a random language model over the tiny recogniser's tokens."""
    from espnet2.tasks.lm import LMTask

    folder = tmp_path_factory.mktemp("lm")
    tokens = yaml.safe_load((experiment / "config.yaml").read_text())["token_list"]
    conf = {"embed_unit": 8, "att_unit": 16, "head": 2, "unit": 32, "layer": 1}
    config = {**LMTask.get_default_config(), "token_list": tokens, "lm": "transformer", "lm_conf": conf}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(3)
    torch.save(LMTask.build_model(Namespace(**config)).state_dict(), folder / "lm.pth")
    return {"lm_config": folder / "config.yaml", "lm_file": folder / "lm.pth"}


def test_joint_is_espnets_inference(tiny_data, experiment, waves, language_model, tmp_path):
    """The command's joint mode writes what ESPnet's `Speech2Text` says, with a language model and without."""
    from espnet2.bin.asr_inference import Speech2Text

    options = {"beam_size": 4, "ctc_weight": 0.4, "penalty": 0.1}
    config, model = experiment / "config.yaml", experiment / "valid.loss.ave.pth"
    for lm, weight in (({}, 0.0), (language_model, 0.3)):
        (tmp_path / "decode.yaml").write_text(yaml.safe_dump(options | {"lm_weight": weight}))
        names = {"lm_train_config": lm["lm_config"], "lm_file": lm["lm_file"]} if lm else {}
        theirs = Speech2Text(config, model, lm_weight=weight, **options, **names)
        expected = {u: theirs(wave)[0][0].split() for u, wave in zip(TEXTS, waves, strict=True)}
        paths = {"mode": "joint", "config": config, "data-dir": tiny_data, "output": tmp_path / "text"}
        paths |= {"decode-config": tmp_path / "decode.yaml"}
        paths |= {key.replace("_", "-"): path for key, path in lm.items()}
        assert main([str(word) for key, value in paths.items() for word in (f"--{key}", value)]) == 0
        assert {u: text.split() for u, text in read_kaldi(tmp_path / "text").items()} == expected
        assert json.loads((tmp_path / "text.json").read_text())["ctc_weight"] == 0.4


def test_exact_encoder_output(experiment, waves):
    """Encoder output in joint decoding is ESPnet's of each utterance alone, to the last bit."""
    from espnet2.tasks.asr import ASRTask

    model, _ = ASRTask.build_model_from_file(experiment / "config.yaml", experiment / "valid.loss.ave.pth")
    model.eval()
    with torch.no_grad():
        encoded, lengths = Recognizer.from_bundle(Bundle.load(experiment), exact=True).encode(waves)
        for row, length, wave in zip(encoded, lengths, waves, strict=True):
            expected, _ = model.encode(wave[None], torch.tensor([len(wave)]))
            assert torch.equal(row[:length], expected[0])


def test_benchmark_of_decoding(tiny_data, experiment, tmp_path):
    """Both peers of the benchmark decode the data and say the same; the report is written."""
    from benchmarks.__main__ import main as benchmarks

    threads = torch.get_num_threads()
    words = f"decoding --exp-dir {experiment} --data-dir {tiny_data} --threads 1 --turns 1 --limit 3"
    benchmarks([*words.split(), "--output", str(tmp_path / "report.md")])
    torch.set_num_threads(threads)
    report = (tmp_path / "report.md").read_text()
    assert "3 utterances" in report and "| transcripts that differ | 0 of 3 |" in report
    assert "| CER apart, points | +0.00 | within 0.1 | met |" in report


def test_joint_decoder_says_none_for_what_is_too_short(experiment, waves):
    """Utterances too short for the subsampling are None, wherever they stand; the others stay as they are."""
    joint = open_decoder(Bundle.load(experiment), "joint", beam_size=3)
    texts = joint(waves)
    short = torch.zeros(100)
    assert joint([short, *waves[:3], short, *waves[3:], short]) == [None, *texts[:3], None, *texts[3:], None]


def test_a_folder_that_was_moved(experiment, waves, decoder, tmp_path):
    """Tokens that aren't where config.yaml says are taken from beside it."""
    config = yaml.safe_load((experiment / "config.yaml").read_text())
    (tmp_path / "tokens.txt").write_text("\n".join(config["token_list"]) + "\n")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"token_list": "gone/tokens.txt"}))
    shutil.copy(experiment / "valid.loss.ave.pth", tmp_path)
    assert open_decoder(Bundle.load(tmp_path))(waves) == decoder(waves)
    (tmp_path / "tokens.txt").unlink()
    with pytest.raises(ConfigError, match="token_list is gone/tokens.txt"):
        Bundle.load(tmp_path)


def test_what_joint_decoding_refuses(experiment, language_model, tmp_path):
    """A language model without weight or the reverse, one of other tokens, a missing file: all named."""

    def open_with(**options):
        open_decoder(Bundle.load(experiment), "joint", **options)

    folder = language_model["lm_config"].parent
    with pytest.raises(ConfigError, match="lm_weight"):
        open_with(lm=folder)
    with pytest.raises(ConfigError, match="lm_weight"):
        open_with(lm_weight=0.3)
    with pytest.raises(ConfigError, match="none.pth"):
        open_with(lm=folder, lm_weight=0.3, lm_file="none.pth")
    config = yaml.safe_load(language_model["lm_config"].read_text())
    config["token_list"][4], config["token_list"][5] = config["token_list"][5], config["token_list"][4]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.copy(language_model["lm_file"], tmp_path)
    with pytest.raises(ConfigError, match="other tokens"):
        open_with(lm=tmp_path, lm_weight=0.3)


@pytest.mark.parametrize("words", [["--decode-config", "a.yaml"], ["--lm-file", "a.pth", "--mode", "joint"]])
def test_options_that_need_another(words, capsys):
    """A beam's options without the beam are a mistake, not ignored; so is a model file without its folder."""
    with pytest.raises(SystemExit):
        main(["--config", "c", "--data-dir", "d", "--output", "o", *words])
    assert words[0] in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("config", ["no_such.yaml", "exp/no_such/config.yaml", "exp/A/run.yaml"])
def test_another_file_than_an_experiment_s_config_is_refused(config, tmp_path, capsys):
    (tmp_path / "exp/A").mkdir(parents=True)
    for name in ("config.yaml", "run.yaml"):
        (tmp_path / "exp/A" / name).write_text("")
    words = ["--config", f"{tmp_path}/{config}", "--data-dir", "d", "--output", f"{tmp_path}/o"]
    assert main(words) == 1
    assert f"--config {tmp_path}/{config}" in capsys.readouterr().err.splitlines()[-1]


def test_a_model_file_is_named_from_its_folder_or_its_recipe_s_and_is_none_of_another_experiment(tmp_path):
    folder = tmp_path / "exp/A"
    folder.mkdir(parents=True)
    (folder / "1epoch.pth").write_text("")
    for named in ("1epoch.pth", "exp/A/1epoch.pth"):
        assert find_model_file(folder, {}, named) == folder / "1epoch.pth"
    for named in ("2epoch.pth", "../B/1epoch.pth", "exp/B/1epoch.pth"):
        with pytest.raises(ConfigError, match="no such model; there is 1epoch.pth"):
            find_model_file(folder, {}, named)
