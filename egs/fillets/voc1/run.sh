#!/usr/bin/env bash
# Spiking Vocos, its options and its ANN twin at half the published width on 156 minutes of four voices in two languages
# at 22.05 kHz (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes vocoder "$0" --corpus fillets \
    --config "${recipe}/conf/train_vocos.yaml" --overrides conf/voc -- "$@"
