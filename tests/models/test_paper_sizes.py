"""The two published sizes: encoder, ESPnet's decoder and CTC, folded and counted on meta tensors."""

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


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


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
    total = (folded + count(decoder, ctc)) / 1e6
    assert total == pytest.approx(millions, abs=0.0005 if millions > 50 else 0.005)
