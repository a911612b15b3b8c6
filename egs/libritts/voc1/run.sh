#!/usr/bin/env bash
# Spiking Vocos as published, on LibriTTS: every row of the paper's table 1 (see README.md). Options go to
# ../../TEMPLATE/voc1/voc.sh, also those set below; --help lists all of them.
set -euo pipefail

recipe_command=$(printf "%q " "$0" "$@")
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU') || true # one, where there is one: the batch is small

export recipe_command
exec "${recipe}/../../TEMPLATE/voc1/voc.sh" --workdir "${recipe}" --corpus libritts \
    --train_set train_960 --valid_set dev_clean --test_set test_clean \
    --prepare_args "--parts train-clean-100 train-clean-360 train-other-500 dev-clean test-clean" \
    --config "${recipe}/conf/train_vocos.yaml" --overrides conf/voc --models "plif plif8 tsm kd tsm_kd" \
    --ngpu "$((gpus > 0))" "$@"
