#!/usr/bin/env bash
# Spiking Vocos as published, on LibriTTS: every row of the paper's table 1
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes vocoder "$0" --corpus libritts --ngpu any \
    --train_set train_960 --valid_set dev_clean --test_set test_clean \
    --prepare_args "--parts train-clean-100 train-clean-360 train-other-500 dev-clean test-clean" \
    --config "${recipe}/conf/train_vocos.yaml" --overrides conf/voc --models "plif plif8 tsm kd tsm_kd" -- "$@"
