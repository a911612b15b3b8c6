"""The spiking decoder as ESPnet sees it: in its model, its beam searches, its checkpoints."""

import argparse
import copy
import inspect

import pytest
import torch
import yaml

from imlspike.data.yaml_file import ConfigError
from imlspike.espnet import DECODER_KEY, register
from imlspike.espnet.config import resolve
from imlspike.models import IMLSpikeformerDecoder
from tests.espnet.tiny import CONFIG, TOKENS, tone

SPIKING = "decoder: iml_spikeformer\ndecoder_conf: {attention_heads: 2, linear_units: 32, num_blocks: 2}\n"
LONGEST = 8  # tokens of a hypothesis, its end included


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A folder with config.yaml of a recogniser that spikes throughout, and its model after a few steps."""
    register()
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
    return {
        "speech": pad(waves, True),
        "speech_lengths": torch.tensor([len(wave) for wave in waves]),
        "text": pad(tokens, True, -1),
        "text_lengths": torch.tensor([len(row) for row in tokens]),
    }


def test_registered_under_its_key():
    register()
    from espnet.nets.scorer_interface import BatchScorerInterface
    from espnet2.asr.decoder.abs_decoder import AbsDecoder
    from espnet2.tasks.asr import decoder_choices

    decoder = decoder_choices.get_class(DECODER_KEY)(7, 16, linear_units=32, num_blocks=1)
    assert isinstance(decoder, AbsDecoder) and isinstance(decoder, BatchScorerInterface)


def test_wrong_key_names_the_nearest(tmp_path):
    register()
    from espnet2.tasks.asr import decoder_choices

    with pytest.raises(TypeError, match="unknown key 'num_block'; did you mean 'num_blocks'"):
        decoder_choices.get_class(DECODER_KEY)(7, 16, num_block=2)
    (tmp_path / "base.yaml").write_text(CONFIG)
    (tmp_path / "bad.yaml").write_text(SPIKING.replace("num_blocks", "num_bloks"))
    with pytest.raises(
        ConfigError, match="bad.yaml: decoder_conf of iml_spikeformer: .*did you mean 'num_blocks'"
    ):
        resolve(tmp_path / "base.yaml", [tmp_path / "bad.yaml"])


def test_the_override_says_what_the_constructor_would(repository):
    """conf/spiking_decoder.yaml goes onto quick.yaml; but for its sizes it spells out the defaults."""
    config = resolve(repository / "conf/quick.yaml", [repository / "conf/spiking_decoder.yaml"])
    assert config["decoder"] == DECODER_KEY
    defaults = {k: p.default for k, p in inspect.signature(IMLSpikeformerDecoder).parameters.items()}
    sizes = {"linear_units": 512, "num_blocks": 2}
    assert config["decoder_conf"].items() >= sizes.items()
    assert all(defaults[key] == value for key, value in config["decoder_conf"].items() if key not in sizes)


def test_folded_it_has_the_parameters_of_espnets_decoder():
    """At the published sizes, counted on meta tensors: with it the recogniser is as large as published."""
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder

    for vocabulary, width, heads in ((5000, 512, 8), (4233, 256, 4)):
        with torch.device("meta"):
            ours = IMLSpikeformerDecoder(vocabulary, width, heads).reparameterize()
            twin = TransformerDecoder(vocabulary, width, heads)
        assert len({sum(p.numel() for p in decoder.parameters()) for decoder in (ours, twin)}) == 1


def test_the_loss_reaches_every_parameter(experiment):
    model = copy.deepcopy(experiment[1]).train()
    loss, stats, _ = model(**spoken(["ab ba", "aab", "b a"]))
    loss.backward()
    assert loss.isfinite() and 0 <= stats["acc"] <= 1
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name.startswith("decoder"):
            assert parameter.grad.any(), name


def search(model, kind, encoded):
    from espnet.nets.batch_beam_search import BatchBeamSearch
    from espnet.nets.beam_search import BeamSearch
    from espnet.nets.scorers.ctc import CTCPrefixScorer

    beam_search = {"batch": BatchBeamSearch, "single": BeamSearch}[kind](
        scorers={"decoder": model.decoder, "ctc": CTCPrefixScorer(ctc=model.ctc, eos=model.eos)},
        weights={"decoder": 0.7, "ctc": 0.3},
        beam_size=4,
        vocab_size=len(TOKENS),
        sos=model.sos,
        eos=model.eos,
        pre_beam_score_key="full",
    )
    with torch.no_grad():
        return beam_search(encoded, maxlenratio=-LONGEST)


@pytest.mark.parametrize("kind", ["batch", "single"])
def test_beam_search_with_ctc_prefix_scores(experiment, kind):
    """Each hypothesis' score by the decoder is that of its whole transcript, teacher-forced."""
    _, model = experiment
    batch = spoken(["ab ba"])
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
    speech2text = Speech2Text(
        folder / "config.yaml",
        folder / "model.pth",
        beam_size=4,
        ctc_weight=0.3,
        maxlenratio=-LONGEST,
        nbest=2,
    )
    assert type(speech2text.beam_search) is BatchBeamSearch
    batch = spoken(["ab ba"])
    results = speech2text(batch["speech"][0])
    with torch.no_grad():
        encoded, _ = model.encode(batch["speech"], batch["speech_lengths"])
    want = search(model, "batch", encoded[0])
    assert [result[3].yseq.tolist() for result in results] == [h.yseq.tolist() for h in want[:2]]
