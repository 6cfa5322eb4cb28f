"""What the pages say of a validation score, for run folders old and new."""

import pytest

from linclf_jax.reports import validation_text

KNOWN = {
    "validation": {"accuracy_interval": (0.9, 0.95)},
    "optimism": {"settings": 45, "accuracy": 0.0031},
}


@pytest.mark.parametrize(
    ("names", "candidates", "text"),
    [
        ((), 1, ""),
        ((), 45, "; it served to choose among 45 lanes, so expect less"),
        (("validation",), 1, "; 95 % interval 0.9000 to 0.9500"),
        (
            ("validation", "optimism"),
            45,
            "; 95 % interval 0.9000 to 0.9500; it served to choose among 45 lanes, "
            "which flatters the best by about 0.0031",
        ),
    ],
)
def test_what_is_known_is_said_and_nothing_else(names, candidates, text):
    selected = {name: KNOWN[name] for name in names}
    assert validation_text.judged(selected, candidates, "lanes") == text


@pytest.mark.parametrize("selected", [{}, {"optimism": None}])
def test_where_nothing_was_chosen_nothing_flatters(selected):
    assert validation_text.flattery(selected) == ""
