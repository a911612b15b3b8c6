"""ESPnet's ASR model with two losses more: on spikes above a rate, and against a teacher's CTC posteriors."""

import threading
from copy import deepcopy
from inspect import Parameter, Signature, signature

import torch
from espnet2.asr.espnet_model import ESPnetASRModel
from torch import Tensor, nn

from imlspike.data.keys import check_number
from imlspike.espnet.monitor import firing_neurons
from imlspike.inference.bundle import Bundle
from imlspike.inference.recognizer import Recognizer

_of_thread = threading.local()  # one for each replica of data parallelism


class SpikingASRModel(ESPnetASRModel):
    r"""`ESPnetASRModel`, whose loss in training (not in validation) has these terms more.

    .. math::
        w_r \max(0,\ \mathrm{mean}_l\, r_l - \rho) + w_d \frac{\tau^2}{B} \sum_{b,n}
        \mathrm{KL}(p^{1/\tau}_{bn} \,\|\, q^{1/\tau}_{bn})

    r_l, the firing rate of a neuron layer of the encoder, is mean counts / levels, padding included where a
    layer sees it. Counts have their neuron's own (straight-through) gradient. p and q are the CTC posteriors
    of teacher and student at the token n of an utterance b of B, summed as ESPnet sums its CTC loss. The
    teacher sees the student's features, augmented waveforms included, ahead of SpecAugment.

    Args:
        rate_weight: w_r; 0: no such loss. ESPnet's loss is a sum over an utterance's tokens, some tens to
            hundreds, the excess of the rate at most 1.
        rate_target: rho.
        distill_from: a trained recognizer, as `Bundle.load` takes it (a path is seen from where the training
            runs), with the student's tokens, tokens an utterance and features; None: no teacher. It is opened
            by the first batch, not before: statistics and decoding do without it. It isn't a part of the
            model: neither its checkpoints nor its parameters hold it.
        distill_weight, distill_temperature: w_d, tau.
        args, conf: of `ESPnetASRModel`.

    Statistics in training: `firing_rate` (the mean of r_l), `loss_rate` and `loss_distill`, both with their
    weights, as they are in `loss`.

    Raises:
        ValueError: a number out of its range, `rate_weight` without spiking neurons in the encoder or with
            `compile`, `distill_from` without CTC or a front end; in training also a teacher that doesn't fit.
    """

    def __init__(
        self, *args, rate_weight: float = 0.0, rate_target: float = 0.06, distill_from: str | None = None,
        distill_weight: float = 0.5, distill_temperature: float = 1.0, **conf,
    ):  # fmt: skip
        super().__init__(*args, **conf)
        check_number("rate_weight", rate_weight, 0, 1e9)
        check_number("rate_target", rate_target, 0, 1)
        check_number("distill_weight", distill_weight, 0, 1e9)
        check_number("distill_temperature", distill_temperature, 1e-3, 1e3)
        self.rate_weight, self.rate_target, self.distill_from = rate_weight, rate_target, distill_from
        self.distill_weight, self.distill_temperature = distill_weight, distill_temperature
        self._teachers: dict[torch.device, Recognizer] = {}  # of each device; a dict hides them from torch
        neurons = list(firing_neurons(self.encoder)) if rate_weight else []
        if rate_weight and not neurons:
            raise ValueError("rate_weight: no neuron of the encoder fires spikes")
        if neurons and any(each._compiled_call_impl for each in self.encoder.modules()):
            raise ValueError("rate_weight: its gradient is another in compiled blocks; say compile: false")
        if distill_from and (self.ctc is None or self.frontend is None):
            raise ValueError("distill_from needs ctc_weight above 0 and a frontend")
        for _, neuron in neurons:
            neuron.register_forward_hook(_count, with_kwargs=True)

    def forward(self, *args, **batch) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """ESPnet's loss (1,) with the terms of the class, statistics, and the number of utterances."""
        self._terms: dict[str, Tensor] = {}
        loss, stats, weight = super().forward(*args, **batch)
        for name, value in self._terms.items():
            stats[name] = value.detach()[None]
            loss = loss + value if name.startswith("loss_") else loss
        return loss, stats | {"loss": loss.detach()}, weight

    def encode(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """ESPnet's, which finds the terms of the loss in training."""
        _of_thread.rates = [] if self.training and self.rate_weight else None
        encoded, lengths = super().encode(speech, speech_lengths)
        rates, _of_thread.rates = _of_thread.rates, None
        if rates:
            self._terms["firing_rate"] = rate = torch.stack(rates).mean()
            self._terms["loss_rate"] = self.rate_weight * (rate - self.rate_target).relu()
        if self.training and self.distill_from:
            output = encoded[0] if isinstance(encoded, tuple) else encoded
            self._terms["loss_distill"] = self.distill_weight * self._divergence(output, lengths)
        self._seen = None
        return encoded, lengths

    def _extract_feats(self, speech: Tensor, speech_lengths: Tensor) -> tuple[Tensor, Tensor]:
        features, lengths = super()._extract_feats(speech, speech_lengths)
        if self.training and self.distill_from:
            self._seen = features.clone(), lengths  # ESPnet normalizes in place
        return features, lengths

    def _divergence(self, output: Tensor, lengths: Tensor) -> Tensor:
        """tau^2 KL(teacher || student), summed over tokens, mean of utterances, for the encoder's output."""
        features, teacher = self._seen, self._teacher(output.device)
        with torch.no_grad():
            features = features if self.normalize is None else self.normalize(*features)
            theirs, found = teacher.encode_features(*features)
            theirs = (teacher.log_probs(theirs) / self.distill_temperature).log_softmax(-1)
        # ESPnet's subsampling counts up to two tokens too many where an utterance is padded.
        if theirs.shape[1] != output.shape[1] or (found - lengths).abs().max() > 2:
            told = f"an utterance has {int(found.max())} tokens there, {int(lengths.max())} here"
            raise ValueError(f"distill_from {self.distill_from}: {told}; choose its input_layer")
        ours = (self.ctc.log_softmax(output) / self.distill_temperature).log_softmax(-1)
        each = nn.functional.kl_div(ours, theirs, reduction="none", log_target=True).sum(-1)
        real = torch.arange(each.shape[1], device=each.device) < torch.minimum(found, lengths)[:, None]
        return self.distill_temperature**2 * each.masked_fill(~real, 0).sum() / len(each)

    def _teacher(self, device: torch.device) -> Recognizer:
        if not self._teachers:
            with torch.random.fork_rng(devices=[]):  # so that a training goes on as if it hadn't stopped
                self._teachers[torch.device("cpu")] = self._open_teacher()
        if device not in self._teachers:
            self._teachers[device] = deepcopy(next(iter(self._teachers.values()))).to(device)
        return self._teachers[device]

    def _open_teacher(self) -> Recognizer:
        teacher = Recognizer.from_bundle(Bundle.load(self.distill_from, "recognizer"), exact=True)
        where, tokens = f"distill_from {self.distill_from}", list(self.token_list)
        if teacher.ctc is None:
            raise ValueError(f"{where}: it was trained without CTC")
        if teacher.tokens.names != tokens:
            told = f"its {len(teacher.tokens)} tokens aren't the {len(tokens)} of this model"
            raise ValueError(f"{where}: {told}; train both with one token list")
        # Front ends and statistics are compared by what they make of a waveform.
        frontend, normalize = deepcopy(self.frontend).cpu().eval(), deepcopy(self.normalize)
        wave = torch.linspace(0, 400, 16000).square().sin() * torch.linspace(0.1, 1, 16000)
        ours = frontend(wave[None], torch.tensor([len(wave)]))
        ours = ours if normalize is None else normalize.cpu()(*ours)
        teacher.features.peak, theirs = None, teacher.features(wave)  # the loader has scaled waveforms
        if ours[0].shape[1:] != theirs.shape or not torch.allclose(ours[0][0], theirs, atol=1e-2):
            told = f"its features {(*theirs.shape,)} aren't those of this model {(*ours[0].shape[1:],)}"
            raise ValueError(f"{where}: {told}; choose its frontend_conf and normalize")
        return teacher.requires_grad_(False)


_theirs, _own = (signature(cls).parameters.values() for cls in (ESPnetASRModel, SpikingASRModel))
_own = [each for each in _own if each.kind is Parameter.KEYWORD_ONLY]
SpikingASRModel.__signature__ = Signature([*_theirs, *_own])  # by which configurations are checked


def _count(neuron: nn.Module, args: tuple, kwargs: dict, output: Tensor) -> None:
    """Forward hook of a neuron: keep its firing rate."""
    if neuron.training and torch.is_grad_enabled():
        # Computed where nobody asks, too: a block that is run again for its gradient must do the same again.
        counts = output if neuron.unit else output / neuron.encode(*args, **kwargs)[1]
        counts = counts.abs() if neuron.signed else counts  # of others 0 has a gradient
        rate = counts.mean(dtype=torch.float32) / neuron.levels
        if getattr(_of_thread, "rates", None) is not None:
            _of_thread.rates.append(rate)
