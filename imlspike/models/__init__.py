"""The three systems' networks."""

from imlspike.models.spikeformer import IMLSpikeformerEncoder
from imlspike.models.spikeformer_decoder import IMLSpikeformerDecoder
from imlspike.models.spikevoice import SpikeVoice, SpikeVoiceOutput
from imlspike.models.spiking_vocos import SpikingVocos, VocoderOutput

__all__ = [
    "IMLSpikeformerDecoder",
    "IMLSpikeformerEncoder",
    "SpikeVoice",
    "SpikeVoiceOutput",
    "SpikingVocos",
    "VocoderOutput",
]
