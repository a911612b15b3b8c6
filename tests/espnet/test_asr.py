"""Encoder and decoder as ESPnet sees them: its registries, its model, its beam searches, its checkpoints."""

import argparse
import copy
import inspect

import pytest
import torch
import yaml

from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import register
from imlspike.espnet.config import resolve
from imlspike.models import IMLSpikeformerDecoder, IMLSpikeformerEncoder
from tests.espnet.tiny import CONFIG, TOKENS, tone

SMALL = dict(output_size=16, attention_heads=2, linear_units=32, num_blocks=2)
SPIKING = "decoder: iml_spikeformer\ndecoder_conf: {attention_heads: 2, linear_units: 32, num_blocks: 2}\n"
LONGEST = 8  # tokens of a hypothesis, its end included


@pytest.fixture(scope="module")
def choices():
    """Encoder's and decoder's class that ESPnet finds under our keys, registered twice."""
    register()
    register()
    from espnet2.tasks.asr import decoder_choices, encoder_choices

    assert list(encoder_choices.classes).count("iml_spikeformer") == 1
    return encoder_choices.get_class("iml_spikeformer"), decoder_choices.get_class("iml_spikeformer")


@pytest.fixture(scope="module")
def experiment(choices, tmp_path_factory):
    """A folder with config.yaml of a recogniser that spikes throughout, and its model after a few steps."""
    from espnet2.tasks.asr import ASRTask

    folder = tmp_path_factory.mktemp("spiking")
    (folder / "base.yaml").write_text(CONFIG)
    (folder / "spiking.yaml").write_text(SPIKING)
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    config = ASRTask.get_default_config() | resolve(folder / "base.yaml", [folder / "spiking.yaml"])
    config |= {"token_list": str(folder / "tokens.txt")}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    torch.manual_seed(0)
    model = ASRTask.build_model(argparse.Namespace(**config))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model(**spoken(["ab ba", "aab", "b a"]))[0].backward()
        optimizer.step()
    torch.save(model.state_dict(), folder / "model.pth")
    return folder, model.eval()


def spoken(texts):
    """A padded batch of tones and tokens, as ESPnet's models take it."""
    waves = [torch.from_numpy(tone(text)).float() for text in texts]
    tokens = [torch.tensor([TOKENS.index(c if c != " " else "<space>") for c in text]) for text in texts]
    pad = torch.nn.utils.rnn.pad_sequence
    given = {"speech": pad(waves, True), "text": pad(tokens, True, -1)}
    rows = {"speech": waves, "text": tokens}
    return given | {f"{key}_lengths": torch.tensor([len(row) for row in rows[key]]) for key in given}


@pytest.mark.parametrize("input_layer", ["conv2d", "conv2d6", "conv2d8"])
def test_an_utterance_in_a_batch_and_one_that_is_too_short(choices, input_layer):
    """Alone it is as in a batch, garbage in the padding included; ESPnet catches what gives no token."""
    from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

    encoder = choices[0](20, input_layer=input_layer, **SMALL).eval()
    lengths, batch = torch.tensor([60, 31, 17]), torch.randn(3, 60, 20)
    together, tokens, states = encoder(batch, lengths)
    assert states is None
    for features, length, encoded, count in zip(batch, lengths, together, tokens, strict=True):
        alone, alone_count, _ = encoder(features[None, :length], length[None])
        assert alone_count.item() == count == alone.shape[1]
        torch.testing.assert_close(encoded[:count], alone[0], atol=1e-5, rtol=1e-4)
    with pytest.raises(TooShortUttError) as caught:
        encoder(batch[:, :1], torch.tensor([1, 1, 1]))
    limit = caught.value.limit
    assert caught.value.actual_size == 1
    assert encoder(torch.randn(1, limit, 20), torch.tensor([limit]))[1].item() == 1
    with pytest.raises(TooShortUttError):
        encoder(torch.randn(1, limit - 1, 20), torch.tensor([limit - 1]))


def test_parameters_are_those_of_the_core_encoder(choices):
    """An ESPnet checkpoint's `encoder.*` loads into the core encoder, which then gives the same output."""
    encoder, core = choices[0](20, **SMALL).eval(), IMLSpikeformerEncoder(20, **SMALL).eval()
    core.load_state_dict(encoder.state_dict())
    features, lengths = torch.randn(2, 40, 20), torch.tensor([40, 33])
    torch.testing.assert_close(core(features, lengths)[0], encoder(features, lengths)[0], atol=0, rtol=0)
    assert encoder.output_size() == 16


