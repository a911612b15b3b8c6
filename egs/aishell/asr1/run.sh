#!/usr/bin/env bash
# AiShell-1, 178 hours of read Mandarin: IML-Spikeformer at the published size on characters, scored in CER (see
# README.md). Options it doesn't know go to ../../TEMPLATE/asr1/asr.sh, also those set below; --help lists all.
# shellcheck disable=SC2154  # published.sh sets the variables
set -euo pipefail

recipe_command=$(printf "%q " "$0" "$@")
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "${recipe}/../../TEMPLATE/asr1/published.sh" # --twin; sets models, gpus and passed_on

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
