#!/usr/bin/env bash
# Spiking Vocos, its options and its ANN twin at half the published width on 84 minutes of one voice at 16 kHz
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes vocoder "$0" --corpus msu_ru_nsh \
    --config conf/voc_small.yaml --overrides conf/voc -- "$@"
