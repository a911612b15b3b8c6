# shellcheck shell=bash disable=SC2154,SC2086,SC2034
# Stages 12 to 16: what came out. See settings.sh for the variables.

follow_decoding() {
    local count=0 name mode set logs=()
    for_each_decoding count_utterances
    for name in "${names[@]}"; do logs+=("exp/${name}/decode_joint/*/pieces/*/log"); done
    count_lines "${count}" "sentences by beam search" "best hypo" "${logs[@]}" &
    follower=$!
}

count_utterances() { if [ "$2" = joint ]; then count=$((count + $(wc -l < "${sound}/$3/wav.scp"))); fi; }

# for_each_decoding FUNCTION: FUNCTION NAME MODE SET for each experiment, way of decoding and test set
for_each_decoding() {
    local name mode set
    for name in "${names[@]}"; do
        for mode in ${decode_modes}; do
            for set in ${test_sets}; do "$1" "${name}" "${mode}" "${set}"; done
        done
    done
}

# The model that decodes: --inference_asr_model, or the average for the first criterion the configuration names.
model_of() {
    local exp=exp/$1 found
    if [ -n "${inference_asr_model}" ]; then
        found=${exp}/${inference_asr_model}
    else
        found=$(sed -n '/^best_model_criterion:/,/^[a-z]/p' "${exp}/config.yaml" | tr -d ' \n' |
            sed -E "s/^best_model_criterion:--?([a-z]+)-([a-z_]+)-.*/\1.\2.ave.pth/")
        found=${exp}/${found}
    fi
    [ -f "${found}" ] ||
        die "there is no model ${found}; train first (stage 11), or name a file with --inference_asr_model"
    echo "${found}"
}

pieces_of_joint() { # so many that all decodings together keep --inference_nj processes busy
    local decodings=0 mode set
    for_each_decoding count_decoding
    echo $(((inference_nj + decodings - 1) / decodings))
}

count_decoding() { if [ "$2" = joint ]; then decodings=$((decodings + 1)); fi; }

decode_pieces() {
    local name=$1 mode=$2 set=$3 model key pieces piece out=exp/$1/decode_$2/$3
    model=$(model_of "${name}")
    key=$(fingerprint "${model}" "${inference_config}" "${inference_args}" "${sound}/${set}/wav.scp")
    if [ "${mode}" = greedy ]; then
        job "${inference_nj}" once "${out}/.done" "${key}" decode_greedy "${name}" "${set}" "${model}" "${out}"
        return
    fi
    pieces=$(pieces_of_joint)
    for ((piece = 1; piece <= pieces; piece++)); do
        job "${inference_nj}" once "${out}/pieces/${piece}/.done" "${key} ${pieces}" \
            decode_joint "${name}" "${set}" "${model}" "${out}/pieces/${piece}" "${piece}" "${pieces}"
    done
}

decode_greedy() {
    local name=$1 set=$2 model=$3 out=$4
    rm -rf "${out}"
    logged "${out}/log" "${python}" -m imlspike.bin.decode --config "exp/${name}/config.yaml" --model "${model}" \
        --data-dir "${sound}/${set}" --output "${out}/text" --device "$( ((ngpu)) && echo cuda || echo cpu)"
}

decode_joint() {
    local name=$1 set=$2 model=$3 out=$4 piece=$5 pieces=$6
    rm -rf "${out}"
    mkdir -p "${out}"
    awk -v piece="${piece}" -v pieces="${pieces}" 'NR % pieces == piece % pieces' "${sound}/${set}/wav.scp" \
        > "${out}/keys"
    logged "${out}/log" "${python}" -m imlspike.espnet.asr_inference --config "${inference_config}" \
        --asr_train_config "exp/${name}/config.yaml" --asr_model_file "${model}" --output_dir "${out}" \
        --data_path_and_name_and_type "${sound}/${set}/wav.scp,speech,sound" --key_file "${out}/keys" --log_level INFO \
        --ngpu "$((ngpu > 0))" --seed "${seed}" ${inference_args}
}

join_pieces() {
    local out=exp/$1/decode_$2/$3
    if [ "$2" = joint ]; then
        once "${out}/.done" "$(fingerprint "${out}"/pieces/*/1best_recog/text)" --quiet join_texts "${out}"
    fi
}

join_texts() {
    LC_ALL=C sort "$1"/pieces/*/1best_recog/text > "$1/text.part"
    mv "$1/text.part" "$1/text"
}

score() {
    local name=$1 mode=$2 set=$3 out=exp/$1/decode_$2/$3
    once "${out}/.done_score" "$(fingerprint "${sound}/${set}/text" "${out}/text")" \
        "${python}" -m imlspike.bin.score --ref "${sound}/${set}/text" --hyp "${out}/text" --output-dir "${out}" \
        --name "${name}, ${mode}, ${set}"
}

profile() {
    local name=$1 set=${profile_set} model out=exp/$1/profile
    model=$(model_of "${name}")
    once "${out}/.done" "$(fingerprint "${model}" "$(beam_size)" "${sound}/${set}/wav.scp")" \
        logged "${out}/log" "${python}" -m imlspike.bin.profile --config "exp/${name}/config.yaml" --model "${model}" \
        --data-dir "${sound}/${set}" --output-dir "${out}" --beam "$(beam_size)"
}

beam_size() {
    local found
    found=$(sed -n 's/^beam_size: *\([0-9]*\).*/\1/p' "${inference_config}")
    echo "${found:-20}" # ESPnet's default
}

report() {
    "${python}" -m imlspike.bin.report "${names[@]/#/exp/}" --command "${command_line}" --output "${PWD}/exp/RESULTS.md"
}
