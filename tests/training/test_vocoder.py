"""One training against the same written out by hand; the teacher; what diverges."""

import copy
import csv
import math
from dataclasses import replace

import pytest
import torch

pytest.importorskip("lightning")

from imlspike.data.vocoder_dataset import RandomCrops, Recordings  # noqa: E402
from imlspike.inference import Bundle  # noqa: E402
from imlspike.inference.vocoder import spiking_vocos  # noqa: E402
from imlspike.losses import MelLoss, feature_matching, hinge_discriminator, hinge_generator  # noqa: E402
from imlspike.models.spiking_vocos import SpikingVocos  # noqa: E402
from imlspike.training.config import OptimizerConfig  # noqa: E402
from imlspike.training.run import train  # noqa: E402
from imlspike.training.vocoder import VocoderTraining, schedule  # noqa: E402
from tests.inference.small_vocoder import save  # noqa: E402
from tests.training.tiny import GENERATOR, config_for, same  # noqa: E402


def by_hand(config):
    """The networks after all steps, in plain PyTorch."""
    torch.manual_seed(config.trainer.seed)
    module = VocoderTraining(config)
    generator, judges = module.generator, [(1.0, module.mpd), (0.1, module.mrd)]
    weights = [list(generator.parameters()), [*module.mpd.parameters(), *module.mrd.parameters()]]
    optimizers = [torch.optim.AdamW(some, 1e-3, (0.9, 0.999), weight_decay=0.01) for some in weights]
    mel_loss = MelLoss(8000, 128, 32, 12)
    crops = RandomCrops(Recordings(config.train_dirs, 8000), 1024)

    def move(which, loss, step):
        optimizers[which].param_groups[0]["lr"] = 1e-3 * 0.5 * (1 + math.cos(math.pi * step / 6))
        gradients = torch.autograd.grad(loss, weights[which])
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        for weight, gradient in zip(weights[which], gradients, strict=True):
            weight.grad = gradient * (20 / (norm + 1e-6)).clamp(max=1)
        optimizers[which].step()
        return float(norm)

    norms = []
    for step in range(6):
        real = torch.stack([crops[2 * step], crops[2 * step + 1]])
        mel = generator.features(real)
        if step >= 2:
            fake = generator.decode(mel).detach()
            move(1, sum(w * hinge_discriminator(judge(real)[0], judge(fake)[0]) for w, judge in judges), step)
        fake = generator.decode(mel)
        loss = 45 * mel_loss(fake, real)
        for weight, judge in judges if step >= 2 else ():
            scores, maps = judge(fake)
            loss = loss + weight * (hinge_generator(scores) + feature_matching(judge(real)[1], maps))
        norms.append(move(0, loss, step))
    return module, norms


def test_lightning_trains_as_a_loop_written_by_hand(straight):
    config, _, trained = straight
    module, norms = by_hand(config)
    assert max(norms) > 20  # gradients were clipped
    before = VocoderTraining(config).state_dict()
    for name, weight in module.state_dict().items():
        assert torch.allclose(trained.state_dict()[name], weight, atol=1e-5), name
    moved = [n for n, weight in trained.state_dict().items() if not torch.equal(weight, before[n])]
    assert {name.partition(".")[0] for name in moved} >= {"generator", "mpd", "mrd"}


def test_before_the_discriminators_start_only_the_generator_learns(data_dir, tmp_path):
    config = config_for(data_dir, steps=1, pretrain_steps=1)
    torch.manual_seed(0)
    before = copy.deepcopy(VocoderTraining(config).state_dict())
    trained = train(config, tmp_path)
    assert (trained.step, trained.discriminator_steps) == (1, 0)
    changed = {n.partition(".")[0] for n, w in trained.state_dict().items() if not torch.equal(w, before[n])}
    assert changed == {"generator"}


@pytest.fixture
def teacher(tmp_path):
    torch.manual_seed(5)
    teacher = SpikingVocos(**GENERATOR | {"neuron": "none", "dim": 12})
    save(teacher, tmp_path / "teacher")
    return tmp_path / "teacher"


def test_a_teacher_teaches_and_is_not_stored(data_dir, teacher, tmp_path):
    config = replace(config_for(data_dir, steps=2, pretrain_steps=1, log_every=1), teacher=str(teacher))
    trained = train(config, tmp_path / "exp")
    used = trained._unstored[0]
    assert same(used.state_dict(), spiking_vocos(Bundle.load(teacher)).state_dict()) and not used.training
    checkpoint = torch.load(tmp_path / "exp/checkpoints/last.ckpt", weights_only=True)
    parts = {name.partition(".")[0] for name in checkpoint["state_dict"]}
    assert parts == {"generator", "mpd", "mrd", "distillation"}
    learned = [*trained.generator.parameters(), *trained.distillation.parameters()]
    assert len(checkpoint["optimizer_states"][0]["state"]) == len(learned)
    assert same(Bundle.load(tmp_path / "exp").states, trained.generator.state_dict())
    first = next(csv.DictReader(open(tmp_path / "exp/log.csv")))
    row = {name: float(value) for name, value in first.items() if value}
    whole = 40 * row["feature"] + 10 * (row["magnitude"] + 0.05 * row["phase"])
    assert row["distillation"] == pytest.approx(whole, rel=1e-4)
    assert row["generator"] == pytest.approx(whole + 45 * row["mel"], rel=1e-4)


def test_with_and_without_a_teacher_training_starts_alike(data_dir, teacher, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(
        "imlspike.training.run.Trainer.fit", lambda trainer, module, *_, **__: begun.append(module)
    )
    for exp, told in (("alone", None), ("taught", str(teacher))):
        train(replace(config_for(data_dir), teacher=told), tmp_path / exp)
    alone, taught = (module.state_dict() for module in begun)
    assert same(alone, {name: weight for name, weight in taught.items() if name in alone})


@pytest.mark.parametrize(("key", "value"), [("n_mels", 10), ("num_layers", 3), ("hop_length", 64)])
def test_a_teacher_of_another_shape_is_refused(data_dir, key, value):
    other = SpikingVocos(**GENERATOR | {"neuron": "none", key: value})
    with pytest.raises(ValueError, match=f"{key}={value}"):
        VocoderTraining(config_for(data_dir), other)


def test_the_loss_goes_down(data_dir, tmp_path):
    config = config_for(data_dir, "imls", steps=40, pretrain_steps=40, log_every=10, validate_every=40)
    trained = train(replace(config, optimizer=OptimizerConfig(lr=1e-2)), tmp_path)
    mels = [float(row["mel"]) for row in csv.DictReader(open(tmp_path / "log.csv")) if row["mel"]]
    assert len(mels) == 4 and mels[-1] < 0.7 * mels[0] and trained.valid_mel < 0.8 * mels[0]


def test_what_diverges_stops_and_keeps_its_checkpoint(straight, data_dir, tmp_path):
    _, exp, _ = straight
    config = config_for(data_dir, steps=60, log_every=50, validate_every=8, pretrain_steps=60)
    config = replace(config, optimizer=OptimizerConfig(lr=1e25, clip_norm=None))
    start = exp / "checkpoints/last.ckpt"
    with pytest.raises(FloatingPointError, match=r"step 8.*optimizer\.lr"):
        train(config, tmp_path, resume=str(start))
    assert not (tmp_path / "checkpoints").exists()


def test_the_schedule_warms_up_and_ends_at_0():
    rates = [schedule(step, 100, 10) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == 1 and rates[55] == pytest.approx(0.5) and rates[100] == 0
    assert all(later < earlier for earlier, later in zip(rates[10:], rates[11:], strict=False))
