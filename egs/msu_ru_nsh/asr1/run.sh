#!/usr/bin/env bash
# The main job: a spiking recognizer and its twin with ReLU on 99.5 minutes of read Russian (see README.md).
# Without options it downloads the corpus, trains both (conf/quick.yaml, conf/peers), decodes, scores, counts spikes
# and prints one table.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONPATH="${recipe}/../../..${PYTHONPATH:+:${PYTHONPATH}}"
speeds=""
if [[ " $* " == *" --model"[\ =]"full "* ]]; then speeds="0.9 1.0 1.1"; fi # what 84 minutes lack in variety
exec python3 -m imlspike.recipes asr "$0" --corpus msu_ru_nsh --speed_perturb_factors "${speeds}" --model quick \
    --corpus_note "msu_ru_nsh of Debian's festvox-ru, 100 minutes of Russian read by one man, BSD-like licence; \
the n-gram has also read its fortunes-ru, GPL-2" \
    --asr_config conf/quick.yaml --asr_override "conf/{model}.yaml" \
    --peers relu --peer_override "conf/peers/{model}_{peer}.yaml" \
    --use_lm true --lm_config conf/train_lm.yaml --lm_tag "{model}" --lm_text_program "${recipe}/local/lm_text.py" \
    --inference_config conf/decode_lm.yaml -- "$@"