def test_wrong_keys_name_the_nearest(choices, tmp_path):
    with pytest.raises(TypeError, match="did you mean 'attention_heads'"):
        choices[0](20, attention_head=2)
    with pytest.raises(TypeError, match="did you mean 'num_blocks'"):
        choices[1](7, 16, num_block=2)
    (tmp_path / "base.yaml").write_text(CONFIG)
    (tmp_path / "bad.yaml").write_text(SPIKING.replace("num_blocks", "num_bloks"))
    with pytest.raises(ConfigError, match="bad.yaml: decoder_conf .*did you mean 'num_blocks'"):
        resolve(tmp_path / "base.yaml", [tmp_path / "bad.yaml"])


def test_the_override_says_what_the_constructor_would(repository):
    """conf/spiking_decoder.yaml goes onto quick.yaml; but for its sizes it spells out the defaults."""
    config = resolve(repository / "conf/quick.yaml", [repository / "conf/spiking_decoder.yaml"])
    assert config["decoder"] == "iml_spikeformer"
    defaults = {k: p.default for k, p in inspect.signature(IMLSpikeformerDecoder).parameters.items()}
    sizes = {"linear_units": 512, "num_blocks": 2}
    assert config["decoder_conf"].items() >= sizes.items()
    assert all(defaults[key] == value for key, value in config["decoder_conf"].items() if key not in sizes)


def test_folded_it_has_the_parameters_of_espnets_decoder():
    """At the published sizes, counted on meta tensors: with it the recogniser is as large as published."""
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder

    for sizes in ((5000, 512, 8), (4233, 256, 4)):
        with torch.device("meta"):
            pair = IMLSpikeformerDecoder(*sizes).reparameterize(), TransformerDecoder(*sizes)
        assert len({sum(p.numel() for p in decoder.parameters()) for decoder in pair}) == 1


def test_the_loss_reaches_every_parameter(experiment):
    model = copy.deepcopy(experiment[1]).train()
    loss, stats, _ = model(**spoken(["ab ba", "aab", "b a"]))
    loss.backward()
    assert loss.isfinite() and 0 <= stats["acc"] <= 1
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or not name.startswith("decoder"), name


def search(model, kind, encoded):
    from espnet.nets.batch_beam_search import BatchBeamSearch
    from espnet.nets.beam_search import BeamSearch
    from espnet.nets.scorers.ctc import CTCPrefixScorer

    beam_search = {"batch": BatchBeamSearch, "single": BeamSearch}[kind](
        scorers={"decoder": model.decoder, "ctc": CTCPrefixScorer(ctc=model.ctc, eos=model.eos)},
        weights={"decoder": 0.7, "ctc": 0.3},
        **dict(beam_size=4, vocab_size=len(TOKENS), sos=model.sos, eos=model.eos, pre_beam_score_key="full"),
    )
    with torch.no_grad():
        return beam_search(encoded, maxlenratio=-LONGEST)


@pytest.mark.parametrize("kind", ["batch", "single"])
def test_beam_search_with_ctc_prefix_scores(experiment, kind):
    """Each hypothesis' score by the decoder is that of its whole transcript, teacher-forced."""
    model, batch = experiment[1], spoken(["ab ba"])
    with torch.no_grad():
        encoded, lengths = model.encode(batch["speech"], batch["speech_lengths"])
    found = search(model, kind, encoded[0])
    assert len(found) >= 4
    for hypothesis in found[:4]:
        tokens = hypothesis.yseq[None, : 1 + LONGEST]  # an end that is put behind the longest has no score
        logits, _ = model.decoder(encoded, lengths, tokens[:, :-1], torch.tensor([tokens.shape[1] - 1]))
        want = logits.log_softmax(-1).gather(2, tokens[:, 1:, None]).sum()
        torch.testing.assert_close(torch.as_tensor(hypothesis.scores["decoder"]), want, atol=1e-3, rtol=1e-3)


def test_a_checkpoint_decodes_through_espnet(experiment):
    """Speech2Text takes the batched search, and finds what the model in memory finds."""
    from espnet.nets.batch_beam_search import BatchBeamSearch
    from espnet2.bin.asr_inference import Speech2Text

    folder, model = experiment
    files, options = (
        (folder / "config.yaml", folder / "model.pth"),
        dict(beam_size=4, ctc_weight=0.3, nbest=2),
    )
    speech2text = Speech2Text(*files, maxlenratio=-LONGEST, **options)
    assert type(speech2text.beam_search) is BatchBeamSearch
    batch = spoken(["ab ba"])
    with torch.no_grad():
        encoded, _ = model.encode(batch["speech"], batch["speech_lengths"])
    found, want = speech2text(batch["speech"][0]), search(model, "batch", encoded[0])
    assert [result[3].yseq.tolist() for result in found] == [h.yseq.tolist() for h in want[:2]]
