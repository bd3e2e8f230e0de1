#!/usr/bin/env python3
"""Puts `rlhf bench` beside other engines' scripts: same shape, same work, one after the other. See compare.sh."""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
# A heap that is never given back: the best case of engines that allocate with every step.
KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "1000000000000", "MALLOC_TOP_PAD_": "67108864"}


class Peer:
    def __init__(self, label, script, environment=None, ppo=False, gguf=None, fixed=False):
        self.label, self.script, self.environment = label, script, environment or {}
        self.ppo, self.gguf, self.fixed = ppo, gguf, fixed


def torch(arguments, compiled=False):
    """As installed and tuned."""
    peers = [Peer("torch", arguments), Peer("torch, keeps memory", arguments, KEEP)]
    return peers + ([Peer("torch, compiled", arguments + " --compile")] if compiled else [])


def trl(arguments, **options):
    return [Peer("TRL", arguments, fixed=True, **options),
            Peer("TRL, keeps memory", arguments, KEEP, fixed=True, **options)]


def generation(shape, batch, prompt, new, kind="F32"):
    sizes = "--batch %d --prompt %d --new %d" % (batch, prompt, new)
    peers = [Peer("llama.cpp " + kind, "generate_llamacpp.py --shape %s %s" % (shape, sizes), gguf=(shape, kind))]
    if kind == "F32":
        peers.append(Peer("transformers", "generate_hf.py --shape %s %s" % (shape, sizes)))
    return peers


# name, arguments of rlhf bench, the others. {steps} is the number of repetitions and one to warm up.
WORK = [
    ("train tiny 32x128", "train --shape tiny",
     torch("train_step.py --shape tiny --batch 32 --seq 128 --fused", compiled=True)),
    ("train small 16x256", "train --shape small",
     torch("train_step.py --shape small --batch 16 --seq 256 --fused", compiled=True)),
    ("train smollm2 4x256", "train --shape smollm2", torch("train_step.py --shape smollm2 --fused")),
    ("train gpt2 4x256", "train --shape gpt2", torch("train_step.py --shape gpt2 --fused")),
    ("train smollm2 4x256 bf16", "train --shape smollm2 --dtype bf16",
     torch("train_step.py --shape smollm2 --fused --mode autocast") +
     [Peer("torch, weights too", "train_step.py --shape smollm2 --fused --mode bf16")]),
    ("score smollm2 8x256", "score --shape smollm2", torch("score.py --shape smollm2")),
    ("reward smollm2 4 pairs x 256", "reward --shape smollm2", torch("reward_step.py --shape smollm2")),
    ("decode tiny 64 sequences", "decode --shape tiny --batch 64", generation("tiny", 64, 8, 64)),
    ("decode small 64 sequences", "decode --shape small --batch 64", generation("small", 64, 8, 64)),
    ("decode smollm2 1 sequence", "decode --shape smollm2 --batch 1", generation("smollm2", 1, 64, 128)),
    ("decode smollm2 1 sequence bf16", "decode --shape smollm2 --batch 1 --dtype bf16",
     generation("smollm2", 1, 64, 128, "BF16")),
    ("decode smollm2 8 sequences", "decode --shape smollm2 --batch 8", generation("smollm2", 8, 64, 128)),
    ("decode smollm2 32 sequences", "decode --shape smollm2 --batch 32", generation("smollm2", 32, 64, 128)),
    ("on-policy tiny 8x4x64", "reinforce --shape tiny", trl("trl_grpo.py --shape tiny --steps {steps}")),
    ("on-policy smollm2 8x4x64", "reinforce --shape smollm2", trl("trl_grpo.py --shape smollm2 --steps {steps}")),
    ("ppo tiny 32x64", "ppo --shape tiny", trl("trl_ppo.py --shape tiny --iters {steps}", ppo=True)),
    ("ppo smollm2 32x64", "ppo --shape smollm2", trl("trl_ppo.py --shape smollm2 --iters {steps}", ppo=True)),
]


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = re.findall(r"model name\s*:\s*(.*)", file.read())
    return "%d x %s" % (len(names), names[0].strip()) if names else platform.processor() or platform.machine()


