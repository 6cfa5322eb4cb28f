"""What the layout promises: one-way imports, a pure core, small modules."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "linclf_jax"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
_MATHEMATICS = {
    "params",
    "validation",
    "classes",
    "weighting",
    "losses",
    "gradients",
    "curvature",
    "metrics",
    "calibration",
    "comparison",
    "regularization",
    "interop",
}
_FITTING = _MATHEMATICS | {"data", "training", "exact"}
_RUNS = _FITTING | {"selection", "runs"}
_PAGES = _RUNS | {"scheduler", "figures", "reports", "config"}
# What each part of the package may import of the others; a part is a module, or a
# folder, which may always import itself.
ALLOWED = {
    "params": {"classes"},
    "validation": {"params", "classes"},
    "classes": set(),
    "weighting": {"params", "classes"},
    "losses": {"params", "classes", "weighting"},
    "gradients": {"params", "classes", "weighting", "losses"},
    "curvature": {"params", "classes", "weighting", "losses", "gradients"},
    "audit": {"params", "classes", "losses", "gradients", "curvature", "validation"},
    "metrics": {"params", "classes", "weighting", "losses"},
    "calibration": set(),
    "comparison": {"metrics"},
    "regularization": set(),
    "interop": {"params"},
    "data": {"params", "validation"},
    "training": _MATHEMATICS,
    "exact": _MATHEMATICS,
    "selection": _FITTING,
    "runs": _FITTING | {"selection"},
    "scheduler": _RUNS,
    "figures": _MATHEMATICS,
    "reports": _MATHEMATICS | {"selection", "runs", "figures"},
    "config": _RUNS,
    "studies": _PAGES,
    "cli": _PAGES | {"studies"},
}
# What touches no disk, reads no flags and prints nothing.
PURE = _MATHEMATICS | {"audit", "training", "exact", "selection", "figures"}
# Methods that read or write files.
ON_DISK = {f"{verb}_{kind}" for verb in ("read", "write") for kind in ("text", "bytes")}
ON_DISK |= {"open", "save", "savez", "load", "savetxt", "loadtxt", "tofile", "fromfile"}
LONGEST = 300  # lines


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imported(tree: ast.AST, module: str) -> set[str]:
    """Returns the dotted names that a module imports, at any depth of its code."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # One level up is the module's own package.
            above = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*above, *filter(None, [node.module])])
            names |= {f"{origin}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Attribute):
            # After `import linclf_jax` the parts are reached as attributes.
            names.add(ast.unparse(node))
    return names


def part(dotted: str) -> str:
    """Returns the part of the package that a dotted name lies in: fit, losses, ..."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def turned_back(tree: ast.AST, module: str) -> set[str]:
    """Returns the parts of the package that ``module`` must not import, yet does."""
    inside = {n for n in imported(tree, module) if n.startswith("linclf_jax.")}
    # `from linclf_jax import Params` names no module: it is the type of params.
    parts = {"params" if part(name) == "Params" else part(name) for name in inside}
    return parts - ALLOWED[part(module)] - {part(module), "__version__"}


def impurities(tree: ast.AST) -> set[str]:
    """Returns what code does to the world: print, open, configuration, flags."""
    impure = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "open", "input"} or called.startswith("jax.config"):
                impure.add(called)
            if isinstance(node.func, ast.Attribute) and node.func.attr in ON_DISK:
                impure.add(called)
        elif isinstance(node, ast.Assign):
            targets = map(ast.unparse, node.targets)
            impure |= {t for t in targets if t.startswith("jax.config.")}
    forbidden = {"absl", "os", "pathlib", "shutil", "sys", "tempfile"}
    return impure | {n for n in imported(tree, "") if n.split(".")[0] in forbidden}


def forbidden_imports(tree: ast.AST, module: str) -> set[str]:
    scripts = {n for n in imported(tree, module) if n.startswith("experiments")}
    # The package's own page of contents names all of its parts.
    is_contents = module == "linclf_jax.__init__"
    return scripts if is_contents else scripts | turned_back(tree, module)


def faults_of_layout(path: Path) -> set[str]:
    faults = {path.stem} & {"utils", "util", "helpers", "common", "misc"}
    length = len(path.read_text(encoding="utf-8").splitlines())
    return faults | ({f"{length} lines"} if length > LONGEST else set())


def test_every_part_of_the_package_has_its_imports_listed():
    assert {part(module) for module in MODULES} - {"__init__"} == set(ALLOWED)


def test_imports_go_one_way():
    faults = {m: forbidden_imports(parsed(path), m) for m, path in MODULES.items()}
    assert not {m: names for m, names in faults.items() if names}


def test_core_leaves_the_world_alone():
    pure = {m: path for m, path in MODULES.items() if part(m) in PURE}
    faults = {m: impurities(parsed(path)) for m, path in pure.items()}
    assert not {m: calls for m, calls in faults.items() if calls}


def test_a_module_is_one_topic_of_bounded_length():
    faults = {m: faults_of_layout(path) for m, path in MODULES.items()}
    assert not {m: words for m, words in faults.items() if words}


@pytest.mark.parametrize(
    ("module", "line", "expected"),
    [
        ("params", "from linclf_jax import losses", {"losses"}),
        ("losses", "import linclf_jax.gradients as g", {"gradients"}),
        ("losses", "def f():\n  from linclf_jax import curvature", {"curvature"}),
        ("gradients", "from . import curvature", {"curvature"}),
        ("gradients", "from .curvature import hessian", {"curvature"}),
        ("curvature", "from linclf_jax import audit", {"audit"}),
        ("metrics", "from linclf_jax.exact import newton", {"exact"}),
        ("data.files", "from linclf_jax import exact, params", {"exact"}),
        ("data.files", "from ..losses import objective", {"losses"}),
        ("exact.newton", "from linclf_jax.training import trials", {"training"}),
        ("selection.bias", "from linclf_jax import reports", {"reports"}),
        ("runs.record", "import linclf_jax\nlinclf_jax.cli.main.run()", {"cli"}),
        ("runs.record", "import linclf_jax\nlinclf_jax.__version__", set()),
        ("curvature", "from linclf_jax import gradients, Params", set()),
        ("exact.newton", "from linclf_jax.exact import newton", set()),
        ("exact.newton", "from . import newton", set()),
        ("runs.record", "from linclf_jax.params import Params", set()),
    ],
)
def test_an_arrow_that_turns_back_is_seen(module, line, expected):
    assert turned_back(ast.parse(line), f"linclf_jax.{module}") == expected


@pytest.mark.parametrize(
    "line",
    [
        "print(1)",
        "def f(p):\n  with open(p) as g: pass",
        "jax.config.update('jax_enable_x64', True)",
        "jax.config.jax_enable_x64 = True",
        "from absl import flags",
        "import absl.flags",
        "import os",
        "path.write_text('')",
        "np.save('a', x)",
    ],
)
def test_an_impure_line_is_seen(line):
    assert impurities(ast.parse(line))
