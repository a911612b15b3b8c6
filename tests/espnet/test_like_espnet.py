"""What users of ESPnet take for granted of an encoder and a decoder, beside its Transformer and Conformer."""

import copy
import inspect
import logging

import pytest
import torch

from imlspike.models import IMLSpikeformerDecoder, IMLSpikeformerEncoder
from imlspike.models.record import RecordsArguments, read_record
from tests.espnet.small import FRAMES, SMALL, decoder, encoder

pytestmark = pytest.mark.usefixtures("registered")

KINDS = ("iml_spikeformer", "transformer", "conformer")


class Softmax(torch.nn.Linear):
    """A CTC as encoders use it."""

    def softmax(self, x):
        return self(x).softmax(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_is_frozen(kind, features):
    """As `--freeze_param encoder` does it: of ours, unlike the Conformer's, statistics don't move either."""
    model = encoder(kind).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        model(features * 3 - 1, FRAMES)
    same = all(torch.equal(state, before[key]) for key, state in model.state_dict().items())
    assert same == (kind != "conformer")
    if kind == "iml_spikeformer":
        torch.testing.assert_close(model(features, FRAMES)[0], model.eval()(features, FRAMES)[0])


@pytest.mark.parametrize("prefix", ["embed.", "blocks.1.", "blocks.0.attention."])
def test_a_frozen_part_is_frozen_and_the_rest_is_not(prefix, features):
    model = encoder()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = not name.startswith(prefix)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(features, FRAMES)
    moved = {name: not torch.equal(buffer, before[name]) for name, buffer in model.named_buffers()}
    moved = {name: yes for name, yes in moved.items() if "running" in name}
    assert any(name.startswith(prefix) for name in moved)
    assert all(yes != name.startswith(prefix) for name, yes in moved.items())


def test_a_frozen_decoder_is_frozen():
    model, hs, ys = decoder(), torch.randn(2, 7, 16), torch.tensor([[8, 1, 2], [8, 3, 3]])
    before = copy.deepcopy(model.requires_grad_(False).state_dict())
    model(hs, torch.tensor([7, 5]), ys, torch.tensor([3, 2]))
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)


