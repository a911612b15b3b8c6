# shellcheck shell=bash disable=SC2154,SC2086,SC2206
# Stages 6 to 9: what came out. See settings.sh for the variables.

trained() { model_in "exp/$1" "${inference_model}" --inference_model 5; } # NAME

# for_each_synthesis COMMAND: COMMAND NAME MODE for each model, free and with the teacher forced, and once for the
# natural mels, which bound what a voice can reach with this vocoder; their mels are those of the first model
for_each_synthesis() {
    local name
    "$1" "${names[0]}" natural
    for name in "${names[@]}"; do
        "$1" "${name}" free
        "$1" "${name}" forced
    done
}

synthesis_of() { if [ "$2" = natural ]; then echo exp/natural; else echo "exp/$1/$2"; fi; } # NAME MODE: its folder

synthesis_log() { echo "$1/$2=$(synthesis_of "$@")/log"; }

synthesize() { job "${nj}" synthesize_once "$@"; }

synthesize_once() {
    local name=$1 mode=$2 out model key
    out=$(synthesis_of "$@")
    model=$(trained "${name}") || return 1
    if [ "${mode}" = natural ]; then model=; fi
    key=$(fingerprint "${mode}" "$(stamp ${model})" "$(vocoder_stamp)" "${dump}/${test_set}"/{wav.scp,text})
    once "${out}/.done" "${key}" run_synthesis "${name}" "${mode}" "${out}"
}

vocoder_stamp() { if [ -d "${vocoder}" ]; then stamp "${vocoder}"/weights.safetensors; else echo "${vocoder}"; fi; }

run_synthesis() { # NAME MODE OUT
    local device=cpu given=()
    if [ "${ngpu}" -gt 0 ]; then device=cuda; fi
    if [ "${durations_from}:$2" = labels:forced ]; then given=(--durations "${dump}/${test_set}/durations"); fi
    rm -rf "$3"/{wav,durations,synthesis.yaml}
    logged "$3/log" "${python}" -m imlspike.bin.synthesize --data-dir "${dump}/${test_set}" --output-dir "$3" \
        --model "exp/$1" --model-file "$(basename "$(trained "$1")")" --vocoder "${vocoder}" --mode "$2" \
        --device "${device}" --threads "${threads}" ${given[@]+"${given[@]}"}
}

score() {
    local name systems=("natural_mel=exp/natural") done=(exp/natural/.done) options=(${score_args})
    for name in "${names[@]}"; do
        systems+=("${name}=exp/${name}/free" "${name}_forced=exp/${name}/forced")
        done+=("exp/${name}/free/.done" "exp/${name}/forced/.done")
    done
    if [ -n "${asr_model}" ]; then options+=(--asr-model "${asr_model}"); fi
    if ${ann}; then options+=(--twin ann); fi
    options+=(--ceiling natural_mel --natural-durations "exp/${names[0]}/forced/durations" --hop-length "${hop}")
    once exp/scores/.done "$(fingerprint "${options[@]}" "${systems[@]}" "${done[@]}" "${tested}"/{wav.scp,text})" \
        logged exp/scores/log "${python}" -m imlspike.bin.score_voice --data-dir "${tested}" \
        --systems "${systems[@]}" --output-dir exp/scores --nj "${nj}" "${options[@]}"
    log "  exp/scores/scores.md"
}

# find_labels [required]: the folder of phone labels, if there is one: --labels, or --corpus_labels in the corpus
find_labels() {
    if [ -n "${labels}" ] || [ -z "${corpus_labels}" ]; then return; fi
    labels=$(find -L "${corpus_dir:-downloads}" -type d -name "${corpus_labels}" | sort | head -n 1)
    [ -n "${labels}" ] || [ $# -eq 0 ] || die "--durations_from labels: there is no folder ${corpus_labels} in" \
        "${corpus_dir:-downloads}; name another by --labels"
    [ -n "${labels}" ] || log "  no labels: there is no folder ${corpus_labels} in ${corpus_dir:-downloads}"
}

score_alignment() { # NAME
    local out=exp/$1/alignment model
    model=$(trained "$1") || return 1
    once "${out}/.done" "$(fingerprint "$(stamp "${model}")" "${labels}" "${dump}/${test_set}/wav.scp")" \
        logged "${out}/log" "${python}" -m imlspike.bin.score_alignment --model "exp/$1" \
        --data-dir "${dump}/${test_set}" --labels "${labels}" --output-dir "${out}"
    log "  ${out}/alignment.md"
}

profile() { # NAME
    local out=exp/$1/profile model
    model=$(trained "$1") || return 1
    once "${out}/.done" "$(fingerprint "$(stamp "${model}")" "${profile_utts}" "${dump}/${test_set}/wav.scp")" \
        run_profile "$1" "${out}"
}

run_profile() { # NAME OUT
    spread "${dump}/${test_set}" "${profile_utts}" "$2/data"
    logged "$2/log" "${python}" -m imlspike.bin.profile --exp "exp/$1" --data-dir "$2/data" --output-dir "$2"
}

report() {
    "${python}" -m imlspike.bin.report_voice "${names[@]/#/exp/}" --scores exp/scores --command "${command_line}" \
        --output exp/RESULTS.md
}
