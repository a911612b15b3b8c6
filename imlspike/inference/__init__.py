"""Trained models in use: recordings to text (`Speech2Text`), text to speech (`Text2Speech`), mel
spectrograms to sound (`Vocoder`); and the one file that holds a trained model (`Bundle`)."""

from imlspike.inference.bundle import Bundle
from imlspike.inference.speech2text import Speech2Text
from imlspike.inference.text2speech import Text2Speech
from imlspike.inference.vocoder import Vocoder

__all__ = ["Bundle", "Speech2Text", "Text2Speech", "Vocoder"]
