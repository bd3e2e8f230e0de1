"""The four roles on a model, rollouts, streams, optimizers."""

import math
import threading
import unittest
import unittest.mock

import rlhf
import tiny_model
from support import Case, numbers


class Models(Case):
    def setUp(self):
        super().setUp()
        self.batch = rlhf.Batch([[3, 1, 5], [4, 4]], [[3, 22], [7]])

    def test_saving_and_loading_each_role(self):
        reward_model = rlhf.RewardModel.from_policy(self.policy, seed=3)
        reward_model.normalisation = (2.0, -1.0)
        for kind, model in (
            (rlhf.Policy, self.policy),
            (rlhf.RewardModel, reward_model),
            (rlhf.ValueModel, rlhf.ValueModel.from_reward_model(reward_model)),
        ):
            directory = self.directory()
            model.save(directory)
            self.assertEqual(kind(directory).hash(), model.hash())
            if kind is rlhf.RewardModel:
                self.assertEqual(kind(directory).normalisation, (2.0, -1.0))
            if kind is rlhf.Policy:
                self.assertEqual(rlhf.Reference(directory).hash(), model.hash())
                self.assertEqual(kind(directory).tokenizer.encode("a"), [3])

    def test_options(self):
        directory = self.directory()
        self.policy.save(directory)
        plain = rlhf.Policy(directory, recompute_activations=True)
        self.assertEqual(numbers(plain.log_probs(self.batch)), numbers(self.policy.log_probs(self.batch)))
        with self.fails(rlhf.InvalidError, "float32"):
            rlhf.Policy(directory, compute_format="float16")
        try:
            small = rlhf.Policy(directory, compute_format="bfloat16")
        except rlhf.UnsupportedError:
            return
        self.assertEqual(len(small.log_probs(self.batch)), 3)

    def test_log_probs(self):
        log_prob, entropy = self.policy.log_probs_and_entropy(self.batch, temperature=0.5)
        self.assertEqual(len(log_prob), 3)
        self.assertTrue(all(x < 0 for x in numbers(log_prob)))
        self.assertTrue(all(0 < x <= math.log(44) + 1e-6 for x in numbers(entropy)))
        self.assertEqual(numbers(log_prob), numbers(self.policy.freeze().log_probs(self.batch, temperature=0.5)))
        with self.assertRaises(rlhf.RangeError):
            self.policy.log_probs(rlhf.Batch([[3]], [[99]]))
        with self.assertRaises(rlhf.InvalidError):
            self.policy.log_probs(rlhf.Batch([[]], [[3]]))
        if rlhf.have_numpy():
            import numpy as np

            self.assertEqual((type(log_prob), log_prob.dtype), (np.ndarray, np.float32))

    def test_gradients_reach_the_weights(self):
        before = numbers(self.policy.log_probs(self.batch))
        frozen = self.policy.freeze()
        optimizer = rlhf.Optimizer(self.policy, learning_rate=1e-3, schedule="constant", max_grad_norm=0.5)
        self.assertIsNone(self.policy.parameter(0).gradient)
        self.policy.backward(self.batch, [-1, -1, -1], [0, 0, 0])
        parameter = self.policy.parameter(0)
        self.assertEqual(parameter.shape, (44, 16))
        self.assertEqual(math.prod(parameter.shape), 704)
        self.assertTrue(any(any(row) if rlhf.have_numpy() else row for row in parameter.gradient))
        step = optimizer.step()
        self.assertGreater(step.gradient_norm, 0)
        self.assertEqual((step.learning_rate, optimizer.steps), (1e-3, 1))
        after = numbers(self.policy.log_probs(self.batch))
        self.assertGreater(sum(after), sum(before))
        self.assertEqual(numbers(frozen.log_probs(self.batch)), before)
        self.policy.backward(self.batch, [-1, -1, -1])
        optimizer.zero()
        self.assertEqual(optimizer.step().gradient_norm, 0)
        with self.fails(rlhf.InvalidError, "3 response tokens"):
            self.policy.backward(self.batch, [1])
        with self.assertRaises(rlhf.NonFiniteError):
            self.policy.backward(self.batch, [math.nan, 0, 0])
        with self.fails(rlhf.InvalidError, "cosine"):
            rlhf.Optimizer(self.policy, schedule="exponential")
        with self.assertRaises(rlhf.RangeError):
            rlhf.Optimizer(self.policy, beta1=2)
        with self.assertRaises(TypeError):
            rlhf.Optimizer(frozen)

    def test_parameters(self):
        names = [parameter.name for parameter in self.policy.parameters()]
        self.assertIn("model.embed_tokens.weight", names)
        kept = self.policy.parameter(0, copy=False)
        self.assertEqual(kept.shape, (44, 16))
        if rlhf.have_numpy():
            self.assertEqual(kept.data.shape, (44, 16))
            self.assertFalse(kept.data.flags.writeable)
            self.assertFalse(kept.data.flags.owndata)
        with self.assertRaises(rlhf.RangeError):
            self.policy.parameter(10**6)

    def test_reward_and_value_models_learn(self):
        reward_model, critic = rlhf.RewardModel.from_policy(self.policy), rlhf.ValueModel.from_policy(self.policy)
        for model, score, count in ((reward_model, reward_model.score, 2), (critic, critic.values, 3)):
            backward = model.backward
            optimizer = rlhf.Optimizer(model, learning_rate=1e-2, schedule="constant")
            before = numbers(score(self.batch))
            self.assertEqual(len(before), count)
            backward(self.batch, [-1.0] * count)
            optimizer.step()
            self.assertGreater(sum(numbers(score(self.batch))), sum(before))
            with self.assertRaises(rlhf.InvalidError):
                backward(self.batch, [1.0] * (count + 1))

    def test_clone_and_describe(self):
        clone = self.policy.clone()
        self.assertEqual((clone.hash(), clone.vocabulary, clone.positions), (self.policy.hash(), 44, 64))
        self.assertIn("llama", clone.describe())
        self.assertIn("llama", rlhf.RewardModel.from_policy(clone).describe())
        self.assertEqual(rlhf.RewardModel.from_policy(clone).positions, 64)
        self.assertIn("Policy", repr(clone))

    def test_a_value_model_on_the_policys_trunk(self):
        clean = self.policy.hash()
        critic = rlhf.ValueModel.on_policy(self.policy)
        optimizer = rlhf.Optimizer(self.policy, learning_rate=1e-2, schedule="constant")
        self.assertEqual([p.name for p in self.policy.parameters()][-1], "v_head.summary.weight")
        self.assertEqual(self.policy.hash(), clean)
        log_prob, entropy = self.policy.log_probs_and_entropy(self.batch, temperature=0.5)
        made = critic.joint(self.batch, temperature=0.5)
        self.assertEqual(numbers(made.log_prob), numbers(log_prob))
        self.assertEqual(numbers(made.entropy), numbers(entropy))
        self.assertEqual(numbers(made.value), [0.0] * 3)

        critic.joint_backward(self.batch, [-1, -1, -1], [-1, -1, -1], [0.5, 0, 0], temperature=0.5)
        both = [numbers(self.flat(p.gradient)) for p in self.policy.parameters()]
        self.assertTrue(any(both[-1]))
        optimizer.zero()
        critic.joint_backward(self.batch, [-1, -1, -1], [0, 0, 0], [0.5, 0, 0], temperature=0.5)
        joint = [numbers(self.flat(p.gradient)) for p in self.policy.parameters()]
        optimizer.zero()
        self.policy.backward(self.batch, [-1, -1, -1], [0.5, 0, 0], temperature=0.5)
        alone = [numbers(self.flat(p.gradient)) for p in self.policy.parameters()]
        self.assertEqual(joint[:-1], alone[:-1])
        optimizer.zero()

        critic.joint_backward(self.batch, [-1, -1, -1], [-1, -1, -1])
        optimizer.step()
        after = critic.joint(self.batch)
        self.assertGreater(sum(numbers(after.value)), 0)
        self.assertEqual(numbers(after.value), numbers(critic.values(self.batch)))
        self.assertNotEqual(self.policy.hash(), clean)
        with self.fails(rlhf.InvalidError, "d_value", "3 response tokens"):
            critic.joint_backward(self.batch, [1, 1, 1], [1])
        with self.assertRaises(rlhf.NonFiniteError):
            critic.joint_backward(self.batch, [0, 0, 0], [math.nan, 0, 0])
        with self.assertRaises(rlhf.UnsupportedError):
            rlhf.ValueModel.from_policy(self.policy).joint(self.batch)
        self.policy.close()
        self.assertEqual(numbers(critic.joint(self.batch).value), numbers(after.value))

    def flat(self, array):
        return array.reshape(-1) if rlhf.have_numpy() else array

    def test_joint_steps(self):
        def trained(joint, **options):
            policy = tiny_model.policy()
            critic = rlhf.ValueModel.from_policy(policy)
            optimizers = [
                rlhf.Optimizer(model, learning_rate=1e-2, schedule="constant", **options) for model in (policy, critic)
            ]
            policy.backward(self.batch, [-1, -1, -1])
            critic.backward(self.batch, [-2, -2, -2])
            steps = [optimizers[0].step_joint(optimizers[1])] if joint else [one.step() for one in optimizers]
            self.assertEqual([one.steps for one in optimizers], [1, 1])
            return steps, policy.hash(), critic.hash()

        (both,), *joint = trained(True, max_grad_norm=0)
        (first, second), *alone = trained(False, max_grad_norm=0)
        self.assertEqual(joint, alone)  # without clipping nothing is shared
        self.assertAlmostEqual(both.gradient_norm, math.hypot(first.gradient_norm, second.gradient_norm), places=5)
        self.assertEqual(both.learning_rate, 1e-2)
        clipped = {"max_grad_norm": 0.01, "epsilon": 1.0}  # epsilon: else AdamW undoes a common factor
        self.assertNotEqual(trained(True, **clipped)[1:], trained(False, **clipped)[1:])
        optimizer = rlhf.Optimizer(self.policy)
        with self.assertRaises(rlhf.InvalidError):
            optimizer.step_joint(optimizer)
        with self.assertRaises(TypeError):
            optimizer.step_joint(self.policy)

    def test_memory_plans(self):
        for model in (self.policy, rlhf.RewardModel.from_policy(self.policy), rlhf.ValueModel.from_policy(self.policy)):
            one = model.memory_plan(rows=1, row_tokens=8, prompt_tokens=2)
            more = model.memory_plan(rows=64, row_tokens=8, prompt_tokens=2)
            scoring = model.memory_plan(rows=64, row_tokens=8, prompt_tokens=2, training=False)
            self.assertIsInstance(one, rlhf.MemoryPlan)
            self.assertEqual((one.weights, one.moments), (more.weights, 2 * one.weights))
            self.assertGreater(more.activations, one.activations)
            self.assertEqual((scoring.gradient, scoring.moments), (0, 0))
            self.assertLess(scoring.total, more.total)
            self.assertGreater(model.memory_plan().total, one.total)  # a row as long as the model takes
            with self.assertRaises(rlhf.RangeError):
                model.memory_plan(row_tokens=65)
            with self.assertRaises(rlhf.RangeError):
                model.memory_plan(rows=-1)

    def test_memory_limit(self):
        directory = self.directory()
        self.policy.save(directory)
        limit = self.policy.memory_plan(rows=2, row_tokens=5, prompt_tokens=3).total
        roomy = rlhf.Policy(directory, memory_limit=4 * limit)
        self.assertEqual(numbers(roomy.log_probs(self.batch)), numbers(self.policy.log_probs(self.batch)))
        with self.fails(rlhf.OutOfMemoryError, "1000"):
            rlhf.Policy(directory, memory_limit=1000).log_probs(self.batch)
        with self.assertRaises(rlhf.RangeError):
            rlhf.Policy(directory, memory_limit=-1)


