#!/usr/bin/env python3
"""Prints the table of the stories recipe from the results of `rlhf eval --json`."""

import json
import math
import os
import sys

out, seeds = sys.argv[1], int(sys.argv[2])


def read(seed, stage):
    with open(os.path.join(out, "seed%d" % seed, stage + ".json"), encoding="utf-8") as file:
        return json.load(file)


def mean(values):
    return sum(values) / len(values)


print("%-14s %22s %18s %8s %8s" % ("", "lexicon (never seen)", "reward model", "KL", "tokens"))
for name, stage in [
    ("SFT", "sft"),
    ("best of 4", "sft"),
    ("RAFT", "raft"),
    ("REINFORCE", "reinforce"),
    ("pairwise", "pairwise"),
    ("PPO", "ppo"),
]:
    rows = [read(seed, stage) for seed in range(seeds)]
    if name == "best of 4":
        gold = [row["best_of_4"] for row in rows]
        reward, kl = float("nan"), math.log(4) - 3 / 4
    else:
        gold = [row["gold"] for row in rows]
        reward, kl = mean([row["score"]["mean"] for row in rows]), mean([row["kl"]["mean"] for row in rows])
    error = math.sqrt(sum(g["standard_error"] ** 2 for g in gold)) / len(gold)
    print(
        "%-14s %12.3f +- %.3f %18.3f %8.2f %8.1f"
        % (name, mean([g["mean"] for g in gold]), error, reward, kl, mean([row["tokens"]["mean"] for row in rows]))
    )
print(
    "mean over %d seed%s; best of 4 by the reward model; KL to the fine-tuned model in nats (best of 4: its bound)"
    % (seeds, "" if seeds == 1 else "s")
)
