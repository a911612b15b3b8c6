"""A neuron in plain torch for models whose neurons a compiler, or a precision, shall not be the question."""

from torch import Tensor, nn

from imlspike.neurons import IMLS, LIF


class Step(nn.Module):
    """1 above 0.3, else 0; in the backward pass the slope of a ramp from 0 to 1."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        ramp = x.clamp(0, 1)
        return ramp + ((x > 0.3).to(x.dtype) - ramp).detach()


def with_plain_neurons(module: nn.Module) -> nn.Module:
    """The module, every neuron in it replaced by a `Step`."""
    for name, child in module.named_children():
        if isinstance(child, IMLS | LIF):
            setattr(module, name, Step())
        else:
            with_plain_neurons(child)
    return module
