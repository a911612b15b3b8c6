# shellcheck shell=bash disable=SC2154
# Training YAMLs of an ESPnet task, checked and resolved in one process: it's ESPnet's import that takes the time.
# Before it, settings.sh has to set 'python'; jobs.sh has to be read.

declare -A config_key=()
config_arguments=()

# add_config RESOLVED ARGUMENT...: remembers what 'imlspike config' is to write, unless that was done before
add_config() {
    local resolved=$1 key; shift
    key=$(fingerprint "$@")
    if is_done "${resolved}.done" "${key}"; then return 0; fi
    rm -f "${resolved}.done"
    config_key[${resolved}]=${key}
    config_arguments+=(${config_arguments[0]+--then} "$@" --output "${resolved}")
}

# write_configs LOG: writes them all; what ESPnet says about packages it could use goes to the log and isn't shown
write_configs() {
    local log_file=$1 resolved
    [ "${#config_arguments[@]}" -gt 0 ] || return 0
    if ! "${python}" -m imlspike.bin.config "${config_arguments[@]}" > "${log_file}" 2>&1; then
        grep '^config:' "${log_file}" >&2 || cat "${log_file}" >&2
        return 1
    fi
    for resolved in "${!config_key[@]}"; do
        once "${resolved}.done" "${config_key[${resolved}]}" --quiet true
    done
    config_key=() config_arguments=()
}
