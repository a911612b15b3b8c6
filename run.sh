#!/usr/bin/env bash
# The front door: sets itself up, then runs a recipe, a verb of imlspike, the tests or the benchmarks.
# See ./run.sh --help.
set -euo pipefail
from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
main_job=egs/msu_ru_nsh/asr1
need_gb=9   # while installing: 5.5 GB of environment and 3 GB of packages on their way into it
cache_gb=12 # with this much, pip also keeps what it downloads (another 3 GB) for a second try
extras=asr,vocoder,phonemes,scores,onnx,clients,compile,dev,oracles

usage() {
    cat <<'EOF'
usage: ./run.sh [--active] [command] [options]

  ./run.sh [options]                     the main job: the recipe egs/msu_ru_nsh/asr1 (trains a quick spiking recognizer
                                         and its twin with ReLU on real speech, scores, counts spikes)
  ./run.sh egs/<corpus>/<task> [options] any other recipe; options go to it, e.g. --stage 3 --stop_stage 5,
                                         and --help shows what it takes
                                         (another script is named in full: egs/msu_ru_nsh/asr1/ablate.sh)
  ./run.sh <verb> [options]              a verb of the command line imlspike, from any folder:
                                           ./run.sh transcribe day.wav --model pretrained/recogniser.zip
                                         (the same as imlspike <verb> after source .venv/bin/activate; the
                                         verbs are named at the end, and <verb> --help tells more)
  ./run.sh test [pytest options]         ruff and shellcheck, then the tests and the doctests
  ./run.sh bench [options]               speed and memory against peers
  ./run.sh setup                         only install
  ./run.sh --help                        this text

The first call makes the virtual environment .venv beside this file and installs into it (9 GB of disk while it
works, 6 GB after); later calls start within seconds, until the requirements change.

  --active              use the active virtual or conda environment instead of .venv (it comes first)
  IMLSPIKE_PYTHON=...   the Python (3.11 or 3.12) that makes .venv; without it, the first that fits on PATH
  IMLSPIKE_WARNINGS=1   shows what libraries warn of while a verb runs

EOF
    echo "verbs: $(verbs | paste -sd' ' -)"
}

die() {
    echo "run.sh: error: $*" >&2
    exit 1
}

fits() { # does this Python run, and is it of a version that constraints.txt is for?
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    local candidate version seen=""
    for candidate in ${IMLSPIKE_PYTHON:-python3.11 python3.12 python3 python}; do
        if fits "$candidate"; then
            echo "$candidate"
            return
        fi
        version=$("$candidate" -c 'import platform; print(platform.python_version())' 2>/dev/null) &&
            seen="$seen $candidate is $version;"
    done
    die "Python 3.11 or 3.12 is needed, and found is:${seen:- none;} install one (Debian, Ubuntu: apt install" \
        "python3.11 python3.11-venv python3.11-dev) or name it in IMLSPIKE_PYTHON"
}

make_venv() {
    local python
    python=$(find_python)
    echo "run.sh: making .venv with $python"
    "$python" -m venv --clear .venv >/dev/null 2>&1 ||
        die "$python can't make a virtual environment; install its venv package (Debian, Ubuntu: apt install" \
            "python3.11-venv), name another Python in IMLSPIKE_PYTHON, or use an active environment with --active"
}

