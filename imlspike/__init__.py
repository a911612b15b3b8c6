"""imlspike: spiking neural networks for speech recognition, synthesis and vocoding.

Importing this package costs nothing: a subpackage is loaded when it is first named, and so are
`Speech2Text`, `Text2Speech` and `Vocoder` (`from imlspike import Vocoder`).

>>> import imlspike
>>> imlspike.neurons.__name__
'imlspike.neurons'
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = "0.1.0"
_DEFINED_IN = dict.fromkeys(("Speech2Text", "Text2Speech", "Vocoder"), "imlspike.inference")


def __getattr__(name: str):
    """Loads what `_DEFINED_IN` names, or the subpackage ``imlspike.<name>``, at its first use."""
    if name in _DEFINED_IN:
        return getattr(import_module(_DEFINED_IN[name]), name)
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
