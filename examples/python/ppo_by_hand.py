"""PPO from building blocks: the same weights, bit for bit, as the built-in trainer."""

import rlhf
import tiny_model

SETTINGS = {"learning_rate": 1e-3, "kl_coef": 0.05, "temperature": 0.7, "response_length": 6, "seed": 42,
            "max_steps": 10, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "num_mini_batches": 2,
            "num_ppo_epochs": 2, "shuffle_dataset": False, "adaptive_kl": True}  # fmt: skip


@rlhf.reward
def many_a(completions):
    return [text.count("a") - 0.1 * len(text) for text in completions]


def ppo(policy, prompts, iterations=10, micro=2, rows=8, epochs=2, minibatches=2, temperature=0.7, seed=42):
    reference, critic = policy.freeze(), rlhf.ValueModel.from_policy(policy)
    schedule = {"learning_rate": 1e-3, "total_steps": iterations * epochs * minibatches}
    optimizer, critic_optimizer = rlhf.Optimizer(policy, **schedule), rlhf.Optimizer(critic, **schedule)
    scorer = rlhf.Scorer(many_a, context=policy.context)
    builtin = rlhf.Objective.builtin
    kl_reward, gae, loss = (builtin(name, context=policy.context) for name in ("kl_reward", "gae", "ppo"))
    kl_reward["kl_coef"], kl_reward["adaptive_kl"] = 0.05, 1

    for iteration in range(iterations):
        texts = [prompts[(iteration * rows + i) % len(prompts)] for i in range(rows)]
        sampling = {"temperature": temperature, "seed": seed, "first_prompt": iteration * rows}
        rollout = policy.rollout(texts, max_new_tokens=6, **sampling)
        batch, offset, old = rollout.batch(), rollout.response_offset, rollout.log_prob
        score = scorer.score(rollout, prompts=texts)
        held = reference.log_probs(batch, temperature=temperature)
        value = critic.values(batch)
        reward = kl_reward.reward(offset, score=score, log_prob=old, log_prob_ref=held, terminated=rollout.terminated)
        made = gae.advantage(offset, reward, value=value)

        for epoch in range(epochs):
            order = rlhf.order("updates", seed, iteration * epochs + epoch, rows)
            for start in range(0, rows, rows // minibatches):
                chosen = order[start : start + rows // minibatches]
                tokens = len(batch.take(old, chosen))
                for first in range(0, len(chosen), micro):
                    part = chosen[first : first + micro]
                    small = batch.select(part)
                    log_prob = policy.log_probs(small, temperature=temperature)
                    slope = loss.policy_loss(
                        small.response_offset, log_prob=log_prob, log_prob_old=batch.take(old, part),
                        advantage=batch.take(made.advantage, part), denominator=tokens, denominator_rows=len(chosen),
                    )  # fmt: skip
                    policy.backward(small, slope.d_log_prob, temperature=temperature)
                    slope = loss.value_loss(
                        critic.values(small), value_old=batch.take(value, part),
                        value_target=batch.take(made.value_target, part), denominator=tokens,
                    )  # fmt: skip
                    critic.backward(small, slope.d_value)
                optimizer.step_joint(critic_optimizer)
        kl = 0.0
        for new, ref in zip(old, held):  # not sum(): since Python 3.12 it rounds otherwise than a loop, and than C
            kl += float(new) - float(ref)
        kl_reward.observe_kl(kl / rows, rows)
        print(f"iteration {iteration + 1}: mean score {sum(score) / rows:.3f}, KL {kl / rows:.3f}")
    return policy


if __name__ == "__main__":
    prompts = [row["prompt"] for row in tiny_model.PROMPTS]
    by_hand = ppo(tiny_model.policy(), prompts)
    trained = tiny_model.policy()
    rlhf.PPOTrainer(trained, SETTINGS, reward_funcs=many_a, train_dataset=tiny_model.PROMPTS).train()
    print("by hand ", by_hand.hash())
    print("built in", trained.hash())
    print("equal" if by_hand.hash() == trained.hash() else "DIFFERENT")
