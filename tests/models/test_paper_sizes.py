"""The two published sizes: encoder, ESPnet's decoder and CTC, folded and counted on meta tensors."""

from pathlib import Path

import pytest
import torch

from imlspike.models import IMLSpikeformerEncoder

# Librispeech: a token list of 5,000 BPE pieces. AiShell-1: the 4,233 entries of the token list that ESPnet's
# recipe makes from the training transcripts: characters, blank, unknown and the end of a sentence.
SIZES = {
    "librispeech": (
        dict(output_size=512, attention_heads=8, num_blocks=18, input_layer="conv2d6"),
        5000,
        99.365,
    ),
    "aishell": (dict(output_size=256, attention_heads=4, num_blocks=12, input_layer="conv2d"), 4233, 30.35),
}
EGS = Path(__file__).parents[2] / "egs"


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def published(millions):
    return pytest.approx(millions, abs=0.0005 if millions > 50 else 0.005)


@pytest.mark.parametrize("corpus", SIZES)
def test_parameters_are_those_of_the_paper(corpus):
    pytest.importorskip("espnet2")
    from espnet2.asr.ctc import CTC
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

    conf, vocabulary, millions = SIZES[corpus]
    conf = {**conf, "linear_units": 2048}
    width, heads = conf["output_size"], conf["attention_heads"]
    with torch.device("meta"):
        encoder = IMLSpikeformerEncoder(80, **conf)
        decoder = TransformerDecoder(
            vocabulary, width, attention_heads=heads, linear_units=2048, num_blocks=6
        )
        ctc = CTC(vocabulary, width)
        twin = TransformerEncoder(80, **conf)
    unfolded = count(encoder)
    folded = count(encoder.reparameterize())
    assert folded < unfolded
    assert folded == count(twin)
    assert (folded + count(decoder, ctc)) / 1e6 == published(millions)


@pytest.mark.parametrize("twin", [False, True], ids=["spiking", "twin"])
@pytest.mark.parametrize("corpus", SIZES)
def test_the_recipe_s_yaml_describes_a_model_of_that_size(corpus, twin):
    """The whole recognizer as ESPnet's trainer builds it; only the spiking encoder has branches to fold."""
    pytest.importorskip("espnet2")
    from benchmarks.estimate import build
    from imlspike.espnet.config import resolve

    _, vocabulary, millions = SIZES[corpus]
    conf = EGS / corpus / "asr1" / "conf"
    overrides = [conf / "train_asr_transformer.yaml"] if twin else []
    config = resolve(conf / "train_asr_iml_spikeformer.yaml", overrides)
    with torch.device("meta"):
        model = build(config | {"input_size": 80}, vocabulary)  # without frontend, which has no parameters
    if not twin:
        model.encoder.reparameterize()
    assert count(model) / 1e6 == published(millions)
