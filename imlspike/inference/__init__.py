"""What was trained, in use: recordings to text (`Speech2Text`), text to speech (`Text2Speech`), mel
spectrograms to sound (`Vocoder`)."""

from imlspike.inference.speech2text import Speech2Text
from imlspike.inference.text2speech import Text2Speech
from imlspike.inference.vocoder import Vocoder

__all__ = ["Speech2Text", "Text2Speech", "Vocoder"]
