"""What a compiled form of the operators must share with its definition: shapes, dtypes, tails, strides.

Run as a program it checks the Triton kernels in Triton's interpreter, on a CPU.
"""

import itertools

import torch

from imlspike.ops import SHARPNESS, SURROGATES, reference

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
SHAPES = [  # of x and theta: a threshold per token, utterance, channel, element, or one for all
    ((7, 33), (7, 1)),
    ((40, 130), (40, 1)),
    ((3, 5, 4, 6), (3, 1, 1, 1)),
    ((3, 1, 5, 6), (1, 1, 1, 6)),
    ((3, 5, 33), (3, 1, 33)),
    ((3, 5, 33), (3, 5, 33)),
    ((3, 5), (5,)),
    ((33,), (33,)),
    ((2, 1, 1), (2, 1, 1)),
    ((7, 33), ()),
    ((1,), (1,)),
    ((), ()),
    ((0, 3), (0, 1)),
    ((3, 0), (3, 1)),
    ((0, 3), ()),
]
GRADIENTS = {torch.float32: 1e-5, torch.float64: 1e-12, torch.bfloat16: 2**-7, torch.float16: 2**-9}


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def equal(got, want, last_bit=False):
    """The same numbers, shape and dtype; `last_bit`: but for the unit in the last place of a bfloat16."""
    off = 2**-7 if last_bit and got.dtype == torch.bfloat16 else 0
    torch.testing.assert_close(got, want, rtol=off, atol=0, equal_nan=True)


def close(gradients, wanted):
    """Equal to the rounding of the dtype, measured by the largest number: sums may cancel."""
    largest = max([each.abs().max().item() for each in wanted if each.numel()])
    for got, want in zip(gradients, wanted, strict=True):
        off = GRADIENTS[got.dtype]
        assert torch.isfinite(want).all()
        torch.testing.assert_close(got, want, rtol=off, atol=off * largest)


def imls(ops, dtype, device="cpu", last_bit=False):
    """Counts, values, gates and gradients; at the ends of the gate too, and of numbers that are none."""
    for (shape, of_theta), scaled, levels in itertools.product(SHAPES, (True, False), (1, 6)):
        theta = reference.eight_bits(torch.rand(of_theta, dtype=wide(dtype), device=device) + 0.1)
        ends = theta * torch.randint(-1, 2 * levels + 3, shape, device=device) / 2
        x = torch.where(torch.rand(shape, device=device) < 0.3, ends, 2 * torch.randn(shape, device=device))
        x = torch.where(torch.rand(shape, device=device) < 0.03, float("nan"), x).to(dtype)
        grad = torch.randn(shape, device=device).to(dtype)
        strided = x.mT.contiguous().mT if x.dim() > 1 else torch.stack([x, x], -1)[..., 0]
        for each in (x, strided):
            got, want = ops.imls(each, theta, levels, scaled), reference.imls(x, theta, levels, scaled)
            equal(got[0], want[0], last_bit)
            equal(got[1], want[1])
        got = ops.imls_backward(grad, want[1], theta, scaled)
        equal(got, reference.imls_backward(grad, want[1], theta, scaled), last_bit)


def lif(ops, dtype, device="cpu", last_bit=False, sizes=((0, 5), (4, 0), (1, 1), (4, 513), (4, 1100))):
    """Spikes and last potentials, and the gradients of input, first potential and leak."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator).to(device, dtype)

    leak = torch.tensor(0.37, dtype=wide(dtype), device=device)
    for steps, size in sizes:
        settings = itertools.product((True, False), (True, False), (True, False), SURROGATES)
        for decay_input, soft, detach, surrogate in settings:
            x, of_spikes = normal(steps, size) * 2 + 0.5, normal(steps, size)
            u, of_u = normal(2, size).to(leak.dtype)
            if surrogate == "atan":  # one current, seen at every step
                x = normal(size).expand(steps, size)
            elif surrogate == "triangle":
                x, u = normal(size, steps).T, normal(size, 2).to(leak.dtype)[:, 1]
            alpha, threshold = 0.9 * SHARPNESS[surrogate], 0.8 if detach else 1.25
            rest = (leak, threshold, decay_input, soft, detach, surrogate, alpha)
            for got, want in zip(ops.lif(x, u, *rest), reference.lif(x, u, *rest), strict=True):
                equal(got, want, last_bit)
            rest = (of_spikes, of_u, x, u, *rest)
            close(ops.lif_backward(*rest), reference.lif_backward(*rest))


if __name__ == "__main__":
    from imlspike.ops import triton_kernels

    torch.manual_seed(0)
    for each in DTYPES:  # the interpreter cuts bits off where it should round to a bfloat16
        imls(triton_kernels, each, last_bit=True)
        lif(triton_kernels, each, last_bit=True, sizes=((0, 5), (1, 0), (2, 1100)))
