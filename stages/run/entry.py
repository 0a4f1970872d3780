"""How a stage starts and ends: logs on stderr, seconds at the end, a user's mistake as one line.

What a user can mend (`UserError`, FloatingPointError, a full disk) ends in `error: ...` and exit
code 1, Ctrl-C in a line of its own and 130. Anything else is a bug of ours: its traceback is shown.

Of several processes all fail when one does. The one whose failure came first should speak: what
can be an echo waits for a while, in which the launcher ends the process.
"""

import errno
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from stages.config.mistakes import UserError
from stages.run.memory import keep_freed_memory
from stages.run.numbers import ask_for_exact_numbers
from stages.run.processes import (
    end_with_launcher,
    get_rank,
    is_launched,
    is_main_process,
    tell_launcher,
)
from stages.run.scratch import hold_stage, remove_finished

logger = logging.getLogger(__name__)

_FREE_SPACE = "free some space, then `dvc repro` goes on"
_ALLOW_WRITING = "allow reading and writing there, then `dvc repro` goes on"
REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: "raise the limit of file sizes (`ulimit -f`), then `dvc repro` goes on",
    errno.EACCES: _ALLOW_WRITING,
    errno.EPERM: _ALLOW_WRITING,
    errno.EROFS: _ALLOW_WRITING,
}
"""How to mend what the system refuses."""

INTERRUPTED = 130  # 128 + SIGINT, as shells have it

ECHO_S = 5.0
"""How long what may be another process's failure is held back."""


def run_stage(main: Callable[..., None], *args: str) -> None:
    """Run a stage's `main(*args)` as a command-line program.

    Raises:
        SystemExit: With 1 after a user's mistake, with 130 after Ctrl-C.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as it was before `stages` took it
    gc.enable()  # as it was, too
    if os.environ.pop("ATTUNE_IMPORTS", None):  # of this process, or of the one that launched it
        del os.environ["TORCHDYNAMO_DISABLE"]
    _set_up_logging()
    keep_freed_memory()
    ask_for_exact_numbers()
    end_with_launcher()
    name = " ".join([Path(sys.argv[0]).stem, *args])
    start = time.perf_counter()
    try:
        _run(main, *args)
    except Exception as error:
        tell_launcher(f"process {get_rank()}: {word_failure(error)}")
        if not is_for_user(error):
            _say_bug()
            raise
        _say_failure(error)
        sys.exit(1)
    except KeyboardInterrupt as interrupt:
        if is_main_process():
            logger.error("%s", " ".join([f"{name}: interrupted", *map(str, interrupt.args)]))
        sys.exit(INTERRUPTED)
    logger.info("%s: %.1f s", name, time.perf_counter() - start)
    spec = sys.modules["__main__"].__spec__  # of the stage, unless a test calls this
    if spec is not None and spec.name.startswith("stages.") and not is_launched():
        sys.stdout.flush()
        os._exit(0)  # all is written: to take apart what was imported would take another second


def _run(main: Callable[..., None], *args: str) -> None:
    stage = os.environ.get("DVC_STAGE")  # set by `dvc repro`
    if not stage or not is_main_process():
        main(*args)
        return
    with hold_stage(stage):
        remove_finished(stage)
        main(*args)


def is_for_user(error: Exception) -> bool:
    """Whether the error tells the user what to mend, rather than us."""
    if isinstance(error, OSError):
        return error.errno in REMEDIES
    return isinstance(error, UserError | FloatingPointError)


def _say_bug() -> None:
    if is_launched():
        time.sleep(ECHO_S)  # so ends, too, who waits for a process that died
    if is_main_process():
        logger.error("this is a bug of attune: please report it, with all of the lines below")


def _say_failure(error: Exception) -> None:
    where = ""
    if not is_main_process():
        time.sleep(ECHO_S)  # the main process says the same, if it is not this one's fault
        where = f"process {get_rank()}: "
    for line in word_failure(error).splitlines():
        logger.error("error: %s%s", where, line)


def word_failure(error: Exception) -> str:
    """What went wrong, and how to mend it where the system knows only the first."""
    text = str(error) or type(error).__name__
    if not isinstance(error, OSError) or error.errno not in REMEDIES:
        return text
    text = f"{error.filename}: {error.strerror}" if error.filename else text
    return f"{text}; {REMEDIES[error.errno]}"


def _set_up_logging() -> None:
    """Show our own messages, and only the warnings of the libraries; of one process, not of all."""
    level = logging.WARNING if is_main_process() else logging.ERROR
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    for ours in ("stages", "__main__"):
        logging.getLogger(ours).setLevel(logging.INFO if is_main_process() else logging.ERROR)
