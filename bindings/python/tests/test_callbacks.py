"""Python functions that C calls: rewards, objectives, and all that can go wrong in them."""

import gc
import math
import os
import traceback
import unittest

import rlhf
from rlhf import _callbacks
from support import ROOT, Case, compile_c, compiler, numbers

PROMPTS = [{"prompt": "a cat", "weight": 2}, {"prompt": "tom", "weight": 1}]


class Rewards(Case):
    def test_what_a_function_gets(self):
        seen = {}

        @rlhf.reward
        def look(prompts, completions, prompt_ids, completion_ids, terminated, weight, **rest):
            seen.update(locals())
            return [float(w) for w in weight]

        scorer = rlhf.Scorer(look)
        rollout = self.policy.rollout(["a cat", "tom"], max_new_tokens=3)
        score = scorer.score(rollout, prompts=["a cat", "tom"], weight=[2, 1], other=["x", None])
        self.assertEqual(numbers(score), [2.0, 1.0])
        self.assertEqual(seen["prompts"], ["a cat", "tom"])
        self.assertEqual(seen["completions"], rollout.completions())
        self.assertEqual(seen["prompt_ids"], [self.tokenizer.encode("a cat"), self.tokenizer.encode("tom")])
        self.assertEqual(seen["completion_ids"], [rollout.batch().row(row)[1] for row in range(2)])
        self.assertEqual(seen["terminated"], [flag != 0 for flag in rollout.terminated])
        self.assertEqual(seen["rest"], {"other": ["x", None]})

    def test_columns_reach_it_in_training(self):
        seen = []

        def weighted(completions, weight):
            seen.extend(weight)
            return [1.0] * len(completions)

        rlhf.Trainer("reinforce", self.policy, reward_funcs=weighted, train_dataset=PROMPTS, response_length=3,
                     num_generations=2, max_steps=1).train()  # fmt: skip
        self.assertEqual(set(seen), {1, 2})

    def test_a_missing_column_is_named(self):
        with self.fails(rlhf.InvalidError, "level"):
            rlhf.Scorer(lambda completions, level: [0.0]).score(prompts=["a"], completions=["b"])

    def test_sums_and_weights(self):
        scorer = rlhf.Scorer(
            [lambda completions: [1.0, None, math.nan], lambda completions: [10.0, 20.0, None]], weights=[2, 0.5]
        )
        score = numbers(scorer.score(prompts=["", "", ""], completions=["", "", ""]))
        self.assertEqual(score[:2], [7.0, 10.0])
        self.assertTrue(math.isnan(score[2]))
        with self.fails(rlhf.InvalidError, "1 rewards, 2 weights"):
            rlhf.Scorer(lambda completions: [], weights=[1, 2])

    def test_reward_models_and_functions_together(self):
        model = rlhf.RewardModel.from_policy(self.policy)
        rollout = self.policy.rollout([[3], [4]], max_new_tokens=3)
        alone = numbers(rlhf.Scorer(model).score(rollout))
        both = numbers(rlhf.Scorer([model, lambda completions: [1.0, 2.0]]).score(rollout))
        self.assertEqual(alone, numbers(model.score(rollout.batch())))
        self.assertEqual(both, [alone[0] + 1.0, alone[1] + 2.0])

    def test_exceptions_come_out_unchanged(self):
        error = ZeroDivisionError("mine")

        def broken(completions):
            raise error

        try:
            rlhf.Scorer(broken).score(prompts=["a"], completions=["b"])
        except ZeroDivisionError as caught:
            self.assertIs(caught, error)
            self.assertEqual(traceback.extract_tb(caught.__traceback__)[-1].name, "broken")
        else:
            self.fail("no exception")
        with self.assertRaises(ZeroDivisionError) as caught:
            rlhf.Trainer("reinforce", self.policy, reward_funcs=broken, train_dataset=PROMPTS, max_steps=1,
                         response_length=3).train()  # fmt: skip
        self.assertIs(caught.exception, error)

    def test_wrong_results(self):
        for result, part in (([1.0], "1 scores for 2"), (None, "one number per completion"), ([1.0, "x"], "convert"),
                             ([1.0, [2]], "number")):  # fmt: skip
            with self.fails(ValueError, part):
                rlhf.Scorer(lambda completions, result=result: result).score(prompts=["", ""], completions=["", ""])
        with self.assertRaises(rlhf.NonFiniteError):
            rlhf.Scorer(lambda completions: [math.inf]).score(prompts=[""], completions=[""])

    def test_nan_takes_a_row_out_of_training(self):
        trainer = rlhf.Trainer(
            "reinforce", self.policy, reward_funcs=lambda completions: [None] + [1.0] * (len(completions) - 1),
            train_dataset=PROMPTS, response_length=3, max_steps=1, baseline="none",
        )  # fmt: skip
        trainer.train()
        self.assertEqual(trainer.log_history[0]["rlhf/unscorable"], 1)

    def test_calling_back_into_a_busy_handle(self):
        def again(completions):
            scorer.score(prompts=["a"], completions=["b"])
            return [0.0]

        scorer = rlhf.Scorer(again)
        with self.assertRaises(rlhf.BusyError):
            scorer.score(prompts=["a"], completions=["b"])

        def step_again(metrics):
            trainer.step()

        trainer = rlhf.Trainer("sft", self.policy, train_dataset=[{"text": "a"}], max_steps=2, on_metrics=step_again)
        with self.assertRaises(rlhf.BusyError):
            trainer.train()

    def test_other_handles_work_in_a_callback(self):
        hashes = []

        def look(metrics):
            hashes.append(self.policy.hash())
            self.policy.rollout([[3]], max_new_tokens=2)
            with self.assertRaises(rlhf.RangeError):
                self.policy.rollout([[999]])

        rlhf.Trainer("sft", self.policy, train_dataset=[{"text": "a cat."}], max_steps=1, on_metrics=look).train()
        self.assertEqual(hashes, [self.policy.hash()])

    def test_closing_what_runs(self):
        def close(metrics):
            trainer.close()

        trainer = rlhf.Trainer("sft", self.policy, train_dataset=[{"text": "a cat."}], max_steps=2, logging_steps=1,
                               on_metrics=close)  # fmt: skip
        with self.fails(rlhf.InvalidError, "closed"):
            trainer.train()  # runs to its end; what is said after it is of a closed trainer

        def close_policy(row, token, log_prob):
            self.policy.close()
            gc.collect()

        self.policy.rollout([[3]], max_new_tokens=4, on_token=close_policy)
        self.assertTrue(self.policy.closed)

    def test_collected_while_alive(self):
        scorer = rlhf.Scorer(lambda completions: [float(len(text)) for text in completions])
        trainer = rlhf.Trainer("reinforce", self.policy, reward_funcs=scorer, train_dataset=PROMPTS, response_length=3,
                               max_steps=3, on_metrics=lambda metrics: gc.collect())  # fmt: skip
        del scorer
        gc.collect()
        self.assertEqual(trainer.train().global_step, 3)

    def test_callbacks_go_with_their_handles(self):
        before = _callbacks.count()
        trainer = rlhf.Trainer("reinforce", self.policy, reward_funcs=lambda completions: [0.0] * len(completions),
                               objective=Shifted(), train_dataset=PROMPTS, response_length=3)  # fmt: skip
        self.assertGreater(_callbacks.count(), before)
        trainer.close()
        gc.collect()
        self.assertEqual(_callbacks.count(), before)


