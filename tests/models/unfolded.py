"""The encoder on binary spikes alone, written a second time from the formulas.

Nothing of the model's forward pass is used: weights come by name from the state_dict of a folded encoder.
One utterance is computed at a time, without padding. Each neuron is unfolded into `levels` steps of zeros
and ones; each weight matrix and kernel (but the first convolution's, which sees features) is applied to them
in turn, and what a spike is worth (its threshold) is a factor on the sum. A norm ahead of a neuron whose
threshold is constant is a threshold and an offset for each channel, and multiplies nothing.
"""

import math

import torch
from torch.nn import functional as F

from imlspike.layers.subsampling import STAGES
from imlspike.models.spikeformer import sinusoids
from imlspike.neurons import unfold

DEFAULTS = {
    "attention_heads": 2,
    "num_blocks": 2,
    "input_layer": "conv2d",
    "positions": "none",
    "levels": 6,
    "threshold": "fixed",
    "kappa": 0.45,
    "threshold_value": 0.36,
    "amplitude": "unit",
    "qk": "key",
    "decay": "hierarchical",
    "decay_a": 1.0,
    "decay_b": 5.0,
    "decay_c": 1.0,
    "direction": "both",
    "conv_kernel": 0,
    "rep_kernel": 0,
    "macaron": False,
}


