#!/usr/bin/env bash
# Runs a program on this machine; called like Kaldi's run.pl, slurm.pl and queue.pl:
#
#   run_local.sh [--OPTION VALUE ...] [JOB=1:n] LOG PROGRAM ARGUMENT...
#
# What the program prints goes to LOG. With JOB=1:n it runs n times at once, with the number in place of each JOB in LOG
# and in the arguments; --max_jobs_run N: at most N at once. Other options (--gpu, --mem, ...) tell a scheduler what to
# reserve, and here nothing is reserved. Fails where one run has failed, and shows the end of its log.
set -euo pipefail

name="" first=1 last=1 limit=0
while [ $# -gt 0 ]; do
    case $1 in
        --max_jobs_run | --max-jobs-run) limit=${2-}; shift 2 ;;
        -*) shift 2 ;;
        *) if [[ $1 =~ ^([A-Za-z_]+)=([0-9]+):([0-9]+)$ ]]; then
               name=${BASH_REMATCH[1]} first=${BASH_REMATCH[2]} last=${BASH_REMATCH[3]}
               shift
           else
               break
           fi ;;
    esac
done
wrong() {
    { sed -n '2,/^set/{/^#/p}' "$0"; echo "$0: $1"; } >&2
    exit 2
}
[ $# -ge 2 ] || wrong "no LOG and PROGRAM"
[ "${first}" -eq "${last}" ] || [[ $1 == *"${name}"* ]] || wrong "each run needs a log of its own: ${name} is not in $1"

run() { # LOG PROGRAM ARGUMENT...
    mkdir -p "$(dirname "$1")"
    printf '# %s: %s\n' "$(date '+%F %T')" "${*:2}" > "$1"
    exec "${@:2}" >> "$1" 2>&1
}

trap 'kill $(jobs -p) 2> /dev/null || true; exit 143' INT TERM
logs=() pids=() status=0
for ((number = first; number <= last; number++)); do
    while [ "${limit}" -gt 0 ] && [ "$(jobs -pr | wc -l)" -ge "${limit}" ]; do sleep 0.2; done
    words=("$@")
    if [ -n "${name}" ]; then words=("${@//${name}/${number}}"); fi
    run "${words[@]}" &
    logs+=("${words[0]}") pids+=($!)
done
for index in "${!pids[@]}"; do
    wait "${pids[index]}" || {
        status=$?
        { echo "$0: failed: ${*:2}"; echo "the last lines of ${logs[index]}:"; tail -n 15 "${logs[index]}"; } >&2
    }
done
exit "${status}"
