"""A protocol, what flags make of it, and every flag that it refuses."""

import pytest

from linclf_jax.config import flat, probe, protocols
from linclf_jax.config.probe import ProbeConfig
from linclf_jax.training import search_space


def resolve(**changes):
    return probe.resolve_protocol(flat.build(ProbeConfig(), changes))


@pytest.mark.parametrize("name", protocols.PROTOCOLS)
def test_a_protocol_is_as_it_is_listed_where_nothing_is_given(name):
    assert resolve(protocol=name) == (protocols.PROTOCOLS[name], ())


def test_grids_are_those_of_the_originals():
    axes = {name: p.penalty.axis for name, p in protocols.PROTOCOLS.items()}
    sizes = {name: len(search_space.values(axis)) for name, axis in axes.items()}
    assert sizes == {
        "exact": 45,
        "clip": 97,
        "clip_benchmark": 97,
        "dinov2_linear": 1,
        "dinov2_logreg": 45,
        "mae": 1,
        "fewshot": 16,
    }


def test_flags_override_what_they_name():
    given = {"preprocessing": "none", "metric": "val_loss", "l2": (1.0, 2.0)}
    protocol, names = resolve(protocol="clip", **given)
    assert names == ("preprocessing", "metric", "l2")
    assert (protocol.preprocessing, protocol.metric) == ("none", "val_loss")
    assert (protocol.penalty.unit, protocol.penalty.axis) == ("l2", (1.0, 2.0))
    assert resolve(protocol="clip", metric="val_accuracy")[1] == ()
    assert protocol.hold_out == protocols.PROTOCOLS["clip"].hold_out
    assert resolve(shots=(1, 2))[0].shots == (1, 2)


def test_epochs_take_the_place_of_steps():
    given = {"epochs": 3, "batch_size": 64, "learning_rate": (0.1, 0.2)}
    protocol, names = resolve(protocol="dinov2_linear", **given)
    assert names == ("learning_rate", "batch_size", "epochs")
    assert (protocol.training.epochs, protocol.training.steps) == (3, None)
    assert protocol.training.learning_rate == (0.1, 0.2)
    assert protocol.training.original_steps == 12_500
    # What trains a given number of steps still does where only the batch changes.
    protocol, _ = resolve(protocol="dinov2_linear", batch_size=64)
    assert (protocol.training.epochs, protocol.training.steps) == (None, 12_500)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 3}, "--epochs is given, but --protocol=exact trains by no mini"),
        ({"protocol": "mae", "shots": (1,)}, "--shots is given with --protocol=mae"),
        ({"protocol": "clip", "shots": (1,)}, "--shots is given with --protocol=clip"),
        ({"shots": (1,), "C": (1.0,)}, "--shots is given .* on a grid of l2"),
        ({"protocol": "mae", "batch_size": 0}, "--batch_size is 0; expected at least"),
        ({"protocol": "mae", "epochs": 0}, "--epochs is 0; expected at least 1"),
        ({"shots": (1, 1)}, "shots"),
        ({"shots": (1,), "draws": 0}, "--draws"),
        ({"preprocessing": "zca"}, "preprocessing 'zca', expected one of none"),
        ({"tol": 0.0}, "--tol is 0.0; expected a number above 0"),
        ({"max_newton_steps": -1}, "--max_newton_steps is -1; expected at least 0"),
    ],
)
def test_bad_flags_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        resolve(**changes)
