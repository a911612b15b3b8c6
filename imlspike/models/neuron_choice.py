"""Choice of a network's neurons: one argument that turns a spiking network into its ANN twin."""

import os
from importlib import import_module
from inspect import signature
from typing import Any

from torch import nn

from imlspike.data.keys import check_choice, constructor_keys, unknown_key
from imlspike.neurons import NEURONS, Neuron, RateCoded

DEFAULTS = {"detach_reset": True, "amplitude": "unit"}
_PLAIN = str | int | float | None
_NO_MEANING = ("detach", "detach_reset", "surrogate", "alpha", "window")  # of the gradient alone
# Arguments that the network says, and the method by which a class that defines it takes them.
_PLACED = {"levels": "for_steps", "token_dim": "for_maps", "channel_dims": "for_maps"}


class NeuronChoice:
    """Makes the neurons of a network, or what stands in their place in its ANN twin.

    Any registered neuron may be named (`imlspike.neurons.register`), also one of a module that the
    environment variable IMLSPIKE_NEURONS names (several with commas between). A stateful one (``lif``,
    ``plif``) fires at each of T = `steps` time steps; another (``imls``) fires up to `steps` times in one
    pass, so the time axis of its tensors has length 1. ``relu`` is an ANN's activation in the same places.
    ``none`` is an ANN of the field's usual form: nothing in front of a map, an activation function behind
    one.

    Args:
        kind: a name in `imlspike.neurons.NEURONS`, or ``none``.
        steps: T.
        conf: further arguments of the neuron's constructor, whatever their names. But a class that defines
            `for_steps`, as IMLS does, has ``levels`` from `steps`, and one that defines `for_maps` has
            ``token_dim`` and ``channel_dims`` from the layers; there these are refused.
        defaults: arguments that the network wants unless `conf` says otherwise, for neurons that have them;
            None: the reset of LIF and PLIF is detached, IMLS sends whole numbers.
        one_pass: the network has no time axis: a stateful neuron becomes a `RateCoded`.
        over_utterance: the network gives neurons whole utterances with their mask; otherwise thresholds that
            need this are refused.

    Attributes:
        time: length of the time axis: T, or 1.
        stepwise: whether there is a time axis, of T steps.
        spiking: False for ``none``.
        levels: the neurons send whole numbers from 0 to so many; 0: other numbers.

    Raises:
        ValueError: an unknown kind or argument (the nearest right one is named), an argument that the network
            says, or steps below 1.

    >>> choice = NeuronChoice("imls", steps=4)
    >>> choice.time, choice().levels, NeuronChoice("none")(nn.Tanh())
    (1, 4, Tanh())
    """

    def __init__(
        self,
        kind: str = "lif",
        steps: int = 4,
        conf: dict[str, Any] | None = None,
        defaults: dict[str, Any] | None = None,
        one_pass: bool = False,
        over_utterance: bool = False,
    ):
        import_own(kind)
        try:
            check_choice("neuron", kind, [*NEURONS, "none"])
        except ValueError as error:
            raise ValueError(f"{error}; IMLSPIKE_NEURONS names modules that register others") from None
        if steps < 1 or steps != int(steps):
            raise ValueError(f"steps (T, levels) must be a whole number of at least 1, got {steps}")
        self.kind, self.steps, self.one_pass, self.spiking = kind, int(steps), one_pass, kind != "none"
        self.stepwise, self.levels, self.conf = False, 0, dict(conf or {})
        if not self.spiking:
            self._refuse_unknown(set())
        else:
            known, placed = _keys(NEURONS[kind]), _placed(NEURONS[kind])
            for key in placed & self.conf.keys():
                by = "by steps, or levels, of the model" if key == "levels" else "by each layer"
                raise ValueError(f"neuron_conf of {kind}: {key!r} is said {by}; leave it out here")
            if known is not None:
                self._refuse_unknown(known - placed)
            ours = (DEFAULTS if defaults is None else defaults).items()
            self.conf = {key: value for key, value in ours if known is None or key in known} | self.conf
            example = self()
            if example.over_utterance and not over_utterance:
                raise ValueError(
                    f"neuron_conf of {kind}: a threshold over the utterance isn't offered here, as padding "
                    "would have to be known to every neuron; choose one of a token, or a fixed one"
                )
            self.stepwise = example.stateful
            self.levels = (example.levels or 0) if example.unit else 0
        self.time = self.steps if self.stepwise else 1

    def _refuse_unknown(self, known: set[str]) -> None:
        for key in self.conf:
            if key not in known:
                raise ValueError(f"neuron_conf of {self.kind}: {unknown_key(key, known)}")

    def __call__(self, analog: nn.Module | None = None, **wanted) -> nn.Module:
        """A new neuron, `wanted` arguments set where it has them; for ``none`` `analog`, or an Identity."""
        if not self.spiking:
            return nn.Identity() if analog is None else analog
        known = _keys(NEURONS[self.kind]) or set()
        wanted = {key: value for key, value in wanted.items() if key in known}
        return self._in_one_pass(NEURONS[self.kind].for_steps(self.steps, **{**self.conf, **wanted}))

    def for_maps(self) -> nn.Module:
        """A new neuron for feature maps (B, L, F, C) whose frames a convolution sums."""
        return self._in_one_pass(NEURONS[self.kind].for_maps(self.steps, **self.conf))

    def _in_one_pass(self, neuron: Neuron) -> Neuron:
        return RateCoded(neuron, self.steps) if self.one_pass and neuron.stateful else neuron


