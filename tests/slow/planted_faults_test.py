"""The list of planted faults follows the code: each can be planted, and is tested."""

import pytest

from tests.slow import planted_faults

FAULTS = planted_faults.read(planted_faults.LIST.read_text("utf-8"))


def test_there_are_at_least_40():
    assert len(FAULTS) >= 40


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.module)
def test_every_fault_can_be_planted(fault):
    root = planted_faults.ROOT
    text = (root / "linclf_jax" / fault.module).read_text("utf-8")
    compile(planted_faults.plant(text, fault), fault.module, "exec")
    for name in fault.tests.split():
        assert (root / "tests" / name.partition("::")[0]).is_file()
