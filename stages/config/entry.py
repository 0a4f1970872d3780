"""How a stage starts and ends: logs on stderr, seconds at the end, a user's mistake as one line.

What a user can cause (ValueError, OSError, FloatingPointError) ends in `error: ...` and exit code
1, Ctrl-C in a line of its own and 130. Anything else is a bug of ours and keeps its traceback.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stages.config.memory import keep_freed_memory
from stages.config.scratch import remove_finished

logger = logging.getLogger(__name__)

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def run_stage(main: Callable[..., None], *args: str) -> None:
    """Run a stage's `main(*args)` as a command-line program.

    Raises:
        SystemExit: With 1 after a user's mistake, with 130 after Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as it was before `stages` took it
    _set_up_logging()
    keep_freed_memory()
    name = " ".join([Path(sys.argv[0]).stem, *args])
    start = time.perf_counter()
    try:
        if stage := os.environ.get("DVC_STAGE"):  # set by `dvc repro`
            remove_finished(stage)
        main(*args)
    except (ValueError, OSError, FloatingPointError) as error:
        for line in (str(error) or type(error).__name__).splitlines():
            logger.error("error: %s", line)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        logger.error("%s", " ".join([f"{name}: interrupted", *map(str, interrupt.args)]))
        sys.exit(INTERRUPTED)
    logger.info("%s: %.1f s", name, time.perf_counter() - start)


def _set_up_logging() -> None:
    """Show our own messages, and only the warnings of the libraries."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for ours in ("stages", "__main__"):
        logging.getLogger(ours).setLevel(logging.INFO)
