"""Can the run that params.yaml asks for start on this machine, and what it takes: `make doctor`.

It reads and asks, but trains, downloads and writes nothing; it needs no cache of DVC. It has to
answer while packages are missing: what needs them is in needs.py, which is imported when all are.
"""

import platform
import re
import sys
import textwrap
from importlib import metadata
from pathlib import Path

TOLD = ("torch", "diffusers", "transformers", "accelerate", "peft", "open_clip_torch", "dvc")
"""The packages whose versions are told; of the others only what differs."""
WIDTH, INDENT = 110, 10


def main(base: str = "") -> int:
    """Print what is wrong, then what there is; 0 if the run can start, else 1.

    Args:
        base: A key of `bases`; empty for the one that params.yaml names.
    """
    problems: list[str] = []
    rows = {"software": describe_software(problems)}
    if not problems:
        from stages.commands.needs import describe_needs  # noqa: PLC0415

        rows |= describe_needs(base, problems)
    lines = [f"error: {problem}" for problem in problems]
    lines += [f"The run can{'not' if problems else ''} start.", ""]
    for name, text in rows.items():
        told, *commands = text.split("\n")  # commands are not wrapped, so that they can be copied
        lines.append(
            textwrap.fill(f"{name:<{INDENT}}{told}", WIDTH, subsequent_indent=INDENT * " ")
        )
        lines += commands
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if problems else 0


def describe_software(problems: list[str]) -> str:
    """Python and the packages, and what differs from requirements.txt."""
    if sys.version_info < (3, 11):  # noqa: UP036 - asked before `make setup`, which refuses it
        problems.append(f"Python {platform.python_version()}: 3.11 or newer is needed")
    pins = Path("requirements.txt")
    if not pins.is_file():
        problems.append(f"no {pins} in {Path.cwd()}; run from the project's root")
        return f"Python {platform.python_version()}"
    wanted = dict(re.findall(r"^([\w.-]+)==(\S+)", pins.read_text(), re.M))
    found = {name: find_version(name) for name in wanted}
    if missing := [name for name, version in found.items() if not version]:
        problems.append(f"not installed: {', '.join(missing)}; run `make setup`")
    others = [
        f"{name} {found[name]}, not {version}"
        for name, version in wanted.items()
        if found[name] not in ("", version)
    ]
    told = ", ".join(f"{name} {found[name] or 'missing'}" for name in TOLD)
    rest = f"other than in requirements.txt: {'; '.join(others)}" if others else "as pinned"
    num_here = len(wanted) - len(missing)
    return f"Python {platform.python_version()}, {told}; {num_here} of {len(wanted)} here, {rest}"


def find_version(package: str) -> str:
    """Its version without what names the build, as in 2.15.0+cu130; empty if it is not here."""
    try:
        return metadata.version(package).partition("+")[0]
    except metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
