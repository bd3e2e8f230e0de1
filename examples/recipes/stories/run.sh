#!/bin/sh
# The whole recipe: see README.md beside this file.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
shared=${RLHF_SHARED:-$root/../shared}
rlhf=${RLHF:-$root/build-release/examples/rlhf/rlhf}
out=runs/stories
seeds=1
while [ $# -gt 0 ]; do
    case $1 in
    --out) out=$2; shift 2 ;;
    --seeds) seeds=$2; shift 2 ;;
    *) echo "usage: run.sh [--out DIR] [--seeds N]" >&2; exit 2 ;;
    esac
done
for file in "$rlhf" "$shared/models/stories260K/config.json" "$shared/data/text/tinystories_1800.txt.gz" \
    "$shared/data/sentiment/vader_lexicon.txt.gz"; do
    [ -e "$file" ] || { echo "missing: $file" >&2; exit 1; }
done
mkdir -p "$out/data"
out=$(cd "$out" && pwd)
gzip -dc "$shared/data/sentiment/vader_lexicon.txt.gz" >"$out/data/lexicon.txt"
cp "$shared/data/text/tinystories_1800.txt.gz" "$out/data/stories.txt.gz"
ln -sfn "$(cd "$shared/models/stories260K" && pwd)" "$out/data/stories260K"
# The first ten words of every story are a prompt; the last 300 are kept for judging.
gzip -dc "$out/data/stories.txt.gz" | awk '
    BEGIN { first = 1 }
    $0 == "<|endoftext|>" { first = 1; next }
    first && NF >= 12 {
        text = $1
        for (i = 2; i <= 10; i++) text = text " " $i
        gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text)
        print "{\"prompt\": \"" text "\"}"
        first = 0
    }' >"$out/data/all.jsonl"
rows=$(wc -l <"$out/data/all.jsonl")
head -n $((rows - 300)) "$out/data/all.jsonl" >"$out/data/prompts.jsonl"
tail -n 300 "$out/data/all.jsonl" >"$out/data/judged.jsonl"

cd "$out"
seed=0
while [ "$seed" -lt "$seeds" ]; do
    run=seed$seed
    mkdir -p "$run"
    for stage in sft methods; do
        sed "s/^\( *\)seed: .*/\1seed: $seed/" "$here/$stage.yaml" >"$run/$stage.yaml"
    done
    "$rlhf" run "$run/sft.yaml" --out "$run" --resume
    if [ ! -f "$run/pairs.jsonl" ]; then
        "$rlhf" best-of-n --model "$run/sft/model" --data data/prompts.jsonl --scorer lexicon:data/lexicon.txt --n 4 \
            --max-new-tokens 96 --seed "$seed" --pairs "$run/pairs.jsonl"
    fi
    cp "$run/pairs.jsonl" data/pairs.jsonl
    "$rlhf" run "$run/methods.yaml" --out "$run" --resume
    for stage in sft raft reinforce pairwise ppo; do
        "$rlhf" eval --model "$run/$stage/model" --reference "$run/sft/model" --data data/judged.jsonl --n 4 \
            --max-new-tokens 96 --scorer "$run/reward/model" --gold lexicon:data/lexicon.txt --seed "$((seed + 1000))" \
            --json >"$run/$stage.json"
    done
    seed=$((seed + 1))
done
python3 "$here/table.py" "$out" "$seeds"
