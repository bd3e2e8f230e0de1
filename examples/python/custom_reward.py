"""Rewards as functions: a column of the data, token ids, a weighted sum, and what cannot be judged."""

import rlhf
import tiny_model


@rlhf.reward
def likes(completions, favourite):
    """How often the letter of the row's column "favourite" comes."""
    return [float(text.count(letter)) for text, letter in zip(completions, favourite)]


@rlhf.reward
def brief(completion_ids, terminated):
    """A point for every token less. None: what was cut off cannot be judged, the other reward alone counts there."""
    return [-len(ids) if end else None for ids, end in zip(completion_ids, terminated)]


def main():
    policy = tiny_model.policy()
    scorer = rlhf.Scorer([likes, brief], weights=[1.0, 0.1])
    print("on a text:", float(rlhf.Scorer(likes).score(prompts=[""], completions=["banana"], favourite=["a"])[0]))
    trainer = rlhf.ReinforceTrainer(
        policy, reward_funcs=scorer, train_dataset=tiny_model.PROMPTS, learning_rate=1e-2, response_length=10,
        max_steps=30, kl_coef=0.01, per_device_train_batch_size=32,
    )  # fmt: skip
    trainer.train()
    for entry in trainer.log_history[::10]:
        length = entry["completions/mean_length"]
        print(f"step {entry['step']}: reward {entry['reward']:.3f}, {length:.1f} tokens")


if __name__ == "__main__":
    main()
