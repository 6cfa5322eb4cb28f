"""On ten problems few certificates make the choice that all of them make."""

import pytest

from tests import choice_problems
from tests.studies import certification_test


@pytest.mark.parametrize("name", choice_problems.PROBLEMS)
def test_few_certificates_choose_as_all_do(name, tmp_path):
    certification_test.assert_same_choice(name, tmp_path)
