"""Nothing in the source runs what a file holds."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "snowmelt"
FILES = sorted(SOURCE.rglob("*.py"))

# What reads code as data, or data as code, whatever its arguments.
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "marshal.load", "shelve.open", "dill.load",
    "joblib.load", "torch.jit.load", "torch.package.PackageImporter", "torch.export.load", "torch.hub.load",
    "np.lib.format.read_array", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all", "yaml.load_all",
    "eval", "exec", "os.system", "os.popen", "shutil.unpack_archive", "tarfile.open",
}  # fmt: skip
RUNS_CODE = {"config/files.py": "exec_module"}  # FILE.py:ATTRIBUTE, by design
STARTS_PROGRAMS = {"reporting/provenance.py"}  # git, for the commit
LOADERS = {"SettingsLoader", "yaml.SafeLoader"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def dangers(tree: ast.AST, file: str = "") -> list[str]:
    """Calls that could run what a file holds."""
    found = []
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = dotted(call.func)
        given = {each.arg: dotted(each.value) if not isinstance(each.value, ast.Constant) else each.value.value
                 for each in call.keywords}  # fmt: skip
        values = [*map(dotted, call.args[1:]), given.get("Loader")]
        last = name.rpartition(".")[2]
        if (
            name in FORBIDDEN
            or (name == "torch.load" and given.get("weights_only") is not True)
            or (last == "load" and name.startswith(("np.", "numpy.")) and given.get("allow_pickle") is not False)
            or given.get("allow_pickle") is True
            or given.get("weights_only") is False
            or given.get("trust_remote_code") is True
            or (name == "yaml.load" and not LOADERS & set(values))
            or (last in ("exec_module", "run_path", "extractall") and RUNS_CODE.get(file) != last)
            or (name.startswith("subprocess.") and file not in STARTS_PROGRAMS)
        ):
            found.append(f"line {call.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_nothing_in_the_source_runs_what_a_file_holds(path: Path) -> None:
    assert dangers(ast.parse(path.read_text()), path.relative_to(SOURCE).as_posix()) == []


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "yaml.load(text, Loader=yaml.UnsafeLoader)",
        "eval(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "archive.extractall(folder)",
        "subprocess.run(command)",
        "spec.loader.exec_module(module)",
    ],
)
def test_none_of_it_goes_unseen(line: str) -> None:
    assert len(dangers(ast.parse(line))) == 1
