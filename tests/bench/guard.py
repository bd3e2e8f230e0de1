#!/usr/bin/env python3
"""Sees a slowdown: each kind of work as a share of the machine's own peak, by processor time of one thread, against the
share that was recorded on such a machine. More than 10 % below is reported. Neighbours on the machine hardly matter,
its clock rate not at all.

usage: guard.py RLHF [--record] [--only REGEX] [--repeat N] [--file FILE]
exit status: 0 as fast as recorded, 1 slower, 77 nothing is recorded for this processor"""

import argparse
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SLOWER = 0.10
TIMES = 3  # what is recorded is the best of three; what looks slower is measured so often before it is reported
WORK = {
    "train tiny": "train --shape tiny",
    "train small": "train --shape small --batch 4",
    "train smollm2": "train --shape smollm2 --batch 1 --repeat 3",
    "score tiny": "score --shape tiny",
    "score smollm2": "score --shape smollm2 --batch 2 --repeat 3",
    "reward tiny": "reward --shape tiny",
    "decode tiny 64": "decode --shape tiny --batch 64",
    "decode small 64": "decode --shape small --batch 64 --new 32",
    "decode smollm2 1": "decode --shape smollm2 --batch 1 --new 32 --repeat 3",
    "decode smollm2 32": "decode --shape smollm2 --batch 32 --prompt 16 --new 16 --repeat 3",
    "reinforce tiny": "reinforce --shape tiny",
    "ppo tiny": "ppo --shape tiny",
}


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        text = file.read()
    parts = [re.search(r"%s\s*:\s*(.*)" % key, text) for key in ("model name", "cpu family", "model")]
    return " ".join(part.group(1).strip() for part in parts if part)


def share(program, arguments, repeat):
    command = [program, "bench"] + arguments.split() + ["--threads", "1", "--json", "--quiet"]
    if "--repeat" not in command:
        command += ["--repeat", str(repeat)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    return json.loads(output)["cpu_peak_share"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--record", action="store_true", help="write what is measured now into the file")
    parser.add_argument("--only", default="", help="regular expression on the names of the work")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--file", default=os.path.join(HERE, "shares.json"))
    options = parser.parse_args()
    with open(options.file, encoding="utf-8") as file:
        shares = json.load(file)
    recorded = shares.setdefault(processor(), {})
    if not recorded and not options.record:
        print("guard: nothing is recorded for %s (--record does)" % processor())
        return 77
    slower = 0
    print("%-18s %9s %9s" % ("share of the peak", "recorded", "now"))
    for name, arguments in WORK.items():
        if not re.search(options.only, name):
            continue
        before, now = recorded.get(name), 0
        for _ in range(TIMES):
            now = max(now, share(options.program, arguments, options.repeat))
            if not options.record and before is not None and now >= before * (1 - SLOWER):
                break
        slow = before is not None and now < before * (1 - SLOWER)
        slower += slow
        print("%-18s %9s %9.3f%s" % (name, "-" if before is None else "%.3f" % before, now, "  SLOWER" if slow else ""),
              flush=True)
        recorded[name] = round(now, 4)
    if options.record:
        with open(options.file, "w", encoding="utf-8") as file:
            json.dump(shares, file, indent=2, sort_keys=True)
            file.write("\n")
        return 0
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
