"""Arguments that the shapes of weights don't tell, kept beside the weights."""

import json
from typing import Any

import torch
from torch import Tensor, nn

KEY = "_extra_state"  # torch's name for it in a state_dict
LENGTH = 1024  # of a record; only a long `neuron_conf` exceeds it


class RecordsArguments(nn.Module):
    """A module whose state_dict tells the arguments by which its weights mean what they do.

    The record is JSON, one fp32 number a byte: such a tensor survives the averaging of checkpoints (ESPnet's
    adds up whole numbers and divides the others) and fits into safetensors. Blanks fill it up, so that its
    shape doesn't depend on the arguments: ESPnet's `--ignore_init_mismatch` leaves out what is of another
    one. A state_dict without a record, of an earlier version or of parts of the module, loads as it is.

    >>> model, other = RecordsArguments(), RecordsArguments()
    >>> model.record(levels=6), other.record(levels=4)
    (None, None)
    >>> other.load_state_dict(model.state_dict())
    Traceback (most recent call last):
    ValueError: the weights were trained with levels: 6, this model has 4; ...
    """

    def record(self, **arguments: Any) -> None:
        """Keep these; the class calls it once, with those alone that change what the weights do."""
        self._record = json.loads(json.dumps(arguments, default=str))

    def get_extra_state(self) -> Tensor:
        text = json.dumps(self._record, sort_keys=True).ljust(LENGTH)
        return torch.tensor(list(text.encode()), dtype=torch.float32)

    def set_extra_state(self, state: Tensor) -> None:
        """Compare the record of weights with the module's own.

        Raises:
            ValueError: if they disagree, naming the keys.
        """
        own, given = self._record, read_record(state)
        if wrong := [key for key in given if key in own and _disagree(given[key], own[key])]:
            told = ", ".join(f"{key}: {given[key]}" for key in wrong)
            here = ", ".join(str(own[key]) for key in wrong)
            raise ValueError(
                f"the weights were trained with {told}, this model has {here}; say {told} in its "
                f"configuration, or take {KEY} out of the weights to use them otherwise"
            )

    def _load_from_state_dict(self, state_dict, prefix, *args):
        state_dict.setdefault(prefix + KEY, self.get_extra_state())
        super()._load_from_state_dict(state_dict, prefix, *args)


def _disagree(given: Any, own: Any) -> bool:
    """Two values of a record; of mappings the keys that both have count, as of the record itself."""
    if isinstance(given, dict) and isinstance(own, dict):
        return any(_disagree(given[key], own[key]) for key in given.keys() & own.keys())
    return given != own


def read_record(state: Tensor) -> dict[str, Any]:
    """The arguments of a record.

    >>> model = RecordsArguments()
    >>> model.record(kappa=0.5)
    >>> read_record(model.state_dict()[KEY])
    {'kappa': 0.5}
    """
    return json.loads(bytes(state.to(torch.uint8).tolist()))
