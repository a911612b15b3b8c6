# shellcheck shell=bash disable=SC2154,SC2034,SC2086,SC2046,SC2012
# What the stages of asr.sh do. Variables are the options of asr.sh and those that check_options sets (so SC2154 and
# SC2034 are silent); what holds several words is split into words on purpose (SC2086, SC2046).

declare -A config_of=() overrides_of=()
names=()

check_options() {
    whole_number stage stop_stage nj threads ngpu seed nbpe
    [ "${nj}" -ge 1 ] || die "--nj is ${nj}; at least one process is needed"
    one_of token_type char bpe
    one_of feats_normalize global_mvn utterance_mvn
    one_of resume true false anyway
    local mode setting
    for mode in ${decode_modes}; do one_of mode greedy joint; done
    for setting in ${train_args}; do
        [[ ${setting} == *=* ]] || die "--train_args: '${setting}' is no setting; write key=value, as max_epoch=20"
    done
    [ -n "${corpus}" ] || [ "${stage}" -gt 1 ] || die "--corpus is empty; name the corpus to prepare"
    [ -z "${corpus_dir}" ] || corpus_dir=$(existing "${corpus_dir}" --corpus_dir)
    inference_config=$(existing "${inference_config}" --inference_config)
    list_experiments
    mkdir -p "${workdir}"
    train_used=${train_set}${speed_perturb_factors:+_sp}
    dump=dump/${token_type}${speed_perturb_factors:+_sp}
    if [ "${token_type}" = bpe ]; then dump=dump/bpe${nbpe}${speed_perturb_factors:+_sp}; fi
    tokens=${dump}/tokens
    bpemodel=none
    if [ "${token_type}" = bpe ]; then bpemodel=${tokens}/bpe.model; fi
    export PYTHONPATH="${root}${PYTHONPATH:+:${PYTHONPATH}}" PYTHONUNBUFFERED=1
    export OMP_NUM_THREADS="${threads}" MKL_NUM_THREADS="${threads}"
    # glibc would give each large block back to the system and fault it in again: 15 to 20 % of a training step.
    export MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
}

# existing PATH WHAT: the absolute path of what has to be there, seen from here or from the project's root
existing() {
    local from
    for from in "" "${root}/"; do
        if [ -e "${from}$1" ]; then realpath "${from}$1"; return; fi
    done
    die "$2: there is no $1, neither here (${PWD}) nor in ${root}"
}

# names, config_of and overrides_of from --experiments, or from --asr_config, --asr_override and --asr_tag
list_experiments() {
    local spec name file parts
    if [ -z "${experiments}" ]; then
        [ -n "${asr_config}" ] ||
            die "no model: give --asr_config YAML, or --experiments 'NAME:CONFIG[:OVERRIDE...] ...'"
        spec=${asr_override:-${asr_config}}
        experiments=${asr_tag:-$(basename "${spec##* }" .yaml)}:${asr_config}
        for file in ${asr_override}; do experiments+=:${file}; done
    fi
    for spec in ${experiments}; do
        IFS=: read -r -a parts <<< "${spec}"
        name=${parts[0]}
        [ "${#parts[@]}" -ge 2 ] || die "--experiments: '${spec}' has no configuration; write NAME:CONFIG[:OVERRIDE...]"
        [ -z "${config_of[${name}]:-}" ] || die "--experiments: the name ${name} stands twice"
        names+=("${name}")
        config_of[${name}]=$(existing "${parts[1]}" "configuration of ${name}")
        for file in "${parts[@]:2}"; do
            overrides_of[${name}]+=$(existing "${file}" "override of ${name}")$'\n'
        done
    done
}

# One checked YAML for each experiment, before anything else: a wrong key costs seconds, not a night.
resolve_configs() {
    local name
    log "configuration of ${names[*]}"
    mkdir -p "${dump}/config"
    for name in "${names[@]}"; do job "${nj}" resolve_config "${name}"; done
    wait_for_jobs
    for name in "${names[@]:1}"; do
        diff -q <(frontend_of "${names[0]}") <(frontend_of "${name}") > /dev/null ||
            die "${names[0]} and ${name} have different front ends; they can't share statistics, run them apart"
    done
}