check_disk() {
    local free_gb
    free_gb=$(df -Pk "$1" | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
    ((free_gb >= cache_gb)) || export PIP_NO_CACHE_DIR=1
    ((free_gb >= need_gb)) ||
        die "the disk of $1 has $free_gb GB free and the installation needs $need_gb GB; free some" \
            "space, put the project on another disk, or use an environment elsewhere with --active"
}

has() { # is this package there? (found, not imported: quick)
    "$py" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"
}

check_compiler() { # two dependencies (ESPnet's pyworld, resemblyzer's webrtcvad) come as source only
    { command -v g++ || command -v c++ || command -v clang++; } >/dev/null ||
        die "a C++ compiler is needed to install (for pyworld, webrtcvad); Debian, Ubuntu: apt install g++"
    [[ -f $("$py" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]] ||
        die "the C headers of $("$py" -V) are needed to install (for pyworld, webrtcvad); Debian, Ubuntu: apt install" \
            "$("$py" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')"
}

show_progress() { # pip's output, which goes to the log in full, as a few lines with the time, or as the one line $1
    local start=$SECONDS line="" packages=0 what=${1:-} status
    say() { printf '  %02d:%02d  %s\n' $(((SECONDS - start) / 60)) $(((SECONDS - start) % 60)) "$1"; }
    [[ -z $what ]] || say "$what"
    while true; do
        status=0
        IFS= read -r -t 20 line || status=$?
        if ((status > 128)); then
            say "... still ${what:-looking up packages}"
            continue
        elif ((status > 0)); then
            break
        fi
        [[ -z ${1:-} ]] || continue
        case $line in
            Collecting\ * | Processing\ *) packages=$((packages + 1)) ;;
            *Downloading\ *MB\)* | *Using\ cached\ *MB\)*)
                what="downloading"
                line=${line##*/}
                line=${line##*Downloading }
                line=${line##*Using cached }
                say "package $packages: ${line%%-*} ${line##*.whl }"
                ;;
            Building\ wheels*)
                what="building packages that come as source"
                say "$what"
                ;;
            Installing\ collected*)
                what="installing $packages packages"
                say "$what"
                ;;
        esac
    done
}

explain_pip_failure() { # one line for what is in pip's log, with the way out
    local log=$1
    if grep -q 'No space left on device' "$log"; then
        die "the disk filled up while installing (the environment or \$TMPDIR); free $need_gb GB and run this again"
    elif grep -qiE 'failed to establish|name resolution|name or service not known|unreachable|connection (refused|reset|aborted|broken)|timed out|proxyerror|could not connect|max retries' "$log"; then
        die "no package index can be reached; check the network or the proxy (HTTPS_PROXY), or name a mirror in" \
            "PIP_INDEX_URL, and run this again (what pip said: $log)"
    fi
    die "pip could not install: $(grep -m1 -E '^ *ERROR' "$log" || tail -n1 "$log") (all it said: $log)"
}

