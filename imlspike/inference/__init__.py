"""What was trained, in use: recordings to text (`Speech2Text`), mel spectrograms to sound (`Vocoder`)."""

from imlspike.inference.speech2text import Speech2Text
from imlspike.inference.vocoder import Vocoder

__all__ = ["Speech2Text", "Vocoder"]
