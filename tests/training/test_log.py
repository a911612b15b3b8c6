"""Files of a training: logs, sound, the generator, its configuration; data that it refuses."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
import yaml

pytest.importorskip("lightning")

from imlspike.data.files import write_kaldi  # noqa: E402
from imlspike.data.vocoder_dataset import Recordings  # noqa: E402
from imlspike.inference import Bundle  # noqa: E402
from imlspike.inference.vocoder import spiking_vocos  # noqa: E402
from imlspike.losses import MelLoss  # noqa: E402
from imlspike.neurons import IMLS  # noqa: E402
from imlspike.training.config import DataConfig  # noqa: E402
from imlspike.training.data import VocoderData  # noqa: E402
from imlspike.training.firing import FiringRates  # noqa: E402
from imlspike.training.log import COLUMNS, TableLogger  # noqa: E402
from tests.training.tiny import GENERATOR, config_for  # noqa: E402


def test_the_log_tells_steps_losses_and_time(straight):
    config, exp, trained = straight
    rows = list(csv.DictReader(open(exp / "log.csv")))
    counts = [(int(row["step"]), int(row["discriminator_steps"])) for row in rows]
    assert counts == [(2, 0), (4, 2), (4, 2), (6, 4), (6, 4)]
    losses, validations = [rows[0], rows[1], rows[3]], [rows[2], rows[4]]
    assert not losses[0]["hinge_mpd"] and float(losses[1]["hinge_mpd"]) > 0
    assert all(float(row["seconds_per_step"]) > 0 for row in losses)
    assert float(validations[1]["valid_mel"]) == pytest.approx(trained.valid_mel, rel=1e-5)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    text = (exp / "train.log").read_text()
    assert re.search(r"step 4/6: mel [\d.]+, generator [\d.]+, .* s a step, \d:.* left, ends", text)
    assert re.search(r"validation at step 6: mel [\d.]+, firing [\d.]+ to [\d.]+ %", text)
    kept = yaml.safe_load((exp / "config.yaml").read_text())
    run = kept.pop("run")
    assert kept == config.as_dict() and run["command"] == "imlspike train-vocoder --exp-dir exp"
    assert run["versions"]["torch"] == torch.__version__


def test_the_first_losses_are_those_of_the_loop_that_lightnings_own_parts_replaced(straight):
    """Means of two steps, recorded before with torch 2.11 on a CPU."""
    rows = list(csv.DictReader(open(straight[1] / "log.csv")))
    generator = [float(row["generator"]) for row in rows if row["generator"]]
    assert generator == pytest.approx([50.2124, 55.6694, 47.3442], rel=1e-3)


def test_validation_measures_whole_recordings_and_the_saved_generator(straight):
    """The distance and firing rates, worked out anew from its bundle."""
    config, exp, trained = straight
    generator, recordings = spiking_vocos(Bundle.load(exp)), Recordings(config.valid_dirs, 8000)
    loss, distances, spikes = MelLoss(8000, 128, 32, 12), [], {}
    for name, module in generator.named_modules():
        if name.endswith(("neuron1", "neuron2")):
            keep = spikes.setdefault(name, []).append
            module.register_forward_hook(lambda module, args, out, keep=keep: keep(out.flatten()))
    with torch.no_grad():
        for index in (0, 2, 4):  # three of six
            real = torch.from_numpy(recordings.read(index))[None]
            fake = generator.decode(generator.features(real))
            distances.append(float(loss(fake, real[:, : fake.shape[1]])))
    assert trained.valid_mel == pytest.approx(sum(distances) / 3, rel=1e-4)
    wanted = {name: float(torch.cat(values).mean()) for name, values in spikes.items()}
    assert len(wanted) == 4 and trained.rates == pytest.approx(wanted, abs=1e-6)


def test_tensorboard_gets_scalars_sound_and_pictures(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight[1] / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/mel", "train/discriminator", "valid/mel"} <= set(tags["scalars"])
    assert len([tag for tag in tags["scalars"] if tag.startswith("firing_rate/")]) == 4
    assert tags["images"] == ["spectrogram/tone_0"]
    assert sorted(tags["audio"]) == ["tone_0/generated", "tone_0/natural"]
    assert [event.step for event in events.Scalars("valid/mel")] == [4, 6]


def test_lines_after_the_checkpoint_and_cut_off_lines_go(tmp_path):
    table = tmp_path / "log.csv"
    row = ",".join(["{}", *[""] * (len(COLUMNS) - 1)])
    table.write_text("\n".join([",".join(COLUMNS), row.format(2), row.format(4), row.format(6), "6,1"]))
    TableLogger(table, 4).log_metrics({"train/mel": 1.5, "firing_rate/x": 0.5}, 5)
    rows = list(csv.DictReader(open(table)))
    assert [row["step"] for row in rows] == ["2", "4", "5"] and rows[-1]["mel"] == "1.5"


def test_firing_rates_of_a_multi_level_neuron_count_its_levels():
    neuron = IMLS(levels=4, threshold="fixed", value=1.0)
    with FiringRates(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(1, 1), neuron)) as firing:
        neuron(torch.tensor([[0.0, 1.0, 2.0, 9.0]]))
    assert firing.rates(firing.sums()) == {"2": (0 + 1 + 2 + 4) / 16}


@pytest.mark.parametrize("samples", [1000, 64])
def test_pieces_are_whole_hops_and_longer_than_half_a_window(data_dir, samples):
    with pytest.raises(ValueError, match=f"crop_samples={samples}"):
        VocoderData(replace(config_for(data_dir), data=DataConfig(crop_samples=samples)), GENERATOR)


def test_data_are_told_and_what_is_too_short_is_named(data_dir, tmp_path):
    config = replace(config_for(data_dir), data=DataConfig(crop_samples=3008, valid_utterances=None))
    assert [re.findall(r"\d+", line)[:4] for line in VocoderData(config, GENERATOR).describe()] == [
        ["6", "0", "0", "3"], ["6", "6"],
    ]  # fmt: skip
    soundfile.write(tmp_path / "blip.wav", np.zeros(64), 8000)
    write_kaldi(tmp_path / "wav.scp", {"blip": str(tmp_path / "blip.wav")})
    with pytest.raises(ValueError, match=r"blip \(.*blip.wav\)"):
        VocoderData(replace(config_for(data_dir), valid_dirs=[str(tmp_path)]), GENERATOR)
