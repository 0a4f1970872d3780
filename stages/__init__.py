"""The experiment: a file a stage, a folder a library."""

import signal
import sys

# A stage takes seconds to import torch before its `run_stage` can word an interrupt. Until then
# Ctrl-C ends it at once, without a traceback. argv[0] is "-m" while `python -m` looks for a module.
if sys.argv[0] == "-m":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
