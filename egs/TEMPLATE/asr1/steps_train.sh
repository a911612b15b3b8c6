# shellcheck shell=bash disable=SC2154,SC2086,SC2046
# Stages 10 and 11: statistics and training by ESPnet's trainer. See settings.sh for the variables.

# The arguments that statistics and training share.
espnet_data() {
    local set option
    printf '%s\n' --use_preprocessor true --token_type "${token_type}" --token_list "${tokens}/tokens.txt" \
        --bpemodel "${bpemodel}"
    for option in train:"${train_used}" valid:"${valid_set}"; do
        set=${dump}/${option#*:} option=${option%%:*}
        printf '%s\n' "--${option}_data_path_and_name_and_type" "${set}/wav.scp,speech,sound" \
            "--${option}_data_path_and_name_and_type" "${set}/text,text,text"
    done
}

stats_key() {
    fingerprint "$(frontend_of "${names[0]}")" "${dump}"/{"${train_used}","${valid_set}"}/{wav.scp,text} \
        "${tokens}/tokens.txt"
}

collect_stats() {
    local stats=${dump}/stats
    run_stats "${stats}" asr_train "${dump}/${train_used}/wav.scp" "${dump}/${valid_set}/wav.scp" \
        --config "${dump}/config/${names[0]}.yaml" --normalize none $(espnet_data)
    log "  $(wc -l < "${stats}/train/speech_shape") + $(wc -l < "${stats}/valid/speech_shape") utterances"
}

train() {
    local name=$1 exp=exp/$1 config=${dump}/config/$1.yaml key
    key=$(fingerprint "${config}" "${ngpu}" "${seed}" "${feats_normalize}" "${dump}/.done/stats" \
        "${dump}"/{"${train_used}","${valid_set}"}/text)
    lock_experiment "${exp}"
    once "${exp}/.done/train" "${key}" run_trainer "${name}" "${key}"
}

run_trainer() {
    local name=$1 key=$2 exp=exp/$1 shape normalize=(--normalize "${feats_normalize}") args=()
    settle_earlier_training "${exp}" "${key}" --asr_tag
    printf '%s\n' "${command_line}" > "${exp}/command" # for the report and the model card
    cp "${dump}/config/${name}.yaml" "${exp}/train.yaml"
    cp "${tokens}/tokens.txt" "${dump}/stats/train/feats_stats.npz" "${exp}/"
    if [ "${token_type}" = bpe ]; then cp "${bpemodel}" "${exp}/"; fi
    if [ "${feats_normalize}" = global_mvn ]; then
        normalize+=(--normalize_conf "stats_file=${PWD}/${exp}/feats_stats.npz")
    fi
    for shape in speech_shape "text_shape.${token_type}"; do
        args+=(--train_shape_file "${dump}/stats/train/${shape}" --valid_shape_file "${dump}/stats/valid/${shape}")
    done
    launch_training "${exp}" asr_train --config "${exp}/train.yaml" $(espnet_data) "${normalize[@]}" "${args[@]}" \
        --fold_length 80000 --fold_length 150
}
