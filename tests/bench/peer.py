#!/usr/bin/env python3
"""Runs one script of another engine's benchmarks. With --cpu its clock is processor time, and no sample counts as
disturbed: with one thread that is the time of a machine of its own, also where others are at work.

usage: peer.py [--cpu] SCRIPT ARGUMENTS..."""

import os
import runpy
import sys
import time


def main():
    arguments = sys.argv[1:]
    by_processor = arguments[0] == "--cpu"
    script = os.path.abspath(arguments[1 if by_processor else 0])
    sys.path.insert(0, os.path.dirname(script))
    sys.argv = [script] + arguments[2 if by_processor else 1:]
    if by_processor:
        import common  # the scripts' own helpers, beside them

        time.perf_counter = time.process_time
        common.wait_quiet = lambda *_: None
        common.Load.read = lambda self: {"nice": 0.0, "steal": 0.0, "idle": 0.0, "loadavg1": os.getloadavg()[0]}
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
