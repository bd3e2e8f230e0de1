"""What a Python objective costs: steps with the built-in loss and with the same loss as a callback, in turn.

PYTHONPATH=bindings/python:examples/python python3 bindings/python/tests/bench_objective.py [rounds]"""

import math
import sys
import time

import rlhf
import tiny_model

SIZE = {"hidden_size": 320, "intermediate_size": 860, "num_hidden_layers": 8, "num_attention_heads": 8,
        "num_key_value_heads": 8, "max_position_embeddings": 128, "initializer_range": 0.02}  # fmt: skip


@rlhf.objective("token_loss")
def numpy_loss(inputs):
    inputs.d_log_prob[:] = -1 / inputs.denominator
    return -inputs.log_prob.sum() / inputs.denominator


@rlhf.objective("token_loss")
def list_loss(inputs):
    slope = -1 / inputs.denominator
    return sum(inputs.log_prob) * slope, [slope] * len(inputs.log_prob)


@rlhf.objective("policy_loss")
def ppo_loss(inputs, clip=0.2):
    """PPO's clipped loss over lists."""
    loss, slopes, scale = 0.0, [], 1 / inputs.denominator
    for new, old, advantage in zip(inputs.log_prob.tolist(), inputs.log_prob_old.tolist(), inputs.advantage.tolist()):
        ratio = math.exp(new - old)
        bounded = min(max(ratio, 1 - clip), 1 + clip)
        loss -= scale * min(ratio * advantage, bounded * advantage)
        slopes.append(-scale * ratio * advantage if ratio * advantage <= bounded * advantage else 0.0)
    return loss, slopes


def trainer(method, objective):
    policy = tiny_model.policy(rlhf.Context(threads=1), **SIZE)
    if method == "sft":
        rows = {"train_dataset": [{"text": "the dog ran far and saw a ball. " * 3}] * 8}
    else:
        rows = {"train_dataset": tiny_model.PROMPTS, "response_length": 32, "kl_coef": 0, "baseline": "none",
                "reward_funcs": lambda completions: [float(text.count("a")) for text in completions]}  # fmt: skip
    return rlhf.Trainer(method, policy, objective=objective, max_steps=1000, **rows), policy


def main(rounds=12):
    for method, losses in (("sft", {"numpy": numpy_loss, "lists": list_loss}), ("reinforce", {"ppo, lists": ppo_loss})):
        runs = {"built in": trainer(method, None)}
        runs.update(
            {name: trainer(method, loss) for name, loss in losses.items() if name != "numpy" or rlhf.have_numpy()}
        )
        parameters = sum(math.prod(p.shape) for p in runs["built in"][1].parameters())
        best = dict.fromkeys(runs, math.inf)
        for _ in range(rounds):
            for name, (run, _) in runs.items():
                started = time.thread_time()
                run.step()
                best[name] = min(best[name], time.thread_time() - started)
        base = best.pop("built in")
        print(f"{method}, {parameters / 1e6:.1f} million parameters: built in {base * 1e3:.1f} ms a step")
        for name, seconds in best.items():
            print(f"    in Python ({name}): {seconds * 1e3:.1f} ms, {seconds / base:.3f} times")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
