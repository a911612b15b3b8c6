#!/usr/bin/env bash
# The ablations of this recipe: conf/ablations/main.txt over conf/quick.yaml at a small budget, on the validation and
# the test set. Options go to ../../TEMPLATE/asr1/ablate.sh; --help lists all.
set -euo pipefail

recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ablate_command=$(printf "%q " "$0" "$@")
export ablate_command
exec "${recipe}/../../TEMPLATE/asr1/ablate.sh" --recipe "${recipe}" --config conf/quick.yaml \
    --list conf/ablations/main.txt --budget conf/ablations/budget.yaml --test_sets "valid test" "$@"
