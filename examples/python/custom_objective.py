"""A published policy loss that is not built in: sequence-level clipping (GSPO, Zheng et al. 2025, arXiv 2507.18071).

Each response has one ratio, s = exp(mean over its tokens of log pi - log pi_old), clipped as PPO clips tokens:
    loss = -mean over responses of min(s A, clip(s, 1 - low, 1 + high) A)
and d s / d log_prob_t = s / length. A is the response's advantage (here leave-one-out, the trainer's own)."""

import math

import rlhf
import tiny_model


@rlhf.objective("policy_loss", name="gspo")
def gspo(inputs, low=0.2, high=0.2):
    loss, clipped = 0.0, 0
    slope = [0.0] * len(inputs.log_prob)
    for span in inputs.spans():
        length = span.stop - span.start
        if length == 0:
            continue
        ratio = math.exp(sum(a - b for a, b in zip(inputs.log_prob[span], inputs.log_prob_old[span])) / length)
        advantage = sum(inputs.advantage[span]) / length
        bounded = min(max(ratio, 1 - low), 1 + high)
        loss -= min(ratio * advantage, bounded * advantage) / inputs.denominator_rows
        if ratio * advantage > bounded * advantage:
            clipped += length
        else:
            slope[span] = [-advantage * ratio / length / inputs.denominator_rows] * length
    return loss, {"d_log_prob": slope, "clipped": clipped}


@rlhf.reward
def many_a(completions):
    return [text.count("a") - 0.1 * len(text) for text in completions]


def main():
    print("largest error of the gradient:", rlhf.check_objective(gspo)["policy_loss"])
    trainer = rlhf.ReinforceTrainer(
        tiny_model.policy(), objective=gspo, reward_funcs=many_a, train_dataset=tiny_model.PROMPTS, learning_rate=1e-2,
        response_length=10, max_steps=30, reward_to_go=False, kl_coef=0, per_device_train_batch_size=32,
    )  # fmt: skip
    for metrics in trainer:
        if metrics.step % 10 == 0:
            print(f"step {metrics.step}: reward {metrics['reward']:.3f}, entropy {metrics['entropy']:.2f}")


if __name__ == "__main__":
    main()
