# shellcheck shell=bash disable=SC2034,SC2154  # the recipe uses the variables; it and 'option' set others
# What the recipes at a published size share, read by their run.sh with its arguments: the option --twin, the models to
# train (array models) and the GPUs of this machine (gpus). Needs the recipe's folder in 'recipe'.

. "${recipe}/../../TEMPLATE/utils/options.sh"

option twin false "the ANN twin of the same size: true (beside the spiking model), only, or false"
parse_options --keep-unknown "$@"
one_of twin true only false

spiking=${recipe}/conf/train_asr_iml_spikeformer.yaml
ann=train_asr_iml_spikeformer_ann:${spiking}:${recipe}/conf/train_asr_transformer.yaml
models=(--asr_config "${spiking}")
if [ "${twin}" = only ]; then models+=(--experiments "${ann}"); fi
if [ "${twin}" = true ]; then models+=(--experiments "train_asr_iml_spikeformer:${spiking} ${ann}"); fi
[ "${twin}" = false ] || [[ " ${passed_on[*]-} " != *" --asr_"* ]] ||
    die "--twin ${twin} trains the recipe's own models and leaves --asr_config, --asr_override and --asr_tag without" \
        "effect; name all models in --experiments instead (README.md)"

gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU') || true # all of this machine, unless --ngpu says less
