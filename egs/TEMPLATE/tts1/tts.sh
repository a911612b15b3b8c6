#!/usr/bin/env bash
# A voice from a corpus to a table of results: the ANN twin (FastSpeech 2), SpikeVoice, and further models, which are
# overrides of one configuration. Needs no aligner and no labels: durations are learned from text and sound; or they are
# those of phone labels (--durations_from). A recipe's run.sh calls it; --help lists the options. What is complete is
# not done again; a run that was stopped goes on where it was.
# shellcheck disable=SC2034,SC2154  # the steps use these variables; 'option' sets them
set -euo pipefail
{ # read whole before it runs: an update of the project can't change a script that trains for hours

template=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "${template}/../../.." && pwd)
command_line=${recipe_command:-$(printf "%q " "$0" "$@")}
. "${template}/../utils/options.sh"
. "${template}/../utils/jobs.sh"
. "${template}/../utils/configs.sh"
. "${template}/../utils/recipe.sh"

# What to run, where, and on what
option stage 1 "first stage to run"
option stop_stage 9 "last stage to run"
option skip_stages "" "stages to leave out, as '8 9'"
option workdir . "folder for data/ dump/ exp/ downloads/"
option python python3 "Python with imlspike and its extras 'asr', 'phonemes', 'vocoder' and 'scores'"
option nj 2 "processes that run side by side, one model or piece of work each"
option threads 1 "threads of each process"
option ngpu 0 "GPUs of each training on each machine; 0: none"
option num_nodes 1 "machines of each training"
option seed 0 "random seed"
# Data
option corpus "" "corpus, as 'imlspike prepare' names it"
option corpus_dir "" "the corpus on this machine; empty: download it"
option prepare_args "" "further options of 'imlspike prepare'"
option train_set train "training set"
option valid_set valid "validation set"
option test_set test "set that is spoken and scored"
option hold_out_from "" "prepared set to cut those three out of; empty: they are as prepared"
option hold_out_every 50 "n: of that, every n-th utterance of a speaker is test, each half-way between valid"
option front_end "" "from text to symbols: english, mandarin, pinyin, russian, characters ('imlspike phonemes')"
option text_table text "table that the front end reads: text, or pinyin where the corpus has it"
option voice_front_end "" "and that of the trained voice, where new text is written in another way; empty: the same"
option use_sid false "a voice for each speaker of the training set: true or false"
option min_wav_duration 0.3 "shortest utterance to train on, in seconds"
option durations_from aligner "what the symbols' durations in training come from: aligner (learned), labels"
option max_wav_duration 20 "longest utterance to train on, in seconds"
option test_utts 0 "utterances of the test set to speak, spread over it; 0: all"
# Models
option config "" "training YAML, the base of all models"
option changes "" "YAML files that say what differs from it in all models, separated by spaces"
option overrides conf/tts "folder with a YAML for each model, what differs from the base; its ann.yaml is the ANN"
option models "spikevoice sequential imls" "spiking models to train, each an override of that name"
option ann true "train the ANN twin too: true or false"
option train_args "" "settings over the YAML, as 'max_epoch=20 tts_conf.dropout=0.1'"
option resume true "go on from a checkpoint; false: begin again; anyway: go on although settings have changed"
# Results
option vocoder griffin_lim "what makes sound of mels: an experiment of voc1 with the same features, or griffin_lim"
option inference_model "" "file in the experiment; empty: the average of the best epochs"
option asr_model "" "a trained recogniser (an experiment of asr1, a zip) for the character error rate; empty: none"
option labels "" "folder of phone labels (.lab, .TextGrid): for --durations_from labels, or to check the learned by"
option corpus_labels "" "instead of it, the name of the folder that the corpus itself has them in; empty: none"
option score_args "" "further options of 'imlspike score-voice'"
option profile_utts 20 "utterances of the test set on which spikes and energy are counted, spread over it"

. "${template}/settings.sh"
. "${template}/../utils/cmd.sh"
. "${template}/../utils/espnet.sh"
. "${template}/steps_data.sh"
. "${template}/steps_train.sh"
. "${template}/steps_voice.sh"
parse_options "$@"
check_commands
check_options
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
cd "${workdir}"

resolve_configs

if stage 1 "data preparation"; then
    once data/.done/prepare "$(prepare_key)" prepare_data
    if [ -n "${hold_out_from}" ]; then once data/.done/hold_out "$(hold_out_key)" hold_out; fi
fi

if [ "${durations_from}" = labels ] && [ "${stop_stage}" -gt 1 ]; then find_labels required; fi

if stage 2 "text to symbols"; then
    once "${tokens}/.done" "$(symbols_key)" make_symbols
fi

if stage 3 "audio of one rate, and removal of what is too long or too short"; then
    for set in ${sets}; do format_audio "${set}"; done
    for set in "${train_set}" "${valid_set}"; do
        once "${dump}/.done/${set}" "$(limit_key "${set}")" limit_durations "${set}"
    done
    once "${tested}/.done" "$(test_key)" choose_test
fi

if stage 4 "statistics of mel, pitch and energy"; then
    follow_stats
    job 1 once "${dump}/.done/stats" "$(stats_key)" collect_stats
    wait_for_jobs
    stop_following
fi

if stage 5 "training of ${names[*]}"; then
    follow_experiments train.log "${names[@]}"
    for name in "${names[@]}"; do job "$(trainings_at_once)" train "${name}"; done
    wait_for_jobs
    stop_following
fi

if stage 6 "synthesis of ${test_set}"; then
    mapfile -t logs < <(for_each_synthesis synthesis_log)
    follow_logs "${logs[@]}"
    for_each_synthesis synthesize
    wait_for_jobs
    stop_following
fi

if stage 7 "scores, and alignments against labels"; then
    follow_logs "scores=exp/scores/log"
    job "${nj}" score
    find_labels
    if [ "${durations_from}" = labels ]; then
        log "  alignments: none are learned, the durations are those of ${labels}"
    elif [ -n "${labels}" ]; then
        for name in "${names[@]}"; do job "${nj}" score_alignment "${name}"; done
    else
        log "  alignments: not asked for (--labels FOLDER)"
    fi
    wait_for_jobs
    stop_following
fi

if stage 8 "spikes and energy"; then
    follow_experiments profile/log "${names[@]}"
    for name in "${names[@]}"; do job "${nj}" profile "${name}"; done
    wait_for_jobs
    stop_following
fi

if stage 9 "report"; then
    report
fi
log "done"
exit
}