fingerprint() { # changes when an installation has to be made again
    "$py" - "$root" "$extras" setup.cfg setup.py constraints.txt pyproject.toml imlspike/ops/csrc/* <<'EOF'
import hashlib, pathlib, sys
files = [pathlib.Path(name).read_bytes() for name in sys.argv[3:]]
print(hashlib.sha256(b"\0".join([*files, *map(str.encode, [*sys.argv[1:3], sys.version])])).hexdigest())
EOF
}

install() {
    local log=$env/imlspike-install.log
    has espnet2 || check_disk "$env"
    { has pyworld && has webrtcvad; } || check_compiler
    if "$py" -c 'import pip, re, sys; sys.exit(tuple(map(int, re.findall(r"\d+", pip.__version__)[:2])) <= (26, 0))'; then
        echo "run.sh: this pip refuses a dependency of ESPnet; putting pip 26.0 in its place"
        "$py" -m pip install --quiet "pip<=26.0" >"$log" 2>&1 || explain_pip_failure "$log"
    fi
    echo "run.sh: installing into $env (some 130 packages, 3 GB to download, a few minutes; full log: $log)"
    # As a variable and not as an option, so that the builds of source packages keep to the pins as well; as an
    # address, for some build in a folder of their own, and pip parts a variable at blanks.
    local pins
    pins=$("$py" -c 'import pathlib; print(pathlib.Path("constraints.txt").resolve().as_uri())')
    PIP_CONSTRAINT=$pins PYTHONUNBUFFERED=1 "$py" -m pip install --disable-pip-version-check \
        --progress-bar off -e ".[$extras]" 2>&1 | tee "$log" | show_progress || explain_pip_failure "$log"
    # Once more for the operators, which are compiled against torch: the first build, apart, has none.
    PATH=$env/bin:$PATH PYTHONUNBUFFERED=1 "$py" -m pip install --disable-pip-version-check --verbose --no-deps \
        --no-build-isolation -e . 2>&1 | tee -a "$log" | show_progress "compiling the operators" ||
        explain_pip_failure "$log"
    ! grep -om1 'imlspike: no compiled operators .*' "$log" || true
}

setup() { # leaves py and env set and the environment on PATH
    env=$root/.venv
    if ((active)); then
        env=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
        [[ -n $env ]] || die "--active, and no environment is active: activate one, or leave --active out to use .venv"
    fi
    py=$env/bin/python
    exec 9>"$root/.run.lock" # two calls at once: the second waits for the first one's installation
    ! command -v flock >/dev/null || flock 9
    if ((!active)) && ! { fits "$py" && "$py" -c 'import pip' 2>/dev/null; }; then
        check_disk "$root"
        make_venv
    fi
    fits "$py" || die "the active environment $env has no Python 3.11 or 3.12; activate another, or leave --active out"
    local stamp=$env/imlspike-stamp print
    print=$(fingerprint)
    if [[ ! -f $stamp || $(<"$stamp") != "$print" ]]; then
        rm -f "$stamp" # an installation that fails half-way is not taken for a whole one
        install
        echo "$print" >"$stamp.part"
        mv "$stamp.part" "$stamp"
        echo "run.sh: installed"
    fi
    exec 9>&-
    export VIRTUAL_ENV=$env PATH=$env/bin:$PATH
    unset PYTHONHOME
}

verbs() {
    local file
    for file in imlspike/bin/[a-z]*.py; do
        file=${file##*/} file=${file%.py}
        [[ $file == main ]] || echo "${file//_/-}"
    done
}

recipes() {
    local file
    for file in egs/*/*/run.sh; do
        [[ ! -f $file ]] || echo "${file%/run.sh}"
    done
}

nearest() { # of the words after the first, the one like it
    local python
    python=$(find_python)
    "$python" -c 'import difflib, sys; print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1, 0))' "$@"
}

run_recipe() {
    local recipe=${1%/} script=run.sh
    if [[ $recipe == *.sh ]]; then
        script=${recipe##*/}
        recipe=${recipe%/*}
    fi
    [[ -f $recipe/$script ]] || die "there is no recipe ${1%/}; there are: $(recipes | paste -sd' ' -)"
    setup
    cd "$recipe"
    exec bash "./$script" "${@:2}"
}

active=0
if [[ ${1:-} == --active ]]; then
    active=1
    shift
fi
case ${1:-} in
    -h | --help | help) usage ;;
    setup) setup ;;
    test)
        setup
        ruff check . # first, so that the last line is the tests' summary
        lint-imports --no-logo --no-cache
        shopt -s globstar
        shellcheck --severity=warning run.sh egs/**/*.sh
        # A test file is one process's; torch would otherwise take all cores for each.
        export OMP_NUM_THREADS=1
        python -m pytest --numprocesses=auto --maxprocesses=8 --dist=loadfile --cov=imlspike --cov-report= "${@:2}"
        echo "lines of imlspike/ that the tests ran: $(coverage report --format=total) %"
        ;;
    bench)
        setup
        exec python -m benchmarks "${@:2}"
        ;;
    egs/* | ./egs/*) run_recipe "${1#./}" "${@:2}" ;;
    "" | --*) run_recipe "$main_job" "$@" ;;
    *)
        mapfile -t known < <(verbs)
        if [[ " ${known[*]} " == *" $1 "* ]]; then
            setup >&2  # stdout is for what the verb prints
            cd "$from" # files are named from where the user stands
            exec imlspike "$@"
        fi
        mapfile -t -O ${#known[@]} known < <(recipes)
        near=$(nearest "$1" setup test bench "${known[@]}")
        die "unknown command '$1'; did you mean '$near'? ./run.sh --help names all"
        ;;
esac
