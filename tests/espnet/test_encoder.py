"""The encoder as ESPnet sees it."""

import pytest
import torch

from imlspike.espnet import ENCODER_KEY, register
from imlspike.models import IMLSpikeformerEncoder

SMALL = dict(output_size=16, attention_heads=2, linear_units=32, num_blocks=2)


@pytest.fixture(scope="module")
def encoder_class():
    """The class that ESPnet finds under our key, registered twice."""
    register()
    register()
    from espnet2.tasks.asr import encoder_choices

    assert list(encoder_choices.classes).count(ENCODER_KEY) == 1
    return encoder_choices.get_class(ENCODER_KEY)


@pytest.mark.parametrize("input_layer", ["conv2d", "conv2d6", "conv2d8"])
def test_alone_equals_padded_in_a_batch(encoder_class, input_layer):
    """What surrounds an utterance in its batch, garbage in the padding included, leaves it as it is."""
    encoder = encoder_class(20, input_layer=input_layer, **SMALL).eval()
    lengths = torch.tensor([60, 31, 17])
    batch = torch.randn(3, 60, 20)
    together, tokens, states = encoder(batch, lengths)
    assert states is None
    for features, length, encoded, count in zip(batch, lengths, together, tokens, strict=True):
        alone, alone_count, _ = encoder(features[None, :length], length[None])
        assert alone_count.item() == count == alone.shape[1]
        torch.testing.assert_close(encoded[:count], alone[0], atol=1e-5, rtol=1e-4)


def test_parameters_are_those_of_the_core_encoder(encoder_class):
    """An ESPnet checkpoint's `encoder.*` loads into the core encoder, which then gives the same output."""
    encoder, core = encoder_class(20, **SMALL).eval(), IMLSpikeformerEncoder(20, **SMALL).eval()
    core.load_state_dict(encoder.state_dict())
    features, lengths = torch.randn(2, 40, 20), torch.tensor([40, 33])
    torch.testing.assert_close(core(features, lengths)[0], encoder(features, lengths)[0], atol=0, rtol=0)
    assert encoder.output_size() == 16


@pytest.mark.parametrize("input_layer", ["conv2d", "conv2d6", "conv2d8"])
def test_too_short_is_what_espnet_catches(encoder_class, input_layer):
    """One frame less than gives a token raises TooShortUttError with the sizes, in a batch as well."""
    from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

    encoder = encoder_class(20, input_layer=input_layer, **SMALL).eval()
    with pytest.raises(TooShortUttError) as caught:
        encoder(torch.randn(2, 40, 20), torch.tensor([40, 1]))
    limit = caught.value.limit
    assert caught.value.actual_size == 1 and "utterance 1 of a batch of 2" in str(caught.value)
    assert encoder(torch.randn(1, limit, 20), torch.tensor([limit]))[1].item() == 1
    with pytest.raises(TooShortUttError):
        encoder(torch.randn(1, limit - 1, 20), torch.tensor([limit - 1]))


def test_wrong_key_names_the_nearest(encoder_class):
    """A mistyped encoder_conf key is an error that names the right one."""
    with pytest.raises(TypeError, match="unknown key 'attention_head'; did you mean 'attention_heads'"):
        encoder_class(20, attention_head=2)
