#!/usr/bin/env bash
# SpikeVoice as published, its ablation and its ANN twin, on LJSpeech
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes tts "$0" --corpus ljspeech --front_end english \
    --config conf/spikevoice.yaml --models "spikevoice sequential" --ngpu all -- "$@"
