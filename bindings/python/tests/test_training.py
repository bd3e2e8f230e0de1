"""Trainers: every method, data of every kind, logs, saving, resuming; and PPO by hand."""

import json
import os
import unittest

import ppo_by_hand
import rlhf
import tiny_model
from support import Case

TEXTS = [{"text": f"{subject} {verb}."} for subject in ("a cat", "tom", "lily") for verb in ("sat", "ran", "sang")]
PAIRS = [
    {"prompt": "a cat", "chosen": " sat.", "rejected": " zzz"},
    {"prompt": "tom", "chosen": " ran", "rejected": "?"},
]
ANSWERS = [{"prompt": "a cat", "completion": " sat."}, {"prompt": "tom", "completion": " ran."}]


@rlhf.reward
def many_a(completions):
    return [float(text.count("a")) for text in completions]


class Trainers(Case):
    def run_method(self, kind, model, **keywords):
        before = model.hash()
        trainer = kind(model, max_steps=2, learning_rate=1e-3, logging_steps=1, **keywords)
        output = trainer.train()
        self.assertEqual((output.global_step, len(trainer.log_history)), (2, 2))
        self.assertNotEqual(trainer.model.hash(), before)
        return trainer

    def test_every_method(self):
        sampling = {"reward_funcs": many_a, "train_dataset": tiny_model.PROMPTS, "response_length": 4}
        self.run_method(rlhf.PretrainTrainer, tiny_model.policy(), train_dataset=TEXTS)
        self.run_method(rlhf.SFTTrainer, tiny_model.policy(), train_dataset=ANSWERS, eval_dataset=ANSWERS)
        self.run_method(rlhf.RAFTTrainer, tiny_model.policy(), prompts_per_iteration=4, **sampling)
        self.run_method(rlhf.ReinforceTrainer, tiny_model.policy(), **sampling)
        self.run_method(rlhf.PairwiseTrainer, tiny_model.policy(), **sampling)
        trainer = self.run_method(rlhf.PPOTrainer, tiny_model.policy(), gold_funcs=many_a, **sampling)
        self.assertIn("objective/kl", trainer.log_history[0])
        self.assertIn("rlhf/gold_score", trainer.log_history[0])

    def test_reward_models(self):
        trainer = self.run_method(rlhf.RewardTrainer, tiny_model.policy(), train_dataset=PAIRS)
        self.assertIsInstance(trainer.model, rlhf.RewardModel)
        with self.assertRaises(rlhf.UnsupportedError):
            _ = trainer.policy
        model = rlhf.RewardModel.from_policy(self.policy)
        self.run_method(rlhf.RewardTrainer, model, train_dataset=PAIRS, tokenizer=self.tokenizer)
        self.run_method(rlhf.PPOTrainer, self.policy, reward_funcs=[model, many_a], reward_weights=[1, 0.5],
                        value_model=rlhf.ValueModel.from_reward_model(model), ref_model=self.policy.clone(),
                        train_dataset=tiny_model.PROMPTS, response_length=3)  # fmt: skip
        with self.assertRaises(TypeError):
            rlhf.PPOTrainer(model)

    def test_settings(self):
        import dataclasses

        @dataclasses.dataclass
        class Config:
            learning_rate: float = 0.5
            max_steps: int = 3
            dataset_name: str = None

        for args in ({"learning_rate": 0.5, "max_steps": 3}, Config()):
            trainer = rlhf.Trainer("sft", self.policy, args, train_dataset=TEXTS, warmup_steps=1)
            recipe = trainer.recipe
            self.assertEqual([recipe[key] for key in ("learning_rate", "max_steps", "warmup_steps")], [0.5, 3, 1])
        recipe = rlhf.Recipe("sft", learning_rate=0.25)
        trainer = rlhf.Trainer(recipe, self.policy, train_dataset=TEXTS, max_steps=1)
        self.assertEqual((recipe["max_steps"], trainer.recipe["learning_rate"]), (-1, 0.25))
        with self.fails(rlhf.InvalidError, "learning_rate"):
            rlhf.Trainer("sft", self.policy, train_dataset=TEXTS, learning_rat=1)
        with self.fails(rlhf.InvalidError, "dataset"):
            rlhf.Trainer("sft", self.policy)
        with self.assertRaises(TypeError):
            rlhf.Trainer("sft", self.policy, 3)
        with self.assertRaises(TypeError):
            rlhf.Trainer("sft", 3)

    def test_iterating_is_training(self):
        settings = {"train_dataset": TEXTS, "max_steps": 5, "logging_steps": 2, "save_steps": 2, "learning_rate": 1e-3}
        first, second = self.directory(), self.directory()
        one, other = tiny_model.policy(), tiny_model.policy()
        rlhf.Trainer("sft", one, output_dir=first, overwrite=True, **settings).train()
        steps = [m.step for m in rlhf.Trainer("sft", other, output_dir=second, overwrite=True, **settings)]
        self.assertEqual(steps, [2, 4, 5])
        self.assertEqual(one.hash(), other.hash())
        for name in ("metrics.jsonl", "receipt.json", "model/model.safetensors", "checkpoints/step-4/manifest.json"):
            with open(os.path.join(first, name), "rb") as a, open(os.path.join(second, name), "rb") as b:
                self.assertEqual(a.read().replace(first.encode(), second.encode()), b.read(), name)
        with open(os.path.join(first, "metrics.jsonl")) as file:
            self.assertEqual(len([json.loads(line) for line in file]), 3)

    def test_stepping(self):
        trainer = rlhf.Trainer("sft", self.policy, train_dataset=TEXTS, max_steps=2, logging_steps=2)
        self.assertIsNone(trainer.metrics())
        self.assertIsNone(trainer.step())
        metrics = trainer.step()
        self.assertEqual((metrics.step, metrics.total_steps, metrics), (2, 2, trainer.metrics()))
        with self.assertRaises(rlhf.EndError):
            trainer.step()
        self.assertEqual(trainer.progress().step, 2)

    def test_callbacks(self):
        seen, phases = [], set()
        trainer = rlhf.Trainer(
            "ppo", self.policy, reward_funcs=many_a, train_dataset=tiny_model.PROMPTS, response_length=3, max_steps=1,
            on_metrics=seen.append, on_progress=lambda progress: phases.add(progress.phase),
        )  # fmt: skip
        trainer.train()
        self.assertEqual(seen[0], trainer.metrics())
        self.assertEqual(phases, {"rollout", "scoring", "update"})
        self.assertGreater(trainer.progress().seconds["all"], 0)

        class Stop(Exception):
            pass

        def stop(metrics):
            raise Stop

        for name in ("on_metrics", "on_progress"):
            trainer = rlhf.Trainer("sft", self.policy, train_dataset=TEXTS, logging_steps=1, **{name: stop})
            with self.assertRaises(Stop):
                trainer.train()

    def test_from_directories(self):
        base, run, end = self.directory(), self.directory(), self.directory()
        tiny_model.save(base)
        trainer = rlhf.Trainer("sft", base, train_dataset=TEXTS, max_steps=2, output_dir=run, overwrite=True)
        trainer.train()
        trainer.save_model(end)
        self.assertEqual(rlhf.Policy(end).hash(), rlhf.Policy(os.path.join(run, "model")).hash())
        self.assertEqual(trainer.policy.tokenizer.encode("a"), [3])
        with self.fails(rlhf.InvalidError, "holds a run"):
            rlhf.Trainer("sft", base, train_dataset=TEXTS, output_dir=run)

    def test_resume(self):
        settings = {"train_dataset": TEXTS, "max_steps": 4, "learning_rate": 1e-3, "save_steps": 2}
        whole = tiny_model.policy()
        rlhf.Trainer("sft", whole, **settings).train()
        run = self.directory()
        trainer = rlhf.Trainer("sft", tiny_model.policy(), output_dir=run, **settings)
        for _ in range(2):
            trainer.step()
        trainer.save_checkpoint()
        trainer.close()
        resumed = tiny_model.policy()
        trainer = rlhf.Trainer("sft", resumed, output_dir=run, resume=True, **settings)
        self.assertEqual(trainer.progress().step, 2)
        trainer.train()
        self.assertEqual(resumed.hash(), whole.hash())

    def test_a_python_objective_is_the_built_in_one(self):
        """The same formula in Python: the same bits."""

        @rlhf.objective
        def token_loss(inputs):
            slope = -1.0 / inputs.denominator
            return sum(slope * x for x in inputs.log_prob), [slope] * len(inputs.log_prob)

        one, other = tiny_model.policy(), tiny_model.policy()
        settings = {"train_dataset": TEXTS, "max_steps": 3, "learning_rate": 1e-3}
        rlhf.Trainer("sft", one, **settings).train()
        rlhf.Trainer("sft", other, objective=token_loss, **settings).train()
        self.assertEqual(one.hash(), other.hash())

    def test_named_builtin_objectives(self):
        trainer = rlhf.Trainer(
            "reinforce", self.policy, reward_funcs=many_a, train_dataset=tiny_model.PROMPTS, response_length=3,
            advantage_objective=rlhf.Objective.builtin("reinforce", baseline=0), reward_objective="kl_reward",
            max_steps=1,
        )  # fmt: skip
        self.assertEqual(trainer.train().global_step, 1)
        with self.fails(rlhf.InvalidError, "advantage"):
            rlhf.Trainer("reinforce", self.policy, reward_funcs=many_a, train_dataset=tiny_model.PROMPTS,
                         advantage_objective="sft")  # fmt: skip


class ByHand(Case):
    def test_ppo_by_hand_is_the_trainer(self):
        """Ten iterations with several epochs, mini-batches and micro-batches: the same weights bit for bit."""
        prompts = [row["prompt"] for row in tiny_model.PROMPTS]
        by_hand = ppo_by_hand.ppo(tiny_model.policy(), prompts)
        trained = tiny_model.policy()
        trainer = rlhf.PPOTrainer(
            trained, ppo_by_hand.SETTINGS, reward_funcs=ppo_by_hand.many_a, train_dataset=tiny_model.PROMPTS
        )
        trainer.train()
        self.assertEqual(trainer.progress().step, 10)
        self.assertNotEqual(trained.hash(), tiny_model.policy().hash())
        self.assertEqual(by_hand.hash(), trained.hash())


if __name__ == "__main__":
    unittest.main()
