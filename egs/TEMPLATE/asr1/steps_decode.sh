# shellcheck shell=bash disable=SC2154,SC2086,SC2034,SC2206
# Stages 12 to 16: what came out. See settings.sh for the variables.

# for_each_decoding FUNCTION: FUNCTION NAME MODE SET for each experiment, each of greedy, joint, joint_lm that is asked
# for, and each test set
for_each_decoding() {
    local name mode set
    for name in "${names[@]}"; do
        for mode in ${decodings}; do
            for set in ${test_sets}; do "$1" "${name}" "${mode}" "${set}"; done
        done
    done
}

model_of() { model_in "exp/$1" "${inference_asr_model}" --inference_asr_model 11; }

lm_of() { # MODE: the options that give the language model to a decoding of this mode
    local model
    if [ "$1" = joint_lm ]; then
        model=$(lm_model) || return 1
        echo "--lm-config ${lm_exp}/config.yaml --lm-file ${model}"
    fi
}

# A decoding is done in pieces, so many that all decodings together keep --inference_nj processes busy.
pieces_of() { # SET
    local all utterances pieces
    all=$(for_each_decoding echo | wc -l)
    utterances=$(wc -l < "${sound}/$1/wav.scp")
    pieces=$(((inference_nj + all - 1) / all))
    echo $((pieces < utterances ? pieces : utterances))
}

decode_key() { # NAME MODE SET
    local model lm
    model=$(model_of "$1") || return 1 # 'set -e' doesn't reach into "$(decode_key ...)"
    lm=$(lm_of "$2") || return 1
    fingerprint "$(stamp "${model}" ${lm##* })" "${inference_config}" "${inference_args}" "${sound}/$3/wav.scp"
}

decode_pieces() {
    local name=$1 mode=$2 set=$3 out=exp/$1/decode_$2/$3 key piece pieces
    key=$(decode_key "$@")
    if is_done "${out}/.done" "${key}"; then return; fi
    pieces=$(pieces_of "${set}")
    for piece in "${out}"/pieces/*; do # of an earlier run with more of them
        if [ -d "${piece}" ] && [ "${piece##*/}" -gt "${pieces}" ]; then rm -rf "${piece}"; fi
    done
    for ((piece = 1; piece <= pieces; piece++)); do
        job "${inference_nj}" once "${out}/pieces/${piece}/.done" "${key} ${pieces}" \
            decode "${name}" "${mode}" "${set}" "${piece}" "${pieces}"
    done
}

decode() {
    local name=$1 mode=$2 set=$3 piece=$4 pieces=$5 out=exp/$1/decode_$2/$3/pieces/$4 options model lm
    model=$(model_of "${name}")
    lm=$(lm_of "${mode}")
    rm -rf "${out}"
    mkdir -p "${out}/data"
    awk -v n="${piece}" -v pieces="${pieces}" 'NR % pieces == n % pieces' "${sound}/${set}/wav.scp" \
        > "${out}/data/wav.scp"
    options=(--mode "${mode%_lm}" --device "$( ((ngpu)) && echo cuda || echo cpu)")
    if [ "${mode}" != greedy ]; then
        sed "$([ "${mode}" = joint_lm ] || echo /^lm_weight:/d)" "${inference_config}" > "${out}/decode.yaml"
        options+=(--decode-config "${out}/decode.yaml" ${lm})
    fi
    set_environment
    ${decode_cmd} --gpu "$((ngpu > 0))" "${out}/log" "${environment[@]}" "${python}" -m imlspike.bin.decode \
        --config "exp/${name}/config.yaml" --model "${model}" --data-dir "${out}/data" --output "${out}/text" \
        "${options[@]}" ${inference_args}
}

join_pieces() {
    local out=exp/$1/decode_$2/$3 key
    key=$(decode_key "$@")
    once "${out}/.done" "${key}" --quiet join_texts "${out}"
    log "  $1, $2, $3: real-time factor $(real_time_factor "${out}")"
}

join_texts() {
    LC_ALL=C sort "$1"/pieces/*/text > "$1/text.part"
    mv "$1/text.part" "$1/text"
}

real_time_factor() { # of one process, its start not counted
    awk -F '[:,]' '/"audio_seconds"/ { audio += $2 } /"seconds"/ { work += $2 }
        END { printf "%.3f\n", audio ? work / audio : 0 }' "$1"/pieces/*/text.json
}

