#!/bin/sh
# Makes greeterpb and registrypb from the contracts of this repository. Run it when one of those has changed.
# Needs Go, and a Python that has examples/python/requirements.txt: protoc is in grpcio-tools.
#
#     ./generate.sh [python]
set -eu
cd "$(dirname "$0")"
python=${1:-python3}
plugins=$(mktemp -d)
trap 'rm -r "$plugins"' EXIT

GOBIN=$plugins go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
GOBIN=$plugins go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.1
packages=module=adit.example/go,Mgreeter.proto=adit.example/go/greeterpb,Mregistry.proto=adit.example/go/registrypb
"$python" -m grpc_tools.protoc --proto_path=../proto --proto_path=../../proto \
    --plugin="$plugins/protoc-gen-go" --plugin="$plugins/protoc-gen-go-grpc" \
    --go_out=. --go_opt="$packages" --go-grpc_out=. --go-grpc_opt="$packages" \
    greeter.proto registry.proto
