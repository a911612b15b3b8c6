#!/usr/bin/env bash
# The corpus's text for language models (openslr.org/11: 40 million sentences of books, 1.5 GB to fetch) as
# WORKDIR/data/local/other_text/text, for --lm_train_text.
#
#   local/lm_text.sh [WORKDIR [librispeech-lm-norm.txt.gz]]
#
# WORKDIR is what run.sh has as --workdir, by default the recipe's folder; without the file it is fetched.
set -euo pipefail

name=librispeech-lm-norm.txt.gz
url=https://www.openslr.org/resources/11/${name}
md5=c83c64c726a1aedfe65f80aa311de402
work=${1:-$(dirname "${BASH_SOURCE[0]}")/..}
archive=${2:-${work}/downloads/${name}}
out=${work}/data/local/other_text/text

die() {
    echo "lm_text.sh: $*" >&2
    exit 1
}

if [ $# -lt 2 ] && [ ! -f "${archive}" ]; then
    mkdir -p "$(dirname "${archive}")"
    curl --fail --location --continue-at - --output "${archive}.part" "${url}" ||
        die "${url} could not be fetched; the same command goes on from there, or give the file as an argument"
    mv "${archive}.part" "${archive}"
fi
[ -f "${archive}" ] || die "there is no ${archive}"
echo "comparing the checksum of ${archive}" >&2
[ "$(md5sum < "${archive}" | cut -d' ' -f1)" = "${md5}" ] ||
    die "${archive} is not the published file (MD5 ${md5}); delete it and run this again"
mkdir -p "$(dirname "${out}")"
gzip -dc "${archive}" | awk 'NF { printf("lm_%08d %s\n", ++n, $0) }' > "${out}.part"
mv "${out}.part" "${out}"
echo "${out}: $(wc -l < "${out}") sentences"
