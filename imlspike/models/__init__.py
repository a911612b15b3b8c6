"""The three systems' networks."""

from imlspike.models.spikeformer import IMLSpikeformerEncoder
from imlspike.models.spikeformer_decoder import IMLSpikeformerDecoder

__all__ = ["IMLSpikeformerDecoder", "IMLSpikeformerEncoder"]
