"""The losses on spikes and against a teacher, by their formulas, and a training with both."""

import shutil

import pytest
import torch
import yaml

from imlspike import Speech2Text
from imlspike.neurons import Neuron
from tests.espnet.tiny import CONFIG, TOKENS, train, train_args

pytestmark = pytest.mark.usefixtures("registered")
MODEL_CONF = yaml.safe_load(CONFIG)["model_conf"]
STILL = {"dropout_rate": 0.0, "positional_dropout_rate": 0.0}


@pytest.fixture(scope="module")
def build(tiny_data, tmp_path_factory):
    """A function that makes the tiny recogniser, of the same weights each time, without what is random."""
    from espnet2.tasks.asr import ASRTask

    def make(model="iml_spikeformer", encoder=(), tokens=TOKENS, changes=(), **conf):
        folder = tmp_path_factory.mktemp("model")
        config = (
            yaml.safe_load(CONFIG) | {"specaug": None, "specaug_conf": {}, "model": model} | dict(changes)
        )
        config["model_conf"] = MODEL_CONF | conf
        config["encoder_conf"] |= STILL | dict(encoder)
        config["decoder_conf"] |= STILL
        (folder / "train.yaml").write_text(yaml.safe_dump(config))
        args = ASRTask.get_parser().parse_args(train_args(tiny_data, folder, config=folder / "train.yaml"))
        args.token_list = list(tokens)
        torch.manual_seed(0)
        return ASRTask.build_model(args)

    return make


@pytest.fixture
def batch():
    torch.manual_seed(2)
    lengths = {"speech_lengths": torch.tensor([9000, 7000]), "text_lengths": torch.tensor([3, 2])}
    return {"speech": torch.randn(2, 9000), "text": torch.tensor([[3, 4, 3], [4, 3, -1]]), **lengths}


def gradients(model, batch):
    loss, stats, _ = model(**{key: each.clone() for key, each in batch.items()})
    loss.sum().backward()
    return loss, stats, {name: each.grad for name, each in model.named_parameters()}


def test_without_either_it_is_espnets(build, batch, tiny_experiment):
    """In training and validation, without weights; in validation also with them, whose model is no bigger."""
    espnets, ours = build("espnet"), build()
    torch.testing.assert_close(gradients(ours, batch), gradients(espnets, batch), atol=0, rtol=0)
    with_both = build(rate_weight=3.0, distill_from=str(tiny_experiment))
    gradients(with_both, batch)  # the teacher is there
    assert with_both.state_dict().keys() == espnets.state_dict().keys()
    assert len(list(with_both.parameters())) == len(list(espnets.parameters()))
    with torch.no_grad():
        with_both.load_state_dict(espnets.state_dict())
        expected, found = (each.eval()(**batch)[:2] for each in (espnets, with_both))
    torch.testing.assert_close(found, expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    "encoder",
    [{}, {"amplitude": "theta"}, {"neuron": "lif"}, {"neuron_conf": {"signed": True}}, "checkpoint"],
)
def test_rate_by_its_formula(build, batch, encoder):
    """The value from what `encode` counts; at the last neuron, which nothing else depends on, the slope."""
    conf = {"gradient_checkpoint_layers": [1]} if encoder == "checkpoint" else encoder
    model, rates, seen = build(rate_weight=70.0, rate_target=0.01, encoder=conf), [], []

    def look(neuron, args, output):
        rates.append(neuron.encode(*args)[0].abs().mean() / neuron.levels)
        args[0].retain_grad()
        seen.append((neuron, args[0]))

    neurons = [each for each in model.encoder.modules() if isinstance(each, Neuron)]
    inside = [each.neuron for each in neurons if conf.get("neuron") == "lif" and hasattr(each, "neuron")]
    handles = [each.register_forward_hook(look) for each in neurons if each not in inside]
    _, stats, _ = model(**batch)
    rate, count = torch.stack(rates).mean(), len(rates)
    torch.testing.assert_close(stats["firing_rate"], rate[None])
    torch.testing.assert_close(stats["loss_rate"], 70 * (rate[None] - 0.01))
    torch.testing.assert_close(
        stats["loss"], (0.3 * stats["loss_ctc"] + 0.7 * stats["loss_att"] + stats["loss_rate"])
    )
    for handle in handles:
        handle.remove()
    model._terms["loss_rate"].backward()
    if conf.get("neuron") != "lif" and encoder != "checkpoint":
        neuron, x = seen[-1]
        theta = neuron.theta(x)
        gate = (x >= 0) & (x <= (neuron.levels + 0.5) * theta)
        if neuron.signed:
            gate = neuron(x).sign() * (x.abs() <= (neuron.levels + 0.5) * theta)
        torch.testing.assert_close(x.grad, 70 * gate / (count * neuron.levels * x.numel() * theta))
    maps = {name: each for name, each in model.encoder.named_parameters() if "linear.weight" in name}
    assert all(
        each.grad.any() for name, each in maps.items() if ".project." not in name
    )  # behind all neurons


def test_checkpointed_blocks_have_the_same_gradient(build, batch):
    once, twice = (build(rate_weight=70.0, encoder={"gradient_checkpoint_layers": of}) for of in ([], [1]))
    torch.testing.assert_close(gradients(twice, batch), gradients(once, batch))


