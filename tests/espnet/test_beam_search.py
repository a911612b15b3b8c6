"""The beam search over many utterances against ESPnet's, one by one."""

from functools import partial

import pytest
import torch

pytest.importorskip("espnet2", reason="ESPnet isn't installed (extra: asr)")

from imlspike.inference.beam_search import BeamSearch, SearchOptions, read_options  # noqa: E402
from imlspike.inference.language_model import RNNLanguageModel  # noqa: E402

VOCABULARY, CHANNELS = 16, 16
EOS = VOCABULARY - 1
LENGTHS = torch.tensor([13, 9, 22, 1, 4])


def talkative(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """`module` in double precision with weights so large that its scores differ."""
    torch.manual_seed(seed)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


@pytest.fixture(scope="module")
def classes():
    """ESPnet's classes, imported once."""
    from espnet2.asr.ctc import CTC
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.lm.transformer_lm import TransformerLM

    return CTC, TransformerDecoder, TransformerLM


class Models:
    """A random decoder, CTC and LM, and encoder outputs of several lengths with noise in the padding."""

    def __init__(self, classes, seed: int, **conf):
        ctc, decoder, lm = classes
        conf = {"attention_heads": 2, "linear_units": 32, "num_blocks": 2} | conf
        self.decoder = talkative(decoder(VOCABULARY, CHANNELS, **conf), seed)
        self.ctc = talkative(ctc(VOCABULARY, CHANNELS), seed + 1)
        positions = "sinusoidal" if seed % 2 else None
        small = {"embed_unit": 8, "att_unit": 16, "head": 2, "unit": 32, "layer": 2}
        self.lm = talkative(lm(VOCABULARY, positions, **small), seed + 2)
        self.encoded = 2 * torch.randn(len(LENGTHS), int(LENGTHS.max()), CHANNELS, dtype=torch.float64)

    def search(self, options: SearchOptions, lm=None) -> BeamSearch:
        """Our search with these models; `lm` one of ESPnet's."""
        from imlspike.espnet.scorers import decoder_scorer, lm_scorer

        make_lm = lm and partial(lm_scorer, lm)
        attention = partial(decoder_scorer, self.decoder)
        return BeamSearch(self.ctc.log_softmax, EOS, options, attention, make_lm)


def espnet(models, options: SearchOptions, lm=None):
    """The search that ESPnet's `Speech2Text` builds, as a function of one encoder output (T, C)."""
    from espnet.nets.batch_beam_search import BatchBeamSearch
    from espnet.nets.scorers.ctc import CTCPrefixScorer
    from espnet.nets.scorers.length_bonus import LengthBonus

    scorers = {"decoder": models.decoder, "ctc": CTCPrefixScorer(models.ctc, EOS), "lm": lm}
    weights = {"decoder": 1 - options.ctc_weight, "ctc": options.ctc_weight, "lm": options.lm_weight}
    search = BatchBeamSearch(
        scorers=scorers | {"length_bonus": LengthBonus(VOCABULARY)},
        weights=weights | {"length_bonus": options.penalty},
        beam_size=options.beam_size,
        vocab_size=VOCABULARY,
        sos=EOS,
        eos=EOS,
        pre_beam_score_key=None if options.ctc_weight == 1 else "full",
    )
    return lambda x: search(x, options.maxlenratio, options.minlenratio)


@torch.no_grad()
def compare(models, options: SearchOptions, lm=None):
    """Search in all utterances together, check against ESPnet's search in each, and return what was found."""
    found = models.search(options, lm)(models.encoded, LENGTHS)
    search = espnet(models, options, lm)
    for u, length in enumerate(LENGTHS):
        if -options.maxlenratio <= length:  # ESPnet breaks off at more tokens than frames
            assert_same(found[u], search(models.encoded[u, :length]))
    return found


def assert_same(found, expected) -> None:
    """The n-best lists are one: tokens (but for ESPnet's second <eos>), scores to 1e-4."""
    assert len(found) == len(expected)
    possible = [
        h for h in expected if h.score > -1e6
    ]  # of what CTC can't emit, ESPnet's scores are rounding noise
    for ours, theirs in list(zip(found, possible, strict=False))[:10]:
        said = theirs.yseq.tolist()[1:-1]
        assert ours.tokens == (said[:-1] if said and said[-1] == EOS else said)
        assert abs(ours.score - float(theirs.score)) < 1e-4


OPTIONS = {
    "attention": dict(ctc_weight=0.0, beam_size=7),
    "joint": dict(ctc_weight=0.3, beam_size=5),
    "ctc": dict(ctc_weight=1.0, beam_size=4),
    "all tokens": dict(ctc_weight=0.5, beam_size=VOCABULARY - 5),
    "penalty": dict(ctc_weight=0.5, beam_size=6, penalty=0.7, maxlenratio=0.6),
    "fixed lengths": dict(ctc_weight=0.4, beam_size=3, minlenratio=-2.0, maxlenratio=-4.0),
    "one": dict(ctc_weight=0.5, beam_size=1, minlenratio=0.3),
}


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("with_lm", [False, True], ids=["alone", "lm"])
def test_it_is_espnets_search(classes, name, with_lm):
    """All utterances in one batch end up with the hypotheses and scores that ESPnet finds one by one."""
    for seed in range(2):
        models = Models(classes, seed)
        options = SearchOptions(**OPTIONS[name], lm_weight=0.4 * with_lm)
        lm = models.lm if with_lm else None
        compare(models, options, lm)


@pytest.mark.parametrize("conf", [{}, {"rnn_type": "gru", "nhid": 9}, {"rnn_type": "rnn_relu"}], ids=str)
@torch.no_grad()
def test_the_recurrent_language_model_is_espnets(classes, conf):
    """Ours, with the same weights, in CTC's beam search without ESPnet; theirs in ESPnet's search."""
    from espnet2.lm.seq_rnn_lm import SequentialRNNLM

    models, options = Models(classes, 9), SearchOptions(ctc_weight=1.0, beam_size=5, lm_weight=0.6)
    theirs = talkative(SequentialRNNLM(VOCABULARY, unit=8, **conf), 3)
    ours = RNNLanguageModel(VOCABULARY, unit=8, **conf).double()
    ours.load_state_dict(theirs.state_dict())
    found = BeamSearch(models.ctc.log_softmax, EOS, options, lm=ours.scorer)(models.encoded, LENGTHS)
    search = espnet(models, options, theirs)
    for u, length in enumerate(LENGTHS):
        assert_same(found[u], search(models.encoded[u, :length]))


@pytest.mark.parametrize("conf", [{"normalize_before": False}, {"concat_after": True}], ids=str)
def test_other_decoders_of_espnet(classes, conf):
    """Norms behind the layers are cached as well; with other layers, the decoder's own `batch_score`"""
    models, options = Models(classes, 4, **conf), SearchOptions(beam_size=4)
    compare(models, options)


def test_batch_score_with_and_without_lengths(classes):
    """Decoders called by `batch_score`, padded or length by length, give what the cached one gives."""

    class Plain(classes[1]):
        """Not known to be the Transformer, whose caches can be had."""

    class Padded(classes[1]):
        """Takes padded memories."""

        def batch_score(self, ys, states, xs, xs_lengths=None):
            from espnet.nets.pytorch_backend.transformer.mask import subsequent_mask

            seen.append(len(xs_lengths.unique()))
            mask = torch.arange(xs.size(1)) < xs_lengths[:, None, None]
            causal = subsequent_mask(ys.size(1))[None]
            cache = None if states[0] is None else [torch.stack(layer) for layer in zip(*states, strict=True)]
            scores, cache = self.forward_one_step(ys, causal, xs, mask, cache=cache)
            return scores, [list(row) for row in zip(*cache, strict=True)]

    models, options, seen = Models(classes, 5), SearchOptions(beam_size=4, ctc_weight=0.3), []
    expected = models.search(options)(models.encoded, LENGTHS)
    for kind in (Plain, Padded):
        models.decoder.__class__ = kind
        found = models.search(options)(models.encoded, LENGTHS)
        for ours, cached in zip(found, expected, strict=True):
            assert [h.tokens for h in ours] == [h.tokens for h in cached]
            assert [h.score for h in ours] == pytest.approx([h.score for h in cached])
    assert max(seen) > 2


def test_spiking_decoder(classes):
    """The spiking decoder finds in a batch what ESPnet's search finds with it."""
    from imlspike.espnet.asr import SpikeformerDecoder

    models, options = Models(classes, 6), SearchOptions(beam_size=4)
    torch.manual_seed(0)
    spiking = SpikeformerDecoder(VOCABULARY, CHANNELS, attention_heads=2, linear_units=32, num_blocks=2)
    torch.nn.init.normal_(spiking.output_layer.weight, std=2)
    models.decoder = spiking.double().eval()
    compare(models, options)


def test_nothing_is_long_enough(classes):
    """Without a hypothesis of the least length there is none; a ratio is lowered until there is one."""
    models = Models(classes, 7)
    assert models.search(SearchOptions(minlenratio=-40.0))(models.encoded, LENGTHS) == [[]] * len(LENGTHS)
    options = SearchOptions(beam_size=3, minlenratio=0.95, maxlenratio=0.8)
    assert all(compare(models, options))


def test_scores_that_are_no_numbers(classes):
    """A broken decoder doesn't become an empty transcript."""
    models = Models(classes, 8)
    models.decoder.output_layer.bias.data[:] = float("nan")
    with pytest.raises(FloatingPointError, match="isn't a number"):
        models.search(SearchOptions())(models.encoded, LENGTHS)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("beam_sise: 5", "decode.yaml: unknown key 'beam_sise'; did you mean 'beam_size'"),
        ("ctc_weight: 1.2", "decode.yaml: ctc_weight is 1.2; expected 0"),
        ("beam_size: 2.5", "beam_size is 2.5; expected a whole number"),
        ("penalty: high", "penalty is 'high'; expected a number"),
        ("lm_weight: -1", "lm_weight is -1; expected at least 0"),
    ],
)
def test_wrong_options(tmp_path, text, says):
    """A wrong key or value in a decoding YAML is named, with the file."""
    (tmp_path / "decode.yaml").write_text(text)
    with pytest.raises(ValueError, match=says):
        read_options(tmp_path / "decode.yaml")
