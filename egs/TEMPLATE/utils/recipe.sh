# shellcheck shell=bash disable=SC2154,SC2086,SC2012
# What the stage drivers do alike: paths, the programs' environment, data preparation, one training in a folder at a
# time. Needs options.sh, jobs.sh, the project's folder in 'root' and the options that are named below.

# existing PATH WHAT: the absolute path of what has to be there, seen from here or from the project's root
existing() {
    local from
    for from in "" "${root}/"; do
        if [ -e "${from}$1" ]; then realpath "${from}$1"; return; fi
    done
    die "$2: there is no $1, neither here (${PWD}) nor in ${root}"
}

names=()

# choose_models: names of the models from --ann and --models, each a YAML of the folder --overrides over --config
choose_models() {
    local name
    config=$(existing "${config:?--config names the base of the models}" --config)
    overrides=$(existing "${overrides:?--overrides names the folder of the models}" --overrides)
    if ${ann}; then names=(ann); fi
    for name in ${models}; do
        [ "${name}" != ann ] || die "--models: ann is trained by --ann true"
        [[ " ${names[*]-} " != *" ${name} "* ]] || die "--models: ${name} stands twice"
        names+=("${name}")
    done
    [ "${#names[@]}" -gt 0 ] || die "no model: --models is empty and --ann false"
    for name in "${names[@]}"; do
        [ -f "${overrides}/${name}.yaml" ] || die "--models: there is no ${overrides}/${name}.yaml; there are:" \
            "$(basename -as .yaml "${overrides}"/*.yaml | paste -sd' ' -)"
    done
}

# For the Python programs: this project's source, --threads, and a memory allocator that keeps what it has
export_environment() {
    export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}" PYTHONUNBUFFERED=1
    export OMP_NUM_THREADS="${threads}" MKL_NUM_THREADS="${threads}"
    # glibc would give each large block back to the system and fault it in again: 15 to 20 % of a training step.
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
}

# From --corpus, --corpus_dir and --prepare_args
prepare_key() {
    local listing=""
    if [ -n "${corpus_dir}" ]; then listing=$(ls -lLR "${corpus_dir}" | cksum); fi
    fingerprint "${corpus}" "${corpus_dir}" "${prepare_args}" "${listing}"
}

prepare_data() {
    local from=(--download-dir downloads)
    if [ -n "${corpus_dir}" ]; then from=(--corpus-dir "${corpus_dir}"); fi
    "${python}" -m imlspike.bin.prepare "${corpus}" "${from[@]}" --output-dir data ${prepare_args}
}

# From --min_wav_duration and --max_wav_duration: the options of 'imlspike fit'
limits() { echo "--min-seconds ${min_wav_duration} --max-seconds ${max_wav_duration}"; }

# spread DIR COUNT OUT: copies the tables of a data directory, of every n-th recording so that at most COUNT are left;
# all of them where COUNT is 0
spread() {
    local total step=1 table
    total=$(wc -l < "$1/wav.scp")
    if [ "$2" -gt 0 ]; then step=$(((total + $2 - 1) / $2)); fi
    mkdir -p "$3"
    for table in wav.scp text utt2spk utt2dur; do
        awk -v step="${step}" '(NR - 1) % step == 0' "$1/${table}" > "$3/${table}"
    done
}

# follow_experiments LOG NAME...: shows the progress that the log of this name tells in exp/NAME, until stop_following
follow_experiments() {
    local log=$1 name logs=(); shift
    for name in "$@"; do logs+=("${name}=exp/${name}/${log}"); done
    follow_logs "${logs[@]}"
}

# lock_experiment EXP: makes the folder and holds its lock .lock as long as this process lives. ESPnet's trainer holds
# .training (see imlspike.espnet.worker), wherever it runs and even if this script is killed.
lock_experiment() {
    mkdir -p "$1/.done"
    if command -v flock > /dev/null; then
        exec 9>> "$1/.lock"
        flock -n 9 && flock -n "$1/.training" true ||
            die "another process is training in $1; wait for it or end it"
    fi
}
