#!/usr/bin/env bash
# SpikeVoice as published, its ablation and its ANN twin, on Baker
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes tts "$0" --corpus baker --front_end pinyin --text_table pinyin \
    --voice_front_end mandarin --score_args=--no-spaces --corpus_labels PhoneLabeling \
    --config conf/spikevoice.yaml --models "spikevoice sequential" --ngpu all -- "$@"
