"""A run's curves: `plot_metrics.py [metrics.jsonl] [picture.png]`; without a file, of a run made here."""

import json
import sys

import rlhf


def history(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def short_run():
    import tiny_model

    trainer = rlhf.ReinforceTrainer(
        tiny_model.policy(), reward_funcs=lambda completions: [text.count("a") for text in completions],
        train_dataset=tiny_model.PROMPTS, learning_rate=1e-2, response_length=8, max_steps=20,
        per_device_train_batch_size=32,
    )  # fmt: skip
    trainer.train()
    return trainer.log_history


def main(source=None, picture="metrics.png"):
    entries = history(source) if source else short_run()
    names = [name for name in ("loss", "reward", "objective/scores", "rlhf/sequence_kl") if name in entries[0]]
    try:
        from matplotlib import pyplot
    except ImportError:
        print("matplotlib is not installed; the last step:", {name: entries[-1][name] for name in names})
        return
    figure, axes = pyplot.subplots(len(names), sharex=True, squeeze=False)
    for name, axis in zip(names, axes[:, 0]):
        axis.plot([entry["step"] for entry in entries], [entry[name] for entry in entries])
        axis.set_ylabel(name)
    axes[-1, 0].set_xlabel("step")
    figure.savefig(picture)
    print("wrote", picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
