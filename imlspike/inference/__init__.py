"""Trained models in use: recordings to text (`Speech2Text`), text to speech (`Text2Speech`), mel
spectrograms to sound (`Vocoder`); and the one file that holds a trained model (`Bundle`).

Each is loaded when it is first named: `Speech2Text` with a decoder of `imlspike.export.engine` needs no torch.
"""

from importlib import import_module

_DEFINED_IN = {
    "Bundle": "bundle",
    "Speech2Text": "speech2text",
    "Text2Speech": "text2speech",
    "Vocoder": "vocoder",
}
__all__ = ["Bundle", "Speech2Text", "Text2Speech", "Vocoder"]


def __getattr__(name: str):
    """Loads what `_DEFINED_IN` names, at its first use."""
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_DEFINED_IN[name]}"), name)
