"""Costs of operations on single numbers, by their names in ATen."""

from math import log2

# Additions and multiplications for each element of the result. A comparison costs as much as an addition;
# divisions and transcendental functions are taken for one multiplication, which is a lower bound.
_ADDITIONS = "add add_ sub sub_ rsub relu relu_ clamp clamp_ clamp_min maximum minimum floor round".split()
_MULTIPLICATIONS = "mul mul_ div div_ exp exp_ exp2 expm1 log log2 sqrt rsqrt reciprocal pow".split()
_MULTIPLICATIONS += "sin cos sigmoid tanh".split()
ELEMENTWISE = {
    **dict.fromkeys(_ADDITIONS, (1, 0)),
    **dict.fromkeys(_MULTIPLICATIONS, (0, 1)),
    "silu": (0, 2),
    "gelu": (1, 2),
    "glu": (0, 2),  # a sigmoid, and its product with the other half
    "polar": (0, 4),  # sine, cosine, both times the magnitude
    # x - max, sum and max; exp and division
    "_softmax": (3, 2),
    "_log_softmax": (4, 1),
    # sums for mean and variance, x - mean, + beta; square, / deviation, * gamma
    "native_layer_norm": (4, 3),
    # in evaluation one affine map
    "_native_batch_norm_legit_no_training": (1, 1),
    "native_batch_norm": (1, 1),
}
REDUCTIONS = {"sum", "mean", "cumsum", "amax", "max", "min", "unfold_backward"}  # the last one: overlap-add
FREE = set(  # data that is moved or made, not computed
    "clone _to_copy copy_ constant_pad_nd cat stack index index_select index_copy index_put_ gather repeat "
    "flip roll tril triu scatter slice_scatter select_scatter embedding where masked_fill masked_fill_ fill_ "
    "zero_ zeros zeros_like ones ones_like full full_like empty empty_like new_empty new_zeros new_ones "
    "new_full empty_strided scalar_tensor arange uniform_ normal_ bernoulli_ abs neg _unsafe_view lift_fresh "
    "detach_ dropout native_dropout reflection_pad1d transpose_".split()
)


def butterflies(points: int) -> float:
    """Complex butterflies of a real Fourier transform of N points, radix 2: N/4 log2 N, half a complex one's.

    >>> butterflies(512)
    1152.0
    """
    return points * log2(points) / 4
