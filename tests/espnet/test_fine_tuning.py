"""Adapters, quantized weights, blocks left out or computed again, weights of a Transformer."""

import re

import pytest
import torch

from tests.espnet.small import FRAMES, decoder, encoder

pytestmark = pytest.mark.usefixtures("registered")


@pytest.mark.parametrize("targets", [["q", "v"], ["linear"], ["linear_q", "linear_v"], ["q.linear"], ["w_1"]])
def test_lora_adapts_by_the_names_that_users_try(targets, features):
    lora = pytest.importorskip("loralib")
    from espnet2.layers.create_adapter import create_adapter

    model = encoder().eval()
    want = model(features, FRAMES)[0]
    create_adapter(model, "lora", {"rank": 2, "alpha": 2, "target_modules": targets})
    adapted = [name for name, module in model.named_modules() if isinstance(module, lora.LoRALayer)]
    assert len(adapted) >= 3 and all(".linear.weight" in name for name in adapted)
    torch.testing.assert_close(model(features, FRAMES)[0], want)
    lora.mark_only_lora_as_trainable(model)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.train()(features, FRAMES)[0].sum().backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == ("lora_" in name)


def test_quantised_it_says_nearly_the_same(features):
    """By what `quantize_asr_model` of ESPnet's inference calls, of the folded encoder, too."""
    for model in (encoder().eval(), encoder().eval().reparameterize()):
        quantised = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
        one, other = model(features, FRAMES)[0].flatten(), quantised(features, FRAMES)[0].flatten()
        assert torch.nn.functional.cosine_similarity(one, other, 0) > 0.9


def test_recomputed_blocks_learn_the_same(features):
    one = encoder(dropout_rate=0.2, conv_kernel=3)
    other = encoder(dropout_rate=0.2, conv_kernel=3, gradient_checkpoint_layers=[1, 3])
    for model in (one, other):
        torch.manual_seed(5)
        model(features, FRAMES)[0].square().sum().backward()
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    torch.testing.assert_close(one.state_dict(), other.state_dict(), atol=0, rtol=0)


def test_blocks_are_left_out_in_training_alone(features):
    for rates in ({"layer_drop_rate": 0.5}, {"stochastic_depth_rate": 0.5}):
        model = encoder(**rates)
        torch.testing.assert_close(model.eval()(features, FRAMES)[0], encoder().eval()(features, FRAMES)[0])
        ran = []

        def note(block, args, kwargs, output, blocks=model.blocks, ran=ran):
            ran.append((list(blocks).index(block), kwargs.get("scale", 1)))

        for block in model.train().blocks:
            block.register_forward_hook(note, with_kwargs=True)
        for _ in range(40):
            model(features, FRAMES)
        assert 30 < len(ran) < 90 and {n for n, _ in ran} == {0, 1, 2}
        assert {scale for _, scale in ran} == {2.0 if "stochastic_depth_rate" in rates else 1}


@pytest.mark.parametrize("input_layer", ["conv2d", "conv2d8", "conv1d2", "linear"])
def test_maps_of_a_transformer_carry_over(input_layer, features):
    """Those of attention, feed-forward and subsampling; what is left of a checkpoint are norms and biases."""
    from imlspike.espnet.from_transformer import from_transformer

    theirs, ours = encoder("transformer", input_layer=input_layer), encoder(input_layer=input_layer)
    pair = decoder("transformer"), decoder()
    states = {f"encoder.{key}": state for key, state in theirs.state_dict().items()}
    states |= {f"decoder.{key}": state for key, state in pair[0].state_dict().items()}
    found = from_transformer(states)
    for prefix, model in (("encoder.", ours), ("decoder.", pair[1])):
        own = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        assert model.load_state_dict(own, strict=False).unexpected_keys == []
    taken = {state.data_ptr() for state in found.values()}
    left = {key for key, state in states.items() if state.data_ptr() not in taken}
    left = {key for key in left if not re.search(r"norm\d?\.|bias|embed\.(out|1)", key)}
    assert left == set() and len(found) > 30
    # The last map of the subsampling sees the same numbers in another order.
    if input_layer.startswith("conv2d"):
        x = theirs.embed.conv(features[:, None])
        last = next(module for module in theirs.embed.out.modules() if isinstance(module, torch.nn.Linear))
        want = x.transpose(1, 2).flatten(2) @ last.weight.T
        got = x.permute(0, 2, 3, 1).flatten(2) @ ours.embed.linear.linear["weight"].weight.T
        torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


def test_first_weights_without_a_transformer_are_refused(tmp_path):
    from imlspike.espnet.from_transformer import main

    torch.save(encoder().state_dict(), tmp_path / "own.pth")
    (tmp_path / "text.pth").write_text("none")
    for name in ("own.pth", "text.pth", "absent.pth"):
        with pytest.raises(SystemExit):
            main([str(tmp_path / name), str(tmp_path / "first.pth")])
    assert not (tmp_path / "first.pth").exists()
