"""The experiment: a file a stage, a folder a library."""

import gc
import logging
import os
import signal
import sys

# A stage takes seconds to import torch before its `run_stage` can word an interrupt. Until then
# Ctrl-C ends it at once, without a traceback. argv[0] is "-m" while `python -m` looks for a module.
if sys.argv[0] == "-m":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is imported stays: to look for garbage in it takes a fifth of those seconds.
    gc.disable()
    # No stage compiles, but bitsandbytes has functions to be compiled, and so imports the compiler.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

# On CPUs with bfloat16 it warns at import that it has no kernel of 4 bits: nothing here needs one.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
