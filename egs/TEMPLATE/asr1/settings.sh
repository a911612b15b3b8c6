# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2046
# What the options of asr.sh mean: checks, folders, one resolved configuration for each experiment. Variables are the
# options and those that check_options sets (so SC2154 and SC2034 are silent here and in steps_*.sh); what holds
# several words is split into words on purpose (SC2086, SC2046).

declare -A config_of=() overrides_of=()
names=()

check_options() {
    inference_nj=${inference_nj:-${nj}} profile_set=${profile_set:-${test_sets%% *}}
    whole_number stage stop_stage nj inference_nj threads ngpu num_nodes seed nbpe profile_utts
    decimal_number min_wav_duration max_wav_duration
    at_least_one nj inference_nj num_nodes profile_utts
    local option
    for option in skip_data_prep skip_train skip_eval skip_packing; do one_of "${option}" true false; done
    ! ${skip_data_prep} || skip_stages+=" 1 2 3 4 5"
    ! ${skip_train} || skip_stages+=" 6 7 8 9 10 11"
    ! ${skip_eval} || skip_stages+=" 12 13 14"
    ! ${skip_packing} || skip_stages+=" 15"
    one_of audio_format "" flac
    one_of use_lm true false
    one_of score_primary cer wer
    one_of score_spaces true false
    one_of token_type char bpe
    one_of feats_normalize global_mvn utterance_mvn
    one_of resume true false anyway
    local mode setting
    for mode in ${decode_modes}; do one_of mode greedy joint; done
    for setting in ${train_args}; do
        [[ ${setting} == *=* ]] || die "--train_args: '${setting}' is no setting; write key=value, as max_epoch=20"
    done
    [ -n "${corpus}" ] || [ "${stage}" -gt 1 ] || die "--corpus is empty; name the corpus to prepare"
    [ -z "${corpus_dir}" ] || corpus_dir=$(existing "${corpus_dir}" --corpus_dir)
    decodings=${decode_modes}
    if ${use_lm}; then
        [ -n "${lm_config}" ] || die "--use_lm true needs --lm_config, the YAML of ESPnet's LM task"
        lm_config=$(existing "${lm_config}" --lm_config)
        decodings=${decode_modes/joint/joint_lm} # beside what was decoded without
    fi
    inference_config=$(existing "${inference_config}" --inference_config)
    list_experiments
    mkdir -p "${workdir}"
    train_used=${train_set}${speed_perturb_factors:+_sp}
    sound=data
    if [ -n "${audio_format}" ]; then sound=dump/${audio_format}; fi
    limited=dump/raw
    dump=dump/${token_type}${speed_perturb_factors:+_sp}
    if [ "${token_type}" = bpe ]; then dump=dump/bpe${nbpe}${speed_perturb_factors:+_sp}; fi
    tokens=${dump}/tokens
    lm_dump=${dump}/lm
    lm_exp=exp/lm${lm_tag:+_${lm_tag}}
    lm_train_text=${lm_train_text:-data/${train_set}/text}
    lm_dev_text=${lm_dev_text:-data/${valid_set}/text}
    lm_test_text=${lm_test_text:-data/${test_sets%% *}/text}
    bpemodel=none
    if [ "${token_type}" = bpe ]; then bpemodel=${tokens}/bpe.model; fi
    export_environment
}

# names, config_of and overrides_of from --experiments, or from --asr_config, --asr_override and --asr_tag
list_experiments() {
    local spec name file parts
    if [ -z "${experiments}" ]; then
        [ -n "${asr_config}" ] ||
            die "no model: give --asr_config YAML, or --experiments 'NAME:CONFIG[:OVERRIDE...] ...'"
        spec=${asr_override:-${asr_config}}
        experiments=${asr_tag:-$(basename "${spec##* }" .yaml)}:${asr_config}
        for file in ${asr_override}; do experiments+=:${file}; done
    fi
    for spec in ${experiments}; do
        IFS=: read -r -a parts <<< "${spec}"
        name=${parts[0]}
        [ "${#parts[@]}" -ge 2 ] || die "--experiments: '${spec}' has no configuration; write NAME:CONFIG[:OVERRIDE...]"
        [ -z "${config_of[${name}]:-}" ] || die "--experiments: the name ${name} stands twice"
        names+=("${name}")
        config_of[${name}]=$(existing "${parts[1]}" "configuration of ${name}")
        for file in "${parts[@]:2}"; do
            overrides_of[${name}]+=$(existing "${file}" "override of ${name}")$'\n'
        done
    done
}

# One checked YAML for each experiment, before anything else: a wrong key costs seconds, not a night.
resolve_configs() {
    local name arguments file setting
    log "configuration of ${names[*]}"
    mkdir -p "${dump}/config"
    for name in "${names[@]}"; do
        arguments=("${config_of[${name}]}")
        while read -r file; do arguments+=(${file:+--override "${file}"}); done <<< "${overrides_of[${name}]:-}"
        for setting in ${train_args}; do arguments+=(--set "${setting}"); done
        add_config "${dump}/config/${name}.yaml" "${arguments[@]}"
    done
    write_configs "${dump}/config/resolve.log"
    for name in "${names[@]:1}"; do
        diff -q <(frontend_of "${names[0]}") <(frontend_of "${name}") > /dev/null ||
            die "${names[0]} and ${name} have different front ends; they can't share statistics, run them apart"
    done
}

# The sets that are worked on: each once, the training set first
all_sets() { printf '%s\n' "${train_used}" ${valid_set} ${test_sets} | awk '!seen[$0]++'; }

frontend_of() { awk '/^[^ ]/ { keep = /^frontend/ } keep' "${dump}/config/$1.yaml"; }