@pytest.mark.parametrize("input_layer", ["conv2d", "conv2d6", "conv2d8", "conv2d2", "conv1d2", "linear"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_batch_that_espnet_trains_on(kind, input_layer, features):
    """With an utterance of a frame or none beside others; a whole batch that is too short is refused."""
    from espnet.nets.pytorch_backend.transformer.subsampling import TooShortUttError

    if (kind, input_layer) == ("conformer", "conv1d2"):
        return  # that has none
    model = encoder(kind, input_layer=input_layer)
    for lengths in ([60, 1, 31], [60, 60, 14]):
        ys, tokens, _ = model(features, torch.tensor(lengths))
        assert tokens.min() > 0 and ys.isfinite().all()
        ys.sum().backward()
    if input_layer != "linear":
        with pytest.raises(TooShortUttError):
            model(features[:, :4], torch.tensor([4, 4, 4]))


def test_a_short_utterance_is_followed_by_zeros(features):
    model = encoder().eval()
    loud = features.clone()
    loud[1, 3:], features[1, 3:] = 9.0, 0.0
    ys, tokens, _ = model(loud, torch.tensor([60, 3, 31]))
    assert tokens.tolist() == [14, 1, 7]
    alone = model(features[1:2, :7], torch.tensor([7]))[0]
    torch.testing.assert_close(ys[1, :1], alone[0], atol=1e-5, rtol=1e-4)


def test_one_token_alone_in_a_batch_trains(features):
    for kind in ("iml_spikeformer", "transformer"):
        encoder(kind)(features[:1, :7], torch.tensor([7]))[0].sum().backward()
    for kind in ("iml_spikeformer", "transformer"):
        logits, _ = decoder(kind)(
            torch.randn(1, 1, 16), torch.ones(1).long(), torch.tensor([[8]]), torch.ones(1).long()
        )
        logits.sum().backward()


# Another value of each argument; what a test of the record goes through.
OTHERS = dict(attention_heads=4, linear_units=24, num_blocks=2, dropout_rate=0.3, positional_dropout_rate=0.2)
OTHERS |= dict(attention_dropout_rate=0.3, input_layer="conv2d2", input_channels=5, positions="sinusoidal")
OTHERS |= dict(neuron="relu", neuron_conf={"eps": 2.0}, levels=3, threshold="token", kappa=0.9)
OTHERS |= dict(threshold_value=0.9, detach_threshold=False, amplitude="theta", decay="none", decay_a=3.0)
OTHERS |= dict(decay_b=1.0, decay_c=3.0, attention_mode="chunked", rep_branches=["linear"], residual_gain=1.0)
OTHERS |= dict(sync_norms=False, layer_drop_rate=0.5, gradient_checkpoint_layers=[1])
OF_ENCODER = dict(output_size=8, qk="none", direction="past", conv_kernel=3, compile=True)
OF_ENCODER |= dict(input_groups=4, anneal_steps=5, rep_kernel=3, macaron=True, look_ahead=2, o_affine=True)
OF_ENCODER |= dict(interctc_layer_idx=[1], interctc_use_conditioning=True, stochastic_depth_rate=0.5)
OF_DECODER = dict(vocab_size=7, encoder_output_size=8, qk="both", cross_attention="linear")
OF_DECODER |= dict(self_attention_dropout_rate=0.3, src_attention_dropout_rate=0.3, threshold="fixed")


def cases(cls, own):
    names = inspect.signature(cls).parameters
    return {name: (own | {k: v for k, v in OTHERS.items() if k not in own}).get(name) for name in names}


ENCODERS, DECODERS = cases(IMLSpikeformerEncoder, OF_ENCODER), cases(IMLSpikeformerDecoder, OF_DECODER)


@pytest.mark.parametrize("cls, key", [*(("e", key) for key in ENCODERS), *(("d", key) for key in DECODERS)])
def test_weights_mean_what_they_meant(cls, key, features):
    """Weights go into a model of another argument if it does what they did; otherwise loading names it."""
    other = (ENCODERS if cls == "e" else DECODERS)[key]
    if key in ("input_size", "vocab_size", "compile", "look_ahead") or (
        cls == "d" and key in ("input_layer", "encoder_output_size")
    ):
        return  # ESPnet's, or of one value; compiling takes minutes; a look-ahead may change later
    assert other is not None, f"{key} is new: give it another value here"
    about = {"threshold": "token"} if key == "kappa" else {}
    if cls == "e":
        one, two = encoder(**about), encoder(**{**about, key: other})
        run = lambda model: model(features, FRAMES)[0]  # noqa: E731
    else:
        one, two = decoder(**about), decoder(**{**about, key: other})
        hs, ys = features[:, :8, :16], torch.tensor([[8, 1, 2, 3, 4]]).expand(3, -1)
        run = lambda model: model(hs, torch.tensor([8, 8, 6]), ys, None)[0]  # noqa: E731
    run(one)
    states = one.state_dict()
    bare = {name: state for name, state in states.items() if name != "_extra_state"}
    try:
        two.load_state_dict(bare)
    except RuntimeError:  # other names or shapes: torch says so
        return
    if key == "interctc_use_conditioning":
        same = False  # asks for a map that the weights hadn't
    else:
        same = torch.allclose(run(one.eval()), run(two.eval()), atol=1e-4)
    if same:
        two.load_state_dict(states)
    else:
        with pytest.raises(ValueError, match=key):
            two.load_state_dict(states)


@pytest.mark.parametrize("neuron", ["imls", "lif"])
def test_the_record_has_a_neurons_own_defaults(neuron):
    """They may change; and what is said in two ways is recorded in one."""
    recorded = read_record(encoder(neuron=neuron).state_dict()["_extra_state"])
    model = RecordsArguments()
    model.record(neuron=neuron, neuron_conf={})  # of a version that knew less
    encoder(neuron=neuron).set_extra_state(model.get_extra_state())
    expected = {"imls": {"eps": 1e-5}, "lif": {"tau": 2.0, "threshold": 1.0}}[neuron]
    assert expected.items() <= recorded["neuron_conf"].items()
    said = {"threshold": "token", "kappa": 0.3} if neuron == "imls" else {"neuron_conf": {"tau": 3.0}}
    within = {"neuron_conf": said} if neuron == "imls" else {"neuron_conf": {"tau": 3.0, "reset": "hard"}}
    encoder(neuron=neuron, **within).load_state_dict(encoder(neuron=neuron, **said).state_dict())
    with pytest.raises(ValueError, match="kappa" if neuron == "imls" else "neuron_conf"):
        encoder(neuron=neuron, threshold="token").load_state_dict(encoder(neuron=neuron, **said).state_dict())


def test_the_record_outlives_averaging_and_half_precision(tmp_path):
    """ESPnet adds checkpoints up and divides what isn't `torch.int...` by their number."""
    states = [encoder(seed=seed, threshold="token").state_dict() for seed in range(3)]
    average = {key: states[0][key] + states[1][key] + states[2][key] for key in states[0]}
    average = {k: v if str(v.dtype).startswith("torch.int") else v / 3 for k, v in average.items()}
    model = encoder(threshold="token").half()
    model.load_state_dict(average)
    # Of one shape, or `--ignore_init_mismatch` would leave it out.
    assert encoder().state_dict()["_extra_state"].shape == average["_extra_state"].shape
    with pytest.raises(ValueError, match="threshold"):
        encoder().load_state_dict(model.state_dict())


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_masks_and_intermediate_ctc(kind, features):
    from espnet.nets.pytorch_backend.nets_utils import make_pad_mask

    ctc = Softmax(16, 9)
    model = encoder(kind, interctc_layer_idx=[1, 2], interctc_use_conditioning=True)
    model.conditioning_layer = torch.nn.Linear(9, 16)
    (ys, middle), tokens, _ = model(features, FRAMES, ctc=ctc)
    assert [number for number, _ in middle] == [1, 2]
    assert {tuple(hidden.shape) for _, hidden in middle} == {tuple(ys.shape)}
    (ys + middle[0][1]).sum().backward()
    assert ctc.weight.grad.any() and model.conditioning_layer.weight.grad.any()
    model = encoder(kind).eval()
    (ys, hidden), _, _ = model(features, FRAMES, return_all_hs=True)
    masked, _, _ = model(features, FRAMES, masks=make_pad_mask(FRAMES))
    plain, _, _ = model(features, FRAMES)
    assert len(hidden) == 3 and torch.equal(ys, plain) and torch.equal(masked, plain)
    if kind == "iml_spikeformer":
        layout = torch.arange(14) < model.output_lengths(FRAMES)[:, None]
        torch.testing.assert_close(model.after_norm(hidden[-1])[layout], ys[layout])


def test_no_argument_is_taken_and_ignored(features):
    model, masks = encoder(), torch.zeros(3, 60, dtype=torch.bool)
    masks[0, 3] = True
    for name, value in {"prev_states": torch.zeros(1), "masks": masks}.items():
        with pytest.raises(ValueError, match=name):
            model(features, FRAMES, **{name: value})
    with pytest.raises(ValueError, match="return_all_hs"):
        encoder(interctc_layer_idx=[1])(features, FRAMES, return_all_hs=True)
    with pytest.raises(ValueError, match="ctc"):
        encoder(interctc_layer_idx=[1], interctc_use_conditioning=True)(features, FRAMES)
    with pytest.raises(RuntimeError, match="trace"):
        torch.jit.trace(model.eval(), (features, FRAMES))


@pytest.mark.parametrize("kind", ["iml_spikeformer", "transformer"])
def test_a_decoder_gives_out_hidden_states_and_decodes_in_steps(kind):
    """Step by step with a cache as all at once; also where hypotheses have different lengths."""
    model, hs = decoder(kind).eval(), torch.randn(2, 7, 16)
    ys, lengths = torch.tensor([[8, 1, 2, 4], [8, 3, 3, 1]]), torch.tensor([4, 4])
    full, _ = model(hs, torch.tensor([7, 7]), ys, lengths)
    (logits, hidden), _ = model(hs, torch.tensor([7, 7]), ys, lengths, return_hs=True)
    (_, layers), _ = model(hs, torch.tensor([7, 7]), ys, lengths, return_all_hs=True)
    assert torch.equal(logits, full) and hidden.shape == (2, 4, 16) and len(layers) == 2
    torch.testing.assert_close(model.after_norm(layers[-1]), hidden)
    cache = None
    for n in range(1, 5):
        mask = torch.ones(n, n, dtype=torch.bool).tril()[None]
        (scores, last), cache = model.forward_one_step(ys[:, :n], mask, hs, cache=cache, return_hs=True)
        torch.testing.assert_close(scores, full[:, n - 1].log_softmax(-1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(last, hidden[:, n - 1], atol=1e-4, rtol=1e-4)
    score, state_hidden, _ = model.score(ys[0], None, hs[0], return_hs=True)
    torch.testing.assert_close((score, state_hidden), (scores[0], last[:1]), atol=1e-4, rtol=1e-4)
    if kind == "transformer":  # its own says something else of rows of other lengths
        return
    scores, _ = model.batch_score_partially_AR(ys, [None], hs, torch.tensor([4, 2]))
    torch.testing.assert_close(scores[0], full[0, 3].log_softmax(-1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores[1], full[1, 1].log_softmax(-1), atol=1e-4, rtol=1e-4)


def test_scores_are_those_of_evaluation():
    model, hs, ys = decoder().train(), torch.randn(3, 7, 16), torch.tensor([[8, 1]] * 3)
    before = copy.deepcopy(model.state_dict())
    scores, _ = model.batch_score(ys, [None] * 3, hs)
    one, _ = model.score(ys[0], None, hs[0])
    model.batch_score_partially_AR(ys, [None], hs, torch.tensor([2, 1, 2]))
    assert all(module.training for module in model.modules())
    torch.testing.assert_close(model.state_dict(), before, atol=0, rtol=0)
    torch.testing.assert_close(one, scores[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.eval().batch_score(ys, [None] * 3, hs)[0], scores)


@pytest.mark.parametrize("kind", ["iml_spikeformer", "transformer"])
def test_partially_autoregressive_search(kind):
    from espnet2.asr.ctc import CTC
    from espnet2.asr.partially_AR_model import PartiallyARInference

    tokens, model = ["-", "<unk>", *"abcdef", "$"], decoder(kind).eval()
    torch.manual_seed(3)
    ends = dict(sos=8, eos=8, mask_token=9, token_list=tokens, beam_size=2)
    options = dict(threshold_probability=1.1, scorers={"decoder": model}, weights={"decoder": 1.0}, **ends)
    search = PartiallyARInference(CTC(9, 16), model, **options)
    search.set_hyp_primer([8])
    with torch.no_grad():
        found = search(4 * torch.randn(12, 16))
    assert len(found) == 1 and set(found[0].yseq.tolist()) <= set(range(10))


def test_attention_maps_are_what_the_values_are_multiplied_by():
    """In the shapes in which ESPnet draws its own, without padding."""
    from espnet2.train import trainer

    class Model(torch.nn.Module):
        def __init__(self, kind, **conf):
            super().__init__()
            self.encoder, self.decoder = encoder(kind), decoder(kind, **conf)

        def forward(self, speech, speech_lengths, text, text_lengths):
            for _ in range(2):  # as models that teach by their own output do
                hs, lengths, _ = self.encoder(speech, speech_lengths)
            self.decoder(hs, lengths, text, text_lengths)

    batch = dict(speech=torch.randn(2, 60, 20), speech_lengths=torch.tensor([60, 31]))
    batch |= dict(text=torch.tensor([[8, 1, 2], [8, 3, 3]]), text_lengths=torch.tensor([3, 2]))
    shapes = {}
    for kind in ("iml_spikeformer", "transformer"):
        maps = trainer.calculate_all_attentions(Model(kind).eval(), batch)
        assert {name.split(".")[0] for name in maps} == {"encoder", "decoder"}
        shapes[kind] = sorted([tuple(one.shape) for one in each] for each in maps.values())
    assert shapes["iml_spikeformer"] == shapes["transformer"]
    maps = trainer.calculate_all_attentions(Model(KINDS[0], cross_attention="linear").eval(), batch)
    assert len(maps) == 5 and {len(each) for each in maps.values()} == {2}  # none of cross-attention
    attention = encoder().blocks[0].attention.attention
    q, k, v = torch.randn(3, 2, 2, 9, 8)
    lengths = torch.tensor([9, 5])
    torch.testing.assert_close(
        attention.weights(q, k, v, lengths) @ v, attention(q, k, v, lengths), atol=1e-5, rtol=1e-4
    )


def test_spike_rates_and_thresholds_stand_in_the_reports(tiny_experiment):
    """Of each layer in validation; none of them is outside what neurons can do."""
    stats = torch.load(tiny_experiment / "checkpoint.pth", weights_only=False)["reporter"]["stats"][1]
    rates = {key: value for key, value in stats["valid"].items() if key.startswith(("rate_", "theta_"))}
    layers = ("encoder.embed", "encoder.blocks.0")
    assert rates.keys() == {f"{what}_{layer}" for what in ("rate", "theta") for layer in layers}
    assert all(0 < rates[f"rate_{layer}"] < 6 for layer in layers)
    assert rates["theta_encoder.blocks.0"] == pytest.approx(0.36, rel=0.01)
    assert not any(key.startswith("rate_") for key in stats["train"])


def test_keys_of_espnets_encoders_are_taken_with_one_line(caplog, repository):
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

    with caplog.at_level(logging.WARNING):
        for cls in (TransformerEncoder, ConformerEncoder):
            parameters = inspect.signature(cls).parameters.values()
            given = {p.name: p.default for p in parameters if p.name not in ("input_size", *SMALL)}
            caplog.clear()
            encoder(**given)
            assert len(caplog.records) == 1 and "normalize_before" in caplog.text
    decoder(normalize_before=False, use_output_layer=True)
    wrong = {"ctc_trim": True, "sync_norms": "false", "num_blocks": 2.5, "rep_branches": 3, "levels": True}
    for key, value in (wrong | {"interctc_layer_idx": [1, "2"]}).items():
        with pytest.raises(TypeError, match=key):
            encoder(**{key: value})
    with pytest.raises(TypeError, match="use_output_layer"):
        decoder(use_output_layer=False)
    page = (repository / "docs/espnet.md").read_text()
    for cls in (type(encoder()), type(decoder())):
        assert [key for key in cls.ignored if f"`{key}`" not in page] == []
    with pytest.raises(TypeError, match="did you mean 'interctc_layer_idx'"):
        encoder(interctc_layer_index=[1])
