# shellcheck shell=bash disable=SC2154,SC2086,SC2046
# Stages 6 to 8: a language model over the recogniser's tokens, by ESPnet's LM task. See settings.sh for the variables.

lm_data() { # TRAIN VALID: the arguments that statistics and training share
    printf '%s\n' --config "${lm_config}" --token_type "${token_type}" --token_list "${tokens}/tokens.txt" \
        --bpemodel "${bpemodel}" --train_data_path_and_name_and_type "$1,text,text" \
        --valid_data_path_and_name_and_type "$2,text,text"
}

lm_stats_key() { fingerprint ${lm_train_text} ${lm_dev_text} "${tokens}/.done" "${lm_config}"; }

collect_lm_stats() {
    local split text stats=${lm_dump}/stats
    mkdir -p "${lm_dump}"
    for split in train:"${lm_train_text}" valid:"${lm_dev_text}"; do
        text=${lm_dump}/${split%%:*}.txt
        awk 'NF > 1' ${split#*:} > "${text}.part" # without words there is nothing to learn from
        mv "${text}.part" "${text}"
    done
    run_stats "${stats}" lm_train "${lm_dump}/train.txt" "${lm_dump}/valid.txt" \
        $(lm_data "${stats}/pieces/train.JOB" "${stats}/pieces/valid.JOB")
    log "  $(wc -l < "${lm_dump}/train.txt") sentences to train on, $(wc -l < "${lm_dump}/valid.txt") to validate"
}

train_lm() {
    local key
    key=$(fingerprint "${lm_config}" "${lm_args}" "${ngpu}" "${seed}" "${lm_dump}/.done/stats")
    lock_experiment "${lm_exp}"
    once "${lm_exp}/.done/train" "${key}" run_lm_trainer "${key}"
}

run_lm_trainer() {
    local shape=stats/train/text_shape.${token_type}
    settle_earlier_training "${lm_exp}" "$1" --lm_tag
    if [ "${token_type}" = bpe ]; then cp "${bpemodel}" "${lm_exp}/"; fi
    launch_training "${lm_exp}" lm_train $(lm_data "${lm_dump}"/{train,valid}.txt) ${lm_args} --fold_length 150 \
        --train_shape_file "${lm_dump}/${shape}" --valid_shape_file "${lm_dump}/${shape/train/valid}"
}

# lm_model: the language model that decodes, --inference_lm or the average of the best epochs
lm_model() { model_in "${lm_exp}" "${inference_lm}" --inference_lm 7; }

perplexity() {
    local out=${lm_exp}/perplexity model
    model=$(lm_model)
    once "${out}/.done" "$(fingerprint "$(stamp "${model}")" ${lm_test_text})" calc_perplexity "${model}" "${out}"
    log "  $(awk '{ printf "%.2f", $1 }' "${out}/ppl") a token, ends of sentences counted, on ${lm_test_text}"
}

calc_perplexity() {
    local model=$1 out=$2
    rm -rf "${out}"
    mkdir -p "${out}"
    awk 'NF > 1' ${lm_test_text} > "${out}/text"
    logged "${out}/log" "${python}" -m imlspike.espnet -m espnet2.bin.lm_calc_perplexity --ngpu "$((ngpu > 0))" \
        --data_path_and_name_and_type "${out}/text,text,text" --train_config "${lm_exp}/config.yaml" \
        --model_file "${model}" --output_dir "${out}"
}
