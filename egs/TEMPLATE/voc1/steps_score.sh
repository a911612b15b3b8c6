# shellcheck shell=bash disable=SC2154,SC2086,SC2206
# Stages 5 to 8: what came out. See settings.sh for the variables.

trained() { # NAME: its generator
    [ -f "exp/$1/weights.safetensors" ] || die "exp/$1 holds no generator; train it first (stages 3 and 4)"
    echo "exp/$1/weights.safetensors"
}

synthesize() {
    local name=$1 exp=exp/$1 model
    model=$(trained "${name}") || return 1
    once "${exp}/.done/synthesis" "$(fingerprint "$(stamp "${model}")" "${tested}/wav.scp")" run_vocoder "${name}"
}

run_vocoder() {
    local name=$1 exp=exp/$1 device=cpu
    if [ "${ngpu}" -gt 0 ]; then device=cuda; fi
    rm -rf "${exp}/synthesis"
    logged "${exp}/synthesis.log" "${python}" -m imlspike.bin.vocode "${tested}/audio" "${exp}/synthesis" \
        --model "${exp}" --threads "${threads}" --device "${device}"
}

score() {
    local name synthesized=() systems=() options=(${score_args})
    for name in "${names[@]}"; do
        synthesized+=("exp/${name}/.done/synthesis")
        systems+=("${name}=exp/${name}/synthesis")
    done
    if [ -n "${asr_model}" ]; then options+=(--asr-model "${asr_model}"); fi
    once exp/scores/.done "$(fingerprint "${options[@]}" "${names[@]}" "${synthesized[@]}" "${tested}"/{wav.scp,text})" \
        logged exp/scores/log "${python}" -m imlspike.bin.score_vocoder --data-dir "${tested}" \
        --systems "${systems[@]}" --model "exp/${names[0]}" --output-dir exp/scores --nj "${nj}" "${options[@]}"
    log "  exp/scores/scores.md"
}

profile() {
    local name=$1 out=exp/$1/profile model
    model=$(trained "${name}") || return 1
    once "${out}/.done" "$(fingerprint "$(stamp "${model}")" "${profile_utts}" "${tested}/wav.scp")" \
        run_profile "${name}" "${out}"
}

run_profile() { # NAME OUT
    spread "${tested}" "${profile_utts}" "$2/data"
    logged "$2/log" "${python}" -m imlspike.bin.profile --exp "exp/$1" --data-dir "$2/data" --output-dir "$2"
}

report() {
    "${python}" -m imlspike.bin.report_vocoder "${names[@]/#/exp/}" --scores exp/scores --command "${command_line}" \
        --output exp/RESULTS.md
}
