# shellcheck shell=bash disable=SC2154,SC2086,SC2046,SC2034
# Stages 4 and 5: statistics and training by ESPnet's trainer. See settings.sh for the variables.

# The arguments that statistics and training share.
espnet_data() {
    local set option
    printf '%s\n' --use_preprocessor true --token_type "${token_type}" --token_list "${tokens}/tokens.txt"
    for option in train:"${train_set}" valid:"${valid_set}"; do
        set=${dump}/${option#*:} option=${option%%:*}
        printf '%s\n' "--${option}_data_path_and_name_and_type" "${set}/wav.scp,speech,sound" \
            "--${option}_data_path_and_name_and_type" "${set}/text,text,text"
        if ${use_sid}; then
            printf '%s\n' "--${option}_data_path_and_name_and_type" "${set}/utt2sid,sids,text_int"
        fi
    done
    if ${use_sid}; then printf '%s\n' --tts_conf "speakers=$(wc -l < "${dump}/spk2sid")"; fi
}

# ESPnet's numbers of speakers: those of the training set from 1 on, in the order of their names; 0 is nobody.
number_speakers() {
    local set unknown
    {
        echo "<unk> 0"
        cut -d' ' -f2 "${dump}/${train_set}/utt2spk" | LC_ALL=C sort -u | awk '{ print $0, NR }'
    } > "${dump}/spk2sid"
    for set in ${sets}; do
        unknown=$(awk 'NR == FNR { sid[$1] = $2; next } !($2 in sid) { print $2 }' "${dump}/spk2sid" \
            "${dump}/${set}/utt2spk" | sort -u | paste -sd' ' -)
        [ -z "${unknown}" ] || die "${set} has speakers that aren't in ${train_set}, so no voice is trained for them:" \
            "${unknown}. Take other sets, or cut them out of one with --hold_out_from"
        awk 'NR == FNR { sid[$1] = $2; next } { print $1, sid[$2] }' "${dump}/spk2sid" "${dump}/${set}/utt2spk" \
            > "${dump}/${set}/utt2sid"
    done
    log "  $(($(wc -l < "${dump}/spk2sid") - 1)) speakers"
}

stats_key() {
    fingerprint "$(features_of "${names[0]}")" "${use_sid}" "${dump}"/{"${train_set}","${valid_set}"}/{wav.scp,text} \
        "${tokens}/tokens.txt"
}

# Sums of mel, pitch and energy, for norms; and pitch and energy themselves, which training reads: finding pitch takes
# longer than a training step.
collect_stats() {
    local stats=${dump}/stats none="--normalize none --pitch_normalize none --energy_normalize none"
    if ${use_sid}; then number_speakers; fi
    run_stats "${stats}" tts_train "${dump}/${train_set}/wav.scp" "${dump}/${valid_set}/wav.scp" \
        --config "${dump}/config/${names[0]}.yaml" ${none} --write_collected_feats true $(espnet_data)
    rm -rf "${stats}"/pieces/*/*/collect_feats/{data_feats,feats.scp} "${stats}"/*/collect_feats/feats.scp
    log "  $(wc -l < "${stats}/train/speech_shape") + $(wc -l < "${stats}/valid/speech_shape") utterances"
}

train() {
    local name=$1 exp=exp/$1 config=${dump}/config/$1.yaml key
    key=$(fingerprint "${config}" "${ngpu}" "${seed}" "${use_sid}" "${dump}/.done/stats" \
        "${dump}"/{"${train_set}","${valid_set}"}/durations)
    lock_experiment "${exp}"
    once "${exp}/.done/train" "${key}" run_trainer "${name}" "${key}"
}

run_trainer() {
    local name=$1 key=$2 exp=exp/$1 stats=${dump}/stats split shape what args=()
    settle_earlier_training "${exp}" "${key}" --workdir
    printf '%s\n' "${command_line}" > "${exp}/command" # for the report
    cp "${dump}/config/${name}.yaml" "${exp}/train.yaml"
    cp "${tokens}/tokens.txt" "${stats}"/train/{feats,pitch,energy}_stats.npz "${exp}/"
    for what in feats:normalize pitch:pitch_normalize energy:energy_normalize; do
        args+=("--${what#*:}" global_mvn "--${what#*:}_conf" "stats_file=${PWD}/${exp}/${what%:*}_stats.npz")
    done
    for split in train valid; do
        for what in pitch energy; do
            args+=("--${split}_data_path_and_name_and_type" "${stats}/${split}/collect_feats/${what}.scp,${what},npy")
        done
        for shape in speech_shape "text_shape.${token_type}"; do
            args+=("--${split}_shape_file" "${stats}/${split}/${shape}")
        done
    done
    if [ "${durations_from}" = labels ]; then
        args+=(--train_data_path_and_name_and_type "${dump}/${train_set}/durations,durations,text_int")
        args+=(--valid_data_path_and_name_and_type "${dump}/${valid_set}/durations,durations,text_int")
    fi
    describe_voice "${exp}"
    launch_training "${exp}" tts_train --config "${exp}/train.yaml" $(espnet_data) "${args[@]}" \
        --fold_length 240000 --fold_length 150
}

# exp/NAME/voice.yaml: what 'imlspike synthesize' has to know besides ESPnet's files
describe_voice() { # EXP
    {
        echo "front_end: ${voice_front_end:-${front_end}}"
        echo "model_file: $(average_of "$1/train.yaml")"
        if ${use_sid}; then
            cp "${dump}/spk2sid" "$1/"
            echo "speakers:" # from number 1 on
            awk '$2 > 0 { print "- \"" $1 "\"" }' "${dump}/spk2sid"
        fi
    } > "$1/voice.yaml.part"
    mv "$1/voice.yaml.part" "$1/voice.yaml"
}
