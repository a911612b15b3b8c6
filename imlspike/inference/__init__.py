"""Trained models in use: recordings to text (`Speech2Text`), text to speech (`Text2Speech`), mel
spectrograms to sound (`Vocoder`); and the one file that holds a trained model (`Bundle`).

Each is loaded when it is first named. With a decoder of `imlspike.export.engine`, `Speech2Text` needs no
torch.
"""

from importlib import import_module

__all__ = ["Bundle", "Speech2Text", "Text2Speech", "Vocoder"]


def __getattr__(name: str):
    """Loads what `__all__` names, from the module of that name, at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{name.lower()}"), name)
