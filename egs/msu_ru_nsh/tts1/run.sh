#!/usr/bin/env bash
# SpikeVoice, its ablation and its ANN twin at half the published width on 84 minutes of one Russian voice at 16 kHz
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes tts "$0" --corpus msu_ru_nsh --prepare_args=--as-written \
    --front_end russian:marked --corpus_labels lab --config conf/spikevoice_small.yaml -- "$@"
