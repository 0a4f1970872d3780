"""Check params.yaml before any other stage starts.

DVC removes what a stage wrote before it runs it again. So a mistake must be found by a stage of
its own, on which all others depend: then earlier results stay as they were. Reads params.yaml;
writes data/checked.txt, which is always the same, so that nothing runs again because of it.
"""

from stages.config import paths
from stages.config.params import load_params
from stages.run.entry import run_stage


def main() -> None:
    """Leave the mark of valid params, or name every mistake."""
    load_params()
    paths.CHECKED.write_text("params.yaml is valid\n", encoding="utf-8")


if __name__ == "__main__":
    run_stage(main)
