#!/usr/bin/env bash
# Spiking Vocos, its options and its ANN twin at half the published width on 84 minutes of one voice at 16 kHz (see
# README.md). Options go to ../../TEMPLATE/voc1/voc.sh, also those set below; --help lists all of them.
set -euo pipefail

recipe_command=$(printf "%q " "$0" "$@")
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

export recipe_command
exec "${recipe}/../../TEMPLATE/voc1/voc.sh" --workdir "${recipe}" --corpus msu_ru_nsh \
    --config conf/voc_small.yaml --overrides conf/voc "$@"
