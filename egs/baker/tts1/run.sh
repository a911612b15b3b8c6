#!/usr/bin/env bash
# SpikeVoice as published, its ablation and its ANN twin, on Baker (see README.md). Options go to
# ../../TEMPLATE/tts1/tts.sh, also those set below; --help lists all of them.
set -euo pipefail

recipe_command=$(printf "%q " "$0" "$@")
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU') || true # all of this machine, unless --ngpu says less

export recipe_command
exec "${recipe}/../../TEMPLATE/tts1/tts.sh" --workdir "${recipe}" --corpus baker \
    --front_end pinyin --text_table pinyin --voice_front_end mandarin --score_args --no-spaces \
    --corpus_labels PhoneLabeling \
    --config conf/spikevoice.yaml --overrides conf/tts --models "spikevoice sequential" --ngpu "${gpus:-0}" "$@"
