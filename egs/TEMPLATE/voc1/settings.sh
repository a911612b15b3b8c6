# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2046
# What the options of voc.sh mean: checks, folders, the configuration of each model. What holds several words is split
# into words on purpose (SC2086, SC2046).

rate=""

check_options() {
    whole_number stage stop_stage nj threads ngpu test_utts profile_utts
    decimal_number min_wav_duration max_wav_duration
    at_least_one nj threads profile_utts
    one_of ann true false
    one_of resume true false anyway
    local setting name
    for setting in ${train_args}; do
        [[ ${setting} == *.*=* ]] ||
            die "--train_args: '${setting}' is no setting; write section.key=value, as optimizer.lr=0.0003"
    done
    if [ -n "${steps}" ]; then
        whole_number steps
        at_least_one steps
    fi
    [ -n "${corpus}" ] || [ "${stage}" -gt 1 ] || die "--corpus is empty; name the corpus to prepare"
    [ -z "${corpus_dir}" ] || corpus_dir=$(existing "${corpus_dir}" --corpus_dir)
    [ -z "${asr_model}" ] || asr_model=$(existing "${asr_model}" --asr_model)
    choose_models
    mkdir -p "${workdir}"
    sound=dump/sound limited=dump/limited tested=dump/test
    export_environment
}

# model_args NAME: the arguments of the trainer that make this model, one a line
model_args() {
    printf '%s\n' --config "${config}" --config "${overrides}/$1.yaml" ${train_args}
    if [ -n "${steps}" ]; then echo "trainer.steps=${steps}"; fi
    if [ "${ngpu}" -gt 0 ]; then
        printf '%s\n' trainer.accelerator=gpu "trainer.devices=${ngpu}"
    else
        printf '%s\n' trainer.accelerator=cpu
    fi
}

# Every model's configuration before anything else: a wrong key costs seconds, not a night. Sets the sampling rate.
check_configs() {
    local name found
    log "configuration of ${names[*]}"
    mkdir -p dump
    found=$(for name in "${names[@]}"; do model_args "${name}" | paste -sd'\t' -; done |
        "${python}" "${template}/check_configs.py") || exit 1
    rate=${found%% *}
    log "  ${found#* }"
}

# The sets to train on, and with them those that are worked on, each once
train_sets() { printf '%s\n' "${train_set}" ${extra_train}; }

all_sets() { printf '%s\n' $(train_sets) "${valid_set}" "${test_set}" | awk '!seen[$0]++'; }
