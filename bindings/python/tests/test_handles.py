"""Life and death of handles, contexts and threads."""

import contextlib
import gc
import os
import threading
import unittest

import rlhf
import tiny_model
from rlhf import _callbacks, _handle
from support import UNDER_SANITIZER, Case, numbers, python


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Handles(Case):
    def test_close_is_idempotent_and_final(self):
        batch = rlhf.Batch([[1, 2]])
        self.assertFalse(batch.closed)
        with batch:
            self.assertEqual(len(batch), 1)
        self.assertTrue(batch.closed)
        batch.close()
        with self.fails(rlhf.InvalidError, "Batch: is closed"):
            len(batch)
        with self.fails(rlhf.InvalidError, "is closed"):
            self.policy.log_probs(batch)

    def test_views_outlive_their_handle(self):
        batch = rlhf.Batch([[1, 2, 3]] * 1000)
        tokens = batch.tokens
        batch.close()
        del batch
        gc.collect()
        again = [rlhf.Batch([[9] * 3] * 1000) for _ in range(5)]
        self.assertEqual(tokens.tolist(), [1, 2, 3] * 1000)
        self.assertEqual(len(again), 5)

    def test_views_are_read_only(self):
        tokens = rlhf.Batch([[1, 2]]).tokens
        with self.assertRaises((TypeError, ValueError)):
            tokens[0] = 5

    def test_children_outlive_their_parents(self):
        context = rlhf.Context(threads=1)
        policy = tiny_model.policy(context)
        reference = policy.freeze()
        expected = policy.hash()
        policy.close()
        context.close()
        self.assertEqual(reference.hash(), expected)
        with self.fails(rlhf.InvalidError, "Context: is closed"):
            tiny_model.policy(context)

    def test_handles_of_two_contexts_do_not_mix(self):
        other = rlhf.Context(threads=1)
        batch = rlhf.Batch([[1]], [[2]], context=other)
        with self.fails(rlhf.InvalidError, "context"):
            self.policy.log_probs(batch)

    def test_no_copies_of_handles(self):
        import copy

        with self.assertRaises(TypeError):
            copy.copy(self.policy)

    def test_default_context_is_one(self):
        self.assertIs(rlhf.Context.default(), rlhf.Context.default())
        self.assertIs(self.policy.context, rlhf.Context.default())

    def test_failed_creation_leaves_nothing(self):
        before = _callbacks.count()
        with self.fails(rlhf.IOError, "nowhere"):
            rlhf.Policy("/nowhere")
        with self.fails(rlhf.FormatError):
            rlhf.Policy.create("{")
        with self.fails(rlhf.InvalidError, "ppo"):
            rlhf.Objective.builtin("poo")
        with rlhf.Context(threads=1) as context:
            pass
        with self.fails(rlhf.InvalidError, "closed"):
            rlhf.Scorer(lambda completions: [], context=context)
        gc.collect()
        self.assertEqual(_callbacks.count(), before)

    def test_the_message_is_the_librarys(self):
        with self.fails(rlhf.InvalidError, "learning_rat", "learning_rate"):
            rlhf.Recipe("ppo")["learning_rat"] = 1
        with self.fails(ValueError, "poo"):
            rlhf.Recipe("poo")
        with self.fails(rlhf.RangeError, "kl_coef"):
            rlhf.Recipe("ppo", kl_coef=-1)
        with self.fails(TypeError, "max_tokens", "max_new_tokens"):
            self.policy.rollout([[1]], max_tokens=3)
        with self.fails(rlhf.RangeError, "top_k"):
            self.policy.rollout([[1]], top_k=2**40)

    def test_a_thousand_lives_without_growth(self):
        scores = rlhf.reward(lambda completions: [0.0] * len(completions))

        def life():
            with rlhf.Context(threads=1) as context:
                policy = tiny_model.policy(context)
                scorer = rlhf.Scorer(scores, context=context)
                objective = rlhf.Objective(tiny_loss, context=context)
                rollout = policy.rollout([[3]], max_new_tokens=2)
                scorer.score(rollout, prompts=["a"])
                rlhf.Optimizer(policy)
                objective.close()

        for _ in range(50):
            life()
        gc.collect()
        before, live = resident(), _callbacks.count()
        for _ in range(1000 if not UNDER_SANITIZER else 100):
            life()
        gc.collect()
        self.assertEqual(_callbacks.count(), live)
        if not UNDER_SANITIZER:  # which keeps freed memory
            self.assertLess(resident() - before, 4e6)

    def test_exit_with_live_handles(self):
        done = python(
            "import rlhf, tiny_model\n"
            "policy = tiny_model.policy()\n"
            "class Loop: pass\n"
            "loop = Loop(); loop.me = loop; loop.scorer = rlhf.Scorer(lambda completions: [0.0] * len(completions))\n"
            "view = policy.rollout([[3]], max_new_tokens=3).tokens\n"
            "trainer = rlhf.Trainer('reinforce', policy, reward_funcs=loop.scorer, response_length=3, max_steps=1,\n"
            "                       train_dataset=[{'prompt': 'a'}])\n"
            "trainer.train()\n"
            "stream = policy.stream('a', max_new_tokens=30); next(stream)\n"
            "print('end')\n"
        )
        self.assertEqual((done.returncode, done.stdout.strip(), done.stderr), (0, "end", ""))


