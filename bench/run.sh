#!/usr/bin/env bash
# What `make bench` runs: both load scenarios in their short form, against a `make run` of its own.
set -euo pipefail
exec "$(dirname "${BASH_SOURCE[0]}")/run.py" scenarios --short "$@"
