#!/usr/bin/env bash
# compile.sh VERSION FOLDER PREFIX: compile every .py under FOLDER for Python VERSION.
#
# A compiled file fits one version of Python, so it is made by that version or not at all: $PYTHON,
# if it is of that version, or the pythonVERSION on the PATH (pyenv's stand-ins are told which one
# is meant). Sources alone work the same and start three to five times slower, so a missing
# interpreter is said and is no error.
#
# Compiled files are never checked against their sources, whose time of change a zip file does not
# keep. PREFIX replaces FOLDER in tracebacks: where Lambda unpacks it.
set -euo pipefail
version=$1 folder=$2 prefix=$3

for candidate in "${PYTHON:-python3}" "python$version" "env PYENV_VERSION=$version python$version"; do
    # Not quoted on purpose: the last candidate is several words.
    found=$($candidate -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || true)
    if test "$found" = "$version"; then
        $candidate -m compileall -q -j 0 --invalidation-mode unchecked-hash \
            -s "$folder" -p "$prefix" "$folder"
        echo "build: compiled for Python $version"
        exit 0
    fi
done
# To standard output: sam shows a Makefile's errors only when it fails.
echo "build: NOT COMPILED, no python$version runs here: cold starts will be slow"
