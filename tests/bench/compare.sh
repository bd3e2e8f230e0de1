#!/bin/sh
# Puts `rlhf bench` beside other engines' scripts and prints a table of ratios.
#
#   RLHF_PEERS=venv/bin/python RLHF_PEERS_PPO=ppo-venv/bin/python tests/bench/compare.sh SCRIPTS [OPTIONS]
#
# SCRIPTS is the directory of train_step.py, score.py, trl_grpo.py and the others; their README says what the
# environments need. Options (compare.py --help has all): --rlhf PROGRAM, --only REGEX, --repeat N, --cpu, --gguf DIR.
set -eu

here=$(dirname "$0")
if [ $# -lt 1 ] || [ ! -f "$1/common.py" ]; then
    sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
if [ -z "${RLHF_PEERS:-}" ]; then
    echo "compare.sh: RLHF_PEERS is not set: a python that has the other engines" >&2
    exit 2
fi
exec python3 "$here/compare.py" "$@"
