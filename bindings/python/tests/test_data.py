"""Tokenizers, datasets, batches, recipes, pipelines, evaluation."""

import array
import math
import os
import unittest

import rlhf
import tiny_model
from support import Case, numbers


class Tokenizers(Case):
    def test_text_and_back(self):
        self.assertEqual(self.tokenizer.decode(self.tokenizer.encode("a cat.")), "a cat.")
        self.assertEqual(self.tokenizer.encode(""), [])
        self.assertEqual(self.tokenizer.encode("a<end>"), [3, 0])
        self.assertNotEqual(self.tokenizer.encode("a<end>", ignore_special=True), [3, 0])
        self.assertEqual(self.tokenizer.decode([3, 0], skip_special=True), "a")
        long = "a cat sat. " * 500
        self.assertEqual(self.tokenizer.decode(self.tokenizer.encode(long)), long)

    def test_numbers_about_it(self):
        self.assertEqual((self.tokenizer.vocabulary, len(self.tokenizer)), (44, 44))
        self.assertEqual((self.tokenizer.eos, self.tokenizer.bos, self.tokenizer.pad), (0, None, None))
        self.assertEqual((self.tokenizer.unknown, self.tokenizer.find("b"), self.tokenizer.find("zz")), (None, 4, None))
        with self.fails(rlhf.RangeError, "44"):
            self.tokenizer.decode([44])
        with self.assertRaises(rlhf.RangeError):
            self.tokenizer.token(44)
        with self.assertRaises(TypeError):
            self.tokenizer.encode(b"a")

    def test_saving(self):
        directory = self.directory()
        self.tokenizer.save(directory)
        self.assertEqual(rlhf.Tokenizer(directory).encode("tom"), self.tokenizer.encode("tom"))
        self.assertEqual(rlhf.Tokenizer(os.path.join(directory, "tokenizer.json")).vocabulary, 44)


class Datasets(Case):
    def test_rows_of_every_kind(self):
        for kind, row in (
            ("text", {"text": "a"}),
            ("prompt", {"prompt": "a", "level": 3}),
            ("prompt_completion", {"prompt": "a", "completion": "b"}),
            ("preference", {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 0.5}),
        ):
            dataset = rlhf.Dataset([row])
            self.assertEqual((dataset.kind(), dataset[0], dataset[-1]), (kind, row, row))

    def test_any_iterable(self):
        self.assertEqual(len(rlhf.Dataset({"text": str(i)} for i in range(5))), 5)
        self.assertEqual(len(rlhf.Dataset([])), 0)

        class Rows:  # as a datasets.Dataset: __len__, __getitem__, and None for columns that a row lacks
            def __len__(self):
                return 3

            def __getitem__(self, index):
                if index >= 3:
                    raise IndexError
                return {"prompt": f"p{index}", "chosen": "a", "rejected": "b", "note": None}

        self.assertEqual([row["prompt"] for row in rlhf.Dataset(Rows())], ["p0", "p1", "p2"])

    def test_messages(self):
        rows = [{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}]
        with self.fails(rlhf.FormatError, "row 1"):
            rlhf.Dataset(rows)
        self.assertIn("ho", str(rlhf.Dataset(rows, chat_template="chatml")[0]))
        with self.fails(rlhf.InvalidError, "chatml"):
            rlhf.Dataset(rows, chat_template="llama")

    def test_bad_rows(self):
        rows = [{"text": "a"}, {"nothing": 1}, {"text": "b"}]
        with self.fails(rlhf.FormatError, "row 2"):
            rlhf.Dataset(rows)
        dataset = rlhf.Dataset(rows, bad_row="skip")
        self.assertEqual((len(dataset), dataset.skipped), (2, 1))
        with self.assertRaises(TypeError):
            rlhf.Dataset(["text"])
        with self.assertRaises(ValueError):
            rlhf.Dataset([{"prompt": "a", "x": math.nan}])
        with self.assertRaises(TypeError):
            rlhf.Dataset([{"prompt": "a", "x": object()}])
        with self.assertRaises(IndexError):
            dataset[2]

    def test_append_save_load(self):
        dataset = rlhf.Dataset()
        dataset.append("prompt", prompt="äö", answer=[1, 2])
        with self.assertRaises(rlhf.InvalidError):
            dataset.append("preference", prompt="a")
        with self.fails(rlhf.InvalidError, "preference"):
            dataset.append("pairs", prompt="a")
        path = os.path.join(self.directory(), "rows.jsonl.gz")
        dataset.save(path)
        self.assertEqual(list(rlhf.Dataset.load(path)), [{"prompt": "äö", "answer": [1, 2]}])
        self.assertEqual(len(rlhf.Dataset.load(path, max_rows=1)), 1)
        with self.fails(OSError, "nowhere"):
            rlhf.Dataset.load("/nowhere.jsonl")

    def test_exceptions_of_the_rows_come_out(self):
        def rows():
            yield {"text": "a"}
            raise ZeroDivisionError

        with self.assertRaises(ZeroDivisionError):
            rlhf.Dataset(rows())


