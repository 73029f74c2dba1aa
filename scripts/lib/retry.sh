# retry COMMAND...: run it up to three times, for commands that talk to a network; sourced.
retry() {
    local attempt
    for attempt in 1 2 3; do
        "$@" && return
        ((attempt == 3)) || { printf 'attempt %d of 3 failed: %s\n' "$attempt" "$*" >&2; sleep $((attempt * 3)); }
    done
    return 1
}
