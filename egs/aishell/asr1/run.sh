#!/usr/bin/env bash
# AiShell-1, 178 hours of read Mandarin: IML-Spikeformer at the published size on characters, scored in CER (see
# README.md). Options it doesn't know go to ../../TEMPLATE/asr1/asr.sh, also those set below; --help lists all.
# shellcheck disable=SC2154  # 'option' sets the variables
set -euo pipefail

recipe_command=$(printf "%q " "$0" "$@")
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "${recipe}/../../TEMPLATE/utils/options.sh"

option twin false "the ANN twin of the same size: true (beside the spiking model), only, or false"
parse_options --keep-unknown "$@"
one_of twin true only false

spiking=${recipe}/conf/train_asr_iml_spikeformer.yaml
ann=train_asr_iml_spikeformer_ann:${spiking}:${recipe}/conf/train_asr_transformer.yaml
models=(--asr_config "${spiking}")
if [ "${twin}" = only ]; then models+=(--experiments "${ann}"); fi
if [ "${twin}" = true ]; then models+=(--experiments "train_asr_iml_spikeformer:${spiking} ${ann}"); fi
[ "${twin}" = false ] || [[ " ${passed_on[*]-} " != *" --asr_"* ]] ||
    die "--twin ${twin} trains the recipe's own models and leaves --asr_config, --asr_override and --asr_tag without" \
        "effect; name all models in --experiments instead (README.md)"

gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU') || true # all of this machine, unless --ngpu says less

export recipe_command
exec "${recipe}/../../TEMPLATE/asr1/asr.sh" \
    --workdir "${recipe}" \
    --ngpu "${gpus}" \
    --corpus aishell \
    --train_set train \
    --valid_set dev \
    --test_sets "dev test" \
    --profile_set test \
    --speed_perturb_factors "0.9 1.0 1.1" \
    --audio_format flac \
    --token_type char \
    "${models[@]}" \
    --lm_config "${recipe}/conf/train_lm_transformer.yaml" \
    --inference_config "${recipe}/conf/decode_asr.yaml" \
    --score_primary cer \
    --score_spaces false \
    --corpus_note "AiShell-1 (Bu et al. 2017, openslr.org/33): 178 hours of read Mandarin, Apache-2.0" \
    ${passed_on[@]+"${passed_on[@]}"}
