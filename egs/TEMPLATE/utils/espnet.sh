# shellcheck shell=bash disable=SC2154,SC2086
# What the drivers of ESPnet's tasks do alike: statistics in pieces, an earlier training's checkpoint, which model a
# training gave. Needs jobs.sh, recipe.sh, cmd.sh, the folders 'dump' and 'tokens', the sets 'train_used' and
# 'valid_set'.

lines_per_job=5000 # of statistics, at least

# run_stats STATS TASK TRAIN VALID ARGUMENT...: statistics by ESPnet's TASK (asr_train, tts_train, lm_train) to the
# folder STATS. Several processes each work on 'lines_per_job' lines or more of the tables TRAIN and VALID:
# STATS/pieces/train.JOB and valid.JOB, which the arguments may name. The length of a text becomes 'tokens,size of the
# vocabulary': ESPnet weighs a batch by their product.
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
        -m imlspike.espnet "${task}" --collect_stats true --output_dir "${stats}/pieces/JOB" --ngpu 0 "$@" \
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
    pieces=$((train / lines_per_job < nj ? train / lines_per_job : nj))
    pieces=$((pieces < valid ? pieces : valid))
    echo $((pieces > 1 ? pieces : 1))
}

# follow_stats: shows the progress of statistics of recordings, until stop_following
follow_stats() {
    count_lines "$(cat "${dump}"/{"${train_used}","${valid_set}"}/wav.scp | wc -l)" "utterances" "" \
        "${dump}/stats/pieces/*/*/speech_shape" &
    # shellcheck disable=SC2034  # stop_following uses it
    follower=$!
}

# settle_earlier_training EXP KEY OPTION: a checkpoint of other settings is never taken up in silence; OPTION gives the
# experiment another name.
settle_earlier_training() {
    local exp=$1 key=$2 option=$3 started=$1/.done/started
    if [ "${resume}" = false ]; then
        rm -rf "${exp}"/{*.pth,bundle.yaml,weights.safetensors,train*.log,tensorboard,images,att_ws}
    elif [ "${resume}" = true ] && [ -f "${exp}/checkpoint.pth" ] && [ "$(cat "${started}")" != "${key}" ]; then
        die "${exp} holds a training with other settings or data (its settings: ${exp}/train.yaml). Give another" \
            "${option}, or begin again with --resume false, or go on from its checkpoint with --resume anyway"
    fi
    echo "${key}" > "${started}"
}

# model_in EXP FILE OPTION STAGE: that file of an experiment; where FILE is empty, the average for the first criterion
# that its configuration names. OPTION names a file, STAGE trains.
model_in() {
    local exp=$1 file=$2
    [ -f "${exp}/config.yaml" ] || die "there is no experiment ${exp}; train first (stage $4)"
    if [ -z "${file}" ]; then
        file=$(average_of "${exp}/config.yaml")
    fi
    [ -f "${exp}/${file}" ] || die "there is no model ${exp}/${file}; train first (stage $4), or name a file with $3"
    echo "${exp}/${file}"
}

# average_of YAML: the file of the average that its first criterion makes
average_of() {
    sed -n '/^best_model_criterion:/,/^[a-z]/p' "$1" | tr -d ' \n' |
        sed -E "s/^best_model_criterion:--?([a-z]+)-([a-z_]+)-.*/\1.\2.ave.pth/"
}