class Shifted:
    """REINFORCE by hand, with state and a key."""

    name = "shifted"

    def __init__(self):
        self.scale, self.calls = 1.0, 0

    def policy_loss(self, inputs):
        self.calls += 1
        factor = self.scale / inputs.denominator_rows
        loss = 0.0
        for index, (log_prob, advantage) in enumerate(zip(inputs.log_prob, inputs.advantage)):
            loss -= factor * advantage * log_prob
            inputs.d_log_prob[index] = -factor * advantage
        return loss

    def set(self, key, value):
        if key != "scale":
            raise KeyError(key)
        self.scale = value

    def get(self, key):
        return {"scale": self.scale, "calls": self.calls}[key]

    def save(self):
        return str(self.calls).encode()

    def load(self, state):
        self.calls = int(state or b"0")


class Objectives(Case):
    def test_builtins(self):
        loss = rlhf.Objective.builtin("bradley_terry").pair_loss([1.0], [1.0])
        self.assertAlmostEqual(loss.loss, math.log(2))
        self.assertEqual((numbers(loss.d_chosen), numbers(loss.d_rejected)), ([-0.5], [0.5]))
        made = rlhf.Objective.builtin("gae", whiten=0, lam=1).advantage([0, 2], [0.0, 1.0], value=[0.5, 0.5])
        self.assertEqual((numbers(made.advantage), numbers(made.value_target)), ([0.5, 0.5], [1.0, 1.0]))
        reward = rlhf.Objective.builtin("kl_reward", kl_coef=0.5).reward(
            [0, 2], score=[1.0], log_prob=[-1.0, -2.0], log_prob_ref=[-2.0, -2.0], terminated=[1]
        )
        self.assertEqual(numbers(reward), [-0.5, 1.0])
        value = rlhf.Objective.builtin("ppo", vf_coef=1).value_loss([1.0], value_old=[1.0], value_target=[2.0])
        self.assertEqual((value.loss, numbers(value.d_value), value.clipped), (0.5, [-1.0], 0.0))
        self.assertEqual(rlhf.Objective.builtin("pairwise", form=4).need, {"reference", "groups"})
        with self.fails(rlhf.InvalidError, "kl_coef"):
            rlhf.Objective.builtin("kl_reward", kl_coeff=1)
        with self.assertRaises(rlhf.UnsupportedError):
            rlhf.Objective.builtin("gae").pair_loss([1.0], [1.0])
        with self.fails(rlhf.InvalidError, "log_prob has 1 numbers, 2 are needed"):
            rlhf.Objective.builtin("sft").token_loss([0, 2], [-1.0])
        with self.assertRaises(rlhf.NonFiniteError):
            rlhf.Objective.builtin("sft").token_loss([0, 1], [math.nan])

    def test_observing_kl(self):
        plain, adaptive = (rlhf.Objective.builtin("kl_reward", kl_coef=0.1, adaptive_kl=on) for on in (0, 1))
        for objective in (plain, adaptive):
            objective.observe_kl(60.0, 100)
        self.assertEqual(plain["kl_coef"], 0.1)
        self.assertGreater(adaptive["kl_coef"], 0.1)
        heard = []

        class Hears(Shifted):
            def observe_kl(self, kl, episodes):
                heard.append((kl, episodes))

        rlhf.Objective(Hears()).observe_kl(1.5, 4)
        self.assertEqual(heard, [(1.5, 4)])
        with self.assertRaises(rlhf.NonFiniteError):
            adaptive.observe_kl(math.nan, 1)
        with self.assertRaises(rlhf.InvalidError):
            adaptive.observe_kl(1.0, -1)
        with self.assertRaises(rlhf.RangeError):
            adaptive.observe_kl(1.0, 2**63)

    def test_every_builtin_gradient(self):
        for name in ("sft", "bradley_terry", "reinforce", "ppo"):
            self.assertLess(max(rlhf.check_objective(name).values()), 1e-6, name)
        smooth = rlhf.Objective.builtin("sft", label_smoothing_factor=0.1)
        self.assertLess(rlhf.check_objective(smooth)["token_loss"], 1e-6)
        for form in range(5):
            self.assertLess(rlhf.check_objective(rlhf.Objective.builtin("pairwise", form=form))["policy_loss"], 1e-6)

    def test_a_wrong_gradient_is_found(self):
        good, bad = Shifted(), Shifted()
        self.assertLess(rlhf.check_objective(good)["policy_loss"], 1e-6)

        def broken(inputs):
            loss = Shifted.policy_loss(bad, inputs)
            inputs.d_log_prob[0] *= 1.01
            return loss

        bad.policy_loss = broken
        with self.fails(rlhf.GradientError, "shifted: d_log_prob[0]"):
            rlhf.check_objective(bad)
        with self.fails(rlhf.InvalidError, "no loss"):
            rlhf.check_objective("gae")

    def test_ways_to_return(self):
        def fill(inputs):
            for index in range(inputs.pairs):
                inputs.d_chosen[index], inputs.d_rejected[index] = -1.0, 1.0
            return sum(inputs.rejected) - sum(inputs.chosen)

        def give(inputs):
            ones = [1.0] * inputs.pairs
            return sum(inputs.rejected) - sum(inputs.chosen), [-1.0] * inputs.pairs, ones

        def name(inputs):
            return give(inputs)[0], {"d_chosen": give(inputs)[1], "d_rejected": give(inputs)[2]}

        for function in (fill, give, name):
            loss = rlhf.Objective(rlhf.objective("pair_loss")(function)).pair_loss([1.0, 2.0], [0.5, 0.5])
            self.assertEqual((loss.loss, numbers(loss.d_chosen), numbers(loss.d_rejected)), (-2.0, [-1, -1], [1, 1]))

    def test_names_tell_the_piece(self):
        @rlhf.objective
        def value_loss(inputs):
            return 0.0, {"clipped": 3}

        @rlhf.objective(need="entropy", name="mine")
        def anything(inputs: rlhf.PolicyLossInputs):
            return -sum(inputs.entropy), [0.0] * len(inputs.log_prob), [-1.0] * len(inputs.entropy)

        self.assertEqual(rlhf.Objective(value_loss).value_loss([1.0], value_old=[1.0], value_target=[1.0]).clipped, 3)
        self.assertEqual(rlhf.Objective(anything).need, {"entropy"})
        self.assertLess(rlhf.check_objective(anything)["policy_loss"], 1e-6)
        with self.assertRaises(TypeError):
            rlhf.objective(lambda inputs: 0.0)
        with self.fails(rlhf.InvalidError, "policy_loss"):
            rlhf.objective("loss")(lambda inputs: 0.0)
        with self.fails(TypeError, "instance"):
            rlhf.Objective(Shifted)
        with self.assertRaises(TypeError):
            rlhf.Objective(object())

    def evaluate(self, function):
        return rlhf.Objective(rlhf.objective("token_loss")(function)).token_loss([0, 2], [-1.0, -2.0])

    def test_wrong_results(self):
        for function, kind, part in (
            (lambda inputs: (0.0, [1.0]), rlhf.InvalidError, "d_log_prob has 1 numbers, 2 are needed"),
            (lambda inputs: (0.0, [math.nan, 0.0]), rlhf.NonFiniteError, "d_log_prob"),
            (lambda inputs: math.nan, rlhf.NonFiniteError, "loss"),
            (lambda inputs: None, rlhf.InvalidError, "must return a loss"),
            (lambda inputs: (0.0, [0.0] * 2, [0.0] * 2, 1), rlhf.InvalidError, "3 arrays"),
            (lambda inputs: (0.0, {"d_values": [1.0]}), rlhf.InvalidError, "d_values"),
            (lambda inputs: (0.0, [0.0] * 2, [0.0] * 2), rlhf.InvalidError, "d_mean_log_prob"),
            (lambda inputs: inputs.nothing, AttributeError, "nothing"),
        ):
            with self.fails(kind, part):
                self.evaluate(function)

    def test_exceptions_come_out_unchanged(self):
        error = KeyError("mine")

        def broken(inputs):
            raise error

        with self.assertRaises(KeyError) as caught:
            self.evaluate(broken)
        self.assertIs(caught.exception, error)

    def test_views_and_what_keeps_them(self):
        kept = []

        def keep(inputs):
            kept.append(inputs.log_prob)
            return 0.0

        with self.fails(rlhf.InvalidError, "kept a view of log_prob"):
            self.evaluate(keep)

        def look(inputs):
            kept.append((list(inputs.log_prob), inputs.spans()))
            if rlhf.have_numpy():
                self.assertEqual(type(inputs.log_prob).__name__, "ndarray")
            with self.assertRaises((TypeError, ValueError)):
                inputs.log_prob[0] = 1.0
            return 0.0, inputs.d_log_prob

        self.evaluate(look)
        self.assertEqual(kept[-1], ([-1.0, -2.0], [slice(0, 2)]))

    def test_calling_itself_is_busy(self):
        def again(inputs):
            objective.token_loss([0, 1], [-1.0])
            return 0.0

        objective = rlhf.Objective(rlhf.objective("token_loss")(again))
        with self.assertRaises(rlhf.BusyError):
            objective.token_loss([0, 1], [-1.0])

    def test_keys_and_state(self):
        objective = rlhf.Objective(Shifted())
        objective["scale"] = 3.0
        self.assertEqual(objective["scale"], 3.0)
        with self.assertRaises(rlhf.InvalidError):
            objective["other"] = 1
        with self.assertRaises(rlhf.InvalidError):
            objective["other"]

    def test_a_class_with_all_pieces(self):
        class Everything:
            need = ("reference", "entropy")

            def __init__(self):
                self.observed = []

            def reward(self, inputs):
                out = [0.0] * len(inputs.log_prob)
                for span, score in zip(inputs.spans(), inputs.score):
                    out[span.stop - 1] = score
                return out

            def advantage(self, inputs):
                return list(inputs.reward) if inputs.value is None else (list(inputs.reward), list(inputs.value))

            def policy_loss(self, inputs):
                scale = 1 / inputs.denominator
                return (
                    -scale * sum(a * x for a, x in zip(inputs.advantage, inputs.log_prob)),
                    {"d_log_prob": [-scale * a for a in inputs.advantage], "clipped": 1},
                )

            def observe_kl(self, kl, episodes):
                self.observed.append((kl, episodes))

            def current_need(self):
                return ["reference"]

        mine = Everything()
        objective = rlhf.Objective(mine)
        self.assertEqual(objective.need, {"reference"})
        self.assertEqual(numbers(objective.advantage([0, 1], [2.0]).advantage), [2.0])
        before = self.policy.hash()
        rlhf.Trainer("reinforce", self.policy, reward_funcs=lambda completions: [1.0] * len(completions),
                     objective=objective, train_dataset=PROMPTS, response_length=3, max_steps=2).train()  # fmt: skip
        self.assertEqual([kl[1] for kl in mine.observed], [8, 8])
        self.assertNotEqual(self.policy.hash(), before)


