#!/usr/bin/env bash
# SpikeVoice as published, its ablation and its ANN twin, on readers of LibriTTS
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes tts "$0" --corpus libritts --front_end english --use_sid true \
    --prepare_args "--parts train-clean-100" --hold_out_from train_clean_100 --changes "${recipe}/conf/features.yaml" \
    --config conf/spikevoice.yaml --models "spikevoice sequential" --ngpu all -- "$@"
