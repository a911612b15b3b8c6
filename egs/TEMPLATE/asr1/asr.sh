#!/usr/bin/env bash
# Speech recognition from a corpus to a table of results, in ESPnet's stages and with its options where it has them.
# A recipe's run.sh calls it; --help lists the options. What is complete is not done again; a run that was stopped
# goes on where it was.
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
option stop_stage 16 "last stage to run"
option skip_stages "" "stages to leave out, as '14 15'"
option skip_data_prep false "leave out stages 1 to 5: true or false"
option skip_train false "leave out stages 6 to 11"
option skip_eval false "leave out stages 12 to 14"
option skip_packing false "leave out stage 15"
option workdir . "folder for data/ dump/ exp/ downloads/"
option python python3 "Python with imlspike and its extra 'asr'"
option nj 2 "processes that run side by side, one model or piece of work each"
option inference_nj "" "processes that decode side by side; empty: as many as --nj"
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
option test_sets test "sets to decode and score, separated by spaces; --valid_set may be among them"
option speed_perturb_factors "" "for example '0.9 1.0 1.1'; empty: none"
option audio_format "" "flac; empty: the files as preparation left them"
option min_wav_duration 0.1 "shortest utterance to train on, in seconds"
option max_wav_duration 20 "longest utterance to train on, in seconds"
option token_type char "char or bpe"
option nbpe 300 "size of the bpe vocabulary"
option tokens_args "--on-unknown keep" "further options of 'imlspike tokens'"
# Language model for the beam search
option use_lm false "train a language model and decode with it: true or false"
option lm_config "" "training YAML of ESPnet's LM task"
option lm_tag "" "the language model stands in exp/lm_<tag>; empty: exp/lm"
option lm_args "" "further options of ESPnet's lm_train, as '--max_epoch 5'"
option lm_train_text "" "Kaldi texts to train on, seen from --workdir; empty: that of the training set"
option lm_dev_text "" "and to validate on; empty: that of the validation set"
option lm_test_text "" "and to measure perplexity on; empty: that of the first test set"
# Models: one, or several that are trained side by side
option asr_config "" "training YAML"
option asr_override "" "YAML files that say what differs from it, separated by spaces"
option asr_tag "" "name of the experiment; empty: that of the last YAML"
option experiments "" "instead of these three, several: 'NAME:CONFIG[:OVERRIDE...] ...'"
option train_args "" "settings over the YAML, as 'max_epoch=20 encoder_conf.kappa=0.5'"
option feats_normalize global_mvn "global_mvn or utterance_mvn"
option resume true "go on from a checkpoint; false: begin again; anyway: go on although settings have changed"
# Decoding
option decode_modes "greedy joint" "greedy: CTC; joint: CTC/attention beam search"
option inference_config egs/TEMPLATE/asr1/conf/decode_joint.yaml "YAML of the beam search"
option inference_args "" "further options of 'imlspike decode', as '--batch-seconds 60'"
option inference_asr_model "" "file in the experiment; empty: the average of the best epochs"
option inference_lm "" "file of the language model; empty: the average of the best epochs"
# Results
option score_primary cer "the error rate that counts: cer or wer"
option score_spaces true "false: characters are counted without the spaces between words, as for Mandarin"
option corpus_note "" "the corpus and its licence in a sentence, for the model card"
option license apache-2.0 "of the packed model"
option profile_set "" "set on which spikes and energy are counted; empty: the first of --test_sets"
option profile_utts 200 "utterances of it to count on, spread over the set; a smaller set is taken whole"

. "${template}/settings.sh"
. "${template}/../utils/cmd.sh"
. "${template}/../utils/espnet.sh"
. "${template}/steps_data.sh"
. "${template}/steps_lm.sh"
. "${template}/steps_train.sh"
. "${template}/steps_decode.sh"
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
fi

if stage 2 "speed perturbation"; then
    if [ -n "${speed_perturb_factors}" ]; then
        once data/.done/speed "$(fingerprint "${speed_perturb_factors}" "data/${train_set}/"{wav.scp,text})" \
            perturb_speed
    else
        log "  not asked for (--speed_perturb_factors '0.9 1.0 1.1')"
    fi
fi

if stage 3 "format of the audio"; then
    if [ -n "${audio_format}" ]; then
        for set in $(all_sets); do format_audio "${set}"; done
    else
        log "  not asked for (--audio_format flac)"
    fi
fi

if stage 4 "removal of what is too long or too short"; then
    once "${limited}/.done/${train_used}" "$(limit_key)" limit_durations
fi

if stage 5 "tokens, and removal of what is too short for its transcript"; then
    once "${tokens}/.done" "$(tokens_key)" make_tokens
    once "${dump}/.done/fit" "$(fit_key)" fit_data
fi

if ${use_lm}; then
    if stage 6 "statistics of the language model's text"; then
        job 1 once "${lm_dump}/.done/stats" "$(lm_stats_key)" collect_lm_stats
        wait_for_jobs
    fi

    if stage 7 "training of the language model"; then
        follow_logs "lm=${lm_exp}/train.log"
        job 1 train_lm
        wait_for_jobs
        stop_following
    fi

    if stage 8 "perplexity of the language model"; then
        perplexity
    fi
elif stage 6 "language model, to stage 8"; then
    log "  not asked for (--use_lm true)"
fi

if stage 9 "n-gram language model"; then
    log "  not used"
fi

if stage 10 "statistics of the features"; then
    follow_stats
    job 1 once "${dump}/.done/stats" "$(stats_key)" collect_stats
    wait_for_jobs
    stop_following
fi

if stage 11 "training of ${names[*]}"; then
    follow_experiments train.log "${names[@]}"
    for name in "${names[@]}"; do job "$(trainings_at_once)" train "${name}"; done
    wait_for_jobs
    stop_following
fi

if stage 12 "decoding of ${test_sets}"; then
    follow_decoding
    for_each_decoding decode_pieces
    wait_for_jobs
    stop_following
    for_each_decoding join_pieces
fi

if stage 13 "scoring"; then
    for_each_decoding score
    wait_for_jobs
fi

if stage 14 "spike counts and energy on ${profile_set}"; then
    follow_experiments profile/log "${names[@]}"
    for name in "${names[@]}"; do job "${nj}" profile "${name}"; done
    wait_for_jobs
    stop_following
fi

if stage 15 "packing"; then
    for name in "${names[@]}"; do job "${nj}" pack "${name}"; done
    wait_for_jobs
fi

if stage 16 "report"; then
    report
fi
log "done"
exit
}
