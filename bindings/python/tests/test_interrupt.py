"""Ctrl-C: long calls stop, KeyboardInterrupt comes out, nothing is left behind."""

import os
import signal
import threading
import time
import unittest
import unittest.mock

import rlhf
import tiny_model
from support import Case, python

TEXTS = [{"text": "a cat sat and ran and sang."}] * 64


def interrupt_in(seconds):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


class Interrupts(Case):
    def setUp(self):
        super().setUp()
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)

    def tearDown(self):
        self.assertIs(signal.getsignal(signal.SIGINT), signal.default_int_handler)
        previous = signal.set_wakeup_fd(-1)
        self.assertEqual(previous, -1)

    def interrupted(self, call, after=0.3):
        started = time.monotonic()
        timer = interrupt_in(after)
        with self.assertRaises(KeyboardInterrupt):
            while time.monotonic() - started < 20:
                call()
        timer.join()

    def test_a_long_run_without_python_in_it(self):
        size = {"hidden_size": 64, "intermediate_size": 128}
        policy = tiny_model.policy(**size)
        run = self.directory()
        settings = {"train_dataset": TEXTS, "learning_rate": 1e-3, "logging_steps": 10**6, "save_steps": 0}
        trainer = rlhf.Trainer("sft", policy, output_dir=run, max_steps=10**7, **settings)
        self.interrupted(trainer.train)
        step = trainer.progress().step
        self.assertGreater(step, 0)
        self.assertEqual(os.listdir(os.path.join(run, "checkpoints")), [f"step-{step}"])
        self.assertIsNone(trainer.step())  # the request is used up: the next call is not stopped
        trainer.close()
        again = tiny_model.policy(**size)
        resumed = rlhf.Trainer("sft", again, output_dir=run, resume=True, max_steps=10**7, **settings)
        self.assertEqual(resumed.progress().step, step)

    def test_a_rollout(self):
        self.interrupted(lambda: self.policy.rollout([[3]] * 500, max_new_tokens=60, ignore_stop=True))
        self.assertEqual(len(self.policy.rollout([[3]], max_new_tokens=2)), 1)

    def test_inside_the_users_own_callback(self):
        def forever(metrics):
            while True:
                pass

        trainer = rlhf.Trainer("sft", self.policy, train_dataset=TEXTS, logging_steps=1, on_metrics=forever)
        self.interrupted(trainer.train)
        self.assertEqual(len(self.policy.rollout([[3]], max_new_tokens=2)), 1)

    def test_while_streaming(self):
        self.interrupted(lambda: list(self.policy.stream("a", max_new_tokens=60, ignore_stop=True)))
        self.assertEqual(len(self.policy.rollout([[3]], max_new_tokens=2)), 1)

    def test_inside_a_destructor(self):
        """Where Python prints and forgets exceptions, Ctrl-C waits until that is over."""
        from rlhf import _handle

        release = _handle.Core.release

        def interrupted_release(core, cell, function):
            release(core, cell, function)
            if threading.current_thread() is threading.main_thread() and not once:
                once.append(1)
                signal.raise_signal(signal.SIGINT)

        once = []
        patch = unittest.mock.patch.object(_handle.Core, "release", interrupted_release)
        with patch, self.assertRaises(KeyboardInterrupt):
            rlhf.Batch([[1]]).close()
            time.sleep(5)
        self.assertEqual(once, [1])

    def test_again_and_again(self):
        trainer = rlhf.Trainer("sft", self.policy, train_dataset=TEXTS, max_steps=10**7, logging_steps=10**6)
        for after in (0.01, 0.02, 0.05, 0.1):
            self.interrupted(trainer.train, after)
            trainer.step()

    def test_a_handler_of_the_hosts_is_left_alone(self):
        heard = []
        signal.signal(signal.SIGINT, lambda *_: heard.append(1))
        try:
            timer = interrupt_in(0.1)
            trainer = rlhf.Trainer("sft", self.policy, train_dataset=TEXTS, max_steps=10**7, logging_steps=1,
                                   on_metrics=lambda metrics: heard and self.policy.context.cancel())  # fmt: skip
            with self.assertRaises(rlhf.CanceledError):
                trainer.train()
            timer.join()
            self.assertEqual(heard, [1])
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def test_bytes_of_other_signals_reach_the_hosts_pipe(self):
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.set_wakeup_fd(writer)
        try:
            timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1))
            timer.start()
            rlhf.Trainer("sft", self.policy, train_dataset=TEXTS, max_steps=300, logging_steps=10**6).train()
            timer.join()
            os.set_blocking(reader, False)
            self.assertIn(signal.SIGUSR1, os.read(reader, 64))
            self.assertEqual(signal.set_wakeup_fd(-1), writer)
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            os.close(reader)
            os.close(writer)

    def test_a_program_ends_as_others_do(self):
        done = python(
            "import os, signal, threading, rlhf, tiny_model\n"
            "policy = tiny_model.policy()\n"
            "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
            "rlhf.Trainer('sft', policy, train_dataset=[{'text': 'a cat sat.'}] * 64, max_steps=10**7).train()\n"
        )
        self.assertEqual(done.returncode, -signal.SIGINT, done.stderr)
        self.assertIn("KeyboardInterrupt", done.stderr)

    def test_in_another_thread_the_run_goes_on(self):
        done = []

        def work():
            with rlhf.Context(threads=1) as context:
                policy = tiny_model.policy(context)
                done.append(rlhf.Trainer("sft", policy, train_dataset=TEXTS[:8], max_steps=30).train().global_step)

        thread = threading.Thread(target=work)
        thread.start()
        with self.assertRaises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        thread.join()
        self.assertEqual(done, [30])


if __name__ == "__main__":
    unittest.main()