def imls_arguments(
    neuron: str,
    neuron_conf: dict[str, Any] | None,
    threshold: str,
    kappa: float,
    threshold_value: float,
    detach_threshold: bool,
    amplitude: str,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`NeuronChoice`'s `conf` where a model has names of its own for IMLS's arguments, and those of all of
    these that the meaning of weights depends on: also the neuron's own defaults, which may change."""
    own = {"threshold": threshold, "kappa": kappa, "threshold_value": threshold_value, "amplitude": amplitude}
    names = {key: "value" if key == "threshold_value" else key for key in own}
    given = dict(neuron_conf or {})
    import_own(neuron)
    conf, used = given, {}
    if neuron == "imls":
        conf = {names[key]: value for key, value in own.items()} | {"detach": detach_threshold} | given
        unused = {"fixed": {"kappa"}, "learned": {"kappa", "threshold_value"}}
        unused = unused.get(conf["threshold"], {"threshold_value"})
        used = {key: conf[names[key]] for key in own.keys() - unused}
    effective = (_defaults(NEURONS[neuron]) if neuron in NEURONS else {}) | given
    left = {key: value for key, value in effective.items() if key not in _NO_MEANING}
    if neuron == "imls":
        left = {key: value for key, value in left.items() if key not in names.values()}
    return conf, used | {"neuron": neuron, "neuron_conf": left}


def _defaults(cls: type[Neuron]) -> dict[str, Any]:
    """The defaults of a neuron's constructor that a YAML could say, without those that the network says."""
    parameters = {} if cls.__init__ is nn.Module.__init__ else signature(cls).parameters
    plain = {key: one.default for key, one in parameters.items() if isinstance(one.default, _PLAIN)}
    return {key: value for key, value in plain.items() if key not in _placed(cls)}


def _keys(cls: type[Neuron]) -> set[str] | None:
    """The arguments of a neuron's constructor; none where it has no constructor of its own."""
    return set() if cls.__init__ is nn.Module.__init__ else constructor_keys(cls)


def _placed(cls: type[Neuron]) -> set[str]:
    """The arguments that a neuron has from the network, and not from its configuration."""
    return {
        key
        for key, method in _PLACED.items()
        if getattr(cls, method).__func__ is not getattr(Neuron, method).__func__
    }


def import_own(neuron: str) -> None:
    """Import the user's modules that register neurons, where this one isn't known without."""
    if neuron in (*NEURONS, "none"):
        return
    for module in filter(None, os.environ.get("IMLSPIKE_NEURONS", "").split(",")):
        try:
            import_module(module.strip())
        except ImportError as error:
            message = f"IMLSPIKE_NEURONS names {module!r}, which can't be imported: {error}"
            raise ValueError(message) from error
