# shellcheck shell=bash disable=SC2154,SC2046,SC2086
# Stages 1 to 3: data. See settings.sh for the variables.

hold_out_key() {
    fingerprint "${hold_out_from}" "${hold_out_every}" "${train_set}" "${valid_set}" "${test_set}" data/.done/prepare
}

hold_out() {
    "${python}" "${template}/hold_out.py" "data/${hold_out_from}" --every "${hold_out_every}" \
        --train "data/${train_set}" --valid "data/${valid_set}" --test "data/${test_set}"
}

symbols_key() {
    local set files=()
    for set in ${sets}; do files+=("data/${set}"/{wav.scp,utt2spk,"${text_table}"}); done
    fingerprint "${front_end}" "${text_table}" "${use_sid}" "${durations_from}" "${files[@]}"
}

# Each set in symbols; the training set first, which makes the list of those where the front end has none. Durations from
# labels are of the labels' phones, so these are the symbols then.
make_symbols() {
    local set list=--write-tokens
    for set in ${sets}; do
        "${python}" -m imlspike.bin.phonemes --front-end "${front_end}" --data-dir "data/${set}" \
            --table "${text_table}" --output-dir "${tokens}/${set}" "${list}" "${tokens}/tokens.txt"
        if [ "${durations_from}" = labels ]; then
            "${python}" -m imlspike.bin.durations --labels "${labels}" --data-dir "${tokens}/${set}" \
                --symbols-dir "${tokens}/${set}" --punctuate --tokens "${tokens}/tokens.txt"
        fi
        list=--tokens
    done
    if ${use_sid}; then
        "${python}" "${template}/known_speakers.py" "${tokens}/${train_set}" "${tokens}"/{"${valid_set}","${test_set}"}
    fi
}

format_audio() { # SET
    once "${sound}/$1/.done" "$(fingerprint "${rate}" "${tokens}/$1/"{wav.scp,text,utt2spk})" \
        "${python}" -m imlspike.bin.format "${tokens}/$1" --output-dir "${sound}/$1" --audio-format wav \
        --sampling-rate "${rate}" --nj "${nj}"
}

limit_key() { fingerprint "$(limits)" "${hop}" "${durations_from}" "${sound}/$1/.done"; } # SET

# Also left out is what has more symbols than frames: each symbol is spoken for at least one.
limit_durations() { # SET
    "${python}" -m imlspike.bin.fit "${sound}/$1" --output-dir "${dump}/$1" --input-layer voice --hop "${hop}" \
        --sampling-rate "${rate}" $(limits)
    time_symbols "$1"
}

# With --durations_from labels: DIR/durations, the frames of each symbol
time_symbols() { # SET
    [ "${durations_from}" = labels ] || return 0
    "${python}" -m imlspike.bin.durations --labels "${labels}" --data-dir "${dump}/$1" \
        --output-file "${dump}/$1/durations" --hop-length "${hop}"
}

test_key() { fingerprint "${hop}" "${durations_from}" "${sound}/${test_set}/.done" "${test_utts}" "data/${test_set}/text"; }

# The utterances that are spoken and scored: dump/phn/<test set> in symbols, dump/test in words, with the recordings
# under the utterances' names
choose_test() {
    local name file spoken=${dump}/${test_set}
    rm -rf "${tested}" "${spoken}"
    spread "${sound}/${test_set}" "${test_utts}" "${spoken}"
    time_symbols "${test_set}"
    mkdir -p "${tested}/wav"
    cp "${spoken}"/{wav.scp,utt2spk,utt2dur} "${tested}/"
    awk 'NR == FNR { keep[$1]; next } $1 in keep' "${spoken}/text" "data/${test_set}/text" > "${tested}/text"
    while read -r name file; do ln -s "$(realpath "${file}")" "${tested}/wav/${name}.wav"; done < "${tested}/wav.scp"
    log "  $(wc -l < "${tested}/wav.scp") utterances of ${test_set} are spoken and scored"
}
