"""Examples of docstrings, of the README, and the programs of examples/python."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
import unittest

import rlhf
import tiny_model
from support import EXAMPLES, PACKAGE, Case, environment


class Examples(Case):
    def run_example(self, name, *arguments):
        program = [sys.executable, str(EXAMPLES / name), *arguments]
        if os.environ.get("RLHF_TEST_WITHOUT_NUMPY"):
            start = "import sys, runpy; sys.modules['numpy'] = None; sys.argv[:] = sys.argv[1:]; "
            program[1:1] = ["-c", start + "runpy.run_path(sys.argv[0], run_name='__main__')"]
        done = subprocess.run(
            program, env=environment(), cwd=self.directory(), capture_output=True, text=True, timeout=250, check=False
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_quickstart(self):
        self.assertRegex(self.run_example("quickstart.py"), r"(?s)step 10: .*step 40: .*a cat: .*tom: ")
        directory = self.directory()
        tiny_model.save(directory)
        self.assertIn("step 40", self.run_example("quickstart.py", directory))

    def test_custom_reward(self):
        said = self.run_example("custom_reward.py")
        self.assertIn("on a text: 3.0", said)
        first, last = (float(x) for x in re.findall(r"reward (\S+),", said)[:: len(re.findall("reward", said)) - 1])
        self.assertGreater(last, first)

    def test_custom_objective(self):
        said = self.run_example("custom_objective.py")
        self.assertLess(float(re.search(r"gradient: (\S+)", said)[1]), 1e-6)
        rewards = [float(x) for x in re.findall(r"reward (\S+),", said)]
        self.assertGreater(rewards[-1], rewards[0])

    def test_ppo_by_hand(self):
        self.assertTrue(self.run_example("ppo_by_hand.py").endswith("equal\n"))

    def test_plot_metrics(self):
        said = self.run_example("plot_metrics.py")
        self.assertRegex(said, "wrote metrics.png|matplotlib is not installed")

    def test_docstrings(self):
        tried = 0
        for info in pkgutil.iter_modules(rlhf.__path__):
            if info.name.startswith("_"):
                continue
            importlib.import_module(f"rlhf.{info.name}")
            policy = tiny_model.policy()
            names = {"rlhf": rlhf, "policy": policy, "tokenizer": policy.tokenizer}
            result = doctest.testmod(sys.modules[f"rlhf.{info.name}"], extraglobs=names)
            self.assertEqual(result.failed, 0, info.name)
            tried += result.attempted
        self.assertGreater(tried, 40)

    def test_readme(self):
        blocks = re.findall(r"```python\n(.*?)```", (PACKAGE / "README.md").read_text(), re.S)
        self.assertGreater(len(blocks), 3)
        directory = self.directory()
        names = {"model": tiny_model.policy(), "directory": directory}
        names["model"].tokenizer = letters = tiny_model.tokenizer()
        self.assertEqual(letters.vocabulary, 44)
        for block in blocks:
            exec(compile(block, "README.md", "exec"), names)


if __name__ == "__main__":
    unittest.main()
