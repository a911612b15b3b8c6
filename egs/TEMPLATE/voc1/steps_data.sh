# shellcheck shell=bash disable=SC2154,SC2046,SC2086
# Stages 1 and 2: data. See settings.sh for the variables.

prepare_extra() { # SET: fetches it where it isn't there
    if [ -f "data/$1/utt2dur" ]; then return; fi
    [[ $1 == asterisk_* ]] || die "--extra_train: there is no data/$1/utt2dur. What isn't asterisk_<language> has to be" \
        "a data directory that is there, as 'imlspike prepare' writes it"
    "${python}" -m imlspike.bin.prepare asterisk --download-dir downloads --output-dir data --languages "${1#asterisk_}"
}

format_audio() { # SET
    once "${sound}/$1/.done" "$(fingerprint "${rate}" "data/$1/"{wav.scp,text,utt2spk})" \
        "${python}" -m imlspike.bin.format "data/$1" --output-dir "${sound}/$1" --audio-format wav \
        --sampling-rate "${rate}" --nj "${nj}"
}

limit_durations() { # SET
    "${python}" -m imlspike.bin.fit "${sound}/$1" --output-dir "${limited}/$1" --input-layer none $(limits) \
        --sampling-rate "${rate}"
}

# The recordings that are scored, each under the utterance's name
choose_test() {
    local name file
    rm -rf "${tested}"
    spread "${sound}/${test_set}" "${test_utts}" "${tested}"
    mkdir "${tested}/audio"
    while read -r name file; do ln -s "$(realpath "${file}")" "${tested}/audio/${name}.wav"; done < "${tested}/wav.scp"
    log "  $(wc -l < "${tested}/wav.scp") recordings of ${test_set} are scored"
}
