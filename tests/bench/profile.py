#!/usr/bin/env python3
"""Where the time of a command goes, room by room: needs Linux perf and a build directory of this project.

    python3 tests/bench/profile.py BUILD -- BUILD/examples/rlhf/rlhf bench train --shape smollm2

Samples are taken with perf; a symbol belongs to the room whose static library defines it. The compute room is split by
what its kernels are for. "kernel" is the operating system (page faults, wake-ups).
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

# First match wins. Names of kernels: lib/compute/kernels.h.
COMPUTE_PARTS = [
    ("products", r"^tile_|^tile$|k_product|pack|copy_rows|slab|run_tile|run_block|product|grid"),
    ("attention", r"softmax|attend|attention|spread_columns|k_dot|k_divide|gradient_task|score|rotate"),
    ("norms and activations", r"norm|activate|column_sum|sum_over_rows|bias_gradient"),
    ("head and loss", r"head|exp_scaled"),
    ("optimizer", r"adamw|sum_of_squares|all_finite"),
    ("copies and sums", r"k_add|k_scale|rlhfi_copy|rlhfi_zero|gather|scatter|add_to"),
]


def rooms_of_symbols(build):
    """Symbol -> room, from the rooms' static libraries."""
    rooms = {}
    for library in glob.glob(os.path.join(build, "lib", "libroom_*.a")):
        room = re.sub(r"^libroom_|\.a$", "", os.path.basename(library))
        listing = subprocess.run(["nm", "--defined-only", library], capture_output=True, text=True, check=False)
        for line in listing.stdout.splitlines():
            words = line.split()
            if len(words) == 3 and words[1] in "tT":
                rooms.setdefault(words[2], room)
    return rooms


def samples(command):
    """(symbol, share in percent, is kernel) of a run."""
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "perf.data")
        run = subprocess.run(["perf", "record", "-q", "-o", data, "--"] + command, check=False)
        if run.returncode != 0:
            sys.exit(f"profile: the command ended with status {run.returncode}")
        report = subprocess.run(["perf", "report", "-i", data, "--stdio", "-s", "symbol", "-w", "0"],
                                capture_output=True, text=True, check=True)
    for line in report.stdout.splitlines():
        match = re.match(r"\s*([0-9.]+)%\s+\[(.)\]\s+(\S+)", line)
        if match:
            yield match.group(3), float(match.group(1)), match.group(2) == "k"


def place(symbol, is_kernel, rooms):
    if is_kernel:
        return "kernel"
    symbol = re.sub(r"\.(isra|constprop|part|cold)\b.*$", "", symbol)
    room = rooms.get(symbol)
    if room is None:
        return "C library" if symbol.startswith(("__mem", "mem", "_int_", "malloc", "free")) else "other"
    if room == "compute":
        for name, pattern in COMPUTE_PARTS:
            if re.search(pattern, symbol):
                return "compute: " + name
        return "compute: rest"
    return room


def main():
    if "--" not in sys.argv or len(sys.argv) < 4:
        sys.exit(__doc__)
    build, command = sys.argv[1], sys.argv[sys.argv.index("--") + 1:]
    rooms = rooms_of_symbols(build)
    if not rooms:
        sys.exit(f"profile: {build} is no build directory: it has no lib/libroom_*.a")
    shares = {}
    for symbol, share, is_kernel in samples(command):
        where = place(symbol, is_kernel, rooms)
        shares[where] = shares.get(where, 0.0) + share
    width = max(len(name) for name in shares)
    print(f"{'where':<{width}}  share")
    for name, share in sorted(shares.items(), key=lambda item: -item[1]):
        if share >= 0.05:
            print(f"{name:<{width}}  {share:4.1f} %")


if __name__ == "__main__":
    main()
