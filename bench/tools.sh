#!/usr/bin/env bash
# Builds the Go tools that bench/go.mod pins into build/go-tools/ and prints each one's path.
#
#   bench/tools.sh buf ghz grpcurl
#
# Quick when nothing changed: a tool is built again only when go.mod, go.sum or the Go version did.
set -euo pipefail

bench=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(dirname "$bench")/build/go-tools
PATH=$(dirname "$bench")/build/go-toolchain/bin:$PATH  # the Go that `make setup` fetched, if it had to

if [[ $# -eq 0 ]]; then
  echo "usage: bench/tools.sh TOOL..." >&2
  exit 64
fi

cd "$bench"
key=$({ go version; cat go.mod go.sum; } | sha256sum | cut -d' ' -f1)
mkdir -p "$out"

for tool in "$@"; do
  # The tool lines of go.mod are the one list of what exists and where its main package is.
  package=$(awk -v name="/$tool" '$1 == "tool" { $1 = $2 } $1 ~ name "$" { print $1; exit }' go.mod)
  if [[ -z $package ]]; then
    echo "bench/tools.sh: go.mod has no tool named $tool" >&2
    exit 64
  fi
  stamp=$out/.$tool.key
  if [[ ! -x $out/$tool || $(cat "$stamp" 2>/dev/null) != "$key" ]]; then
    echo "building $tool" >&2
    # A name of its own until it is whole: two runs at once, or an interrupted one, leave no half tool.
    go build -mod=readonly -trimpath -ldflags=-s -o "$out/.$tool.$$" "$package" >&2
    mv "$out/.$tool.$$" "$out/$tool"
    echo "$key" > "$stamp"
  fi
  echo "$out/$tool"
done
