# What the scripts that test a real server have in common. Each sources this file in the root of
# the project after it has set `subject`, which names it when something is skipped, and keeps
# `deadline` at the second of the script at which what it does has to be over.
deadline=$SECONDS
start_seconds=20
work=
server=

skip() {
    printf 'SKIPPED: %s: %s\n' "$subject" "$*"
    exit 3
}

# Runs a command until the deadline at most.
limited() {
    local left=$((deadline - SECONDS))
    timeout --kill-after=5 "$((left > 1 ? left : 1))" "$@"
}

# The server is $FOLLOWGRAPH_BIN, by default `target/debug/followgraph`.
need_server() {
    binary=$(realpath -m "${FOLLOWGRAPH_BIN:-target/debug/followgraph}")
    if [ ! -x "$binary" ]; then
        echo "there is no server at $binary; build one, or say where with FOLLOWGRAPH_BIN" >&2
        exit 2
    fi
}

# Packages of Debian, where there are such and one may install them.
install_packages() {
    [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null || return 1
    export DEBIAN_FRONTEND=noninteractive
    limited apt-get update >&2 && limited apt-get install -y --no-install-recommends "$@" >&2
}

# $1: a command, and the packages that have it where it is missing.
need_command() {
    command -v "$1" >/dev/null || install_packages "${@:2}" ||
        skip "there is no $1 here, and it cannot be installed"
}

# Node.js with the packages of the lock file in the directory $1. What is installed says itself from
# which lock file.
need_node_modules() {
    local node_major
    need_command node nodejs
    need_command npm npm
    node_major=$(node --print 'process.versions.node.split(".")[0]')
    [ "$node_major" -ge 20 ] || skip "Node.js is of version $node_major, which is older than 20"
    if ! cmp -s "$1/package-lock.json" "$1/node_modules/.lock"; then
        limited npm ci --prefix "$1" --no-audit --no-fund >&2 ||
            skip "npm cannot install what $1/package-lock.json names"
        cp "$1/package-lock.json" "$1/node_modules/.lock"
    fi
}

# Python in `target/$1` with what the file $2 names. Debian has the module that makes environments
# in a package of its own.
need_venv() {
    venv=$PWD/target/$1
    if cmp -s "$2" "$venv/installed.txt"; then
        return
    fi
    need_command python3 python3
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null && ! install_packages python3-venv; then
        skip "there is no Python with the module venv, and it cannot be installed"
    fi
    python3 -m venv --clear "$venv"
    limited "$venv/bin/pip" install --quiet --no-deps -r "$2" >&2 ||
        skip "PyPI does not give what $2 names"
    cp "$2" "$venv/installed.txt"
}

finish() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}

# A directory in `work` that goes when the script ends, and the server before it.
make_work() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/followgraph-$subject.XXXXXX")
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

start_server() {
    "$binary" serve "$@" >/dev/null 2>"$work/log" &
    server=$!
}

# Where the server that was started listens: $1 is http or https.
origin_of() {
    local origin tenth
    for ((tenth = 0; tenth < start_seconds * 10; tenth++)); do
        origin=$(sed -n "s#^.*listening on \($1://127\.0\.0\.1:[0-9]*\).*\$#\1#p" "$work/log")
        if [ -n "$origin" ]; then
            echo "$origin"
            return
        fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    echo "the server does not say where it listens:" >&2
    cat "$work/log" >&2
    return 1
}
