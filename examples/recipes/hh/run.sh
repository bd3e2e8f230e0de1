#!/bin/sh
# The whole recipe: see README.md beside this file.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
shared=${RLHF_SHARED:-$root/../shared}
rlhf=${RLHF:-$root/build-release/examples/rlhf/rlhf}
out=runs/hh
seed=0
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    *) echo "usage: run.sh [--out DIR] [--seed N]" >&2; exit 2 ;;
    esac
done
mkdir -p "$out/data"
out=$(cd "$out" && pwd)
gzip -dc "$shared/data/preferences/hh_helpful_base_test.jsonl.gz" >"$out/data/all.jsonl"
ln -sfn "$(cd "$shared/models/stories260K" && pwd)" "$out/data/stories260K"
# Every fourth pair is held out.
awk 'NR % 4 != 0' "$out/data/all.jsonl" >"$out/data/train.jsonl"
awk 'NR % 4 == 0' "$out/data/all.jsonl" >"$out/data/held-out.jsonl"
cd "$out"
"$rlhf" reward --config "$here/reward.yaml" --seed "$seed" --out "seed$seed" --overwrite
"$rlhf" eval --reward-model "seed$seed/model" --data data/held-out.jsonl --bad-rows skip
