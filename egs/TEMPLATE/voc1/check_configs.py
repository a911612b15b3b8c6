"""Checks the configurations of several trainings; reads the trainer's arguments, tabs between, a line each.

Prints "RATE SENTENCE": the sampling rate that all have in common, and what there is to train.
"""

import sys
from pathlib import Path

from imlspike.models.spiking_vocos import SpikingVocos
from imlspike.training.config import ConfigError, read_config

SHARED = ("sampling_rate", "n_fft", "hop_length", "n_mels", "f_min", "f_max")


def main():
    features, steps = {}, {}
    for line in sys.stdin.read().splitlines():
        arguments = line.split("\t")
        name = Path(arguments[3]).stem
        try:
            config, _ = read_config([*arguments, "--exp-dir=exp", "--train-dir=train", "--valid-dir=valid"])
            generator = SpikingVocos.from_config(config.generator).config
        except (ConfigError, ValueError) as error:
            sys.exit(f"{name}: {error}")
        features[name] = {key: generator[key] for key in SHARED}
        steps[name] = config.trainer.steps
    first, *others = features.items()
    for name, found in others:
        if different := [key for key in SHARED if found[key] != first[1][key]]:
            key = different[0]
            sys.exit(
                f"{name} has {key}={found[key]}, {first[0]} {first[1][key]}: one table needs the same "
                "features for all; run them apart, with a --workdir each"
            )
    told = f"{len(features)} trainings of {'/'.join(map(str, sorted(set(steps.values()))))} steps"
    print(first[1]["sampling_rate"], f"{told}, {first[1]['sampling_rate']} Hz")


main()
