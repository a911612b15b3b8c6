"""Every task of ESPnet that lists a Transformer: it builds with our encoder, trains, and, where cheap, decodes.

The table stands in docs/espnet.md. Each model also runs with ESPnet's Transformer, so that what ESPnet itself
can't do isn't held against the encoder.
"""

import argparse
import importlib
import pkgutil

import pytest
import torch

from imlspike.espnet import register

TOKENS = ["<blank>", "<unk>", "a", "b", "c", "d", "<space>", "<sos/eos>"]
SIZES = {"output_size": 16, "attention_heads": 2, "linear_units": 32, "num_blocks": 2}
FRONT = {"frontend_conf": {"fs": 16000, "n_fft": 512, "hop_length": 160, "n_mels": 20}}
SMALL = {"attention_heads": 2, "linear_units": 32, "num_blocks": 1}
KINDS = ("iml_spikeformer", "transformer")


def words(*lengths, vocabulary=(2, 6)):
    """A padded batch of token numbers (B, N) and its lengths."""
    rows = [torch.randint(*vocabulary, (length,)) for length in lengths]
    return torch.nn.utils.rnn.pad_sequence(rows, True, -1), torch.tensor(lengths)


def named(**pairs):
    """name=(values, lengths) as ESPnet's models take them."""
    return {f"{k}{end}": each for k, pair in pairs.items() for end, each in zip(("", "_lengths"), pair)}


def speech(*lengths):
    return torch.randn(len(lengths), max(lengths)), torch.tensor(lengths)


def of_decoder(kind, **more):
    return {"decoder": kind, "decoder_conf": SMALL, "token_list": TOKENS} | more


def asr():
    return named(speech=speech(12000, 8000), text=words(3, 2))


def s2t():
    return named(speech=speech(12000, 8000), text=words(3, 2), text_prev=words(2, 2), text_ctc=words(3, 2))


def st():
    return named(speech=speech(12000, 8000), text=words(3, 2), src_text=words(2, 3))


def s2st():
    return named(src_speech=speech(12000, 8000), tgt_speech=speech(9000, 9000), src_text=words(3, 2)) | named(
        tgt_text=words(2, 3)
    )


def diar():
    lengths = torch.tensor([12000, 12000])
    labels = torch.randint(0, 2, (2, 73, 2)).float()
    return named(speech=(torch.randn(2, 12000), lengths), spk_labels=(labels, torch.tensor([73, 73])))


MULTI = {"src_token_list": TOKENS, "extra_asr_decoder_conf": SMALL, "extra_mt_decoder_conf": SMALL}
MULTI |= {"extra_asr_decoder": "@", "extra_mt_decoder": "@", "md_encoder": "@", "extra_mt_encoder": "@"}
MULTI |= {"md_encoder_conf": {**SIZES, "input_layer": None}, "hier_encoder_conf": {**SIZES, "input_layer": None}}
MULTI |= {"extra_mt_encoder_conf": {**SIZES, "input_layer": None}, "hier_encoder": "@"}
MULTI |= {"model_conf": {"mt_weight": 0.3, "asr_weight": 0.3, "mtlalpha": 0.3, "use_multidecoder": True}}
TARGET = {"tgt_feats_extract": "fbank", "tgt_feats_extract_conf": {"fs": 16000, "n_fft": 512, "n_mels": 20}}

