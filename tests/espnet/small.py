"""Small encoders and decoders of any of ESPnet's kinds."""

import torch

SMALL = dict(output_size=16, attention_heads=2, linear_units=32, num_blocks=3, dropout_rate=0.0)
SMALL |= dict(positional_dropout_rate=0.0)
FRAMES = torch.tensor([60, 45, 31])


def encoder(kind="iml_spikeformer", seed=0, **conf):
    from espnet2.tasks.asr import encoder_choices

    torch.manual_seed(seed)
    return encoder_choices.get_class(kind)(20, **{**SMALL, **conf})


def decoder(kind="iml_spikeformer", **conf):
    from espnet2.tasks.asr import decoder_choices

    torch.manual_seed(0)
    rates = dict(dropout_rate=0.0, positional_dropout_rate=0.0)
    small = dict(attention_heads=2, linear_units=32, num_blocks=2, **rates)
    return decoder_choices.get_class(kind)(9, 16, **{**small, **conf})
