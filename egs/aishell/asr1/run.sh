#!/usr/bin/env bash
# AiShell-1, 178 hours of read Mandarin: IML-Spikeformer at the published size on characters, scored in CER
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes asr "$0" --ngpu all --corpus aishell --train_set train --valid_set dev \
    --test_sets "dev test" --speed_perturb_factors "0.9 1.0 1.1" --audio_format flac \
    --token_type char --score_primary cer --score_spaces false \
    --asr_config "${recipe}/conf/train_asr_iml_spikeformer.yaml" \
    --peer_override "${recipe}/conf/train_asr_{peer}.yaml" \
    --lm_config "${recipe}/conf/train_lm_transformer.yaml" --inference_config "${recipe}/conf/decode_asr.yaml" \
    --corpus_note "AiShell-1 (Bu et al. 2017, openslr.org/33): 178 hours of read Mandarin, Apache-2.0" -- "$@"
