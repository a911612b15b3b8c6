#!/usr/bin/env bash
# Ablations of a recipe: every run of a list is trained, decoded greedily and scored by the recipe's own stages, some
# side by side, and one table says what they came to over the seeds. Data, tokens and statistics are made once for all.
# What is complete is not done again; a list that was stopped goes on where it was. Options it doesn't know go to the
# recipe's run.sh, also --test_sets and --decode_modes; --help lists all.
# shellcheck disable=SC2154  # 'option' sets the variables
set -euo pipefail
{ # read whole before it runs

template=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "${template}/../../.." && pwd)
command_line=${ablate_command:-$(printf "%q " "$0" "$@")}
. "${template}/../utils/options.sh"
. "${template}/../utils/jobs.sh"
. "${template}/../utils/recipe.sh"

option recipe egs/msu_ru_nsh/asr1 "folder of the recipe"
option list conf/ablations/main.txt "'NAME ... [: SEED ...]' or a .txt file of such lines; NAME: base, one of conf/ablations, or a YAML"
option seeds 0 "seeds of lines that name none, as '0 1 2'"
option config conf/quick.yaml "training YAML, the base"
option budget "" "YAML laid over every run, the base too, as conf/ablations/budget.yaml"
option measure cer "cer or wer"
option nj 2 "runs side by side"
option threads 1 "threads of each"
option spikes false "count spikes of every run (minutes each): true or false"
option workdir "" "folder for data/ dump/ exp/; empty: the recipe's"
option results "" "folder of the table; empty: exp/ablations in --workdir"
option python python3 "Python with imlspike and its extra 'asr'"

check_ablation() {
    local own
    whole_number nj threads
    at_least_one nj
    one_of measure cer wer
    one_of spikes true false
    for own in stage stop_stage experiments asr_config asr_override asr_tag seed twin; do
        [[ " ${passed_on[*]-} " != *" --${own} "* ]] || die "--${own} is set by the list (--help)"
    done
    existing "${config}" --config > /dev/null
    if [ -n "${budget}" ]; then existing "${budget}" --budget > /dev/null; fi
    workdir=${workdir:-${recipe}}
    mkdir -p "${workdir}"
    workdir=$(realpath "${workdir}")
    results=$(realpath -m "${results:-${workdir}/exp/ablations}")
    log_dir=${workdir}/exp/ablations/log
    export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}"
    asked=(--list "${list}" --seeds "${seeds}" --recipe "${recipe}" --root "${root}")
}

# plan: names, seed_of and spec_of (NAME:CONFIG[:OVERRIDE...], as --experiments takes it) of all runs
plan() {
    local lines name run_seed override
    lines=$("${python}" -m imlspike.bin.ablations "${asked[@]}")
    while IFS=$'\t' read -r name _ run_seed override; do
        names+=("${name}")
        seed_of[${name}]=${run_seed}
        spec_of[${name}]=${name}:${config}
        if [ "${override}" != - ]; then spec_of[${name}]+=:${override}; fi
        if [ -n "${budget}" ]; then spec_of[${name}]+=:${budget}; fi
        specs+=("${spec_of[${name}]}")
        followed+=("${name}=${workdir}/exp/${name}/train.log")
    done <<< "${lines}"
}

run_recipe() {
    bash "${recipe}/run.sh" --decode_modes greedy --use_lm false ${passed_on[@]+"${passed_on[@]}"} --workdir "${workdir}" \
        --python "${python}" --threads "${threads}" "$@"
}

one_run() {
    local name=$1 exp=${workdir}/exp/$1 begin fresh=false last=13
    begin=$(date +%s)
    if [ ! -f "${exp}/.done/train" ]; then
        fresh=true
        mkdir -p "${exp}"
        git -C "${root}" describe --always --dirty --abbrev=40 --exclude '*' > "${exp}/source.txt" 2> /dev/null ||
            rm -f "${exp}/source.txt"
    fi
    if ${spikes}; then last=14; fi
    if ! logged "${log_dir}/${name}.log" run_recipe --stage 11 --stop_stage "${last}" --nj 1 --seed "${seed_of[${name}]}" \
        --experiments "${spec_of[${name}]}"; then
        log "  ${name} FAILED (${log_dir}/${name}.log); the others go on" >&2
        return 1
    fi
    echo "${fresh} $(($(date +%s) - begin))" >> "${log_dir}/ended"
    make_table --quiet
    log "  ${name}: complete; $(progress)"
}

# Runs that were complete before cost no time; those that were trained just now tell how long the others will take.
progress() {
    awk -v runs="${#names[@]}" -v side="${nj}" '
        { ended++ } $1 == "true" { timed++; seconds += $2 }
        END {
            printf "%d of %d runs", ended, runs
            if (timed && ended < runs)
                printf ", %d s a run, about %d min left", seconds / timed,
                    seconds / timed * (runs - ended) / (side < runs - ended ? side : runs - ended) / 60 + 0.5
        }' "${log_dir}/ended"
}

make_table() {
    "${python}" -m imlspike.bin.ablations "${asked[@]}" --measure "${measure}" --exp-dir "${workdir}/exp" \
        --output-dir "${results}" --command "${command_line}" "$@"
}

declare -A seed_of=() spec_of=()
specs=() followed=()
parse_options --keep-unknown "$@"
recipe=$(existing "${recipe}" --recipe)
[[ " ${passed_on[*]-} " != *" --help "* ]] || exec bash "${recipe}/run.sh" --help
check_ablation
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
plan
mkdir -p "${log_dir}"
: > "${log_dir}/ended"

log "data, tokens and statistics of ${#names[@]} runs: ${names[*]}"
current_stage="data and statistics"
run_recipe --stage 1 --stop_stage 10 --nj "${nj}" --experiments "${specs[*]}"

log "runs, ${nj} side by side"
current_stage="runs"
follow_logs "${followed[@]}"
failed=0
for name in "${names[@]}"; do job "${nj}" one_run "${name}"; done
wait_for_jobs || failed=1
stop_following
current_stage=""
make_table
exit "${failed}"
}
