#!/usr/bin/env python3
"""Checks by hand, where torch and transformers are installed, that what `rlhf` wrote loads there with the same numbers.

usage: check_transformers.py RLHF POLICY_DIR PROMPTS.jsonl [REWARD_MODEL_DIR PAIRS.jsonl]

Sums of log-probabilities of sampled completions, and scores of a reward model, must agree to 1e-3."""

import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

rlhf, policy_path, prompts = sys.argv[1:4]


def lines(*arguments):
    output = subprocess.run([rlhf] + list(arguments), check=True, stdout=subprocess.PIPE).stdout
    return [json.loads(line) for line in output.decode().splitlines()]


def check_policy():
    tokenizer = AutoTokenizer.from_pretrained(policy_path)
    model = AutoModelForCausalLM.from_pretrained(policy_path, dtype=torch.float32).eval()
    eos = model.config.eos_token_id
    worst = 0.0
    rows = lines(
        "generate", "--model", policy_path, "--data", prompts, "--rows", "40", "--max-new-tokens", "24", "--json"
    )
    for row in rows:
        prompt = tokenizer(row["prompt"]).input_ids
        completion = tokenizer(row["completion"], add_special_tokens=False).input_ids
        completion += [eos] if row["terminated"] else []
        if len(completion) != row["tokens"]:
            continue  # the sampled ids are another spelling of the same text
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            log_probs = model(ids).logits[0].log_softmax(-1)
        total = sum(log_probs[len(prompt) + t - 1, token].item() for t, token in enumerate(completion))
        worst = max(worst, abs(total - row["log_prob"]))
    print("policy: %d completions, largest difference of log-probabilities %.2e" % (len(rows), worst))
    return worst


def check_reward_model(path, pairs):
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    with open(pairs, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file][:40]
    scores = lines("score", "--scorer", path, "--data", pairs, "--rows", "40")
    worst = 0.0
    for row, score in zip(rows, scores):
        for side in ("chosen", "rejected"):
            ids = tokenizer(row["prompt"] + row[side] + tokenizer.eos_token).input_ids
            with torch.no_grad():
                value = model(torch.tensor([ids])).logits[0, 0].item()
            worst = max(worst, abs(value - score[side]))
    print("reward model: %d pairs, largest difference of scores %.2e" % (len(rows), worst))
    return worst


worst = check_policy()
if len(sys.argv) > 5:
    worst = max(worst, check_reward_model(*sys.argv[4:6]))
sys.exit(0 if worst < 1e-3 else 1)
