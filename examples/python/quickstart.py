"""Ten lines of training, on a model made here: `quickstart.py [model directory]`."""

import sys
import tempfile

import rlhf


@rlhf.reward
def vowels(completions):
    """Higher is better: the share of vowels."""
    return [sum(letter in "aeiou" for letter in text) / max(len(text), 1) for text in completions]


def main(model, where):
    prompts = [{"prompt": text} for text in ("a cat", "the dog", "tom", "lily")]
    trainer = rlhf.ReinforceTrainer(
        model, reward_funcs=vowels, train_dataset=prompts, learning_rate=1e-2, response_length=12, max_steps=40,
        per_device_train_batch_size=32,
    )  # fmt: skip
    for metrics in trainer:
        if metrics.step % 10 == 0:
            print(f"step {metrics.step}: reward {metrics['reward']:.3f}, kl {metrics['rlhf/sequence_kl']:.3f}")
    trainer.save_model(where)
    policy = rlhf.Policy(where)
    print("a cat:", policy.generate(["a cat"], max_new_tokens=12, temperature=0)[0])
    print("tom:", end=" ")
    for piece in policy.stream("tom", max_new_tokens=12, seed=1):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        if len(sys.argv) > 1:
            main(sys.argv[1], directory)
        else:
            import tiny_model

            main(tiny_model.save(directory + "/base"), directory + "/trained")
