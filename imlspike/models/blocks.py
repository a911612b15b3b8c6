"""A stack of blocks, of which training may leave some out or compute some twice."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from imlspike.layers.norm import of_first_process, recomputing


class Blocks(nn.ModuleList):
    """Blocks of the same arguments, the first of which is the tensor that goes through all of them.

    Args:
        blocks: of the stack.
        layer_drop_rate: how often training leaves a block out.
        stochastic_depth_rate: likewise, of all blocks or of each. What is kept is then called with
            `scale=` 1 / (1 - rate), which multiplies its branches.
        gradient_checkpoint_layers: numbers of blocks, from 1, that training computes once more for the
            gradients, in place of keeping what is inside them. Running statistics see the batch once.
        synchronised: processes that train together leave out the same blocks, as they wait for each other in
            synchronised norms.

    Raises:
        ValueError: on a rate outside [0, 1) or a number of no block.

    >>> blocks = Blocks([nn.Linear(4, 4), nn.Linear(4, 4)], layer_drop_rate=0.5)
    >>> x = torch.ones(1, 4)
    >>> for block in blocks.passes():
    ...     x = block(x)
    >>> x.shape
    torch.Size([1, 4])
    """

    def __init__(
        self,
        blocks: Iterable[nn.Module] = (),
        layer_drop_rate: float = 0.0,
        stochastic_depth_rate: float | Sequence[float] = 0.0,
        gradient_checkpoint_layers: Sequence[int] = (),
        synchronised: bool = True,
    ):
        super().__init__(blocks)
        for_all = isinstance(stochastic_depth_rate, float | int)
        depths = [stochastic_depth_rate] if for_all else list(stochastic_depth_rate)
        for name, rates in (("layer_drop_rate", [layer_drop_rate]), ("stochastic_depth_rate", depths)):
            if not all(0 <= rate < 1 for rate in rates) or len(rates) not in (1, len(self)):
                raise ValueError(f"{name} must be in [0, 1), one or {len(self)} of them, got {rates}")
        check_numbers("gradient_checkpoint_layers", gradient_checkpoint_layers, len(self))
        depths *= len(self) if len(depths) == 1 else 1
        self.drop, self.depths, self.synchronised = layer_drop_rate, depths, synchronised
        self.twice = frozenset(gradient_checkpoint_layers)

    def passes(self) -> Iterator[Callable[..., Tensor]]:
        """Each block as it counts in one pass through the stack."""
        for number, (block, scale) in enumerate(zip(self, self._scales(), strict=True), 1):
            run = block if scale == 1 else partial(block, scale=scale)
            if not scale:
                yield _left_out
            elif number in self.twice and self.training and torch.is_grad_enabled():
                contexts = dict(use_reentrant=False, context_fn=lambda: (nullcontext(), recomputing()))
                yield partial(checkpoint, run, **contexts)
            else:
                yield run

    def _scales(self) -> list[float]:
        if not self.training or not any((self.drop, *self.depths)):
            return [1.0] * len(self)
        draws = torch.rand(2, len(self), device=next(self.parameters()).device)
        if self.synchronised:
            of_first_process(draws)
        rates = zip(*draws.tolist(), self.depths, strict=True)
        return [1 / (1 - rate) if drop >= self.drop and deep >= rate else 0.0 for drop, deep, rate in rates]


def _left_out(x: Tensor, *others) -> Tensor:
    return x


def check_numbers(name: str, numbers: Sequence[int], last: int) -> None:
    """Raise ValueError unless all are numbers of blocks from 1 to `last`."""
    if not all(0 < number <= last for number in numbers):
        raise ValueError(f"{name} must be numbers of blocks from 1 to {last}, got {list(numbers)}")


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Within the block, a module and those in it are in evaluation mode."""
    training = [each for each in module.modules() if each.training]
    module.eval()
    try:
        yield
    finally:
        for each in training:
            each.training = True