class Names(Case):
    """Objectives and scorers by name: those of this program, and those of a plugin."""

    def setUp(self):
        super().setUp()
        self.context = rlhf.Context(threads=1)

    def score(self, text, completions):
        return numbers(rlhf.Scorer.named(text, context=self.context).score(
            prompts=[""] * len(completions), completions=completions))  # fmt: skip

    def test_scorers(self):
        self.context.add_scorer(
            "count", lambda context, letter: lambda completions: [text.count(letter) for text in completions]
        )
        self.assertEqual(self.score("count:a", ["banana", "tom"]), [3.0, 0.0])
        self.assertEqual(self.score("count:b", ["banana", "tom"]), [1.0, 0.0])
        self.assertTrue(self.context.has_scorer("count:x"))
        self.assertFalse(self.context.has_scorer("counts"))
        kept = rlhf.Scorer(lambda completions: [7.0] * len(completions), context=self.context)
        self.context.add_scorer("kept", lambda context, argument: kept)
        self.assertEqual([self.score("kept", ["x"]) for _ in range(2)], [[7.0], [7.0]])
        self.assertFalse(kept.closed)
        with self.fails(rlhf.InvalidError, "nearest is count"):
            self.score("coumt", [])
        for name in ("count", "a:b", ""):
            with self.assertRaises(rlhf.InvalidError):
                self.context.add_scorer(name, lambda context, argument: kept)
        with self.assertRaises(TypeError):
            self.context.add_scorer("other", 3)

    def test_objectives(self):
        self.context.add_objective(
            "ppo", lambda context, text: rlhf.Objective.builtin("ppo", context=context, cliprange=float(text))
        )
        self.context.add_objective("shifted", lambda context, text: Shifted())
        self.context.add_objective("builtin", lambda context, text: text)
        self.assertEqual(rlhf.Objective.named("ppo:0.3", context=self.context)["cliprange"], 0.3)
        self.assertEqual(rlhf.Objective.named("builtin:gae", context=self.context)["lam"], 0.95)
        mine = rlhf.Objective.named("shifted", context=self.context)
        mine["scale"] = 2
        self.assertEqual(mine["scale"], 2)
        once = rlhf.Objective.builtin("ppo", context=self.context)
        self.context.add_objective("once", lambda context, text: once)
        rlhf.Objective.named("once", context=self.context)
        self.assertTrue(once.closed)
        with self.fails(rlhf.InvalidError, "closed"):
            rlhf.Objective.named("once", context=self.context)

    def test_makers_that_fail(self):
        def fail(context, argument):
            raise KeyError(argument)

        self.context.add_scorer("fails", fail)
        self.context.add_objective("elsewhere", lambda context, text: rlhf.Objective.builtin("ppo"))
        with self.assertRaises(KeyError):
            self.score("fails:now", [])
        with self.fails(rlhf.InvalidError, "another"):
            rlhf.Objective.named("elsewhere", context=self.context)

    def test_names_go_with_their_context(self):
        gc.collect()
        before = _callbacks.count()
        self.context.add_scorer("count", lambda context, argument: lambda completions: [0.0] * len(completions))
        scorer = rlhf.Scorer.named("count", context=self.context)
        self.assertEqual(_callbacks.count(), before + 2)
        with self.assertRaises(rlhf.InvalidError):
            self.context.add_scorer("count", lambda context, argument: [])
        self.assertEqual(_callbacks.count(), before + 2)
        scorer.close()
        self.assertEqual(_callbacks.count(), before + 1)
        del scorer
        self.context = None
        gc.collect()
        self.assertEqual(_callbacks.count(), before)

    def test_plugins(self):
        if compiler() is None:
            self.skipTest("no C compiler")
        plugin = os.path.join(self.directory(), "libplugin.so")
        compile_c("-shared", "-fPIC", ROOT / "examples" / "plugin.c", rlhf.library_path, "-lm", "-o", plugin)
        self.context.load_plugin(plugin)
        self.assertEqual(self.score("length:3", ["abc", "abcde"]), [0.0, -0.5])
        dft = rlhf.Objective.named("dft", context=self.context)
        result = dft.token_loss([0, 1], [math.log(0.5)])
        self.assertAlmostEqual(result.loss, -0.5 * math.log(0.5))
        with self.assertRaises(rlhf.RangeError):
            self.score("length:0", [])
        with self.assertRaises(rlhf.InvalidError):  # its names are taken
            self.context.load_plugin(plugin)
        with self.fails(rlhf.IOError, "nowhere"):
            self.context.load_plugin("/nowhere/plugin.so")


if __name__ == "__main__":
    unittest.main()