resolve_config() {
    local resolved=${dump}/config/$1.yaml arguments=("${config_of[$1]}") file setting
    while read -r file; do arguments+=(${file:+--override "${file}"}); done <<< "${overrides_of[$1]:-}"
    for setting in ${train_args}; do arguments+=(--set "${setting}"); done
    once "${resolved}.done" "$(fingerprint "${arguments[@]}")" --quiet write_config "${resolved}" "${arguments[@]}"
}

write_config() { # RESOLVED ARGUMENT...; what ESPnet says about packages it could use isn't shown
    local resolved=$1; shift
    if ! "${python}" -m imlspike.bin.config "$@" --output "${resolved}" > "${resolved}.log" 2>&1; then
        grep '^config:' "${resolved}.log" >&2 || cat "${resolved}.log" >&2
        return 1
    fi
}

frontend_of() { awk '/^[^ ]/ { keep = /^frontend/ } keep' "${dump}/config/$1.yaml"; }

# 1 to 4: data

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

perturb_speed() {
    "${python}" -m imlspike.bin.speed "data/${train_set}" --factors ${speed_perturb_factors} \
        --output-dir "data/${train_used}"
}

test_texts() {
    local set
    for set in ${valid_set} ${test_sets}; do echo "data/${set}/text"; done
}

make_tokens() {
    local size=()
    if [ "${token_type}" = bpe ]; then size=(--nbpe "${nbpe}"); fi
    "${python}" -m imlspike.bin.tokens --train "data/${train_used}" --check $(test_texts | xargs -n1 dirname) \
        --output-dir "${tokens}" --type "${token_type}" "${size[@]}" ${tokens_args}
}