class Batches(Case):
    def test_arrays_of_every_kind(self):
        made = [
            rlhf.Batch.from_arrays([0, 2, 3], [5, 6, 7], [1, 1]),
            rlhf.Batch.from_arrays(array.array("q", [0, 2, 3]), array.array("i", [5, 6, 7]), [1, 1]),
            rlhf.Batch([[5], [7]], [[6], []]),
        ]
        if rlhf.have_numpy():
            import numpy as np

            made.append(rlhf.Batch.from_arrays(np.array([0, 2, 3]), np.array([5, 6, 7], "uint8"), np.ones(2, int)))
            self.assertIsInstance(made[0].tokens, np.ndarray)
        for batch in made:
            self.assertEqual(batch.tokens.tolist(), [5, 6, 7])
            self.assertEqual(batch.prompt_length.tolist(), [1, 1])
            self.assertEqual((batch.offset.tolist(), batch.response_offset.tolist()), ([0, 2, 3], [0, 1, 1]))
            self.assertEqual((batch.row(0), batch.row(1)), (([5], [6]), ([7], [])))

    def test_empty(self):
        batch = rlhf.Batch([])
        self.assertEqual((len(batch), batch.tokens.tolist(), batch.response_offset.tolist()), (0, [], [0]))

    def test_wrong_arrays(self):
        with self.fails(rlhf.InvalidError, "offset"):
            rlhf.Batch.from_arrays([0, 3], [5, 6], [1])
        with self.fails(rlhf.InvalidError):
            rlhf.Batch.from_arrays([0, 2], [5, 6], [3])
        with self.assertRaises((TypeError, OverflowError)):
            rlhf.Batch([[1.5]])
        with self.assertRaises(OverflowError):
            rlhf.Batch([[2**40]])
        with self.fails(rlhf.InvalidError, "2 prompts, 1 responses"):
            rlhf.Batch([[1], [2]], [[3]])
        with self.assertRaises(IndexError):
            rlhf.Batch([[1]]).row(1)

    def test_tokenize(self):
        dataset = rlhf.Dataset([{"prompt": "a", "chosen": " b", "rejected": " c"}])
        batch = rlhf.Batch.tokenize(self.tokenizer, dataset, eos=True)
        self.assertEqual([batch.row(0), batch.row(1)], [([3], [1, 4, 0]), ([3], [1, 5, 0])])
        self.assertEqual(len(rlhf.Batch.tokenize(self.tokenizer, dataset, separate=True)), 2)
        with self.assertRaises(rlhf.RangeError):
            rlhf.Batch.tokenize(self.tokenizer, dataset, 0, 2)
        with self.assertRaises(rlhf.RangeError):
            rlhf.Batch.tokenize(self.tokenizer, dataset, -1)

    def test_select_and_take(self):
        batch = rlhf.Batch([[1], [2], [3]], [[4, 5], [], [6]])
        self.assertEqual(batch.select([2, 0]).tokens.tolist(), [3, 6, 1, 4, 5])
        self.assertEqual(numbers(batch.take([0.1, 0.2, 0.3], [2, 0])), [0.3, 0.1, 0.2])
        with self.fails(rlhf.InvalidError, "3 response tokens"):
            batch.take([0.1], [0])
        twice = batch.select(row for row in (2, 0, 2))
        self.assertEqual([twice.row(row) for row in range(3)], [([3], [6]), ([1], [4, 5]), ([3], [6])])
        self.assertEqual(len(batch.select([])), 0)
        for row in (-1, 3):
            with self.fails(rlhf.RangeError, str(row)):
                batch.select([0, row])

    def test_orders(self):
        # By Philox 4x32-10 and Fisher and Yates, written down in Python on their own.
        self.assertEqual(rlhf.order("updates", 42, 3, 8).tolist(), [2, 4, 0, 3, 7, 5, 6, 1])
        self.assertEqual(rlhf.order("updates", 2**64 - 1, 5, 9).tolist(), [3, 0, 7, 5, 4, 8, 6, 2, 1])
        rows = [rlhf.order("rows", seed, number, 50).tolist() for seed, number in ((1, 0), (1, 1), (2, 0))]
        rows.append(rlhf.order("updates", 1, 0, 50).tolist())
        self.assertEqual([sorted(one) for one in rows], [list(range(50))] * 4)
        self.assertEqual(len({tuple(one) for one in rows}), 4)
        self.assertEqual(rlhf.order("rows", 1, 2**32, 50).tolist(), rows[0])
        self.assertEqual(rlhf.order("rows", 1, 0, 0).tolist(), [])
        with self.fails(rlhf.InvalidError, "rows, updates"):
            rlhf.order("columns", 1, 0, 1)
        with self.assertRaises(rlhf.InvalidError):
            rlhf.order("rows", 1, 0, -1)
        with self.assertRaises(rlhf.RangeError):
            rlhf.order("rows", -1, 0, 1)

    def test_measuring(self):
        for kind in ("forward", "input_gradient", "weight_gradient", "decoding"):
            seconds = rlhf.experimental.measure_product(kind, 3, 8, 5, repeats=4)
            self.assertEqual(len(seconds), 4)
            self.assertTrue(all(0 <= second < 60 for second in numbers(seconds)))
        with self.fails(rlhf.InvalidError, "decoding"):
            rlhf.experimental.measure_product("sideways", 1, 1, 1)
        with self.assertRaises(rlhf.UnsupportedError):
            rlhf.experimental.measure_product("forward", 1, 1, 1, format="bfloat16")
        for size in (0, 2**24 + 1, 2**64):
            with self.assertRaises(rlhf.RangeError):
                rlhf.experimental.measure_product("forward", size, 1, 1)
        for repeats in (0, 2**20 + 1):
            with self.assertRaises(rlhf.RangeError):
                rlhf.experimental.measure_product("forward", 1, 1, 1, repeats=repeats)


