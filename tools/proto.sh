#!/bin/bash
# Generates the stubs of proto/ into agent/powernode/; with --check, fails when the committed ones
# are not what proto/ gives.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
.venv/bin/python -m grpc_tools.protoc -I proto \
    --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" proto/powernode/sdwan/v1/*.proto
# Only one file defines services; the other _grpc files are empty shells.
for file in "$out"/powernode/sdwan/v1/*_pb2_grpc.py; do
    [[ $file == */agent_service_pb2_grpc.py ]] || rm "$file"
done

if [ "${1:-}" = --check ]; then
    if ! diff -r --exclude=__pycache__ --exclude=py.typed "$out/powernode" agent/powernode >/dev/null; then
        echo "stubs in agent/powernode are stale: run make proto and commit" >&2
        exit 1
    fi
    exit 0
fi
find agent/powernode -name '*_pb2*' -delete 2>/dev/null || true
mkdir -p agent/powernode
cp -r "$out"/powernode/. agent/powernode/
