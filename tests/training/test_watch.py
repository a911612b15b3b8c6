"""What a training leaves behind: logs, pictures, the generator, its configuration."""

import csv
import re

import pytest
import torch
import yaml

pytest.importorskip("lightning")

from imlspike.data.vocoder_dataset import Recordings  # noqa: E402
from imlspike.inference import Bundle  # noqa: E402
from imlspike.inference.vocoder import spiking_vocos  # noqa: E402
from imlspike.losses import MelLoss  # noqa: E402
from imlspike.neurons import IMLS  # noqa: E402
from imlspike.training.firing import FiringRates  # noqa: E402
from imlspike.training.watch import COLUMNS, _cut  # noqa: E402


def test_the_log_tells_steps_losses_and_time(straight):
    _, exp, trained = straight
    rows = list(csv.DictReader(open(exp / "log.csv")))
    assert [(row["step"], row["discriminator_steps"]) for row in rows] == [
        ("2", "0"), ("4", "2"), ("4", "2"), ("6", "4"), ("6", "4"),
    ]  # fmt: skip
    losses, validations = [rows[0], rows[1], rows[3]], [rows[2], rows[4]]
    assert not losses[0]["hinge_mpd"] and float(losses[1]["hinge_mpd"]) > 0
    assert all(float(row["seconds_per_step"]) > 0 for row in losses)
    assert float(validations[1]["valid_mel"]) == pytest.approx(trained.valid_mel, rel=1e-5)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    text = (exp / "train.log").read_text()
    assert "6 generator steps, 4 discriminator steps (from step 2 on), 2 x 1 pieces" in text
    line = (
        r"step 4/6: mel [\d.]+, generator [\d.]+, discriminator [\d.]+; [\d.e-]+ s a step, \d:.* left, ends"
    )
    assert re.search(line, text)
    assert re.search(r"validation at step 6: mel [\d.]+, firing [\d.]+ to [\d.]+ %", text)
    assert "done: 6 generator steps, 4 discriminator steps" in text


def test_validation_measures_whole_recordings_and_the_saved_generator(straight):
    """The distance and firing rates, worked out anew from its bundle."""
    config, exp, trained = straight
    generator, recordings = spiking_vocos(Bundle.load(exp)), Recordings(config.valid_dirs, 8000)
    loss, distances, spikes = MelLoss(8000, 128, 32, 12), [], {}

    def count(name):
        def hook(module, args, output):
            spikes.setdefault(name, []).append(output.flatten())

        return hook

    for name, module in generator.named_modules():
        if name.endswith(("neuron1", "neuron2")):
            module.register_forward_hook(count(name))
    with torch.no_grad():
        for index in (0, 2, 4):  # three of six
            real = torch.from_numpy(recordings.read(index))[None]
            fake = generator.decode(generator.features(real))
            distances.append(float(loss(fake, real[:, : fake.shape[1]])))
    assert trained.valid_mel == pytest.approx(sum(distances) / 3, rel=1e-4)
    assert trained.rates == pytest.approx(
        {name: float(torch.cat(values).mean()) for name, values in spikes.items()}, abs=1e-6
    )
    assert len(trained.rates) == 4


def test_tensorboard_gets_scalars_sound_and_pictures(straight):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight[1] / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"train/mel", "train/discriminator", "valid/mel"} <= set(tags["scalars"])
    assert len([tag for tag in tags["scalars"] if tag.startswith("firing_rate/")]) == 4
    assert tags["images"] == ["spectrogram/tone_0"]
    assert tags["audio"] == ["tone_0/generated", "tone_0/natural"]
    assert [event.step for event in events.Scalars("valid/mel")] == [4, 6]


def test_the_configuration_is_kept_with_how_it_came_about(straight):
    config, exp, _ = straight
    kept = yaml.safe_load((exp / "config.yaml").read_text())
    run = kept.pop("run")
    assert kept == config.as_dict()
    assert run["command"] == "imlspike train-vocoder --exp-dir exp"
    assert run["versions"]["torch"] == torch.__version__ and kept["trainer"]["seed"] == 0


def test_lines_after_the_checkpoint_and_cut_off_lines_go(tmp_path):
    table = tmp_path / "log.csv"
    row = ",".join(["{}", *[""] * (len(COLUMNS) - 1)])
    table.write_text("\n".join([",".join(COLUMNS), row.format(2), row.format(4), row.format(6), "6,1"]))
    _cut(table, 4)
    assert [kept["step"] for kept in csv.DictReader(open(table))] == ["2", "4"]


def test_firing_rates_of_a_multi_level_neuron_count_its_levels():
    neuron = IMLS(levels=4, threshold="fixed", value=1.0)
    x = torch.tensor([[0.0, 1.0, 2.0, 9.0]])
    with FiringRates(torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(1, 1), neuron)) as firing:
        neuron(x)
    assert firing.rates(firing.sums().tolist()) == {"2": (0 + 1 + 2 + 4) / 16}
