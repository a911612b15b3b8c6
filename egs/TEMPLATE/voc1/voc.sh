#!/usr/bin/env bash
# A vocoder from a corpus to a table of results: the ANN (Vocos), which teaches, and spiking models, which are
# overrides of one configuration. A recipe's run.sh calls it; --help lists the options. What is complete is not done
# again; a run that was stopped goes on where it was.
# shellcheck disable=SC2034,SC2154  # the steps use these variables; 'option' sets them
set -euo pipefail
{ # read whole before it runs: an update of the project can't change a script that trains for hours

template=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "${template}/../../.." && pwd)
command_line=${recipe_command:-$(printf "%q " "$0" "$@")}
. "${template}/../utils/options.sh"
. "${template}/../utils/jobs.sh"
. "${template}/../utils/recipe.sh"

# What to run, where, and on what
option stage 1 "first stage to run"
option stop_stage 8 "last stage to run"
option skip_stages "" "stages to leave out, as '7 8'"
option workdir . "folder for data/ dump/ exp/ downloads/"
option python python3 "Python with imlspike and its extras 'vocoder' and 'scores'"
option nj 2 "processes that run side by side, one model or piece of work each"
option threads 1 "threads of each process"
option ngpu 0 "GPUs of each training; 0: none"
# Data
option corpus "" "corpus, as 'imlspike prepare' names it"
option corpus_dir "" "the corpus on this machine; empty: download it"
option prepare_args "" "further options of 'imlspike prepare'"
option train_set train "training set"
option valid_set valid "validation set"
option test_set test "set that is synthesised and scored"
option extra_train "" "more to train on: asterisk_en, _es, _fr, _it, _ru (fetched), or names of sets in data/"
option min_wav_duration 0.3 "shortest recording to train on, in seconds"
option max_wav_duration 60 "longest recording to train on, in seconds"
option test_utts 0 "recordings of the test set to score, spread over it; 0: all"
# Models
option config "" "YAML of a training, the base of all models"
option overrides "" "folder with a YAML for each model, what differs from the base; its ann.yaml is the ANN"
option models "plif tsm kd tsm_kd imls" "spiking models to train, each an override of that name"
option ann true "train the ANN too: true or false"
option steps "" "steps of each training; empty: the YAML's"
option train_args "" "settings over the YAML, as 'data.batch_size=8 trainer.pretrain_steps=0'"
option resume true "go on from a checkpoint; false: begin again; anyway: go on although settings or data changed"
# Results
option asr_model "" "a trained recogniser (an experiment of asr1, a zip) for the character error rate; empty: none"
option score_args "" "further options of 'imlspike score-vocoder', as '--crepe tiny --measures pesq mcd'"
option profile_utts 20 "recordings of the test set on which spikes and energy are counted, spread over it"

. "${template}/settings.sh"
. "${template}/steps_data.sh"
. "${template}/steps_train.sh"
. "${template}/steps_score.sh"
parse_options "$@"
check_options
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "${workdir}"

check_configs

if stage 1 "data preparation"; then
    once data/.done/prepare "$(prepare_key)" prepare_data
    for set in ${extra_train}; do prepare_extra "${set}"; done
fi

if stage 2 "audio of one rate, and removal of what is too long or too short"; then
    for set in $(all_sets); do format_audio "${set}"; done
    for set in $(train_sets) ${valid_set}; do
        once "${limited}/.done/${set}" "$(fingerprint "$(limits)" "${sound}/${set}/.done")" limit_durations "${set}"
    done
    once "${tested}/.done" "$(fingerprint "${sound}/${test_set}/.done" "${test_utts}")" choose_test
fi

if stage 3 "training of the ANN"; then
    if ${ann}; then train_models ann; else log "  not asked for (--ann true)"; fi
fi

if stage 4 "training of ${models}"; then
    train_models ${models}
fi

if stage 5 "copy-synthesis of ${test_set}"; then
    follow_experiments synthesis.log "${names[@]}"
    for name in "${names[@]}"; do job "${nj}" synthesize "${name}"; done
    wait_for_jobs
    stop_following
fi

if stage 6 "scoring"; then
    follow_logs "scores=exp/scores/log"
    job 1 score
    wait_for_jobs
    stop_following
fi

if stage 7 "spikes and energy"; then
    follow_experiments profile/log "${names[@]}"
    for name in "${names[@]}"; do job "${nj}" profile "${name}"; done
    wait_for_jobs
    stop_following
fi

if stage 8 "report"; then
    report
fi
log "done"
exit
}
