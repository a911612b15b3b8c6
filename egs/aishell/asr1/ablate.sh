#!/usr/bin/env bash
# The paper's ablations, conf/ablations/paper.txt over this recipe's model (--help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes ablation "$0" --recipe "${recipe}" --list conf/ablations/paper.txt \
    --config "${recipe}/conf/train_asr_iml_spikeformer.yaml" --nj 1 -- "$@"
