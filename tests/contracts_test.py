"""What the layout promises: one-way imports, a pure core, small documented modules."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "linclf_jax"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MATHEMATICS = ("params", "losses", "gradients", "curvature", "audit")
# What each part of the package may import of the others; a part is a module, or a
# folder, which may always import itself.
_MATHEMATICS = {
    *("params", "validation", "classes", "weighting", "losses", "gradients"),
    *("curvature", "metrics", "calibration", "comparison", "regularization"),
    "interop",
}
_FITTING = {"data", "training", "exact"}
ALLOWED = {
    "params": {"classes"},
    "validation": {"params"},
    "classes": set(),
    "weighting": {"params", "classes"},
    "losses": {"params", "classes", "weighting"},
    "gradients": {"params", "classes", "weighting", "losses"},
    "curvature": {"params", "classes", "weighting", "losses", "gradients"},
    "audit": {"params", "losses", "gradients", "curvature", "validation"},
    "metrics": {"params", "classes", "weighting", "losses"},
    "calibration": set(),
    "comparison": {"metrics"},
    "regularization": set(),
    "interop": {"params"},
    "data": {"params", "validation"},
    "training": _MATHEMATICS,
    "exact": _MATHEMATICS,
    "selection": {*_MATHEMATICS, "data", "training", "exact"},
    "runs": {*_MATHEMATICS, "data", "training", "exact", "selection"},
    "scheduler": {*_MATHEMATICS, *_FITTING, "selection", "runs"},
    "figures": _MATHEMATICS,
    "reports": {*_MATHEMATICS, "selection", "runs", "figures"},
    "config": {*_MATHEMATICS, *_FITTING, "selection", "runs"},
    "studies": {
        *(*_MATHEMATICS, *_FITTING, "selection", "runs", "scheduler", "figures"),
        *("reports", "config"),
    },
    "cli": {
        *(*_MATHEMATICS, *_FITTING, "selection", "runs", "scheduler", "figures"),
        *("reports", "config", "studies"),
    },
}
# What touches no disk, reads no flags and prints nothing.
PURE = {*_MATHEMATICS, "audit", "training", "exact", "selection", "figures"}
LONGEST = 300  # lines
# Parts that people call from their own code: all arguments have their shape and dtype.
DESCRIBED = {
    *MATHEMATICS[:-1],
    "weighting",
    "validation",
    "metrics",
    "calibration",
    "comparison",
    "regularization",
    "interop",
    "data",
    "training",
    "exact",
    "selection",
    "runs",
}


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
    pieces = dotted.split(".")
    return pieces[1] if len(pieces) > 1 else "__init__"


def turned_back(tree: ast.AST, module: str) -> set[str]:
    """Returns the parts of the package that ``module`` must not import, yet does."""
    inside = {n for n in imported(tree, module) if n.startswith("linclf_jax.")}
    # `from linclf_jax import Params` names no module: it is the type of params.
    parts = {"params" if part(name) == "Params" else part(name) for name in inside}
    return parts - ALLOWED[part(module)] - {part(module), "__version__"}


def impurities(tree: ast.AST) -> set[str]:
    """Returns what code does to the world: print, open, configuration, flags."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "open", "input"} or called.startswith("jax.config"):
                found.add(called)
            if isinstance(node.func, ast.Attribute) and node.func.attr in {
                *("open", "read_text", "write_text", "read_bytes", "write_bytes"),
                *("savez", "save", "load", "savetxt", "loadtxt", "tofile", "fromfile"),
            }:
                found.add(called)
        elif isinstance(node, ast.Assign):
            targets = map(ast.unparse, node.targets)
            found |= {t for t in targets if t.startswith("jax.config.")}
    forbidden = {"absl", "os", "pathlib", "shutil", "sys", "tempfile"}
    return found | {n for n in imported(tree, "") if n.split(".")[0] in forbidden}


def public_functions(tree: ast.Module) -> list[ast.FunctionDef]:
    """Returns the functions, and methods of classes, whose name has no underscore."""
    classes = [n for n in tree.body if isinstance(n, ast.ClassDef)]
    nodes = [*tree.body, *(n for c in classes for n in c.body)]
    functions = [n for n in nodes if isinstance(n, ast.FunctionDef)]
    return [f for f in functions if not f.name.startswith("_")]


def inherits(node: ast.ClassDef) -> bool:
    """Returns whether a class has methods that its base describes, as of a Store."""
    return not {*map(ast.unparse, node.bases)} <= {"NamedTuple", "Protocol"}


def undocumented(tree: ast.Module) -> set[str]:
    """Returns the public functions that have no docstring."""
    return {f.name for f in public_functions(tree) if not ast.get_docstring(f)}


def without_args(tree: ast.Module) -> set[str]:
    """Returns the public functions that take arguments and do not describe them."""
    found = set()
    described = [n for n in tree.body if isinstance(n, ast.ClassDef) and inherits(n)]
    methods = [function for node in described for function in node.body]
    for function in public_functions(tree):
        if function in methods:
            continue
        arguments = function.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        takes = {a.arg for a in named} - {"self", "cls"}
        if takes and "\nArgs:\n" not in (ast.get_docstring(function) or ""):
            found.add(function.name)
    return found


every_module = pytest.mark.parametrize("module", MODULES)


@every_module
def test_imports_go_one_way(module):
    tree = parsed(MODULES[module])
    if module != "linclf_jax.__init__":
        assert not turned_back(tree, module)
    assert not {n for n in imported(tree, module) if n.startswith("experiments")}


@every_module
def test_core_leaves_the_world_alone(module):
    if part(module) in PURE:
        assert not impurities(parsed(MODULES[module]))


@every_module
def test_module_is_one_topic_of_bounded_length(module):
    path = MODULES[module]
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST
    assert ast.get_docstring(parsed(path))


@every_module
def test_public_functions_say_what_they_do_and_take(module):
    tree = parsed(MODULES[module])
    assert not undocumented(tree)
    if part(module) in DESCRIBED:
        assert not without_args(tree)


def test_every_part_of_the_package_has_its_place():
    assert {part(module) for module in MODULES} - {"__init__"} <= set(ALLOWED)


@pytest.mark.parametrize(
    ("module", "line", "found"),
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
def test_an_arrow_that_turns_back_is_seen(module, line, found):
    assert turned_back(ast.parse(line), f"linclf_jax.{module}") == found


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


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("def f(x):\n  '''Returns x.'''", {"f"}),
        ("def f(*, x):\n  '''Returns x.'''", {"f"}),
        ("class A:\n  def f(self, x):\n    '''Returns x.'''", {"f"}),
        ("class A:\n  def f(self):\n    '''Returns x.'''", set()),
        ("def f():\n  '''Returns 1.'''", set()),
        ("def f(x):\n  '''Returns x.\n\n  Args:\n    x: It.\n  '''", set()),
        ("def _f(x): pass", set()),
        ("class A(Protocol):\n  def f(self, x):\n    '''Returns x.'''", {"f"}),
        ("class A(Store):\n  def f(self, x):\n    '''Returns x.'''", set()),
    ],
)
def test_a_missing_description_is_seen(code, found):
    assert without_args(ast.parse(code)) == found


def test_a_missing_docstring_is_seen():
    code = "def f(): pass\ndef _g(): pass\nclass A:\n  def h(self): pass"
    assert undocumented(ast.parse(code)) == {"f", "h"}
