"""A recogniser so small that it trains in a second on synthetic audio: data, YAML, how to run it."""

import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

TEXTS = {"u1": "ab ba", "u2": "aab", "u3": "b a", "u4": "abb", "u5": "ba", "u6": "a b a"}
TOKENS = ["<blank>", "<unk>", "<space>", *"abcdefgh", "<sos/eos>"]  # more than the beam is wide
PITCH = {"a": 300.0, "b": 1200.0, " ": 0.0}

# What a user writes: a plain ESPnet training YAML with `encoder: iml_spikeformer`.
CONFIG = """
frontend_conf: {fs: 16000, n_fft: 512, hop_length: 160, n_mels: 20}
specaug: specaug
specaug_conf: {apply_time_warp: false, freq_mask_width_range: [0, 4], time_mask_width_range: [0, 4]}
normalize: utterance_mvn
encoder: iml_spikeformer
encoder_conf: {output_size: 16, attention_heads: 2, linear_units: 32, num_blocks: 1}
decoder: transformer
decoder_conf: {attention_heads: 2, linear_units: 32, num_blocks: 1}
model_conf: {ctc_weight: 0.3, lsm_weight: 0.1, length_normalized_loss: false}
token_type: char
optim: adam
optim_conf: {lr: 0.001}
batch_type: unsorted
batch_size: 2
num_workers: 0
keep_nbest_models: 2
best_model_criterion: [[valid, loss, min]]
num_att_plot: 0
use_matplotlib: false
use_tensorboard: false
"""


def tone(text: str, rate: int = 16000) -> np.ndarray:
    """A tone of 0.25 s for each letter, with a little noise: audio that says `text`."""
    time = np.arange(rate // 4) / rate
    noise = np.random.default_rng(len(text)).normal(scale=0.01, size=len(time) * len(text))
    return np.concatenate([0.3 * np.sin(2 * np.pi * PITCH[letter] * time) for letter in text]) + noise


def write_data(folder: Path) -> None:
    """Write a Kaldi directory of six utterances with shape files, a token list and `train.yaml`."""
    audio = {utterance: tone(text) for utterance, text in TEXTS.items()}
    for utterance, samples in audio.items():
        soundfile.write(folder / f"{utterance}.wav", samples, 16000)
    tables = {
        "wav.scp": {u: folder / f"{u}.wav" for u in TEXTS},
        "text": TEXTS,
        "speech_shape": {u: len(samples) for u, samples in audio.items()},
        "text_shape": {u: f"{len(text)},{len(TOKENS)}" for u, text in TEXTS.items()},
    }
    for name, table in tables.items():
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in table.items()))
    (folder / "tokens.txt").write_text("\n".join(TOKENS) + "\n")
    (folder / "train.yaml").write_text(CONFIG)


def train_args(data: Path, exp: Path, **options) -> list[str]:
    """The arguments of ESPnet's asr_train for the tiny recogniser; `options` are added as `--key value`."""
    args = ["--config", f"{data}/train.yaml", "--token_list", f"{data}/tokens.txt", "--output_dir", str(exp)]
    for part in ("train", "valid"):
        args += [f"--{part}_data_path_and_name_and_type", f"{data}/wav.scp,speech,sound"]
        args += [f"--{part}_data_path_and_name_and_type", f"{data}/text,text,text"]
        args += [f"--{part}_shape_file", f"{data}/speech_shape", f"--{part}_shape_file", f"{data}/text_shape"]
    return args + [item for key, value in options.items() for item in (f"--{key}", str(value))]


def train(
    data: Path, exp: Path, accident: Callable | None = None, processes: int = 1, **options
) -> list[int]:
    """Train in forked processes, the first of which sets up `accident(exp)` before; their exit codes."""
    import torch

    from imlspike.espnet import register, run_espnet

    register()
    group = {}
    if processes > 1:
        with socket.socket() as free:
            free.bind(("localhost", 0))
            group = {"dist_backend": "gloo", "dist_world_size": processes, "dist_master_addr": "localhost"}
            group["dist_master_port"] = free.getsockname()[1]

    def run(rank):
        torch.set_num_threads(1)
        if accident is not None and rank == 0:
            accident(exp)
        own = {"dist_rank": rank} if processes > 1 else {}
        run_espnet("asr_train", train_args(data, exp, **group, **own, **options))

    fork = torch.multiprocessing.get_context("fork")
    started = [fork.Process(target=run, args=(rank,)) for rank in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]