class Recipes(Case):
    def test_values(self):
        recipe = rlhf.Recipe("ppo", learning_rate=1e-5, adaptive_kl=True, num_ppo_epochs=2, kl_estimator="k3")
        self.assertEqual(
            [recipe[key] for key in ("learning_rate", "adaptive_kl", "num_ppo_epochs", "kl_estimator", "output_dir")],
            [1e-5, True, 2, "k3", ""],
        )
        self.assertIsNone(recipe["missing_eos_penalty"])
        recipe["missing_eos_penalty"] = 1
        self.assertEqual(recipe["missing_eos_penalty"], 1.0)
        recipe["missing_eos_penalty"] = None
        self.assertIsNone(recipe["missing_eos_penalty"])
        self.assertIn("kl_coef", recipe)
        self.assertEqual(recipe.method, "ppo")
        self.assertEqual(set(recipe.to_dict()), {key.name for key in rlhf.recipe.keys("ppo")})
        with self.assertRaises(rlhf.InvalidError):
            recipe["nonsense"]
        with self.assertRaises(rlhf.InvalidError):
            rlhf.recipe.keys("nonsense")

    def test_yaml(self):
        recipe = rlhf.Recipe("sft", learning_rate=0.125)
        path = os.path.join(self.directory(), "recipe.yaml")
        with open(path, "w") as file:
            file.write(recipe.to_yaml())
        other = rlhf.Recipe("sft")
        try:
            other.load(path)
        except rlhf.UnsupportedError as error:
            self.skipTest(str(error))
        self.assertEqual(other.to_dict(), recipe.to_dict())

    def test_pipeline(self):
        directory = self.directory()
        path = os.path.join(directory, "run.yaml")
        with open(path, "w") as file:
            file.write(
                "stages:\n  - name: one\n    method: sft\n    model_name_or_path: base\n    dataset_name: rows.jsonl\n"
                "  - name: two\n    method: ppo\n    model_name_or_path: stage:one\n    scorer: length\n"
                "    kl_coef: 0.5\n"
            )
        try:
            pipeline = rlhf.Pipeline(path, directory)
        except rlhf.UnsupportedError as error:
            self.skipTest(str(error))
        first, second = pipeline
        pipeline.close()
        self.assertEqual((first.name, first.scorer, second.scorer, second.gold), ("one", None, "length", None))
        self.assertEqual((second.recipe.method, second.recipe["kl_coef"]), ("ppo", 0.5))
        self.assertEqual(second.recipe["model_name_or_path"], os.path.join(directory, "one", "model"))


class Evaluation(Case):
    def test_numbers(self):
        estimate = rlhf.evaluation.mean([1, 2, math.nan, 3])
        self.assertEqual((estimate.mean, estimate.count), (2.0, 3))
        self.assertAlmostEqual(rlhf.evaluation.best_of_n_kl(4), math.log(4) - 0.75)
        curve = rlhf.evaluation.best_of_n([1, 2, 3, 4], [1, 2, 3, 4], 2)
        self.assertEqual([e.mean for e in curve], [2.5, 3.0])
        calibration = rlhf.evaluation.calibration([2.0, 1.0, 0.0], [0.0, 0.0, 1.0])
        self.assertAlmostEqual(calibration.accuracy, 2 / 3)
        self.assertEqual((len(calibration.confidence), sum(calibration.pairs)), (10, 3))
        self.assertEqual(rlhf.evaluation.win_rate([1, 1], [0, 1], seed=3).mean, 0.75)
        with self.fails(rlhf.InvalidError, "2 and 1"):
            rlhf.evaluation.win_rate([1, 2], [1])
        with self.assertRaises(rlhf.InvalidError):
            rlhf.evaluation.best_of_n([1, 2, 3], [1, 2, 3], 2)
        with self.assertRaises(rlhf.NonFiniteError):
            rlhf.evaluation.calibration([math.nan], [0])

    def test_kl(self):
        rollout = self.policy.rollout([[3]], samples_per_prompt=4, max_new_tokens=4)
        self.assertEqual(rlhf.evaluation.kl(rollout, self.policy.freeze()).mean, 0.0)
        other = tiny_model.policy(seed=2).freeze()
        self.assertGreater(rlhf.evaluation.kl(rollout, other, estimator=3).mean, 0.0)


if __name__ == "__main__":
    unittest.main()
