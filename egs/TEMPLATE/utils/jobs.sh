# shellcheck shell=bash disable=SC2154  # stage, stop_stage, skip_stages and python are options of who reads this
# What the stage drivers share: messages, steps that run once, jobs side by side, logs.

started_at=$(date +%s)
current_stage="" job_pids=() jobs_failed=0

elapsed() {
    local seconds=$(($(date +%s) - started_at))
    printf '%d:%02d:%02d' $((seconds / 3600)) $((seconds / 60 % 60)) $((seconds % 60))
}

log() { echo "[$(elapsed)] $*"; }

# stage NUMBER TITLE: true where that stage is asked for and not to be skipped, and says so
stage() {
    [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ] && [[ " ${skip_stages:-} " != *" $1 "* ]] || return 1
    current_stage="$1 ($2)"
    log "stage $1: $2"
}

# fingerprint WORD|FILE...: one checksum over the words, and over the contents of those that are files
fingerprint() {
    local word
    for word in "$@"; do
        printf '%s\n' "${word}"
        if [ -f "${word}" ]; then cat "${word}"; fi
    done | cksum | cut -d' ' -f1
}

# stamp FILE...: name, size and time of files that are too large to be read each time; nothing for no file
stamp() { [ $# -eq 0 ] || stat -Lc '%n %s %Y' "$@"; }

# once MARKER KEY [--quiet] COMMAND...: runs the command unless it has ended well before with the same key. The marker
# is written under a temporary name and renamed after the command, so a killed run never counts as done.
once() {
    local marker=$1 key=$2 quiet=false; shift 2
    if [ "$1" = --quiet ]; then quiet=true; shift; fi
    if is_done "${marker}" "${key}"; then
        ${quiet} || log "  done before (to run it again, delete ${marker})"
        return 0
    fi
    rm -f "${marker}"
    "$@"
    mkdir -p "$(dirname "${marker}")"
    printf '%s\n' "${key}" > "${marker}.$$" && mv "${marker}.$$" "${marker}"
}

# is_done MARKER KEY: whether 'once' has run its command to the end with this key
is_done() { [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]; }

# logged LOG COMMAND...: appends the command and all it prints to the log; shows the log's end where it fails
logged() {
    local logfile=$1; shift
    mkdir -p "$(dirname "${logfile}")"
    printf '# %s: %s\n' "$(date '+%F %T')" "$*" >> "${logfile}"
    if "$@" >> "${logfile}" 2>&1; then return 0; fi
    { echo "failed: $*"; echo "the last lines of ${logfile}:"; tail -n 15 "${logfile}"; } >&2
    return 1
}

# job LIMIT COMMAND...: runs the command in the background as soon as fewer than LIMIT jobs run
job() {
    local limit=$1; shift
    reap_jobs
    while [ "${#job_pids[@]}" -ge "${limit}" ]; do
        sleep 0.2
        reap_jobs
    done
    "$@" &
    job_pids+=($!)
}

# Asks ended jobs how they ended, soon after: after hours of other children bash would have forgotten.
reap_jobs() {
    local pid running=()
    for pid in ${job_pids[@]+"${job_pids[@]}"}; do
        if kill -0 "${pid}" 2> /dev/null; then running+=("${pid}"); else wait "${pid}" || jobs_failed=1; fi
    done
    job_pids=(${running[@]+"${running[@]}"})
}

# wait_for_jobs: waits for all of them; fails where one has failed (the others have ended too)
wait_for_jobs() {
    local pid failed
    for pid in ${job_pids[@]+"${job_pids[@]}"}; do wait "${pid}" || jobs_failed=1; done
    failed=${jobs_failed}
    job_pids=() jobs_failed=0
    return "${failed}"
}

kill_tree() {
    local child
    for child in $(cat "/proc/$1/task/$1/children" 2> /dev/null || pgrep -P "$1"); do kill_tree "${child}"; done
    kill "$1" 2> /dev/null || true
}

# With a trap on EXIT: ends what is left running, and says where a run stopped.
on_exit() {
    local status=$? pid
    for pid in $(jobs -p); do kill_tree "${pid}"; done
    if [ "${status}" -ne 0 ] && [ -n "${current_stage}" ]; then
        log "stopped in stage ${current_stage}. The same command goes on from there and does nothing twice." >&2
    fi
}

# follow_logs NAME=LOG...: shows in the background what the logs tell of progress, until stop_following
follow_logs() {
    "${python}" "$(dirname "${BASH_SOURCE[0]}")/follow.py" "$@" &
    follower=$!
}

stop_following() {
    kill "${follower}" 2> /dev/null || true
    wait "${follower}" 2> /dev/null || true
}

# count_lines TOTAL WHAT PATTERN GLOB...: says now and then how many lines match, and how long the rest takes.
count_lines() { follow_count "$1" "$2" matching_lines "${@:3}"; }

matching_lines() {
    local pattern=$1; shift
    # shellcheck disable=SC2048,SC2086  # the globs
    cat $* 2> /dev/null | grep -c "${pattern}" || true
}

# follow_count TOTAL WHAT COMMAND...: says now and then how far the count is that the command prints, and how long the
# rest takes.
follow_count() {
    local total=$1 what=$2 begin first=-1 count left
    shift 2
    begin=$(date +%s)
    while sleep 10; do
        count=$("$@") && [ -n "${count}" ] || continue # nothing to count yet
        if [ "${first}" -lt 0 ] || [ "${count}" -lt "${first}" ]; then first=${count}; fi
        if [ "${count}" -gt "${first}" ] && [ "${count}" -lt "${total}" ]; then
            left=$((($(date +%s) - begin) * (total - count) / (count - first)))
            log "  ${count} of ${total} ${what}, about ${left} s left"
        fi
    done
}
