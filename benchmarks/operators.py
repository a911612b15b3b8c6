"""The operators' kernels against their definitions, compiled and not, in whole models: "operators".

What a kernel is for is not the time of a neuron but of a training step or of an utterance: it stays if it
wins there by 1.2 times over torch.compile on the definition, which every user has.
"""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks import versions, vocoder, voice
from benchmarks.measure import by_turns, table, verdict
from imlspike import ops
from imlspike.ops import reference

TARGET = 1.2


class _IMLS(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, theta, levels: int, scaled: bool):
        y, gate = reference.imls(x, theta, levels, scaled)
        ctx.save_for_backward(gate, theta)
        ctx.scaled = scaled
        ctx.mark_non_differentiable(gate)
        return y, gate

    @staticmethod
    def backward(ctx, grad, _):
        return reference.imls_backward(grad, *ctx.saved_tensors, ctx.scaled), None, None, None


class _LIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, u, leak, *settings):
        ctx.save_for_backward(x, u, leak)
        ctx.settings = settings
        return reference.lif(x, u, leak, *settings)

    @staticmethod
    def backward(ctx, grad_spikes, grad_u):
        grads = reference.lif_backward(grad_spikes, grad_u, *ctx.saved_tensors, *ctx.settings)
        return *grads, *[None] * len(ctx.settings)


def _cases() -> dict[str, Callable]:
    encoders = versions.encoder()
    return {
        "encoder of quick, training step": encoders["encoder of quick, training step"],
        "encoder of quick, inference of 10 s": encoders["encoder of quick, inference of 10 s"],
        "vocoder PLIF, training step": vocoder.train_step("plif", "small"),
        "vocoder PLIF, inference of 10 s": vocoder.decode("plif", "small", 10),
        "vocoder IMLS, training step": vocoder.train_step("imls", "small"),
        "voice LIF, training step": voice.train_step("lif", "small"),
    }


def _with(forms: tuple[Callable, Callable], run: Callable) -> None:
    before = ops.imls, ops.lif
    ops.imls, ops.lif = forms
    try:
        run()
    finally:
        ops.imls, ops.lif = before


def question(threads: int, turns: int) -> str:
    """Each model with kernels beside the same with definitions; how many times faster the kernels make it."""
    torch._dynamo.config.recompile_limit = 256
    kernels, plain = (ops.imls, ops.lif), (_IMLS.apply, _LIF.apply)
    compiled = tuple(
        torch.compile(form, dynamic=True) for form in (lambda *a: _IMLS.apply(*a), lambda *a: _LIF.apply(*a))
    )
    rows = []
    for name, run in _cases().items():
        row = [name]
        for peer in (plain, compiled):
            both = by_turns(partial(_with, kernels, run), partial(_with, peer, run), turns, warm_up=2)
            low, high = both.spread
            row.append(f"{1 / both.ratio:.2f} ({1 / high:.2f}-{1 / low:.2f})")
        ours = 1e3 * sorted(both.ours)[turns // 2]
        rows.append([*row[:1], f"{ours:.0f}", *row[1:], f">= {TARGET}", verdict(1 / both.ratio >= TARGET)])
    header = ["", "kernels, ms", "definition / kernels", "compiled definition / kernels", "target", ""]
    return (
        "## What the operators' kernels win\n\nTimes over kernels', medians of turns (quartiles); the "
        f"compiled definition is the same autograd function through torch.compile; {turns} turns each.\n\n"
        + table(header, rows)
    )
