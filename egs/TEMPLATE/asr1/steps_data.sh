# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2046,SC2012
# Stages 1 to 5: data. See settings.sh for the variables.

perturb_speed() {
    "${python}" -m imlspike.bin.speed "data/${train_set}" --factors ${speed_perturb_factors} \
        --output-dir "data/${train_used}" --audio-format "${audio_format:-wav}" --nj "${nj}"
}

format_audio() { # SET
    once "${sound}/$1/.done" "$(fingerprint "${audio_format}" "data/$1/"{wav.scp,text,utt2spk})" \
        "${python}" -m imlspike.bin.format "data/$1" --output-dir "${sound}/$1" --audio-format "${audio_format}" \
        --nj "${nj}"
}

limit_key() { fingerprint "$(limits)" "${sound}"/{"${train_used}","${valid_set}"}/{text,wav.scp,utt2dur}; }

limit_durations() {
    local set
    for set in "${train_used}" "${valid_set}"; do
        "${python}" -m imlspike.bin.fit "${sound}/${set}" --output-dir "${limited}/${set}" --input-layer none $(limits)
    done
}

tokens_key() { fingerprint "${nbpe}" "${tokens_args}" $(token_sets | sed 's|$|/text|'); }

token_sets() { # what the tokens are made of, then what they have to cover
    local set
    printf '%s\n' "${limited}/${train_used}" "${limited}/${valid_set}"
    for set in ${test_sets}; do echo "${sound}/${set}"; done
}

make_tokens() {
    local size=()
    if [ "${token_type}" = bpe ]; then size=(--nbpe "${nbpe}"); fi
    "${python}" -m imlspike.bin.tokens --train "${limited}/${train_used}" --check $(token_sets | tail -n +2) \
        --output-dir "${tokens}" --type "${token_type}" "${size[@]}" ${tokens_args}
}

# The strongest subsampling among the experiments (conv2d < conv2d6 < conv2d8): all of them can train on what is left.
input_layer() {
    local found
    found=$(cat "${dump}"/config/*.yaml | sed -n 's/^ *input_layer: *//p' | sort | tail -n 1)
    echo "${found:-conv2d}"
}

# Samples from one frame of the features to the next
hop_length() {
    local found
    found=$(frontend_of "${names[0]}" | sed -n 's/^ *hop_length: *//p')
    echo "${found:-128}" # ESPnet's default
}

fit_args() { echo "--input-layer $(input_layer) --hop $(hop_length)"; }

fit_key() {
    fingerprint "$(fit_args)" "${limited}"/{"${train_used}","${valid_set}"}/{text,wav.scp} "${tokens}/.done"
}

fit_data() {
    local set model=()
    if [ "${token_type}" = bpe ]; then model=(--bpe-model "${bpemodel}"); fi
    for set in "${train_used}" "${valid_set}"; do
        "${python}" -m imlspike.bin.fit "${limited}/${set}" --output-dir "${dump}/${set}" "${model[@]}" $(fit_args)
    done
}
