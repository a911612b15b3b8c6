#!/usr/bin/env bash
# SpikeVoice with two speakers, its ablation and its ANN twin at half the published width on 83 minutes of Dutch dialogue;
# --corpus fillets_cs --front_end espeak:cs for Czech (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes tts "$0" --corpus fillets_nl --front_end espeak:nl --use_sid true \
    --config conf/spikevoice_small.yaml --changes "${recipe}/conf/features.yaml" -- "$@"
