"""Which neurons a network is built with: one argument that turns a spiking network into its ANN twin."""

from torch import nn

from imlspike.data.keys import check_choice, constructor_keys, unknown_key
from imlspike.neurons import IMLS, LIF, PLIF

NEURON_KINDS = ("lif", "plif", "imls", "none")
_CLASSES = {"lif": LIF, "plif": PLIF, "imls": IMLS}
_NOT_OFFERED = {"levels", "token_dim", "channel_dims"}  # `steps` says the first, the layers the others


class NeuronChoice:
    """Makes the neurons of a network, or what stands in their place in its ANN twin.

    ``lif`` and ``plif`` fire 0 or 1 at each of T = `steps` time steps. ``imls`` fires a whole number from 0
    to `steps` in one pass, so the time axis of its tensors has length 1. ``none`` is an ANN: nothing in front
    of a map, an activation function behind one.

    Args:
        kind: one of `NEURON_KINDS`.
        steps: T.
        conf: further arguments of `LIF`, `PLIF` or `IMLS`. Unless told otherwise LIF and PLIF detach their
            reset, and IMLS sends whole numbers (``amplitude="unit"``). Thresholds of IMLS over an utterance
            (``channel``, ``layer``) are not offered: padding would have to be known to every neuron.

    Attributes:
        time: length of the time axis: T, or 1 for ``imls`` and ``none``.
        spiking: False for ``none``.
        levels: the neurons send whole numbers from 0 to so many: 1 for ``lif`` and ``plif``, `steps` for
            ``imls`` if its amplitude is ``unit``; 0: other numbers.

    Raises:
        ValueError: an unknown kind or argument (the nearest right one is named), or steps below 1.

    >>> choice = NeuronChoice("imls", steps=4)
    >>> choice.time, choice().levels, NeuronChoice("none")(nn.Tanh())
    (1, 4, Tanh())
    """

    def __init__(self, kind: str = "lif", steps: int = 4, conf: dict | None = None):
        check_choice("neuron", kind, NEURON_KINDS)
        if steps < 1 or steps != int(steps):
            raise ValueError(f"steps must be a whole number of at least 1, got {steps}")
        self.kind, self.steps, self.conf = kind, int(steps), dict(conf or {})
        self.spiking, stepwise = kind != "none", kind in ("lif", "plif")
        self.time = self.steps if stepwise else 1
        whole = kind == "imls" and self.conf.get("amplitude", "unit") == "unit" and self.steps < 128
        self.levels = 1 if stepwise else self.steps if whole else 0
        known = constructor_keys(_CLASSES[kind]) - _NOT_OFFERED if self.spiking else set()
        for key in self.conf:
            if key not in known:
                raise ValueError(f"neuron_conf of {kind}: {unknown_key(key, known)}")
        if kind == "imls":
            threshold = self.conf.get("threshold", "token")
            check_choice("neuron_conf: threshold", threshold, ("token", "fixed", "learned"))

    def __call__(self, analog: nn.Module | None = None) -> nn.Module:
        """A new neuron; in an ANN `analog` instead, or nothing (`torch.nn.Identity`)."""
        if self.kind == "none":
            return nn.Identity() if analog is None else analog
        if self.kind == "imls":
            return IMLS(**{"levels": self.steps, "amplitude": "unit", **self.conf})
        return _CLASSES[self.kind](**{"detach_reset": True, **self.conf})