def run(command, environment, directory=None):
    """The last line of JSON that a command prints, or None with its complaint on standard error."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True,
                            env=dict(os.environ, **environment), cwd=directory, check=False)
    lines = [line for line in result.stdout.splitlines() if line.startswith("{")]
    if result.returncode != 0 or not lines:
        print("%s: exit %d: %s" % (" ".join(command), result.returncode, result.stderr.strip()[-300:]), file=sys.stderr)
        return None
    return json.loads(lines[-1])


def run_ours(options, arguments):
    command = [options.rlhf, "bench"] + arguments.split() + ["--repeat", str(options.repeat), "--json", "--quiet"]
    result = run(command + ["--threads", str(options.threads)], {})
    if result is not None and options.cpu:
        result["seconds"] = result["cpu_seconds"]
    return result


def run_peer(options, peer):
    python = os.environ.get("RLHF_PEERS_PPO") if peer.ppo else os.environ["RLHF_PEERS"]
    if python is None:
        print("%s: RLHF_PEERS_PPO is not set" % peer.label, file=sys.stderr)
        return None
    command = [os.path.abspath(python), os.path.join(HERE, "peer.py")] + (["--cpu"] if options.cpu else [])
    script, _, rest = peer.script.partition(" ")
    command += [os.path.join(os.path.abspath(options.scripts), script)]
    command += rest.format(steps=options.repeat + 1).split() + ["--threads", str(options.threads)]
    if not peer.fixed:
        command += ["--repeats", str(options.repeat)]
    if peer.gguf is not None:
        if options.gguf is None:
            print("%s: --gguf is not given" % peer.label, file=sys.stderr)
            return None
        command += ["--gguf", os.path.join(os.path.abspath(options.gguf), peer.gguf[0], peer.gguf[1] + ".gguf")]
    return run(command, dict(peer.environment, HF_HUB_OFFLINE="1"), options.scripts)


def row(name, label, ours, peer):
    a, b = ours["seconds"]["median"], peer["seconds"]["median"]
    return "| %s | %.4g | %s | %.4g | %.2f | %.0f | %.0f | %.2f |" % (
        name, a, label, b, b / a, ours["peak_rss_mb"], peer["peak_rss_mb"], ours["peak_rss_mb"] / peer["peak_rss_mb"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scripts", help="directory of the other engines' scripts")
    parser.add_argument("--rlhf", default="rlhf", help="the program (default: the one on the path)")
    parser.add_argument("--only", default="", help="regular expression on the names of the work")
    parser.add_argument("--peers", default="", help="regular expression on the names of the others")
    parser.add_argument("--repeat", type=int, default=5, help="samples of each (default 5; their median counts)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cpu", action="store_true", help="one thread and processor time, where others are at work")
    parser.add_argument("--gguf", help="directory with SHAPE/F32.gguf and SHAPE/BF16.gguf (make_gguf.py)")
    parser.add_argument("--out", help="file to which every result is appended as a line of JSON")
    parser.add_argument("--list", action="store_true", help="names of the work, nothing is run")
    options = parser.parse_args()
    if options.cpu:
        options.threads = 1
    work = [one for one in WORK if re.search(options.only, one[0])]
    if options.list:
        print("\n".join(one[0] for one in work))
        return 0
    clock = "processor seconds" if options.cpu else "seconds"
    print("%s, %d thread(s), %s, median of %d, %s\n" % (processor(), options.threads, clock, options.repeat,
                                                       datetime.date.today().isoformat()))
    print("| work | librlhf | other | its %s | times faster | MB | its MB | share |" % clock)
    print("|---|---|---|---|---|---|---|---|", flush=True)
    failed = 0
    for name, arguments, peers in work:
        for peer in peers:
            if not re.search(options.peers, peer.label):
                continue
            # Ours again beside each of them: the machine changes.
            results = [run_ours(options, arguments), run_peer(options, peer)]
            if None in results:
                failed += 1
                continue
            print(row(name, peer.label, *results), flush=True)
            if options.out is not None:
                with open(options.out, "a", encoding="utf-8") as file:
                    for label, result in zip(["librlhf", peer.label], results):
                        file.write(json.dumps(dict(result, work=name, engine=label, load=os.getloadavg()[0],
                                                   clock="cpu" if options.cpu else "wall")) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
