"""Error rate of a recognizer against level, silence, noise, rate and codec.

Every condition is the whole test set, changed by a seeded function of the waveform, and transcribed as
`imlspike transcribe` does (greedy, cut at pauses).
"""

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchaudio.functional import mu_law_decoding, mu_law_encoding, resample

from benchmarks.measure import setting
from imlspike.data.audio import read_audio
from imlspike.data.files import read_kaldi
from imlspike.evaluation.error_rates import align_transcripts, error_counts
from imlspike.evaluation.plots import drawing
from imlspike.evaluation.tables import markdown_table, write_files
from imlspike.inference import Speech2Text

Change = Callable[[np.ndarray, int, np.random.Generator], tuple[np.ndarray, int]]
GROUPS = {"level": "gain, dB (cut off at full scale)", "zeros": "zeros before and behind, s"}
GROUPS |= {
    "hiss": "noise at -60 dB of full scale before and behind, s",
    "noise": "white noise, dB below speech",
}
GROUPS |= {"rate": "other sampling rates, Hz", "codec": "codec"}


def conditions() -> dict[tuple[str, object], Change]:
    """(group, value) to what it does to a waveform (S,) at a rate in Hz, giving both anew; first: nothing."""
    made: dict[tuple[str, object], Change] = {}
    for gain in (0, -40, -30, -20, -12, -6, 6, 12):
        made["level", gain] = lambda x, rate, _, g=gain: (np.clip(x * 10 ** (g / 20), -1, 1), rate)
    for seconds in (1, 4, 16):
        made["zeros", seconds] = lambda x, rate, _, s=seconds: (np.pad(x, round(s * rate)), rate)
        made["hiss", seconds] = lambda x, rate, random, s=seconds: (hiss(x, round(s * rate), random), rate)
    for ratio in (30, 20, 10):
        made["noise", ratio] = lambda x, rate, random, r=ratio: (noisy(x, r, random), rate)
    for rate in (8000, 11025, 22050, 44100, 48000):
        made["rate", rate] = lambda x, old, _, new=rate: (resampled(x, old, new), new)
    made["codec", "mu-law 8 kHz"] = lambda x, rate, _: (mu_law(resampled(x, rate, 8000)), 8000)
    made["codec", "mp3 32 kbit/s"] = lambda x, rate, _: (coded(x, rate, "mp3", "libmp3lame", 32000), rate)
    made["codec", "opus 12 kbit/s"] = lambda x, rate, _: (coded(x, rate, "ogg", "libopus", 12000), rate)
    return made


def hiss(wave: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """Noise of -60 dB of full scale before and behind."""
    return np.concatenate([1e-3 * random.normal(size=samples), wave, 1e-3 * random.normal(size=samples)])


def noisy(wave: np.ndarray, ratio: float, random: np.random.Generator) -> np.ndarray:
    """White noise `ratio` dB below the mean power of the waveform."""
    return wave + random.normal(size=len(wave)) * np.sqrt(np.mean(wave**2)) * 10 ** (-ratio / 20)


def resampled(wave: np.ndarray, rate: int, to: int) -> np.ndarray:
    """The waveform at another rate."""
    return resample(torch.from_numpy(wave.astype(np.float32)), rate, to).numpy()


def mu_law(wave: np.ndarray) -> np.ndarray:
    """8 bit mu-law and back."""
    return mu_law_decoding(mu_law_encoding(torch.from_numpy(wave).clamp(-1, 1), 256), 256).numpy()


def coded(wave: np.ndarray, rate: int, container: str, codec: str, bits: int) -> np.ndarray:
    """Encoded by ffmpeg and decoded; at the same rate."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bits
        frame = av.AudioFrame.from_ndarray(np.int16(np.clip(wave, -1, 1) * 32767)[None], "s16", "mono")
        frame.sample_rate = rate
        for part in (frame, None):
            out.mux(stream.encode(part))
    file.seek(0)
    with av.open(file) as read:
        to_mono = av.AudioResampler("fltp", "mono", rate)
        frames = [part for frame in read.decode(audio=0) for part in to_mono.resample(frame)]
        frames += to_mono.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def main(argv=None) -> None:
    """Print the table; write it with its numbers and a plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks robustness", description=__doc__)
    parser.add_argument("--model", required=True, help="bundle or experiment of a recognizer")
    parser.add_argument("--data-dir", type=Path, required=True, help="Kaldi directory with wav.scp and text")
    parser.add_argument("--limit", type=int, help="take only so many utterances")
    parser.add_argument("--output", type=Path, help="stem of the .md, .json and .png to write")
    args = parser.parse_args(argv)
    recognizer = Speech2Text.from_pretrained(args.model)
    wavs, texts = (read_kaldi(args.data_dir / name) for name in ("wav.scp", "text"))
    chosen = sorted(wavs)[: args.limit]
    waves = [read_audio(wavs[key], recognizer.sampling_rate, key) for key in chosen]
    references, rows = {key: texts[key] for key in chosen}, []
    for number, ((group, value), change) in enumerate(made := conditions().items(), 1):
        random = np.random.default_rng(0)
        changed = [change(wave, recognizer.sampling_rate, random) for wave in waves]
        found = [recognizer(np.float32(wave), sampling_rate=rate) for wave, rate in changed]
        counts = error_counts(align_transcripts(references, dict(zip(chosen, found, strict=True))), "cer")
        hits, *errors = counts.sum(0).tolist()
        rows.append({"group": group, "value": value, "cer": sum(errors) / (hits + errors[0] + errors[1])})
        print(f"{number}/{len(made)} {group} {value}: {rows[-1]['cer']:.1%}", file=sys.stderr, flush=True)
    shown = [
        {"what": GROUPS[row["group"]], "": row["value"], "CER %": f"{100 * row['cer']:.1f}"}
        | {"less that at 0 dB": f"{100 * (row['cer'] - rows[0]['cer']):+.1f}"}
        for row in rows
    ]
    report = f"# {args.model}: {len(chosen)} utterances, greedy\n\n{setting()}\n\n{markdown_table(shown)}\n"
    print(report)
    if args.output:
        stem = args.output
        write_files({stem.with_suffix(".md"): report, stem.with_suffix(".json"): rows})
        plot(rows, stem.with_suffix(".png"))


def plot(rows: list[dict], path: Path) -> None:
    """A panel for each group, its values in order."""
    with drawing(path, len(GROUPS), 9.0, "", sharey=True) as (_, axes):
        for axis, (group, title) in zip(axes, GROUPS.items(), strict=True):
            values = {row["value"]: 100 * row["cer"] for row in rows if row["group"] == group}
            order = sorted(values, key=lambda value: (isinstance(value, str), value))
            axis.plot([str(value) for value in order], [values[value] for value in order], "o-")
            axis.axhline(100 * rows[0]["cer"], linestyle=":", linewidth=0.8)
            axis.set(title=title, ylabel="CER, %", ylim=(0, None))
