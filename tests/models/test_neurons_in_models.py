"""What the models owe a neuron: it is called as a module, always, whatever it is and whoever watches."""

import pytest
import torch
from torch import nn

from imlspike.neurons import IMLS, LIF
from tests.models.small import batch as features
from tests.models.small import small_encoder
from tests.models.small_decoder import batch as transcripts
from tests.models.small_decoder import small_decoder
from tests.models.small_spikevoice import VARIANTS as VOICES
from tests.models.small_spikevoice import batch as utterances
from tests.models.small_spikevoice import small_voice
from tests.models.small_vocos import small_mel, small_vocos

MODELS = {
    "encoder": lambda: (small_encoder(conv_kernel=3, qk="both", dtype=torch.float32), encode),
    "encoder, theta": lambda: (small_encoder(threshold="layer", dtype=torch.float32), encode),
    "decoder": lambda: (small_decoder(cross_attention="linear", dtype=torch.float32), decode),
    "voice": lambda: (small_voice(dtype=torch.float32), speak),
    "voice, imls": lambda: (small_voice(dtype=torch.float32, **VOICES["imls"]), speak),
    "vocoder": lambda: (small_vocos("shift", dtype=torch.float32), vocode),
    "vocoder, imls": lambda: (small_vocos("imls", dtype=torch.float32), vocode),
}


def encode(model):
    return model(*features([60, 41], torch.float32))[0]


def decode(model):
    return model(*transcripts([12, 9], [5, 3], torch.float32))[0]


def speak(model):
    return model(**utterances([9, 6], torch.float32)).mel_post


def vocode(model):
    return model(small_mel(dtype=torch.float32))


def neurons(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, IMLS | LIF)}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_hooks_see_every_neuron_and_change_nothing(name, training):
    model, run = MODELS[name]()
    model.train(training)
    seen, outputs = set(), []
    for watched in (False, True):
        for each, neuron in neurons(model).items() if watched else ():
            neuron.register_forward_hook(lambda module, args, out, each=each: seen.add(each))
        torch.manual_seed(1)
        with torch.set_grad_enabled(training):
            outputs.append(run(model).detach())
    assert seen == set(neurons(model))
    assert torch.equal(*outputs)


class Restless(nn.Module):
    """Always fires."""

    def forward(self, x, mask=None):
        return x * 0 + 1


class RestlessLIF(LIF):
    """By its own forward always fires."""

    forward = Restless.forward


class RestlessIMLS(IMLS):
    """By its own forward always fires."""

    forward = Restless.forward


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_a_subclass_with_a_forward_of_its_own_is_obeyed(name, training):
    """It is as good as a module that has nothing but that forward. (Nobody watches: hooks are no help.)"""
    outputs = []
    for alike in (True, False):
        model, run = MODELS[name]()
        model.train(training)
        for each, neuron in neurons(model).items():
            if alike:
                neuron.__class__ = RestlessLIF if isinstance(neuron, LIF) else RestlessIMLS
            else:
                model.set_submodule(each, Restless())
        torch.manual_seed(1)
        with torch.set_grad_enabled(training):
            outputs.append(run(model).detach())
    torch.testing.assert_close(*outputs)
    assert outputs[0].any()
