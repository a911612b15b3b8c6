"""Recognition of speech while it is spoken: samples in, partial and final results out."""

import numpy as np
import torch
from torch import Tensor

from imlspike.inference.listening import Frames, Listener
from imlspike.inference.recognizer import Recognizer, SpeechFeatures
from imlspike.layers import Carried

AT_ONCE = 64  # tokens, about, that go through the encoder at once where many are there


class FeatureStream(Frames):
    """`SpeechFeatures` of a waveform that comes in pieces: the same frames, once their samples are there.

    Args:
        features: with `causal_level`, or without a level.

    Raises:
        ValueError: for features that need the whole utterance; the argument that is why is named.
    """

    def __init__(self, features: SpeechFeatures):
        if features.peak is not None or features.normalize == "utterance":
            which = "peak" if features.peak is not None else "normalize: utterance"
            raise ValueError(f"{which}: the whole utterance isn't known in a stream; train without it")
        if features.level is not None and not features.causal_level:
            raise ValueError(
                "level: this is no recognizer of streams, in which the level of the whole isn't known; "
                "take one, as pretrained/streaming.zip is, or train with causal_level: true"
            )
        self.features, stft = features, features.stft
        super().__init__(
            stft["n_fft"], stft["hop_length"], stft["center"], features.sampling_rate, features.level
        )
        if 2 * self.hop >= self.size:
            raise ValueError(f"hop_length is {self.hop}; a stream needs less than half of n_fft")

    def rows(self, samples: np.ndarray, last: bool = False) -> Tensor:
        """Features (l, F) that the next samples (s,) complete, l from 0; `last`: there are no more."""
        window = self.features.window
        wave, gains = (torch.from_numpy(each).to(window) for each in self.accept(samples, last))
        if not len(gains):
            return window.new_zeros(0, self.features.n_mels)
        return self.features.log_mel(self.features.power_spectra(wave, False), gains)


class Stream(Listener):
    """A stream of speech and what a recognizer hears in it; as many as one likes share a recognizer.

    An utterance ends at a pause; the encoder then begins anew, as it was trained on sentences.
    Log-probabilities are those of the same features offline, whatever the pieces; memory doesn't grow.

    Args:
        recognizer: with CTC, trained for streams (conf/quick_streaming.yaml); see
            `IMLSpikeformerEncoder.check_stream`.
        look_ahead: tokens; None: the most that it was trained with. Less is sooner, more is better.
        pause, max_seconds: of `Listener`.

    Raises:
        ValueError: if the recognizer can't run on a stream; the argument that is why is named.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        look_ahead: int | None = None,
        pause: float | None = 0.8,
        max_seconds: float = 20.0,
    ):
        encoder = recognizer.encoder
        if not hasattr(encoder, "check_stream"):
            raise ValueError("encoder: only iml_spikeformer runs on a stream")
        if recognizer.ctc is None:
            raise ValueError("ctc_weight: this model was trained without CTC, which a stream is decoded by")
        self.recognizer, self.encoder = recognizer, encoder
        super().__init__(
            FeatureStream(recognizer.features),
            recognizer.tokens,
            recognizer.sampling_rate,
            encoder.check_stream(look_ahead),
            encoder.embed.frames_per_token(),
            encoder.embed.least_frames(),
            AT_ONCE,
            pause,
            max_seconds,
        )

    def reset(self) -> None:
        self.source = FeatureStream(self.recognizer.features)
        super().reset()

    def _begin(self) -> None:
        self.carried = Carried()
        super()._begin()

    @torch.no_grad()
    def _frames(self, samples: np.ndarray, last: bool) -> np.ndarray:
        return self.source.rows(samples, last).cpu().numpy()

    @torch.no_grad()
    def log_probs(self, rows: np.ndarray) -> Tensor:
        """Log-probabilities (n, V) of the tokens that begin in the next frames (L, F) of the utterance."""
        frames = torch.from_numpy(rows).to(self.recognizer.features.window)
        encoded = self.encoder.step(frames[None], self.carried, self.look_ahead, self.recognizer)
        if not torch.isfinite(encoded).all():
            raise FloatingPointError("the encoder's output isn't finite; train with a lower learning rate")
        return self.recognizer.log_probs(encoded)[0]
