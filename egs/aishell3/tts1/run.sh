#!/usr/bin/env bash
# SpikeVoice as published, its ablation and its ANN twin, on AISHELL-3's 174 speakers
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes tts "$0" --corpus aishell3 --front_end pinyin \
    --text_table pinyin --voice_front_end mandarin --score_args=--no-spaces --use_sid true \
    --config conf/spikevoice.yaml --models "spikevoice sequential" --ngpu all -- "$@"
