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

# run_stats STATS TASK TRAIN VALID ARGUMENT...: statistics by ESPnet's TASK (asr_train, lm_train) to the folder STATS.
# Several processes each work on 5000 lines or more of the tables TRAIN and VALID: STATS/pieces/train.JOB and valid.JOB,
# which the arguments may name. The length of a text becomes 'tokens,size of the vocabulary': ESPnet weighs a batch by
# their product.
run_stats() {
    local stats=$1 task=$2 train=$3 valid=$4 pieces split data dirs vocabulary
    shift 4
    pieces=$(pieces_of_stats "${train}" "${valid}")
    rm -rf "${stats}"
    mkdir -p "${stats}/pieces"
    for split in train valid; do
        data=${!split}
        awk -v out="${stats}/pieces/${split}." -v pieces="${pieces}" -v total="$(wc -l < "${data}")" \
            '{ print > (out int((NR - 1) * pieces / total) + 1) }' "${data}"
    done
    set_environment
    ${train_cmd} JOB=1:"${pieces}" "${stats}/log/stats.JOB.log" "${environment[@]}" "${python}" \
        -m "imlspike.espnet.${task}" --collect_stats true --output_dir "${stats}/pieces/JOB" --ngpu 0 "$@" \
        --train_shape_file "${stats}/pieces/train.JOB" --valid_shape_file "${stats}/pieces/valid.JOB"
    dirs=$(seq -f "--input_dir ${stats}/pieces/%.0f" "${pieces}")
    logged "${stats}/join.log" "${python}" -m espnet2.bin.aggregate_stats_dirs ${dirs} --output_dir "${stats}"
    vocabulary=$(wc -l < "${tokens}/tokens.txt")
    for split in train valid; do
        data=${stats}/${split}/text_shape
        awk -v n="${vocabulary}" '{ print $0 "," n }' "${data}" > "${data}.${token_type}"
    done
}

pieces_of_stats() { # TRAIN VALID
    local train valid pieces
    train=$(wc -l < "$1") valid=$(wc -l < "$2")
    pieces=$((train / 5000 < nj ? train / 5000 : nj))
    pieces=$((pieces < valid ? pieces : valid))
    echo $((pieces > 1 ? pieces : 1))
}

follow_stats() {
    count_lines "$(cat "${dump}"/{"${train_used}","${valid_set}"}/wav.scp | wc -l)" "utterances" "" \
        "${dump}/stats/pieces/*/*/speech_shape" &
    # shellcheck disable=SC2034  # stop_following uses it
    follower=$!
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

# settle_earlier_training EXP KEY OPTION: a checkpoint of other settings is never taken up in silence; OPTION gives the
# experiment another name.
settle_earlier_training() {
    local exp=$1 key=$2 option=$3 started=$1/.done/started
    if [ "${resume}" = false ]; then
        rm -rf "${exp}"/{*.pth,train*.log,tensorboard,images,att_ws}
    elif [ "${resume}" = true ] && [ -f "${exp}/checkpoint.pth" ] && [ "$(cat "${started}")" != "${key}" ]; then
        die "${exp} holds a training with other settings or data (its settings: ${exp}/train.yaml). Give another" \
            "${option}, or begin again with --resume false, or go on from its checkpoint with --resume anyway"
    fi
    echo "${key}" > "${started}"
}