follow_decoding() {
    local total=0 name logs=()
    for_each_decoding count_seconds
    for name in "${names[@]}"; do logs+=("exp/${name}/decode_*/*/pieces/*/log"); done
    follow_count "${total%.*}" "seconds of audio decoded" decoded_seconds "${logs[@]}" &
    follower=$!
}

count_seconds() { # what is left to decode
    local key
    key=$(decode_key "$@")
    if is_done "exp/$1/decode_$2/$3/.done" "${key}"; then return; fi
    total=$(awk -v total="${total}" '{ total += $2 } END { print total }' "${sound}/$3/utt2dur")
}

decoded_seconds() { # GLOB...: what the logs tell
    # shellcheck disable=SC2048,SC2086  # the globs
    awk 'match($0, /^decoded [0-9]+ of/) { done[FILENAME] = $2 }
        match($0, /, [0-9.]+ s of audio in /) { split(substr($0, RSTART + 2), word, " "); done[FILENAME] = word[1] }
        END { for (file in done) sum += done[file]; printf "%d\n", sum }' $* 2> /dev/null
}

score() {
    local name=$1 mode=$2 set=$3 out=exp/$1/decode_$2/$3 spaces=()
    if ! ${score_spaces}; then spaces=(--no-spaces); fi
    once "${out}/.done_score" "$(fingerprint "${sound}/${set}/text" "${out}/text" "${spaces[@]}")" \
        "${python}" -m imlspike.bin.score --ref "${sound}/${set}/text" --hyp "${out}/text" --output-dir "${out}" \
        --name "${name}, ${mode}, ${set}" "${spaces[@]}"
}

profile() {
    local name=$1 model out=exp/$1/profile
    model=$(model_of "${name}")
    once "${out}/.done" \
        "$(fingerprint "$(stamp "${model}")" "$(beam_size)" "${profile_utts}" "${sound}/${profile_set}/wav.scp")" \
        run_profile "${name}" "${model}" "${out}"
}

run_profile() {
    local name=$1 model=$2 out=$3
    spread "${sound}/${profile_set}" "${profile_utts}" "${out}/data"
    logged "${out}/log" "${python}" -m imlspike.bin.profile --config "exp/${name}/config.yaml" --model "${model}" \
        --data-dir "${out}/data" --output-dir "${out}" --beam "$(beam_size)"
}

beam_size() {
    local found
    found=$(sed -n 's/^beam_size: *\([0-9]*\).*/\1/p' "${inference_config}")
    echo "${found:-20}" # ESPnet's default
}

pack() {
    local name=$1 exp=exp/$1 model lm=() output
    model=$(model_of "${name}")
    if ${use_lm}; then
        lm=(--lm "${lm_exp}" --lm-model)
        lm+=("$(lm_model)")
    fi
    output=${exp}/${name}_$(basename "${model}" .pth).zip
    once "${exp}/.done/pack" "$(pack_key "${exp}" "$(stamp "${model}" "${lm[@]:3}")")" \
        logged "${exp}/pack.log" "${python}" -m imlspike.bin.pack "${exp}" --model "${model}" "${lm[@]}" \
        --output "${output}" --decode-config "${inference_config}" --train-dir "${dump}/${train_used}" \
        --corpus "${corpus_note}" --license "${license}" --primary "${score_primary}" --command "${command_line}"
    log "  ${output}: $(du -h "${output}" | cut -f1)"
}

pack_key() { # EXP STAMP: what the zip is made of, the results in the model card included
    local exp=$1; shift
    fingerprint "$@" "${inference_config}" "${corpus_note}" "${license}" "${score_primary}" \
        "${exp}"/decode_*/*/score.json "${exp}/profile/energy.json"
}

report() {
    local lm=()
    if ${use_lm}; then lm=(--lm "${lm_exp}"); fi
    "${python}" -m imlspike.bin.report "${names[@]/#/exp/}" --command "${command_line}" "${lm[@]}" \
        --primary "${score_primary}" --output "${PWD}/exp/RESULTS.md"
}
