"""No source of ours can run what a file or a model brings along: read from the syntax trees."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "stages").rglob("*.py"))
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
"""They run, or can run, what they read; `yaml` is PyYAML, whose `load` can: ours is ruamel's."""
HARMLESS = {("pickle", "UnpicklingError")}
"""What torch raises where it refuses to run something."""
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "torch.hub.load", "pd.read_pickle"}
SAFE_READERS = {
    re.compile(r"(.*\.)?(?<!Tokenizer\.)(?<!Processor\.)from_pretrained"): "use_safetensors",
    re.compile(r"torch\.load"): "weights_only",
    re.compile(r"(.*\.)?YAML"): "typ",
}
"""Readers that are safe only if told so, and the keyword that tells."""


def find_dangers(source: str) -> Iterator[str]:
    """Each call or import that could run what a file brings along."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            taken = {(node.module or "", alias.name) for alias in node.names}
            names = [module for module, _ in taken - HARMLESS]
        else:
            names = []
        yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            yield from find_in_call(node)


def find_in_call(call: ast.Call) -> Iterator[str]:
    """What is wrong with one call."""
    name, keywords = ast.unparse(call.func), {word.arg: word.value for word in call.keywords}
    if name in CALLS:
        yield f"calls {name}"
    for word in ("trust_remote_code", "allow_pickle", "shell"):
        if word in keywords and ast.unparse(keywords[word]) != "False":
            yield f"calls {name} with {word}"
    for reader, word in SAFE_READERS.items():
        if reader.fullmatch(name) and (
            word not in keywords or ast.unparse(keywords[word]) not in ("True", "'safe'")
        ):
            yield f"calls {name} without {word}"


def test_no_source_runs_what_a_file_brings_along():
    assert [
        f"{path.relative_to(ROOT)} {danger}"
        for path in SOURCES
        for danger in find_dangers(path.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from yaml import load",
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name)",
        "AutoModel.from_pretrained(name, use_safetensors=False)",
        "AutoModel.from_pretrained(name, use_safetensors=True, trust_remote_code=True)",
        "YAML()",
        "subprocess.run(line, shell=True)",
    ],
)
def test_each_danger_is_found(source):
    assert list(find_dangers(source))


def test_the_shipped_models_hold_no_file_that_could_be_run():
    suffixes = {file.suffix for file in (ROOT / "models").rglob("*") if file.is_file()}
    assert suffixes <= {".safetensors", ".json", ".md", ".txt", ""}  # "" is .gitignore
