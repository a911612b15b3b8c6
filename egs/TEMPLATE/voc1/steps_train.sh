# shellcheck shell=bash disable=SC2154,SC2046
# Stages 3 and 4: training. See settings.sh for the variables.

train_models() { # NAME...
    local name
    follow_experiments train.log "$@"
    for name in "$@"; do job "$(trainings_at_once)" train "${name}"; done
    wait_for_jobs
    stop_following
}

# --nj trainings side by side, but one at a time where they would share the GPUs
trainings_at_once() { if [ "${ngpu}" -gt 0 ]; then echo 1; else echo "${nj}"; fi; }

train() {
    local name=$1 exp=exp/$1 key
    key=$(train_key "${name}") || return 1 # 'set -e' doesn't reach into "$(train_key ...)"
    lock_experiment "${exp}"
    is_done "${exp}/.done/train" "${key}" || settle_earlier_training "${exp}" "${key}"
    once "${exp}/.done/train" "${key}" run_trainer "${name}"
}

# What a training depends on: its settings, its data, its teacher
train_key() {
    local set teacher=()
    mapfile -t teacher < <(teacher_of "$1")
    [ "${#teacher[@]}" -eq 0 ] || [ -f "${teacher[0]}/weights.safetensors" ] ||
        die "$1 is taught by ${teacher[0]}, which isn't trained; train it first (stage 3, --ann true)"
    fingerprint $(model_args "$1") "$(stamp "${teacher[@]/%//weights.safetensors}")" \
        $(for set in $(train_sets) "${valid_set}"; do echo "${limited}/${set}/wav.scp"; done)
}

teacher_of() { sed -n 's/^teacher: *\([^ ]*\).*/\1/p' "${overrides}/$1.yaml"; } # NAME: a folder, or nothing

run_trainer() {
    local name=$1 exp=exp/$1 arguments set
    mapfile -t arguments < <(model_args "${name}")
    arguments+=(--exp-dir "${exp}" --train-dir)
    for set in $(train_sets); do arguments+=("${limited}/${set}"); done
    if [ "${resume}" = anyway ]; then arguments+=(--resume anyway); fi
    logged "${exp}/console.log" "${python}" -m imlspike.bin.train_vocoder "${arguments[@]}" \
        --valid-dir "${limited}/${valid_set}"
}

# settle_earlier_training EXP KEY: a checkpoint of other settings or data is never taken up in silence
settle_earlier_training() {
    local exp=$1 key=$2 started=$1/.done/started
    if [ "${resume}" = false ]; then
        rm -rf "${exp}"/{checkpoints,tensorboard,config.yaml,bundle.yaml,weights.safetensors,log.csv,*.log}
    elif [ -d "${exp}/checkpoints" ] && [ "$(cat "${started}")" != "${key}" ]; then
        [ "${resume}" = anyway ] || die "${exp} holds a training with other settings, data or another teacher (its" \
            "settings: ${exp}/config.yaml). Use another --workdir, or begin again with --resume false, or go on" \
            "from its checkpoint with --resume anyway"
    fi
    echo "${key}" > "${started}"
}
