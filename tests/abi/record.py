#!/usr/bin/env python3
"""Writes down what was added to the binary interface: record.py COUNT SYMBOLS_ARGUMENT*COUNT LAYOUT_ARGUMENT..."""
import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
count = int(sys.argv[1])
symbols, layout = sys.argv[2:2 + count], sys.argv[2 + count:]
status = subprocess.call([sys.executable, os.path.join(here, "symbols.py"), "--record"] + symbols)
sys.exit(subprocess.call([sys.executable, os.path.join(here, "layout.py"), "--record"] + layout) or status)
