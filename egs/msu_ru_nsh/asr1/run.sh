#!/usr/bin/env bash
# The main job: a spiking recogniser and its ANN twin on 99.5 minutes of read Russian (see README.md). Without
# options it downloads the corpus, trains both models of conf/quick.yaml side by side, decodes, scores, counts spikes
# and prints one table. Options it doesn't know go to ../../TEMPLATE/asr1/asr.sh; --help lists all of them.
# shellcheck disable=SC2154  # 'option' sets the variables
set -euo pipefail

recipe_command=$(printf "%q " "$0" "$@")
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "${recipe}/../../TEMPLATE/utils/options.sh"

option model quick "quick or full, see conf/ at the project's root"
option twin true "train the ANN twin beside it: true or false"
parse_options --keep-unknown "$@"
one_of twin true false

# Every model is conf/quick.yaml and the files that say what differs from it.
one_of model quick full
changes=""
speeds=""
if [ "${model}" != quick ]; then
    changes=":conf/${model}.yaml"
    speeds="0.9 1.0 1.1" # what 84 minutes lack in variety
fi
experiments="${model}:conf/quick.yaml${changes}"
if [ "${twin}" = true ]; then
    experiments+=" ${model}_ann:conf/quick.yaml${changes}:conf/quick_ann.yaml"
    if [ "${model}" != quick ]; then experiments+=":conf/${model}_ann.yaml"; fi
fi

export recipe_command
exec "${recipe}/../../TEMPLATE/asr1/asr.sh" --workdir "${recipe}" --corpus msu_ru_nsh --token_type char \
    --corpus_note "msu_ru_nsh of Debian's festvox-ru, 100 minutes of Russian read by one man, BSD-like licence" \
    --use_lm true --lm_config "${recipe}/conf/train_lm.yaml" --lm_tag "${model}" \
    --inference_config "${recipe}/conf/decode_lm.yaml" \
    --speed_perturb_factors "${speeds}" --experiments "${experiments}" ${passed_on[@]+"${passed_on[@]}"}
