"""The three systems' networks."""

from imlspike.models.spikeformer import IMLSpikeformerEncoder

__all__ = ["IMLSpikeformerEncoder"]
