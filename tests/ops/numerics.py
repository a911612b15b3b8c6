"""Spikes and gradients of the operators for one set of inputs, by this processor's loops or without any.

Run it as `python numerics.py INPUTS RESULTS [uncompiled]`.
"""

import importlib.machinery
import sys

import torch


def results(inputs):
    from imlspike import ops
    from imlspike.ops.reference import wide

    x, theta, u, weights, leak = inputs
    found = []
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for scaled in (True, False):
            leaf = x.to(dtype).requires_grad_()
            y = ops.imls(leaf, theta, 6, scaled)[0]
            found.append((y.detach(), *torch.autograd.grad((y * weights).sum(), leaf)))
        for soft in (True, False):
            leaves = [x.to(dtype), u.to(wide(x.to(dtype))), leak.clone()]
            leaves = [leaf.requires_grad_() for leaf in leaves]
            y, after = ops.lif(*leaves, 0.8, True, soft, False, "sigmoid", 4.0)
            grads = torch.autograd.grad((y * weights).sum() + after.sum(), leaves)
            found.append((torch.cat([y, after[None]]).detach(), *grads))
    return found


if __name__ == "__main__":
    if "uncompiled" in sys.argv:
        importlib.machinery.EXTENSION_SUFFIXES = []  # none is found
    from imlspike.ops import COMPILED

    assert not (COMPILED and "uncompiled" in sys.argv)
    torch.save(results(torch.load(sys.argv[1])), sys.argv[2])