def convolved(maps, weight, stride):
    """A convolution whose groups are the parts of the maps that its kernels have channels for."""
    return F.conv2d(maps, weight, stride=stride, groups=maps.shape[-3] // weight.shape[1])


class BinaryEncoder:
    """Args: the weights of an encoder after `reparameterize()`, and its options that are not at `DEFAULTS`.

    Attributes: `driven`, the names of the weights that zeros and ones were given to; `spikes_fired`.
    """

    def __init__(self, state, **options):
        self.state, self.options = state, {**DEFAULTS, **options}
        self.driven, self.spikes_fired = set(), 0

    def __call__(self, features):
        """(L, F) -> (N, C)"""
        o, x, steps, worth = self.options, features[None], None, None
        for stage, (_, stride) in enumerate(STAGES[o["input_layer"]]):
            name = f"embed.stages.{stage}.conv"
            weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
            if stage == 0:
                x = F.conv2d(x, weight, bias, stride)
            else:
                x = self.drive(name, steps, worth, lambda b, w=weight, s=stride: convolved(b, w, s))
                x = x + bias[:, None, None]
            steps, worth = self.fire(x, f"embed.stages.{stage}.neuron", channels=(0, 2), token=1)
        x = self.linear("embed.linear", steps.permute(0, 2, 3, 1).flatten(2), worth.flatten(1))
        if o["positions"] == "sinusoidal":
            x = x + sinusoids(torch.arange(len(x)), x.shape[1])
        for layer in range(o["num_blocks"]):
            if o["macaron"]:
                x = x + self.feed_forward(x, f"blocks.{layer}.macaron")
            if o["conv_kernel"]:
                x = x + self.time_conv(x, f"blocks.{layer}.conv")
            x = x + self.attention(x, f"blocks.{layer}.attention", layer)
            x = x + self.feed_forward(x, f"blocks.{layer}.feed_forward")
        return self.norm(x, "after_norm")

    def feed_forward(self, x, name):
        hidden = self.linear(f"{name}.expand", *self.fire_behind(f"{name}.norm", x, f"{name}.neuron"))
        return self.linear(f"{name}.project", *self.fire(hidden, f"{name}.hidden_neuron"))

    def time_conv(self, x, name):
        """Binary steps under a kernel over tokens, one kernel for each channel."""
        steps, _ = self.fire_behind(f"{name}.norm", x, f"{name}.neuron", amplitude="unit")
        return self.over_tokens(f"{name}.conv", steps)

    def over_tokens(self, name, steps):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        kernel = weight.shape[2]
        before = kernel - 1 if self.options["direction"] == "past" else kernel // 2
        padded = F.pad(steps.mT, (before, kernel - 1 - before))
        return self.drive(name, padded, 1, lambda b: F.conv1d(b, weight, groups=len(weight))).T + bias

    def attention(self, x, name, layer):
        """Scores and mixtures are sums over the steps of binary keys and of binary values."""
        spikes = self.fire_behind(f"{name}.norm", x, f"{name}.neuron")
        values, value_worth = self.fire(self.linear(f"{name}.v", *spikes), f"{name}.v_neuron")
        scores = (
            self.merged_scores(name, *spikes) if self.options["qk"] == "none" else self.scores(name, *spikes)
        )
        weights = (
            scores * self.decay(layer, len(x)) / math.sqrt(x.shape[1] // self.options["attention_heads"])
        )
        mixed = sum((weights * value_worth.T) @ self.heads(binary(value)) for value in values)
        mixed = mixed.transpose(0, 1).flatten(1)
        return self.linear(f"{name}.o", *self.fire_behind(f"{name}.o_norm", mixed, f"{name}.o_neuron"))

    def scores(self, name, steps, worth):
        """q.k (H, N, N) with binary keys, and binary queries too where both fire."""
        queries, query_worth = self.linear(f"{name}.q", steps, worth)[None], torch.ones(1)
        keys, key_worth = self.fire(self.linear(f"{name}.k", steps, worth), f"{name}.k_neuron")
        if self.options["qk"] == "both":
            queries, query_worth = self.fire(queries[0], f"{name}.q_neuron")
            binary(queries)
        pairs = [self.heads(query) @ self.heads(binary(key)).mT for query in queries for key in keys]
        return query_worth * sum(pairs) * key_worth.T

    def merged_scores(self, name, steps, worth):
        """q.k with the one map W_q^T W_k of each head on the query's side: the spikes S are the keys."""
        wq, wk = (self.heads(self.state[f"{name}.{which}.weight"].T) for which in "qk")  # (H, C, C / H)
        bq, bk = (self.heads(self.state[f"{name}.{which}.bias"][None]) for which in "qk")  # (H, 1, C / H)
        merged = wq @ wk.mT  # (H, C, C)
        self.driven.add(f"{name}.k.weight")
        query = self.drive(f"{name}.q", steps, worth, lambda b: b @ merged) + bq @ wk.mT
        constant = self.drive(f"{name}.q", steps, worth, lambda b: b @ wq @ bk.mT) + bq @ bk.mT
        return sum(query @ binary(key).T for key in steps) * worth.T + constant

    def fire_behind(self, norm, x, name, amplitude=None):
        """`fire` on what a norm gives, which a neuron of constant threshold takes in."""
        if self.options["threshold"] not in ("fixed", "learned"):
            return self.fire(self.norm(x, norm), name, amplitude=amplitude)
        shift = self.norm(torch.zeros_like(x[:1]), norm)
        scale = self.norm(torch.ones_like(x[:1]), norm) - shift
        x = torch.where(scale < 0, -x, x) + shift / scale.abs()
        return self.fire(x, name, amplitude=amplitude, scale=scale.abs())

    def fire(self, x, name, channels=(-1,), token=-2, amplitude=None, scale=1):
        """Binary steps (T, *x.shape), and what a spike of a token is worth: theta, or 1 (unit amplitude); at
        thresholds of theta / scale."""
        o, threshold = self.options, self.options["threshold"]
        if threshold == "token" and token == 1:
            threshold = "layer"  # in the subsampling
        size = x.abs()
        theta = {
            "token": lambda: o["kappa"] * size.mean(channels, keepdim=True),
            "channel": lambda: o["kappa"] * size.mean(token, keepdim=True),
            "layer": lambda: o["kappa"] * size.mean().reshape([1] * x.dim()),
            "fixed": lambda: torch.full([1] * x.dim(), o["threshold_value"], dtype=x.dtype),
            "learned": lambda: self.state[f"{name}.log_value"].exp().reshape([1] * x.dim()),
        }[threshold]()
        theta = theta.clamp(min=1e-5).bfloat16().to(x.dtype)
        steps = unfold(x, theta / scale, o["levels"])
        self.spikes_fired += int(steps.sum())
        if (amplitude or o["amplitude"]) == "unit":
            return steps, torch.ones([1] * x.dim(), dtype=x.dtype)
        assert threshold != "channel", "a threshold of each channel is no factor of a sum over channels"
        return steps, theta

    def drive(self, name, steps, worth, apply):
        """sum_t W b_t, times what a spike is worth; b_t is checked to be zeros and ones."""
        self.driven.add(f"{name}.weight")
        return sum(apply(binary(step)) for step in steps) * worth

    def linear(self, name, steps, worth):
        if f"{name}.conv.conv.weight" in self.state:
            return self.linear(f"{name}.linear", steps, worth) + self.over_tokens(f"{name}.conv.conv", steps)
        weight = self.state[f"{name}.weight"]
        return self.drive(name, steps, worth, lambda b: b @ weight.T) + self.state[f"{name}.bias"]

    def heads(self, x):
        """(N, C) -> (H, N, C / H)"""
        return x.unflatten(-1, (self.options["attention_heads"], -1)).transpose(0, 1)

    def norm(self, x, name):
        normed = (x - self.state[f"{name}.running_mean"]) / (self.state[f"{name}.running_var"] + 1e-5).sqrt()
        if f"{name}.weight" in self.state:
            normed = normed * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]
        return normed

    def decay(self, layer, tokens):
        """(H, N, N) gamma^|i-j| where head h sees j from i, divided by the sum of its row."""
        o, masks = self.options, []
        distance = torch.arange(tokens)[:, None] - torch.arange(tokens)
        for head in range(o["attention_heads"]):
            depth = layer / max(o["num_blocks"] - 1, 1)
            exponent = {
                "hierarchical": o["decay_a"]
                + o["decay_b"] * depth
                + o["decay_c"] * head / o["attention_heads"],
                "uniform": o["decay_a"] + (o["decay_b"] + o["decay_c"]) / 2,
                "none": math.inf,
            }[o["decay"]]
            gamma = torch.tensor(1 - 2**-exponent, dtype=torch.float32).double()  # kept in fp32 by the model
            mask = gamma ** distance.abs()
            if o["direction"] == "past" or (o["direction"] == "split" and head % 2 == 0):
                mask = mask * (distance >= 0)
            elif o["direction"] == "split":
                mask = mask * (distance <= 0)
            masks.append(mask / mask.sum(1, keepdim=True))
        return torch.stack(masks)


def binary(spikes):
    """`spikes`, which must be zeros and ones."""
    assert ((spikes == 0) | (spikes == 1)).all(), (
        "a weight or a product was given something else than a binary spike"
    )
    return spikes