# name: task, what its configuration says beside the encoder ("@": the same kind), a batch
TASKS = {
    "asr: attention": ("asr.ASRTask", of_decoder("transformer"), asr),
    "asr: both spike": ("asr.ASRTask", of_decoder("@"), asr),
    "asr: CTC": ("asr.ASRTask", of_decoder(None, model_conf={"ctc_weight": 1.0}), asr),
    "asr: interCTC": (
        "asr.ASRTask",
        of_decoder("@", model_conf={"interctc_weight": 0.3})
        | {"encoder_conf": {**SIZES, "interctc_layer_idx": [1], "interctc_use_conditioning": True}},
        asr,
    ),
    "asr: transducer": (
        "asr.ASRTask",
        of_decoder("transducer", decoder_conf={"hidden_size": 16}, joint_net_conf={"joint_space_size": 16}),
        asr,
    ),
    "asr: maskctc": ("asr.ASRTask", of_decoder("mlm", model="maskctc"), asr),
    "st": ("st.STTask", of_decoder("@"), st),
    "st: multi-decoder": ("st.STTask", of_decoder("@", **MULTI), st),
    "slu": ("slu.SLUTask", of_decoder("@"), asr),
    "s2t": ("s2t.S2TTask", of_decoder("@"), s2t),
    "s2st": (
        "s2st.S2STTask",
        {"asr_decoder": "@", "asr_decoder_conf": SMALL, "st_decoder": "@", "st_decoder_conf": SMALL}
        | {"src_token_list": TOKENS, "tgt_token_list": TOKENS, "s2st_type": "translatotron", **TARGET}
        | {"aux_attention": "multihead", "aux_attention_conf": {"n_head": 2}},
        s2st,
    ),
    "mt": (
        "mt.MTTask",
        of_decoder("@", src_token_list=TOKENS, encoder_conf={**SIZES, "input_layer": "linear"}),
        lambda: named(text=words(3, 2), src_text=words(4, 2)),
    ),
    "cls": (
        "cls.CLSTask",
        {"token_list": ["a", "b", "c", "<unk>"]},
        lambda: named(speech=speech(12000, 8000), label=words(1, 1, vocabulary=(0, 3))),
    ),
    "diar": ("diar.DiarizationTask", {"num_spk": 2}, diar),
    "asvspoof": (
        "asvspoof.ASVSpoofTask",
        {},
        lambda: named(speech=speech(12000, 8000)) | {"label": torch.tensor([[0], [1]])},
    ),
    "ssl": (
        "ssl.SSLTask",
        {"token_list": TOKENS, "encoder_conf": {**SIZES, "input_layer": None}}
        | {"loss": [{"name": "hubert", "conf": {"num_classes": 6, "final_dim": 8}}]}
        | {"frontend_conf": {**FRONT["frontend_conf"], "n_mels": 16}},
        lambda: named(speech=speech(12000, 12000), text=words(74, 74)),
    ),
}


def build(name, kind):
    """An ESPnet model of a task by its name in `TASKS`."""
    place, config, _ = TASKS[name]
    module, _, cls = place.partition(".")
    task = getattr(importlib.import_module(f"espnet2.tasks.{module}"), cls)
    chosen = {key: kind if value == "@" else value for key, value in config.items()}
    given = {"encoder": kind, "encoder_conf": SIZES, **FRONT, **chosen}
    torch.manual_seed(0)
    return task.build_model(argparse.Namespace(**{**task.get_default_config(), **given}))


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()


@pytest.mark.parametrize("name", TASKS)
def test_the_task_trains(name):
    for kind in KINDS:
        model, batch = build(name, kind), TASKS[name][2]()
        loss, stats, _ = model(**batch)
        loss.backward()
        assert loss.isfinite(), kind
        for key, parameter in model.named_parameters():
            if key.startswith("encoder."):
                assert parameter.grad is not None and parameter.grad.isfinite().all(), (kind, key)


def test_every_choice_of_a_transformer_has_ours_beside_it():
    import espnet2.tasks
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
    from espnet2.train.class_choices import ClassChoices

    found = set()
    for module in pkgutil.iter_modules(espnet2.tasks.__path__):
        for choices in vars(importlib.import_module(f"espnet2.tasks.{module.name}")).values():
            if isinstance(choices, ClassChoices):
                listed = {TransformerDecoder, TransformerEncoder} & {*choices.classes.values()}
                assert bool(listed) == ("iml_spikeformer" in choices.classes), (module.name, choices.name)
                found |= {(module.name, choices.name)} if listed else set()
    assert found >= {(place.partition(".")[0], "encoder") for place, *_ in TASKS.values()}
    assert found >= {("enh_s2t", "asr_encoder"), ("st", "md_encoder"), ("s2st", "st_decoder")}