@rlhf.objective("token_loss")
def tiny_loss(inputs):
    return 0.0, [0.0] * len(inputs.log_prob)


class Threads(Case):
    def test_two_threads_take_turns_in_one_context(self):
        batch = rlhf.Batch([[3, 4]] * 8, [[5, 6]] * 8)
        expected = numbers(self.policy.log_probs(batch))
        found, errors = [], []

        def work():
            try:
                for _ in range(20):
                    found.append(numbers(self.policy.log_probs(batch)))
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        self.assertTrue(all(values == expected for values in found))
        self.assertEqual(len(found), 60)

    def test_two_contexts_run_side_by_side(self):
        hashes = []

        def work():
            with rlhf.Context(threads=1) as context:
                policy = tiny_model.policy(context)
                rlhf.Trainer("sft", policy, train_dataset=[{"text": "a cat sat."}] * 4, max_steps=3).train()
                hashes.append(policy.hash())

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(hashes), 2)
        self.assertEqual(hashes[0], hashes[1])

    def test_handles_dropped_while_another_thread_works(self):
        stop = threading.Event()

        def drop():
            while not stop.is_set():
                rlhf.Batch([[1]])

        thread = threading.Thread(target=drop)
        thread.start()
        for _ in range(30):
            self.policy.rollout([[3]] * 4, max_new_tokens=8)
        stop.set()
        thread.join()
        self.assertEqual(len(self.policy.context._core._waiting), 0)

    def test_cancel_from_another_thread(self):
        context = rlhf.Context(threads=1)
        policy = tiny_model.policy(context)
        timer = threading.Timer(0.2, context.cancel)
        timer.start()
        with self.fails(rlhf.CanceledError):
            while True:
                policy.rollout([[3]] * 200, max_new_tokens=50, ignore_stop=True)
        timer.join()
        self.assertEqual(len(policy.rollout([[3]], max_new_tokens=2)), 1)

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_forked_child(self):
        done = python(
            "import os, sys, warnings\n"
            "warnings.simplefilter('ignore')\n"
            "import rlhf, tiny_model\n"
            "policy = tiny_model.policy(rlhf.Context(threads=2))\n"
            "child = os.fork()\n"
            "if child == 0:\n"
            "    try:\n"
            "        policy.hash()\n"
            "    except rlhf.ForkedError:\n"
            "        policy.close()\n"
            "        print(len(tiny_model.policy().hash()), flush=True)\n"
            "    os._exit(0)\n"
            "print('child', os.waitpid(child, 0)[1], len(policy.hash()))\n"
        )
        self.assertEqual(done.stdout.split("\n")[:2], ["64", "child 0 64"], done.stderr)

    def test_nothing_of_the_hosts_is_changed(self):
        import locale
        import signal

        def host():
            handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)]
            return handlers, locale.setlocale(locale.LC_ALL), dict(os.environ), 5e-324 / 2 == 0, 1e-310 * 0.5 > 0

        before = host()
        rlhf.Trainer("sft", self.policy, train_dataset=[{"text": "a cat."}], max_steps=2).train()
        with contextlib.suppress(rlhf.Error):
            rlhf.Policy("/nowhere")
        self.assertEqual(host(), before)

    def test_log(self):
        lines = []
        context = rlhf.Context(threads=1, log=lambda level, line: lines.append((level, line)), log_level="debug")
        rlhf.Dataset([{"text": "x"}, {"bad": 1}], bad_row="skip", context=context)
        self.assertTrue(any("skipped" in line for _, line in lines), lines)

    def test_exception_in_log_comes_out(self):
        def log(level, line):
            raise KeyError(line)

        context = rlhf.Context(threads=1, log=log, log_level="debug")
        with self.assertRaises(KeyError):
            rlhf.Dataset([{"text": "x"}, {"bad": 1}], bad_row="skip", context=context)
        self.assertEqual(_handle._frames.stack, [])


if __name__ == "__main__":
    unittest.main()
