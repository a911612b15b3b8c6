"""SpikeVoice in ESPnet's TTS task: trained and used through the entry points, and its interface by itself."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from imlspike.data.files import read_kaldi
from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import register, run_espnet
from imlspike.espnet.config import resolve
from imlspike.inference import Vocoder
from imlspike.losses import learned_durations
from imlspike.models import SpikingVocos
from imlspike.models.spikevoice import SpikeVoice
from tests.espnet.tiny import TEXTS, tone, write_data

SMALL = dict(dim=16, hidden_dim=24, kernel=3, encoder_layers=1, decoder_layers=1, steps=2, bins=16)
SMALL |= dict(postnet_dim=12, postnet_layers=2, aligner_dim=8)
SYMBOLS, MELS = 12, 10
CONF = Path(__file__).parents[2] / "conf"

# What a user writes: a plain ESPnet training YAML with `tts: spikevoice`.
CONFIG = f"""
token_type: char
feats_extract_conf: {{fs: 16000, n_fft: 1024, hop_length: 256, n_mels: 20}}
normalize: global_mvn
pitch_extract: dio
pitch_extract_conf: {{fs: 16000, n_fft: 1024, hop_length: 256, use_token_averaged_f0: false}}
pitch_normalize: global_mvn
energy_extract: energy
energy_extract_conf: {{fs: 16000, n_fft: 1024, hop_length: 256, use_token_averaged_energy: false}}
energy_normalize: global_mvn
tts: spikevoice
tts_conf: {SMALL}
optim: adam
optim_conf: {{lr: 0.001}}
batch_type: unsorted
batch_size: 2
num_workers: 0
max_epoch: 2
keep_nbest_models: 1
best_model_criterion: [[valid, loss, min]]
num_att_plot: 0
use_matplotlib: false
use_tensorboard: false
"""
STATISTICS = {"normalize": "feats", "pitch_normalize": "pitch", "energy_normalize": "energy"}


def in_fork(run, *args):
    """Run in a process of its own, which imports nothing anew; it must succeed."""

    def alone():
        torch.set_num_threads(1)
        run(*args)

    process = torch.multiprocessing.get_context("fork").Process(target=alone)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A Kaldi directory of six short utterances with `train.yaml`."""
    folder = tmp_path_factory.mktemp("tts_data")
    write_data(folder)
    (folder / "train.yaml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def experiment(data, tmp_path_factory) -> Path:
    """The experiment of a voice trained for two epochs, from statistics on."""
    register()
    exp = tmp_path_factory.mktemp("tts_experiment")
    args = ["--config", f"{data}/train.yaml", "--token_list", f"{data}/tokens.txt"]
    for part in ("train", "valid"):
        args += [f"--{part}_data_path_and_name_and_type", f"{data}/wav.scp,speech,sound"]
        args += [f"--{part}_data_path_and_name_and_type", f"{data}/text,text,text"]
        args += [f"--{part}_shape_file", f"{data}/text_shape", f"--{part}_shape_file", f"{data}/speech_shape"]
    stats = ["--output_dir", f"{data}/stats", "--collect_stats", "true"]
    in_fork(
        run_espnet, "tts_train", args + stats + [word for key in STATISTICS for word in (f"--{key}", "none")]
    )
    for key, name in STATISTICS.items():
        args += [f"--{key}_conf", f"stats_file={data}/stats/train/{name}_stats.npz"]
    in_fork(run_espnet, "tts_train", [*args, "--output_dir", str(exp)])
    return exp


@pytest.mark.timeout(600)  # trains
def test_training_leaves_an_experiment_whose_weights_are_the_core_models(data, experiment):
    config = yaml.safe_load((experiment / "config.yaml").read_text())
    assert config["tts"] == "spikevoice" and config["tts_conf"]["dim"] == 16
    checkpoint = torch.load(experiment / "checkpoint.pth", weights_only=False)
    assert checkpoint["reporter"]["epoch"] == 2
    stats = checkpoint["reporter"]["stats"][2]["train"]
    parts = {"mel", "mel_post", "duration", "pitch", "energy", "forward_sum", "binarisation"}
    assert {f"{part}_loss" for part in parts} | {"loss"} <= stats.keys()
    prefix = "tts.spikevoice."
    weights = {key[len(prefix) :]: w for key, w in checkpoint["model"].items() if key.startswith(prefix)}
    voice = SpikeVoice(len(config["token_list"]), 20, **SMALL)
    voice.load_state_dict(weights)
    assert not (experiment / "bundle.yaml").exists()  # no vocoder of ours reads ESPnet's mel
    for name, (mean, deviation) in zip(("pitch", "energy"), voice.adaptor.statistics.tolist(), strict=True):
        sums = np.load(data / "stats" / "train" / f"{name}_stats.npz")
        wanted = sums["sum"].item() / sums["count"].item()
        variance = sums["sum_square"].item() / sums["count"].item() - wanted**2
        assert mean == pytest.approx(wanted, rel=1e-4) and deviation == pytest.approx(variance**0.5, rel=1e-2)


def test_inference_writes_sound_and_durations(data, experiment, tmp_path):
    two = sorted(TEXTS)[:2]
    (tmp_path / "text").write_text("".join(f"{name} {TEXTS[name]}\n" for name in two))
    args = ["--train_config", f"{experiment}/config.yaml"]
    args += ["--model_file", f"{experiment}/valid.loss.best.pth"]
    args += ["--data_path_and_name_and_type", f"{tmp_path}/text,text,text", "--num_workers", "0"]
    in_fork(run_espnet, "tts_inference", [*args, "--output_dir", f"{tmp_path}/out"])
    frames = read_kaldi(tmp_path / "out" / "speech_shape" / "speech_shape")
    durations = read_kaldi(tmp_path / "out" / "durations" / "durations")
    for name in two:
        spoken = [int(word) for word in durations[name].split()]
        assert len(spoken) == len(TEXTS[name]) and frames[name] == f"{sum(spoken)},20"
        assert (tmp_path / "out" / "wav" / f"{name}.wav").stat().st_size > 256 * sum(spoken)


def test_espnets_speed_and_teacher_forcing_reach_spikevoice(experiment):
    """ESPnet gives the speed to classes that it knows only; teacher forcing needs no durations."""
    from espnet2.bin.tts_inference import Text2Speech

    files = experiment / "config.yaml", experiment / "valid.loss.best.pth"
    speak = Text2Speech(*files)
    speak.vocoder = None
    bias = speak.tts.spikevoice.adaptor.duration.out.bias
    bias.data += 2.0
    plain = speak("abba")["duration"]
    assert plain.min() > 1
    slow = speak("abba", decode_conf={**speak.decode_conf, "alpha": 2.0})["duration"]
    assert ((slow - 2 * plain).abs() <= 1).all() and speak.decode_conf["alpha"] == 1.0
    speak.use_teacher_forcing = True
    speech = tone("abba").astype("float32")
    forced = speak("abba", speech=speech, decode_conf={"use_teacher_forcing": True})
    assert len(forced["feat_gen"]) == len(speech) // 256 + 1 == forced["duration"].sum()
    with pytest.raises(ValueError, match="speed_control_alpha"):
        speak("abba", speech=speech, decode_conf={"use_teacher_forcing": False, "alpha": 0.0})


def small_tts(**options):
    """A voice in evaluation whose norms have seen data, and whose durations aren't all 1."""
    register()
    from imlspike.espnet.tts import SpikeVoiceTTS

    torch.manual_seed(0)
    rates = dict(dropout=0.0, predictor_dropout=0.0, postnet_dropout=0.0)
    voice = SpikeVoiceTTS(SYMBOLS, MELS, **{**SMALL, **rates, **options})
    sids = {"sids": torch.ones(2, 1, dtype=torch.long)} if "speakers" in options else {}
    for _ in range(3):
        voice(**batch([0, 1]), **sids)
    return voice.eval()


def batch(utterances, padding=0):
    """Keyword arguments as ESPnet gives them, without durations; garbage in the padding."""
    rows = []
    for number in utterances:
        make = torch.Generator().manual_seed(number)
        text = torch.randint(0, SYMBOLS, (5 + 2 * number,), generator=make)
        frames = 30 + 7 * number
        rows.append((text, *(torch.randn(frames, width, generator=make) for width in (MELS, 1, 1))))
    given = {}
    for name, parts in zip(("text", "feats", "pitch", "energy"), zip(*rows, strict=True), strict=True):
        lengths = torch.tensor([len(part) for part in parts])
        padded = parts[0].new_full((len(parts), int(lengths.max()) + padding, *parts[0].shape[1:]), 7)
        for row, part in zip(padded, parts, strict=True):
            row[: len(part)] = part
        given |= {name: padded, f"{name}_lengths": lengths}
    return given


def with_durations(voice, given):
    names = ("text", "text_lengths", "feats", "feats_lengths")
    durations = learned_durations(voice.spikevoice, *(given[name] for name in names))[1]
    return {**given, "durations": durations, "durations_lengths": given["text_lengths"]}


def test_loss_falls_on_a_batch():
    voice = small_tts().train()
    optimizer = torch.optim.Adam(voice.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss, stats, weight = voice(**batch([0, 1, 2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert weight.tolist() == [3] and stats["loss"].item() == losses[-1]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("options", [{}, {"neuron": "imls"}, {"neuron": "none"}])
def test_padded_batch_is_its_utterances_alone(options):
    """The batch's parts are the means over frames, tokens or utterances of the utterances alone."""
    voice = small_tts(**options)
    _, together, _ = voice(**batch([0, 3, 1], padding=4))
    alone = [(voice(**given)[1], given) for given in (batch([number]) for number in (0, 3, 1))]
    for name in together.keys() - {"loss"}:
        sizes = [float(given["feats_lengths" if "mel" in name else "text_lengths"]) for _, given in alone]
        if name in ("forward_sum_loss", "binarisation_loss"):
            sizes = [1.0] * 3
        mean = sum(size * stats[name] for size, (stats, _) in zip(sizes, alone, strict=True)) / sum(sizes)
        torch.testing.assert_close(together[name], mean, atol=1e-4, rtol=1e-4, msg=name)


def test_durations_given_are_used_and_an_end_symbol_joins_the_last_token():
    """Durations that the aligner finds, given from outside, change nothing but that nothing is aligned."""
    voice = small_tts()
    learned = voice(**batch([0, 1], padding=3))[1]
    given = with_durations(voice, batch([0, 1], padding=3))
    told = voice(**given)[1]
    assert learned.keys() - told.keys() == {"forward_sum_loss", "binarisation_loss"}
    ended = torch.nn.functional.pad(given["durations"], (0, 1))
    for row, last in enumerate(given["text_lengths"].tolist()):
        ended[row, last - 1] -= 1
        ended[row, last] = 1
    told_end = voice(**{**given, "durations": ended, "durations_lengths": given["text_lengths"] + 1})[1]
    for name in told.keys() - {"loss"}:
        torch.testing.assert_close(told[name], learned[name], msg=name)
        torch.testing.assert_close(told_end[name], learned[name], msg=name)


def test_values_per_token_are_those_averaged_over_frames():
    """Values that ESPnet averages over given durations, and those averaged here, teach the same."""
    voice = small_tts()
    given = with_durations(voice, batch([0, 1]))
    per_token = dict(given)
    for name in ("pitch", "energy"):
        mean = torch.zeros(*given["durations"].shape, 1)
        for row, durations in enumerate(given["durations"].tolist()):
            pieces = given[name][row, : sum(durations)].split([d for d in durations if d])
            mean[row, : len(pieces)] = torch.stack([piece.mean(0) for piece in pieces])
        per_token |= {name: mean, f"{name}_lengths": given["text_lengths"]}
    frames, tokens = voice(**given)[1], voice(**per_token)[1]
    for name in frames:
        torch.testing.assert_close(tokens[name], frames[name], msg=name)


def test_an_utterance_without_a_voiced_frame_does_not_swamp_the_loss():
    voice, given = small_tts(), batch([0, 1])
    given["pitch"][0] = -25.0
    assert voice(**given)[1]["pitch_loss"] < 40


def test_joint_training_returns_mels_and_speakers_need_numbers():
    voice, given = small_tts(speakers=3), batch([0, 1])
    sids = torch.tensor([[2], [0]])
    loss, _, mel = voice(**given, sids=sids, joint_training=True)
    assert mel.shape == given["feats"].shape and loss.dim() == 0
    assert voice.spks == 3
    with pytest.raises(ValueError, match="3 speakers"):
        voice(**given)
    with pytest.raises(ValueError, match="no use for spembs"):
        voice(**given, spembs=torch.zeros(2, 8))
    one = voice.inference(given["text"][0, :5], sids=torch.tensor([1]))
    assert len(one["feat_gen"]) == one["duration"].sum() and one["pitch"].shape == (5,)


def test_what_does_not_fit_is_named():
    voice, given = small_tts(), batch([0, 1])
    told = with_durations(voice, given)
    wrong = {
        "needs pitch: say pitch_extract": {"pitch": None},
        "energy has .*use_token_averaged_energy: false": {"energy_lengths": given["text_lengths"]},
        "pitch is nowhere below": {"pitch": given["pitch"] + 50},
        "utterance 1 of the batch has 7 tokens, but 9 durations": {
            "durations": torch.ones(2, 9, dtype=torch.long),
            "durations_lengths": torch.tensor([5, 9]),
        },
        "utterance 0 of the batch: its durations add up to": {**told, "durations": told["durations"] * 0 + 1},
        "utterance 1 of the batch has 7 tokens and 6 frames": {"feats_lengths": torch.tensor([30, 6])},
    }
    for message, change in wrong.items():
        with pytest.raises(ValueError, match=message):
            voice(**{**given, **change})
    text = given["text"][0, :5]
    with pytest.raises(ValueError, match="teacher forcing needs durations, or speech"):
        voice.inference(text, use_teacher_forcing=True)
    with pytest.raises(ValueError, match="no aligner"):
        small = SMALL | {"aligner": False}
        type(voice)(SYMBOLS, MELS, **small).align(text, given["feats"][0])


def test_espnets_model_names_the_utterances_and_what_cannot_be_averaged():
    voice = small_tts()
    from espnet2.tts.feats_extract.dio import Dio

    from imlspike.espnet.tts import TTSModel

    parts = ("feats_extract", "energy_extract", "normalize", "pitch_normalize", "energy_normalize")
    speech = {"speech": torch.zeros(2, 40, MELS), "speech_lengths": torch.tensor([40, 40])}
    text = {"text": torch.ones(2, 3, dtype=torch.long), "text_lengths": torch.tensor([3, 3])}
    model = TTSModel(**dict.fromkeys(parts), pitch_extract=None, tts=voice)
    with pytest.raises(ValueError, match=r"needs pitch.*utterance 0: here, there"):
        model(**text, **speech, utt_id=["here", "there"])
    with pytest.raises(ValueError, match="use_token_averaged_f0 needs durations"):
        averaging = TTSModel(**dict.fromkeys(parts), pitch_extract=Dio(reduction_factor=1), tts=voice)
        averaging.collect_feats(**text, **speech)
    with pytest.raises(ValueError, match="use_continuous_f0 must be true"):
        gaps = Dio(use_token_averaged_f0=False, use_continuous_f0=False)
        TTSModel(**dict.fromkeys(parts), pitch_extract=gaps, tts=voice)(**text, **speech)


def test_yaml_is_checked(tmp_path):
    """The project's own YAML is right, and each mistake is an error that names the nearest right key."""
    register()
    from imlspike.espnet.tts import SpikeVoiceTTS

    config = resolve(CONF / "spikevoice_small.yaml", set=["tts_conf.neuron=imls"], task="tts")
    SpikeVoiceTTS(40, 80, **config["tts_conf"])
    for setting, nearest in {
        "tts_conf.encoder_layer=2": "encoder_layers",
        "tts=spikevoise": "spikevoice",
        "pitch_extract_conf.f0_max=300": "f0max",
    }.items():
        with pytest.raises(ConfigError, match=f"'{nearest}'"):
            resolve(CONF / "spikevoice_small.yaml", set=[setting], task="tts")
    for error, wrong, nearest in (
        (TypeError, {"prior_scal": 2.0}, "prior_scale"),
        (ValueError, {"loss_weights": {"binarization": 2.0}}, "binarisation"),
        (ValueError, {"neuron": "iml"}, "imls"),
    ):
        with pytest.raises(error, match=f"'{nearest}'"):
            SpikeVoiceTTS(40, 80, **SMALL | wrong)


@pytest.fixture(scope="module")
def small() -> dict:
    """The configuration conf/spikevoice_small.yaml."""
    return yaml.safe_load((CONF / "spikevoice_small.yaml").read_text())


@pytest.fixture(scope="module")
def extract(small):
    """The extractor of log-mel spectrograms that ESPnet builds from it."""
    register()
    from espnet2.tasks.tts import feats_extractor_choices

    return feats_extractor_choices.get_class("log_mel")(**small["feats_extract_conf"])


def test_a_voices_mel_is_its_vocoders(extract, small):
    """The two YAMLs that belong together give the same features, to the last bit."""
    generator = yaml.safe_load((CONF / "voc_small.yaml").read_text())["generator"]
    vocoder = Vocoder(SpikingVocos(**{**generator, "dim": 8, "intermediate_dim": 8, "num_layers": 1}))
    audio = 0.1 * torch.randn(9000)
    mel, frames = extract(audio[None])
    assert small["feats_extract"] == "log_mel" and frames.tolist() == [9000 // 256 + 1]
    assert torch.equal(mel[0].T, vocoder.features(audio)) and extract.output_size() == vocoder.n_mels


def test_mels_in_a_padded_batch_are_those_alone_and_what_is_too_short_is_named(extract):
    """Garbage in the padding does not reach the last frames, and padding is zero."""
    lengths, audio = torch.tensor([5000, 3001, 513]), torch.randn(3, 5000)
    together, frames = extract(audio, lengths)
    for wave, length, mel, count in zip(audio, lengths, together, frames, strict=True):
        assert torch.equal(mel[:count], extract(wave[None, :length])[0][0]) and not mel[count:].any()
    with pytest.raises(ValueError, match="utterance 1 .* 512"):
        extract(audio[:2], torch.tensor([2000, 512]))


@pytest.mark.parametrize("samples", [513, 767, 768, 769, 16000, 16127, 16128])
def test_a_mel_has_the_frames_of_espnets_pitch_and_energy(extract, small, samples):
    from espnet2.tts.feats_extract.dio import Dio
    from espnet2.tts.feats_extract.energy import Energy

    audio = 0.1 * torch.randn(1, samples)
    others = Dio(**small["pitch_extract_conf"]), Energy(**small["energy_extract_conf"])
    assert len({int(extractor(audio)[1]) for extractor in (extract, *others)}) == 1
