#!/usr/bin/env python3
"""The program with a plugin: its scorer and its objective train, by option, by recipe and by pipeline; what is wrong is
refused with one line.

usage: test_plugin_program.py RLHF PLUGIN.so"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import model as make  # noqa: E402

PROGRAM, PLUGIN = (os.path.abspath(argument) for argument in sys.argv[1:3])
SHORT = ["--max_steps", "2", "--learning_rate", "1e-3", "--model_name_or_path", "policy"]


def run(*arguments):
    return subprocess.run([PROGRAM] + list(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=300)


def succeeds(*arguments):
    result = run(*arguments)
    assert result.returncode == 0, "%s: exit %d: %s" % (" ".join(arguments), result.returncode, result.stderr)
    return result


def refuses(words, *arguments):
    result = run(*arguments)
    assert result.returncode in (1, 2), "%s: exit %d" % (" ".join(arguments), result.returncode)
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr, "%r is not in %r" % (word, result.stderr)


def recipe_says(directory, line):
    with open(os.path.join(directory, "config.yaml"), encoding="utf-8") as file:
        assert line in file.read().replace('"', "").splitlines(), line


def metrics(directory):
    with open(os.path.join(directory, "metrics.jsonl"), encoding="utf-8") as file:
        return file.read()


def main():
    sample = ["reinforce", *SHORT, "--dataset_name", "prompts.jsonl", "--response_length", "8"]
    tune = ["sft", *SHORT, "--dataset_name", "sft.jsonl", "--logging_steps", "1"]
    make.write_model("policy")
    make.write_rows("prompts.jsonl", [{"prompt": "Say %s" % word} for word in "one two three four".split()])
    make.write_rows("sft.jsonl", [{"prompt": "Say %s" % word, "completion": " fine."} for word in "one two".split()])

    # A scorer, by option and by the recipe's key; the run directory tells it, and a resumed run wants the same.
    succeeds(*sample, "--plugin", PLUGIN, "--scorer", "length:5", "--out", "by-option")
    recipe_says("by-option", "scorer: length:5")
    with open("recipe.yaml", "w", encoding="utf-8") as file:
        file.write("scorer: length:5\n")
    succeeds(*sample, "--plugin", PLUGIN, "--config", "recipe.yaml", "--out", "by-recipe")
    assert metrics("by-option") == metrics("by-recipe")
    refuses(["scorer"], *sample, "--plugin", PLUGIN, "--scorer", "length:6", "--out", "by-option", "--resume")
    with open("pipeline.yaml", "w", encoding="utf-8") as file:
        file.write("stages:\n  - name: one\n    method: reinforce\n    model_name_or_path: policy\n"
                   "    dataset_name: prompts.jsonl\n    max_steps: 1\n    response_length: 8\n    scorer: length:5\n")
    succeeds("run", "pipeline.yaml", "--plugin", PLUGIN, "--out", "runs")
    succeeds("best-of-n", "--model", "policy", "--prompt", "Say one", "--n", "2", "--max-new-tokens", "4",
             "--plugin", PLUGIN, "--scorer", "length:5")

    # An objective: another loss than the built-in one.
    succeeds(*tune, "--plugin", PLUGIN, "--objective", "dft", "--out", "dft")
    succeeds(*tune, "--out", "plain")
    recipe_says("dft", "objective: dft")
    assert metrics("dft") != metrics("plain")

    refuses(["objective dft", "not registered"], *tune, "--objective", "dft", "--out", "none")
    refuses(["objective dfg", "nearest is dft"], *tune, "--plugin", PLUGIN, "--objective", "dfg", "--out", "none")
    refuses(["dft", "policy_loss"], *sample, "--plugin", PLUGIN, "--scorer", "length:5", "--objective", "dft",
            "--out", "none")
    refuses(["length:many"], *sample, "--plugin", PLUGIN, "--scorer", "length:many", "--out", "none")
    refuses(["plugin", "no-such.so"], *tune, "--plugin", "./no-such.so")
    refuses(["sft.jsonl"], *tune, "--plugin", os.path.abspath("sft.jsonl"))
    assert not os.path.exists("none")
    print("the plugin was used and refused as it should be")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        main()
        os.chdir("/")
