"""A voice's experiment as ESPnet's trainer leaves it, made without ESPnet: lively random weights."""

from pathlib import Path

import torch
import yaml

from tests.inference.small_vocoder import SIZES
from tests.models.small_spikevoice import MELS, small_voice

TOKENS = ["<unk>", *"abcdefghijklmnopqrstuvwxy", "<space>", ",", ".", "!"]
RATE, N_FFT, HOP = SIZES["sampling_rate"], SIZES["n_fft"], SIZES["hop_length"]
MEL = {"fs": RATE, "n_fft": N_FFT, "hop_length": HOP, "n_mels": MELS, "fmin": 0, "fmax": None}
MEAN, DEVIATION = torch.linspace(-7, -4, MELS), torch.linspace(1.0, 2.0, MELS)
STATISTICS = {"pitch": (5.0, 0.3), "energy": (2.0, 1.5)}
FRAMES = {"fs": RATE, "n_fft": N_FFT, "hop_length": HOP}
OF_THE_LOSS = {"loss_weights": {"mel": 0.5}, "prior_scale": 1.0}


def write_voice(
    folder: Path, front_end: str | None = "characters", names=(), languages=None, tokens=TOKENS, **options
) -> Path:
    """config.yaml, the averaged model and, with a front end, voice.yaml; returns the folder."""
    model = small_voice(dtype=torch.float32, **options)
    model.adaptor.set_statistics(*STATISTICS.values())
    conf = {key: value for key, value in model.config.items() if key not in ("vocab_size", "n_mels")}
    conf = {key: list(value) if isinstance(value, tuple) else value for key, value in conf.items()}
    config = {
        "token_list": list(tokens),
        "token_type": "phn",
        "feats_extract": "log_mel",
        "feats_extract_conf": MEL,
        "normalize": "global_mvn",
        "normalize_conf": {"stats_file": f"{folder}/feats.npz"},
        "pitch_extract": "dio",
        "pitch_extract_conf": {**FRAMES, "f0min": 80, "f0max": 400, "use_token_averaged_f0": False},
        "energy_extract": "energy",
        "energy_extract_conf": {**FRAMES, "use_token_averaged_energy": False},
        "tts": "spikevoice",
        "tts_conf": conf | OF_THE_LOSS,
        "best_model_criterion": [["valid", "loss", "min"]],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    states = {f"tts.spikevoice.{name}": state for name, state in model.state_dict().items()}
    states |= {"normalize.mean": MEAN, "normalize.std": DEVIATION}
    for name, (mean, deviation) in STATISTICS.items():
        states |= {f"{name}_normalize.mean": torch.tensor([mean])}
        states |= {f"{name}_normalize.std": torch.tensor([deviation])}
    torch.save(states, folder / "valid.loss.ave.pth")
    if front_end:
        about = {"front_end": front_end} | ({"speakers": list(names)} if names else {})
        about |= {"languages": languages} if languages else {}
        (folder / "voice.yaml").write_text(yaml.safe_dump(about))
    return folder
