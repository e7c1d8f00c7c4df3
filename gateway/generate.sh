#!/usr/bin/env bash
# Generates gen/ (messages, gRPC stubs, REST handlers) from ../proto. Does nothing when neither the
# protos nor the pinned plugins changed; safe to run from several makes at once.
set -euo pipefail
cd "$(dirname "$0")"

tools=../build/go-tools
googleapis=../build/third_party/googleapis
protoc=${PROTOC:-protoc}

mkdir -p "$tools"
exec 9>"$tools/.lock"
flock 9

mapfile -t protos < <(cd ../proto && find . -name '*.proto' -printf '%P\n' | LC_ALL=C sort)
if ((${#protos[@]} == 0)); then
  echo "generate.sh: no .proto file below proto/" >&2
  exit 1
fi

stamp=$({
  "$protoc" --version
  go version
  cat generate.sh go.mod go.sum
  (cd ../proto && sha256sum "${protos[@]}")
} | sha256sum)
if [[ -f gen/.stamp && "$(<gen/.stamp)" == "$stamp" ]]; then
  exit 0
fi
if [[ ! -f $googleapis/google/api/annotations.proto ]]; then
  echo "generate.sh: $googleapis is missing: run make from the project's root first" >&2
  exit 1
fi

go build -o "$tools/" \
  google.golang.org/protobuf/cmd/protoc-gen-go \
  google.golang.org/grpc/cmd/protoc-gen-go-grpc \
  github.com/grpc-ecosystem/grpc-gateway/v2/protoc-gen-grpc-gateway

# Made elsewhere and renamed when it is whole: a run that was cut short leaves no half of one.
fresh=$(mktemp -d "$tools/gen.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
PATH="$(cd "$tools" && pwd):$PATH" "$protoc" -I ../proto -I "$googleapis" \
  --go_out="$fresh" --go_opt=module=ecom/gateway/gen \
  --go-grpc_out="$fresh" --go-grpc_opt=module=ecom/gateway/gen \
  --grpc-gateway_out="$fresh" --grpc-gateway_opt=module=ecom/gateway/gen \
  "${protos[@]}"
printf '%s\n' "$stamp" >"$fresh/.stamp"
chmod 755 "$fresh"
rm -rf gen
mv "$fresh" gen
trap - EXIT
