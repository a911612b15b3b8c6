#!/usr/bin/env bash
# LibriSpeech, 960 hours of read English: IML-Spikeformer at the published size on 5,000 BPE pieces, scored in WER (see
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
    --corpus librispeech \
    --train_set train_960 \
    --valid_set dev \
    --test_sets "dev_clean dev_other test_clean test_other" \
    --profile_set test_clean \
    --speed_perturb_factors "0.9 1.0 1.1" \
    --audio_format flac \
    --max_wav_duration 30 \
    --token_type bpe \
    --nbpe 5000 \
    "${models[@]}" \
    --lm_config "${recipe}/conf/train_lm_transformer.yaml" \
    --inference_config "${recipe}/conf/decode_asr.yaml" \
    --score_primary wer \
    --corpus_note "LibriSpeech (Panayotov et al. 2015, openslr.org/12): 960 hours of read English, CC BY 4.0" \
    ${passed_on[@]+"${passed_on[@]}"}
