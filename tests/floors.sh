#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The quick tests with the oldest supported dependencies (Debian 12's), in an environment of their own.
set -eu
python=${PYTHON:-python3}
venv=.venv-floors
if [ "$("$python" -c 'import sys; print(sys.version_info[:2] == (3, 11))')" != True ]; then
    echo "floors: skipped: the oldest PyYAML has wheels up to Python 3.11 only, and $python is another"
    exit 0
fi
key=$(cat pyproject.toml tests/floors.txt | cksum)
if [ "$(cat "$venv/.ready" 2>/dev/null)" != "$key" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    PIP_CACHE_DIR="$venv/cache" "$venv/bin/python" -m pip install -q --disable-pip-version-check \
        -r tests/floors.txt -e '.[test]' -e ./emulator
    rm -rf "$venv/cache"
    printf '%s' "$key" >"$venv/.ready"
fi
exec "$venv/bin/python" -m tests.run quick "$@"
