"""imlspike: spiking neural networks for speech recognition, synthesis and vocoding.

Importing this package costs nothing: a subpackage is loaded when it is first named.

>>> import imlspike
>>> imlspike.neurons.__name__
'imlspike.neurons'
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = "0.1.0"


def __getattr__(name: str):
    """Loads the subpackage ``imlspike.<name>`` at its first use."""
    if name.startswith("_") or find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")