def test_divergence_by_its_formula(build, batch, tiny_experiment):
    """Token by token, from the teacher's own log-probabilities; no gradient or mode of it changes."""
    model = build(distill_from=str(tiny_experiment), distill_weight=0.7, distill_temperature=2.0)
    loss, stats, found = gradients(model, batch)
    teacher = next(iter(model._teachers.values()))
    assert not teacher.training and all(each.grad is None for each in teacher.parameters())
    expected = 0.0
    encoded, lengths = model.train().encode(batch["speech"], batch["speech_lengths"])
    features, frames = model.normalize(*model.frontend(batch["speech"], batch["speech_lengths"]))
    ours = model.ctc.log_softmax(encoded)
    for b, n in enumerate(lengths.tolist()):
        theirs, _ = teacher.encode_features(features[b : b + 1, : frames[b]], frames[b : b + 1])
        for p, q in zip(teacher.log_probs(theirs)[0], ours[b, :n], strict=True):
            p, q = (p / 2).softmax(-1), (q / 2).softmax(-1)
            expected += 0.7 * 4 * (p * (p.log() - q.log())).sum() / 2
    torch.testing.assert_close(stats["loss_distill"][0], expected.detach())
    assert (
        found["ctc.ctc_lo.weight"].any() and found["encoder.blocks.0.attention.q.linear.weight.weight"].any()
    )


def test_espnet_s_conformer_teaches(build, batch, tiny_data, tmp_path):
    """Its subsampling counts tokens of a padded utterance that are none; they teach nothing."""
    sizes = dict(output_size=8, attention_heads=2, linear_units=16, num_blocks=1, input_layer="conv2d")
    conformer = {"encoder": "conformer", "encoder_conf": sizes | STILL, "max_epoch": 1}
    assert train(tiny_data, tmp_path / "exp", **conformer) == [0]
    model = build(distill_from=str(tmp_path / "exp"))
    batch |= {"speech_lengths": torch.tensor([9000, 6900])}
    stats = gradients(model, batch)[1]
    speech = batch["speech"], batch["speech_lengths"]
    encoded, lengths = model.train().encode(*speech)
    teacher = next(iter(model._teachers.values()))
    with torch.no_grad():
        hidden, found = teacher.encode_features(*model.normalize(*model.frontend(*speech)))
        ours, theirs = model.ctc.log_softmax(encoded), teacher.log_probs(hidden)
    pairs = [(theirs[b, :n], ours[b, :n]) for b, n in enumerate(lengths)]
    expected = sum((p.exp() * (p - q)).sum() for p, q in pairs) * 0.5 / 2
    assert (found > lengths).any() and (found - lengths <= 2).all()
    torch.testing.assert_close(stats["loss_distill"][0], expected)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"tokens": TOKENS[:-2] + TOKENS[-1:]}, "12 tokens aren't the 11"),
        (
            {"changes": {"frontend_conf": {"fs": 16000, "n_fft": 512, "hop_length": 128, "n_mels": 20}}},
            "features",
        ),
        ({"changes": {"frontend_conf": {"fs": 16000, "n_fft": 512, "hop_length": 160, "n_mels": 24}}}, "24"),
        ({"changes": {"normalize": None}}, "features"),
        ({"encoder": {"input_layer": "conv2d6"}}, "input_layer"),
        ({"distill_from": "nowhere"}, "nowhere"),
        ({"distill_from": None, "rate_weight": 1.0, "encoder": {"neuron": "relu"}}, "rate_weight"),
        ({"distill_from": None, "rate_weight": 1.0, "encoder": {"compile": True}}, "compile"),
        ({"distill_from": None, "rate_target": -1}, "rate_target"),
        ({"ctc_weight": 0.0}, "ctc_weight"),
    ],
)
def test_what_does_not_fit_is_told(build, batch, tiny_experiment, changes, named):
    with pytest.raises(ValueError, match=f"(?s){named}"):
        build(**{"distill_from": str(tiny_experiment)} | changes)(**batch)


def test_trains_with_both_and_packs_without_the_teacher(tiny_data, tiny_experiment, tmp_path):
    """The log tells the terms; the rate falls; the model decodes when the teacher is gone."""
    teacher = shutil.copytree(tiny_experiment, tmp_path / "teacher", symlinks=True)
    conf = MODEL_CONF | {"distill_from": str(teacher), "rate_weight": 1e4, "rate_target": 0.0}
    options = {"model": "iml_spikeformer", "model_conf": conf, "max_epoch": 4}
    assert train(tiny_data, tmp_path / "exp", **options, optim_conf={"lr": 0.01}) == [0]
    stats = torch.load(tmp_path / "exp/checkpoint.pth", weights_only=False)["reporter"]["stats"]
    assert stats[4]["train"]["firing_rate"] < 0.7 * stats[1]["train"]["firing_rate"]
    assert stats[4]["train"].keys() >= {"loss_rate", "loss_distill"}
    shutil.rmtree(teacher)
    assert isinstance(Speech2Text.from_pretrained(tmp_path / "exp")(torch.randn(8000).numpy(), 16000), str)
