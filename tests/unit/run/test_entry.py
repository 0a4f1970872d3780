import errno
import logging
import os
import subprocess
import sys
import textwrap

import pytest

from stages.config.mistakes import UserError
from stages.run.entry import run_stage


@pytest.fixture(autouse=True)
def _levels(caplog):
    caplog.set_level(logging.INFO, logger="stages.run.entry")


def fail(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize("kind", [UserError, FloatingPointError])
def test_a_users_mistake_is_an_error_line_and_exit_code_1(kind, caplog):
    with pytest.raises(SystemExit) as caught:
        run_stage(fail(kind("first\nsecond")))
    assert caught.value.code == 1
    assert caplog.messages == ["error: first", "error: second"]
    assert all(record.exc_info is None for record in caplog.records)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "data/x"),
            "error: data/x: No space left on device; free some space, then `dvc repro` goes on",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "data/x"),
            "error: data/x: Permission denied; allow reading and writing there, then `dvc repro` "
            "goes on",
        ),
    ],
)
def test_what_the_system_refuses_is_told_with_a_remedy(error, line, caplog):
    with pytest.raises(SystemExit):
        run_stage(fail(error))
    assert caplog.messages == [line]


def test_an_interrupt_exits_with_130(caplog):
    with pytest.raises(SystemExit) as caught:
        run_stage(fail(KeyboardInterrupt()))
    assert caught.value.code == 130
    assert caplog.messages[-1].endswith("interrupted")


@pytest.mark.parametrize("kind", [KeyError, ValueError, RuntimeError, FileNotFoundError])
def test_a_bug_keeps_its_traceback_and_asks_for_a_report(kind, caplog):
    with pytest.raises(kind):
        run_stage(fail(kind("x")))
    assert "bug" in caplog.text
    assert "report" in caplog.text


def test_arguments_reach_main_and_the_seconds_are_logged(caplog):
    seen = []
    run_stage(seen.append, "baseline")
    assert seen == ["baseline"]
    assert caplog.messages[-1].endswith(" s")
    assert "baseline: " in caplog.messages[-1]


def test_garbage_is_not_looked_for_during_imports_but_in_main():
    code = """
        import sys; sys.argv[0] = "-m"  # as `python -m` has it
        import gc
        import stages
        assert not gc.isenabled()
        from stages.run.entry import run_stage
        run_stage(lambda: print(gc.isenabled()))
    """
    assert run_python(code) == "True"


@pytest.mark.thorough
def test_no_compiler_is_imported_for_a_package_that_no_stage_needs():
    code = """
        import sys; sys.argv[0] = "-m"
        import stages
        import bitsandbytes
        print("functorch.compile" in sys.modules)
    """
    assert run_python(code) == "False"


@pytest.mark.parametrize(("given", "found"), [(None, "None"), ("0", "0"), ("1", "1")])
def test_the_compiler_is_hidden_from_imports_alone_and_a_users_word_about_it_stays(given, found):
    code = """
        import os, sys; sys.argv[0] = "-m"
        import stages
        print(os.environ["TORCHDYNAMO_DISABLE"])
        from stages.run.entry import run_stage
        run_stage(lambda: print(os.environ.get("TORCHDYNAMO_DISABLE")))
    """
    variables = {"TORCHDYNAMO_DISABLE": given} if given else {}
    assert run_python(code, **variables).split() == [given or "1", found]


def test_a_process_that_a_stage_launched_takes_the_hiding_back_as_well():
    code = """
        import os, subprocess, sys; sys.argv[0] = "-m"
        import stages
        from stages.run.entry import run_stage
        if len(sys.argv) == 1:
            subprocess.run([sys.executable, "-c", CODE, "child"])
        else:
            run_stage(lambda: print(os.environ.get("TORCHDYNAMO_DISABLE")))
    """
    code = textwrap.dedent(code)
    assert run_python(code.replace("CODE", repr(code))) == "None"


@pytest.mark.thorough
@pytest.mark.parametrize(("given", "found"), [(None, "compiled"), ("0", "compiled"), ("1", "")])
def test_a_stage_compiles_where_torch_is_asked_to(given, found):
    code = """
        import sys; sys.argv[0] = "-m"
        import stages
        import torch, torch._dynamo  # by whatever a stage imports
        from stages.run.entry import run_stage

        def compile(graph, _):
            print("compiled")
            return graph.forward

        run_stage(lambda: torch.compile(lambda x: x + 1, backend=compile)(torch.zeros(1)))
    """
    variables = {"TORCHDYNAMO_DISABLE": given} if given else {}
    assert run_python(code, **variables) == found


def run_python(code: str, **variables: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    environment = {k: v for k, v in os.environ.items() if k != "TORCHDYNAMO_DISABLE"} | variables
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.strip()