# The strongest subsampling among the experiments (conv2d < conv2d6 < conv2d8): all of them can train on what is left.
input_layer() {
    local found
    found=$(cat "${dump}"/config/*.yaml | sed -n 's/^ *input_layer: *//p' | sort | tail -n 1)
    echo "${found:-conv2d}"
}

fit_key() {
    fingerprint "$(input_layer)" "${fit_args}" data/{"${train_used}","${valid_set}"}/{text,wav.scp} "${tokens}/.done"
}

fit_data() {
    local set model=()
    if [ "${token_type}" = bpe ]; then model=(--bpe-model "${bpemodel}"); fi
    for set in "${train_used}" "${valid_set}"; do
        "${python}" -m imlspike.bin.fit "data/${set}" --output-dir "${dump}/${set}" "${model[@]}" \
            --input-layer "$(input_layer)" ${fit_args}
    done
}

# 5 and 6: ESPnet's trainer

# The arguments that statistics and training share.
espnet_data() {
    local set option
    printf '%s\n' --use_preprocessor true --token_type "${token_type}" --token_list "${tokens}/tokens.txt" \
        --bpemodel "${bpemodel}"
    for option in train:"${train_used}" valid:"${valid_set}"; do
        set=${dump}/${option#*:} option=${option%%:*}
        printf '%s\n' "--${option}_data_path_and_name_and_type" "${set}/wav.scp,speech,sound" \
            "--${option}_data_path_and_name_and_type" "${set}/text,text,text"
    done
}

stats_key() {
    fingerprint "$(frontend_of "${names[0]}")" "${dump}"/{"${train_used}","${valid_set}"}/{wav.scp,text} \
        "${tokens}/tokens.txt"
}

collect_stats() {
    local stats=${dump}/stats split shape vocabulary
    logged "${stats}/stats.log" "${python}" -m imlspike.espnet.asr_train --collect_stats true \
        --config "${dump}/config/${names[0]}.yaml" --normalize none --output_dir "${stats}" --ngpu 0 $(espnet_data) \
        --train_shape_file "${dump}/${train_used}/wav.scp" --valid_shape_file "${dump}/${valid_set}/wav.scp"
    vocabulary=$(wc -l < "${tokens}/tokens.txt")
    for split in train valid; do # ESPnet weighs a batch by frames and by tokens x vocabulary
        shape=${stats}/${split}/text_shape
        awk -v n="${vocabulary}" '{ print $0 "," n }' "${shape}" > "${shape}.${token_type}"
    done
    log "  $(wc -l < "${stats}/train/speech_shape") + $(wc -l < "${stats}/valid/speech_shape") utterances"
}

train() {
    local name=$1 exp=exp/$1 config=${dump}/config/$1.yaml key
    key=$(fingerprint "${config}" "${ngpu}" "${seed}" "${feats_normalize}" "${dump}/.done/stats" \
        "${dump}"/{"${train_used}","${valid_set}"}/text)
    mkdir -p "${exp}/.done"
    if command -v flock > /dev/null; then # held by the trainer as well, even if this script is killed
        exec 9>> "${exp}/.lock"
        flock -n 9 || die "another process is training in ${exp}; wait for it or end it"
    fi
    once "${exp}/.done/train" "${key}" run_trainer "${name}" "${key}"
}

run_trainer() {
    local name=$1 key=$2 exp=exp/$1 shape normalize=(--normalize "${feats_normalize}") args=()
    settle_earlier_training "${exp}" "${key}"
    cp "${dump}/config/${name}.yaml" "${exp}/train.yaml"
    cp "${tokens}/tokens.txt" "${dump}/stats/train/feats_stats.npz" "${exp}/"
    if [ "${token_type}" = bpe ]; then cp "${bpemodel}" "${exp}/"; fi
    if [ "${feats_normalize}" = global_mvn ]; then
        normalize+=(--normalize_conf "stats_file=${PWD}/${exp}/feats_stats.npz")
    fi
    for shape in speech_shape "text_shape.${token_type}"; do
        args+=(--train_shape_file "${dump}/stats/train/${shape}" --valid_shape_file "${dump}/stats/valid/${shape}")
    done
    logged "${exp}/train.log" "${python}" -m imlspike.espnet.asr_train --config "${exp}/train.yaml" \
        --output_dir "${exp}" --resume true --ngpu "${ngpu}" --seed "${seed}" $(espnet_data) "${normalize[@]}" \
        "${args[@]}" --fold_length 80000 --fold_length 150
}

# A checkpoint of other settings is never taken up in silence.
settle_earlier_training() {
    local exp=$1 key=$2 started=$1/.done/started
    if [ "${resume}" = false ]; then
        rm -rf "${exp}"/*.pth "${exp}"/{tensorboard,images,att_ws,train.log}
    elif [ "${resume}" = true ] && [ -f "${exp}/checkpoint.pth" ] && [ "$(cat "${started}")" != "${key}" ]; then
        die "${exp} holds a training with other settings or data (its settings: ${exp}/train.yaml). Give another" \
            "--asr_tag, or begin again with --resume false, or go on from its checkpoint with --resume anyway"
    fi
    echo "${key}" > "${started}"
}

# follow_logs, follow_decoding: progress in the background, until stop_following

follow_logs() { # LOG, the same in each experiment
    local name logs=()
    for name in "${names[@]}"; do logs+=("${name}=exp/${name}/$1"); done
    "${python}" "${template}/../utils/follow.py" "${logs[@]}" &
    follower=$!
}

follow_decoding() {
    local count=0 name mode set logs=()
    for_each_decoding count_utterances
    for name in "${names[@]}"; do logs+=("exp/${name}/decode_joint/*/pieces/*/log"); done
    count_lines "${count}" "sentences by beam search" "best hypo" "${logs[@]}" &
    follower=$!
}

count_utterances() { if [ "$2" = joint ]; then count=$((count + $(wc -l < "data/$3/wav.scp"))); fi; }

stop_following() {
    kill "${follower}" 2> /dev/null || true
    wait "${follower}" 2> /dev/null || true
}

# 7 to 10: what came out

# for_each_decoding FUNCTION: FUNCTION NAME MODE SET for each experiment, way of decoding and test set
for_each_decoding() {
    local name mode set
    for name in "${names[@]}"; do
        for mode in ${decode_modes}; do
            for set in ${test_sets}; do "$1" "${name}" "${mode}" "${set}"; done
        done
    done
}

# The model that decodes: --inference_model, or the average for the first criterion the configuration names.
model_of() {
    local exp=exp/$1 found
    if [ -n "${inference_model}" ]; then
        found=${exp}/${inference_model}
    else
        found=$(sed -n '/^best_model_criterion:/,/^[a-z]/p' "${exp}/config.yaml" | tr -d ' \n' |
            sed -E "s/^best_model_criterion:--?([a-z]+)-([a-z_]+)-.*/\1.\2.ave.pth/")
        found=${exp}/${found}
    fi
    [ -f "${found}" ] || die "there is no model ${found}; train first (stage 6), or name a file with --inference_model"
    echo "${found}"
}

pieces_of_joint() { # so many that all decodings together keep --nj processes busy
    local decodings=0 mode set
    for_each_decoding count_decoding
    echo $(((nj + decodings - 1) / decodings))
}

count_decoding() { if [ "$2" = joint ]; then decodings=$((decodings + 1)); fi; }

decode_pieces() {
    local name=$1 mode=$2 set=$3 model key pieces piece out=exp/$1/decode_$2/$3
    model=$(model_of "${name}")
    key=$(fingerprint "${model}" "${inference_config}" "${inference_args}" "data/${set}/wav.scp")
    if [ "${mode}" = greedy ]; then
        job "${nj}" once "${out}/.done" "${key}" decode_greedy "${name}" "${set}" "${model}" "${out}"
        return
    fi
    pieces=$(pieces_of_joint)
    for ((piece = 1; piece <= pieces; piece++)); do
        job "${nj}" once "${out}/pieces/${piece}/.done" "${key} ${pieces}" \
            decode_joint "${name}" "${set}" "${model}" "${out}/pieces/${piece}" "${piece}" "${pieces}"
    done
}

decode_greedy() {
    local name=$1 set=$2 model=$3 out=$4
    rm -rf "${out}"
    logged "${out}/log" "${python}" -m imlspike.bin.decode --config "exp/${name}/config.yaml" --model "${model}" \
        --data-dir "data/${set}" --output "${out}/text" --device "$( ((ngpu)) && echo cuda || echo cpu)"
}

decode_joint() {
    local name=$1 set=$2 model=$3 out=$4 piece=$5 pieces=$6
    rm -rf "${out}"
    mkdir -p "${out}"
    awk -v piece="${piece}" -v pieces="${pieces}" 'NR % pieces == piece % pieces' "data/${set}/wav.scp" > "${out}/keys"
    logged "${out}/log" "${python}" -m imlspike.espnet.asr_inference --config "${inference_config}" \
        --asr_train_config "exp/${name}/config.yaml" --asr_model_file "${model}" --output_dir "${out}" \
        --data_path_and_name_and_type "data/${set}/wav.scp,speech,sound" --key_file "${out}/keys" --log_level INFO \
        --ngpu "$((ngpu > 0))" --seed "${seed}" ${inference_args}
}

join_pieces() {
    local out=exp/$1/decode_$2/$3
    if [ "$2" = joint ]; then
        once "${out}/.done" "$(fingerprint "${out}"/pieces/*/1best_recog/text)" --quiet join_texts "${out}"
    fi
}

join_texts() {
    LC_ALL=C sort "$1"/pieces/*/1best_recog/text > "$1/text.part"
    mv "$1/text.part" "$1/text"
}

score() {
    local name=$1 mode=$2 set=$3 out=exp/$1/decode_$2/$3
    once "${out}/.done_score" "$(fingerprint "data/${set}/text" "${out}/text")" \
        "${python}" -m imlspike.bin.score --ref "data/${set}/text" --hyp "${out}/text" --output-dir "${out}" \
        --name "${name}, ${mode}, ${set}"
}

profile() {
    local name=$1 set=${test_sets%% *} model out=exp/$1/profile
    model=$(model_of "${name}")
    once "${out}/.done" "$(fingerprint "${model}" "$(beam_size)" "data/${set}/wav.scp")" \
        logged "${out}/log" "${python}" -m imlspike.bin.profile --config "exp/${name}/config.yaml" --model "${model}" \
        --data-dir "data/${set}" --output-dir "${out}" --beam "$(beam_size)"
}

beam_size() {
    local found
    found=$(sed -n 's/^beam_size: *\([0-9]*\).*/\1/p' "${inference_config}")
    echo "${found:-20}" # ESPnet's default
}

report() {
    "${python}" -m imlspike.bin.report "${names[@]/#/exp/}" --command "${command_line}" --output "${PWD}/exp/RESULTS.md"
}
