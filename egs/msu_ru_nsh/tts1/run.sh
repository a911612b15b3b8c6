#!/usr/bin/env bash
# SpikeVoice, its ablation and its ANN twin at half the published width on 84 minutes of one Russian voice at 16 kHz
# (see README.md). Options go to ../../TEMPLATE/tts1/tts.sh, also those set below; --help lists all of them.
set -euo pipefail

recipe_command=$(printf "%q " "$0" "$@")
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

export recipe_command
exec "${recipe}/../../TEMPLATE/tts1/tts.sh" --workdir "${recipe}" --corpus msu_ru_nsh --prepare_args --as-written \
    --front_end russian --corpus_labels lab --config conf/spikevoice_small.yaml --overrides conf/tts "$@"
