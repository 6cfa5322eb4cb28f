"""What ``import linclf_jax`` shows, and what it leaves for later."""

import subprocess
import sys

import pytest

import linclf_jax

HEAVY = ("matplotlib", "sklearn", "absl", "jinja2", "tqdm", "pyarrow", "tensorboard")


def test_every_part_is_an_attribute_of_the_package():
    for name in linclf_jax.__all__:
        assert getattr(linclf_jax, name) is not None
    assert set(linclf_jax.__all__) <= set(dir(linclf_jax))
    with pytest.raises(AttributeError, match="'linclf_jax' has no attribute 'fit'"):
        _ = linclf_jax.fit


def test_importing_it_imports_nothing_that_only_some_need():
    code = (
        "import sys, linclf_jax; assert linclf_jax.losses; "
        "assert 'linclf_jax.exact' not in sys.modules; assert linclf_jax.exact; "
        f"print(*sorted({set(HEAVY)} & sys.modules.keys())); "
        "from linclf_jax.reports import render; "
        "assert not {'jinja2', 'matplotlib'} & sys.modules.keys()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
