#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes .venv ready for `run`, `test` or `lint` and says in one line what to do when it can't.
#
# A stamp written last tells a finished environment from one that was interrupted: python3 -m venv
# without Debian's python3-venv leaves a folder that looks done.
set -u

purpose=${1:?usage: venv.sh run|test|lint}
python=${PYTHON:-python3}
venv=${VENV:-.venv}

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 ||
    fail "no $python here; install it: sudo apt-get install python3 python3-venv (or set PYTHON=)"
version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])') ||
    fail "$python does not run; set PYTHON= to a Python of 3.11 or later"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or later is needed and $python is $version; run: make PYTHON=python3.11 (after sudo apt-get install python3.11-venv)"

# The test environment holds all that the run-time one does.
key="$purpose $version $(cat pyproject.toml emulator/pyproject.toml | cksum)"
[ -f "$venv/.ready-$purpose" ] && [ "$(cat "$venv/.ready-$purpose")" = "$key" ] && exit 0

case $purpose in
    run) extras='.' ;;
    test) extras='.[test,lint]' ;;
    *) fail "unknown purpose $purpose" ;;
esac

printf 'setting up %s for %s (once)\n' "$venv" "$purpose"
if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import pip' 2>/dev/null ||
    [ "$("$venv/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')" != "$version" ]; then
    rm -rf "$venv"
    if ! "$python" -m venv "$venv" >/dev/null 2>&1 || ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
        rm -rf "$venv"
        fail "$python has no venv module; install it: sudo apt-get install python3-venv"
    fi
fi

# Nothing is written outside this folder, pip's cache included.
log=$venv/setup.log
if ! PIP_CACHE_DIR="$venv/cache" "$venv/bin/python" -m pip install --disable-pip-version-check \
    --no-input --retries 2 --timeout 20 -e "$extras" -e ./emulator >"$log" 2>&1; then
    if grep -qiE 'ConnectionError|NewConnectionError|name resolution|Max retries|ProxyError|timed out|No matching distribution' "$log"; then
        fail "packages could not be fetched; check the network or set http_proxy, then run make again (log: $log)"
    fi
    fail "packages could not be installed: $(grep -iE 'error' "$log" | tail -n 1 | cut -c1-200) (log: $log)"
fi
rm -rf "$venv/cache"
printf '%s' "$key" >"$venv/.ready-$purpose"