class Rollouts(Case):
    def test_sampling_repeats_and_scores_itself(self):
        options = {"samples_per_prompt": 3, "max_new_tokens": 8, "seed": 5}
        rollout = self.policy.rollout(["a cat", "tom"], **options)
        again = self.policy.rollout(["a cat", "tom"], batch_size=1, **options)
        self.assertEqual(rollout.tokens.tolist(), again.tokens.tolist())
        self.assertEqual(numbers(rollout.log_prob), numbers(self.policy.log_probs(rollout.batch())))
        self.assertEqual((len(rollout), rollout.samples_per_prompt, len(rollout.completions())), (6, 3, 6))
        self.assertEqual(len(rollout.terminated), 6)
        self.assertEqual(rollout.best_of_n([0, 2, 1, math.nan, math.nan, math.nan]), [1, -1])
        with self.assertRaises(rlhf.InvalidError):
            rollout.best_of_n([1])

    def test_stop_tokens(self):
        rollout = self.policy.rollout([[3]] * 8, max_new_tokens=40, stop_tokens=list(range(8)), seed=1)
        self.assertTrue(any(rollout.terminated))
        full = self.policy.rollout([[3]], max_new_tokens=40, ignore_stop=True)
        self.assertEqual(len(full.log_prob), 40)
        with self.assertRaises(rlhf.RangeError):
            self.policy.rollout([[3]], stop_tokens=list(range(9)))

    def test_wrong_prompts(self):
        with self.assertRaises(TypeError):
            self.policy.rollout("a cat")
        with self.assertRaises(rlhf.InvalidError):
            self.policy.rollout([[]])
        with self.assertRaises(rlhf.RangeError):
            self.policy.rollout([[999]])

    def test_on_token(self):
        heard = []
        rollout = self.policy.rollout([[3], [4]], max_new_tokens=4, on_token=lambda *one: heard.append(one))
        self.assertEqual(len(heard), len(rollout.log_prob))

        def stop(row, token, log_prob):
            raise KeyError(token)

        with self.assertRaises(KeyError):
            self.policy.rollout([[3]], on_token=stop)

    def test_stream_is_generate(self):
        for seed in range(4):
            options = {"max_new_tokens": 12, "seed": seed}
            whole = self.policy.generate(["a cat"], **options)
            self.assertEqual(["".join(self.policy.stream("a cat", **options))], whole)

    def test_stream_comes_while_sampling_and_can_be_left(self):
        from rlhf import rollout

        heard, add = [], rollout._Text.add
        slow = threading.Event()

        def slowly(text, token):
            heard.append(token)
            slow.wait(0.01)
            return add(text, token)

        with unittest.mock.patch.object(rollout._Text, "add", slowly):
            stream = self.policy.stream("a", max_new_tokens=60, ignore_stop=True)
            first = next(stream)
            stream.close()
        self.assertTrue(first)
        self.assertLess(len(heard), 30)
        self.assertEqual(len(self.policy.hash()), 64)

    def test_stream_errors_come_out(self):
        with self.assertRaises(rlhf.InvalidError):
            next(self.policy.stream(""))
        with self.assertRaises(rlhf.InvalidError):
            self.policy.stream("a", samples_per_prompt=2)
        with self.assertRaises(TypeError):
            self.policy.stream("a", max_tokens=2)

    def test_stream_inside_a_callback(self):
        pieces = []

        def look(metrics):
            pieces.extend(self.policy.stream("a", max_new_tokens=4))

        rlhf.Trainer("sft", self.policy, train_dataset=[{"text": "a cat."}], max_steps=1, on_metrics=look).train()
        self.assertTrue(pieces)

    def test_pieces_are_whole_characters(self):
        """Bytes of one character in tokens of their own: nothing goes out before the last of them."""
        import json

        class Bytes:
            """A tokenizer of bytes, as far as the stream uses one."""

            def decode(self, ids, *, skip_special=False):
                return bytes(ids).decode(errors="replace")

        from rlhf.rollout import _Text

        text = _Text(Bytes(), [65])
        said = [text.add(byte) for byte in "aä€😀".encode()] + [text.rest()]
        self.assertEqual(said, ["a", "", "ä", "", "", "€", "", "", "", "😀", ""])
        text = _Text(Bytes(), [65])
        self.assertEqual("".join([text.add(0xE2), text.add(0x82), text.rest()]), "\ufffd")
        self.assertTrue(json.dumps(said))

    def test_distribution(self):
        probability = rlhf.distribution([0.0, 1.0, 2.0], temperature=0)
        self.assertEqual(numbers(probability), [0.0, 0.0, 1.0])
        with self.assertRaises(rlhf.NonFiniteError):
            rlhf.distribution([math.nan, 1.0])
        with self.assertRaises(rlhf.Error):
            rlhf.distribution([1.0], top_p=2)

    def test_greedy_tie(self):
        self.assertEqual(
            tiny_model.policy(seed=7).generate(["tom"], temperature=0, max_new_tokens=5),
            tiny_model.policy(seed=7).generate(["tom"], temperature=0, max_new_tokens=5),
        )


if __name__ == "__main__":
    unittest.main()
