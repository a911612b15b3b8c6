#!/usr/bin/env bash
# The ablations of this recipe: conf/ablations/main.txt over conf/quick.yaml at a small budget, on the validation and
# the test set (--help lists all options). --recipe egs/<corpus>/asr1 takes another recipe.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes ablation "$0" --recipe "${recipe}" --config conf/quick.yaml \
    --list conf/ablations/main.txt --budget conf/ablations/budget.yaml --test_sets "valid test" -- "$@"
