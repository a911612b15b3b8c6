"""Training of SpikeVoice: where dropout acts, and gradients from block to block."""

import pytest
import torch

from imlspike.layers import Layout
from imlspike.models.neuron_choice import NeuronChoice
from imlspike.models.spikevoice_blocks import SpikeVoiceStack
from imlspike.models.variance_adaptor import VariancePredictor
from tests.models.small_spikevoice import batch, small_voice


@pytest.mark.parametrize("neuron", ["lif", "none"])
@pytest.mark.parametrize("rate", ["dropout", "predictor_dropout", "postnet_dropout"])
def test_dropout_is_applied_in_training(neuron, rate):
    """Defect 5 of the reference. Each rate alone moves what it stands before, in training only."""
    data = batch([9, 12])
    model = small_voice(3, neuron=neuron, **{rate: 0.4}).train()
    first, second = model(**data), model(**data)
    moved = {
        name
        for name in ("mel", "mel_post", "pitch")
        if not torch.equal(getattr(first, name), getattr(second, name))
    }
    expected = {
        "dropout": {"mel", "mel_post", "pitch"},
        "predictor_dropout": {"pitch"},
        "postnet_dropout": {"mel_post"},
    }
    assert moved == expected[rate]
    model.eval()
    assert torch.equal(model(**data).mel_post, model(**data).mel_post)


def test_dropout_leaves_what_comes_out_on_the_whole_as_it_is():
    """The mean over many draws is near what evaluation says; were a neuron's current scaled up for those that
    stay, thresholds would be crossed that aren't in evaluation."""
    torch.manual_seed(0)
    layout, neurons = Layout(torch.tensor([40, 31]), 40), NeuronChoice("lif", steps=4)
    predictor = VariancePredictor(64, 3, 0.3, neurons)
    # Currents just below the threshold, which larger ones would cross: as many as evaluation crosses.
    for norm in predictor.norms:
        torch.nn.init.constant_(norm.weight, 0.5)
        torch.nn.init.constant_(norm.bias, 0.6)
    x = torch.randn(4, 2, 40, 64)
    x = x * layout.mask[..., None]
    drawn = torch.stack([predictor(x, layout) for _ in range(200)])
    said = predictor.eval()(x, layout)
    spread = drawn[:, layout.mask].std()
    assert spread > 0.01
    assert (drawn.mean(0) - said)[layout.mask].abs().mean() < 0.6 * spread


def test_the_first_neurons_of_a_stack_get_in_training_what_they_get_in_evaluation():
    """The same reason: dropout stands behind what fires."""
    torch.manual_seed(0)
    stack = SpikeVoiceStack(1, 8, 2, 16, 3, "stsa", 0.4, NeuronChoice("lif", steps=2))
    entered = []
    stack.blocks[0].register_forward_pre_hook(lambda block, args: entered.append(args[0]))
    x, layout = torch.randn(1, 2, 5, 8), Layout(torch.tensor([5, 4]), 5)
    for training in (True, False):
        stack.train(training)(x, layout)
    assert torch.equal(*entered)


@pytest.mark.parametrize(
    ("neuron", "attention"), [("lif", "stsa"), ("lif", "sequential"), ("imls", "sequential"), ("none", "ann")]
)
def test_gradients_do_not_explode_with_depth(neuron, attention):
    """What reaches the second of eight blocks is of the size of what reaches the last one."""
    torch.manual_seed(0)
    stack = SpikeVoiceStack(8, 64, 2, 64, 3, attention, 0.0, NeuronChoice(neuron, steps=4))
    entered = []
    for block in stack.blocks[1:]:
        block.register_forward_pre_hook(lambda block, args: entered.append(args[0]) or args[0].retain_grad())
    y = stack(torch.randn(1, 3, 40, 64), Layout(torch.tensor([40, 40, 31]), 40))
    (y * torch.randn_like(y)).sum().backward()
    sizes = [x.grad.norm() for x in entered]
    assert sizes[-1] / 5 < sizes[0] < 5 * sizes[-1]
