# shellcheck shell=bash
# The options of a recipe script, declared once: defaults, --help and the check of names come from the same table.
#
#   option stage 1 "first stage to run"     declares --stage and sets stage=1
#   parse_options "$@"                       sets the variables from the command line; an unknown name is an error
#   parse_options --keep-unknown "$@"        leaves unknown options in the array passed_on, for the script called next
#
# A value is given as "--stage 3" or "--stage=3"; "-" and "_" in names are the same.

option_table=""                              # lines "name|default|help" of this script
recipe_options="${recipe_options:-}"         # the table of the script that called this one, for --help and near misses
passed_on=()

die() {
    echo "$(basename "$0"): $*" >&2
    exit 2
}

option() {
    option_table+="$1|$2|$3"$'\n'
    printf -v "$1" '%s' "$2"
}

print_options() {
    printf 'Options (default in brackets):\n'
    printf '%s' "${recipe_options}${option_table}" | while IFS='|' read -r name default help; do
        printf '  --%-22s %s [%s]\n' "${name}" "${help}" "${default}"
    done
}

# The known option closest to a mistyped one, or nothing.
nearest_option() {
    # shellcheck disable=SC2046  # one name a word
    "${python:-python3}" -c 'import difflib, sys
print(*difflib.get_close_matches(sys.argv[1], sys.argv[2:], 1, 0.5))' "$1" \
        $(printf '%s' "${recipe_options}${option_table}" | cut -d'|' -f1)
}

unknown_option() {
    local nearest
    nearest=$(nearest_option "$1")
    die "unknown option --$1${nearest:+; did you mean --${nearest}?} (--help lists all)"
}

parse_options() {
    local keep_unknown=false name value
    if [ "${1:-}" = --keep-unknown ]; then keep_unknown=true; shift; fi
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help)
                if ! ${keep_unknown}; then print_options; exit 0; fi
                passed_on+=(--help); shift; continue ;;
            --?*) name=${1#--} ;;
            *) die "unexpected argument '$1'; options look like '--stage 3' (--help lists all)" ;;
        esac
        if [[ ${name} == *=* ]]; then
            value=${name#*=} name=${name%%=*}; shift
        else
            [ $# -ge 2 ] || die "option --${name} needs a value"
            value=$2; shift 2
        fi
        name=${name//-/_}
        if [[ $'\n'${option_table} == *$'\n'"${name}|"* ]]; then
            printf -v "${name}" '%s' "${value}"
        elif ${keep_unknown}; then
            passed_on+=("--${name}" "${value}")
        else
            unknown_option "${name}"
        fi
    done
    if ${keep_unknown}; then export recipe_options="${recipe_options}${option_table}"; fi
}

# one_of token_type char bpe: dies unless the variable holds one of the values
one_of() {
    local name=$1 value; shift
    for value in "$@"; do [ "${!name}" != "${value}" ] || return 0; done
    die "--${name} is '${!name}'; expected one of: $*"
}

# whole_number stage nj: dies unless each variable holds a whole number
whole_number() {
    local name
    for name in "$@"; do [[ ${!name} =~ ^[0-9]+$ ]] || die "--${name} is '${!name}'; expected a whole number"; done
}

# at_least_one nj: dies where a variable holds zero
at_least_one() {
    local name
    for name in "$@"; do [ "${!name}" -ge 1 ] || die "--${name} is ${!name}; expected at least 1"; done
}

# decimal_number max_wav_duration: dies unless each variable holds a number such as 20 or 0.1
decimal_number() {
    local name
    for name in "$@"; do
        [[ ${!name} =~ ^[0-9]+([.][0-9]+)?$ ]] || die "--${name} is '${!name}'; expected a number"
    done
}
