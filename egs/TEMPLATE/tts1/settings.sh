# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2046
# What the options of tts.sh mean: checks, folders, one resolved configuration for each model. What holds several words
# is split into words on purpose (SC2086, SC2046).

changed=()

check_options() {
    whole_number stage stop_stage nj threads ngpu num_nodes seed hold_out_every test_utts profile_utts
    decimal_number min_wav_duration max_wav_duration
    at_least_one nj threads num_nodes profile_utts
    one_of ann true false
    one_of use_sid true false
    one_of resume true false anyway
    one_of durations_from aligner labels
    local setting
    for setting in ${train_args}; do
        [[ ${setting} == *=* ]] || die "--train_args: '${setting}' is no setting; write key=value, as max_epoch=20"
    done
    [ "${hold_out_every}" -ge 3 ] || die "--hold_out_every is ${hold_out_every}; expected at least 3"
    [[ " ${train_set} ${valid_set} ${test_set} " != *" ${hold_out_from:-/} "* ]] ||
        die "--hold_out_from: ${hold_out_from} is one of the sets that are cut out of it; give these other names"
    [ -n "${corpus}" ] || [ "${stage}" -gt 1 ] || die "--corpus is empty; name the corpus to prepare"
    [ -n "${front_end}" ] || die "--front_end is empty; 'imlspike phonemes --help' lists them"
    [ -z "${corpus_dir}" ] || corpus_dir=$(existing "${corpus_dir}" --corpus_dir)
    [ -z "${asr_model}" ] || asr_model=$(existing "${asr_model}" --asr_model)
    [ "${durations_from}" = aligner ] || [ -n "${labels}${corpus_labels}" ] ||
        die "--durations_from labels needs these: --labels FOLDER, with a .lab or .TextGrid for each utterance"
    [ -z "${labels}" ] || labels=$(existing "${labels}" --labels)
    [ "${vocoder}" = griffin_lim ] || vocoder=$(existing "${vocoder}" --vocoder)
    choose_models
    local file
    for file in ${changes}; do changed+=(--override); changed+=("$(existing "${file}" --changes)"); done
    mkdir -p "${workdir}"
    token_type=phn
    train_used=${train_set}
    sets=$(printf '%s\n' "${train_set}" "${valid_set}" "${test_set}" | awk '!seen[$0]++')
    tokens=dump/symbols # texts in symbols
    sound=dump/sound    # and audio of one rate
    dump=dump/phn       # and nothing too long or too short: what the models see
    tested=dump/test    # the utterances that are spoken and scored, in words
    lines_per_job=200   # pitch takes time
    export_environment
}

# One checked YAML for each model, before anything else: a wrong key costs seconds, not a night.
resolve_configs() {
    local name arguments setting given=()
    if [ "${durations_from}" = labels ]; then given=(--set tts_conf.aligner=false); fi
    log "configuration of ${names[*]}"
    mkdir -p "${dump}/config"
    for name in "${names[@]}"; do
        arguments=("${config}" --task tts ${changed[@]+"${changed[@]}"} --override "${overrides}/${name}.yaml"
            ${given[@]+"${given[@]}"})
        for setting in ${train_args}; do arguments+=(--set "${setting}"); done
        add_config "${dump}/config/${name}.yaml" "${arguments[@]}"
    done
    write_configs "${dump}/config/resolve.log"
    for name in "${names[@]:1}"; do
        diff -q <(features_of "${names[0]}") <(features_of "${name}") > /dev/null ||
            die "${names[0]} and ${name} have different features; they can't share statistics, run them apart"
    done
    rate=$(feature fs)
    hop=$(feature hop_length)
    [ -n "${rate}" ] && [ -n "${hop}" ] ||
        die "${config}: feats_extract_conf has to say fs (the sampling rate) and hop_length"
}

features_of() { awk '/^[^ ]/ { keep = /^(feats|pitch|energy)_extract/ } keep' "${dump}/config/$1.yaml"; } # NAME

# feature KEY: its value in feats_extract_conf
feature() { features_of "${names[0]}" | sed -n "/^feats_extract_conf/,/^[^ ]/s/^ *$1: *//p"; }
