#!/usr/bin/env bash
# LibriSpeech, 960 hours of read English: IML-Spikeformer at the published size on 5,000 BPE pieces, scored in WER
# (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes asr "$0" --ngpu all --corpus librispeech --train_set train_960 \
    --valid_set dev --test_sets "dev_clean dev_other test_clean test_other" --profile_set test_clean \
    --speed_perturb_factors "0.9 1.0 1.1" --audio_format flac --max_wav_duration 30 \
    --token_type bpe --nbpe 5000 --score_primary wer \
    --asr_config "${recipe}/conf/train_asr_iml_spikeformer.yaml" \
    --peer_override "${recipe}/conf/train_asr_{peer}.yaml" \
    --lm_config "${recipe}/conf/train_lm_transformer.yaml" --inference_config "${recipe}/conf/decode_asr.yaml" \
    --corpus_note "LibriSpeech (Panayotov et al. 2015, openslr.org/12): 960 hours of read English, CC BY 4.0" -- "$@"
