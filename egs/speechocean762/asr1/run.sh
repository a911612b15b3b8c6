#!/usr/bin/env bash
# A spiking recognizer and its peers, a twin with ReLU and a Conformer, on 155 minutes of English read by 113 speakers whose
# first language is Mandarin, scored on 125 others (see README.md; --help lists all options).
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
exec python3 -m imlspike.recipes asr "$0" --corpus speechocean762 --speed_perturb_factors "0.9 1.0 1.1" \
    --audio_format flac --token_type char --score_primary wer --model full \
    --asr_config "${recipe}/../../../conf/quick.yaml" --asr_override "${recipe}/../../../conf/{model}.yaml ${recipe}/conf/{model}.yaml" \
    --peers "relu conformer" --peer_override "conf/peers/{model}_{peer}.yaml" \
    --use_lm true --lm_config conf/train_lm.yaml --lm_text_program "${recipe}/local/lm_text.py" \
    --inference_config conf/decode_lm.yaml \
    --corpus_note "speechocean762 (Zhang et al. 2021, openslr.org/101): 155 minutes of English read by 113 \
speakers whose first language is Mandarin, half of them children; free for any use, say its authors; the n-gram has \
also read Debian's fortunes, BSD" -- "$@"
