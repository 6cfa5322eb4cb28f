"""Axes as text, grids, and samples that are the same everywhere."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from linclf_jax.training import optimizers, search_space
from linclf_jax.training.search_space import Range
from linclf_jax.training.settings import Hparams, Static

HINGE = "weston_watkins_hinge"
STATIC = Static(num_classes=3)
ADAM = Static(num_classes=3, optimizer="adam")
RATES = Range("log", 1e-4, 1.0, 5)


def sample(axes, count=50, seed=0, statics=(STATIC, ADAM)):
    return search_space.sample(statics, axes, count=count, seed=seed)


def column(candidates, name):
    return [getattr(candidate.hparams, name) for candidate in candidates]


def names(candidates):
    return [candidate.static.optimizer for candidate in candidates]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.1", (0.1,)),
        ("0.1, 0.3", (0.1, 0.3)),
        ("log:1e-2:1:3", (0.01, 0.1, 1.0)),
        ("lin:0:1:3", (0.0, 0.5, 1.0)),
        ("lin:1:0:3", (1.0, 0.5, 0.0)),
        ("log:2:8:1", (2.0,)),
        ("", ()),
    ],
)
def test_axes_from_text(text, values):
    axis = search_space.parse(text)
    np.testing.assert_allclose(search_space.values(axis), values, rtol=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        *("a", "log:0:1:3", "log:1:2", "exp:1:2:3", "log:1:2:x", "lin:0:1:-1"),
        *("0.1,,0.3", "lin:0:1:3:9", "log:1:10:1000000000", "lin:0:1:0"),
        *("log:1:inf:3", "lin:nan:1:3", "log:-1:1:3", "log:1:-1:3", "lin:0:1e999:2"),
    ],
)
def test_text_that_is_no_axis_is_refused(text):
    with pytest.raises(ValueError, match=r"expected numbers such as 0\.1"):
        search_space.parse(text)


numbers = st.floats(allow_nan=False)
ranges = st.builds(
    Range,
    st.just("lin"),
    *[st.floats(allow_nan=False, allow_infinity=False)] * 2,
    st.integers(1, search_space.MAX_COUNT),
)


@hypothesis.given(st.lists(numbers).map(tuple) | ranges)
@hypothesis.example(Range("log", 1e-3, 100.0, 16))
def test_an_axis_survives_its_text(axis):
    assert search_space.parse(search_space.text(axis)) == axis


def test_a_range_keeps_its_text():
    text = "log:0.001:100:16"
    assert search_space.text(search_space.parse("log:1e-3:1e2:16")) == text


def test_a_grid_is_the_product_in_order():
    axes = {"learning_rate": Range("lin", 0.1, 0.3, 2), "l2": (0.0, 1.0)}
    candidates = search_space.grid([STATIC, ADAM], axes)
    assert names(candidates) == ["momentum"] * 4 + ["adam"] * 4
    assert column(candidates, "learning_rate") == [0.1, 0.1, 0.3, 0.3] * 2
    assert column(candidates, "l2") == [0.0, 1.0] * 4
    assert all(type(value) is float for c in candidates for value in c.hparams)
    assert set(column(candidates, "b1")) == {Hparams().b1}


def test_an_axis_that_is_not_used_makes_no_candidates():
    axes = {"momentum": Range("lin", 0.5, 0.9, 3), "b1": (0.8, 0.9)}
    candidates = search_space.grid([STATIC, ADAM], axes)
    assert names(candidates) == ["momentum"] * 3 + ["adam"] * 2
    assert column(candidates, "momentum") == [0.5, 0.7, 0.9, 0.5, 0.5]
    assert column(candidates, "b1") == [0.8, 0.8, 0.8, 0.8, 0.9]
    for static, hparams in sample(axes):
        unused = hparams.b1 if static == STATIC else hparams.momentum
        assert unused == (0.8 if static == STATIC else 0.5)


def test_labels_are_smoothed_only_where_it_is_asked_for_and_used():
    hinge = Static(num_classes=3, loss=HINGE)
    candidates = search_space.grid([STATIC, hinge], {"label_smoothing": (0.1, 0.0)})
    assert [(c.static.loss, c.static.smoothed) for c in candidates] == [
        ("softmax_cross_entropy", True),
        ("softmax_cross_entropy", False),
        (HINGE, False),
    ]
    assert candidates[1].static == STATIC
    assert "label_smoothing" not in optimizers.uses(hinge)


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"b1": 0.5, "weight_decay": 1.0}, True),  # which momentum does not use
        ({"learning_rate": 0.1 + 1e-12}, True),  # equal in float32
        ({"momentum": 0.5}, False),
        ({"label_smoothing": 0.5}, False),
    ],
)
def test_what_a_candidate_uses_is_its_identity(changes, same):
    hparams = Hparams(learning_rate=0.1)
    one, other = (
        search_space.identity(search_space.make_candidate(STATIC, each))
        for each in (hparams, hparams._replace(**changes))
    )
    assert (one == other) == same


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"learning_rate": ()}, "--learning_rate is empty"),
        ({"learning_rate": (0.1, 0.1)}, "expected no repetition"),
        ({"l2": (0.1, 0.1000000001)}, "--l2 has 2 values, 1 of them distinct"),
        ({"learning_rate": (0.0,)}, "--learning_rate holds 0; expected above 0"),
        ({"l2": (-1.0,)}, "--l2 holds -1; expected at least 0"),
        ({"l2": (-1e-50,)}, "--l2 holds -1e-50, in float32 -0; expected at least 0"),
        ({"l2": (np.nan,)}, "--l2 holds nan"),
        ({"learning_rate": (np.inf,)}, "--learning_rate holds inf"),
        ({"momentum": (1.0,)}, "--momentum holds 1; .* below 1"),
        ({"label_smoothing": (1.0,)}, "--label_smoothing holds 1; .* below 1"),
        ({"momentum": Range("lin", 0.0, 1.0, 3)}, "--momentum holds 1; .* below 1"),
        ({"l2": Range("lin", -1.0, 1.0, 3)}, "--l2 holds -1"),
        ({"l2": Range("lin", 1e39, 0.0, 3)}, "--l2 holds 1e.39, in float32 inf"),
        ({"l2": Range("log", 0.0, 1.0, 3)}, "--l2 is Range.*above 0 for log"),
        ({"l2": Range("cubic", 0.1, 1.0, 3)}, "--l2 is Range.*kind log or lin"),
        ({"warm_up": (0.0,)}, "no hyper-parameter is named 'warm_up'.*warmup"),
    ],
)
def test_bad_axes_are_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        search_space.grid([STATIC], axes)
    with pytest.raises(ValueError, match=message):
        sample(axes, count=1)


def test_a_range_that_repeats_in_float32_makes_no_grid():
    axes = {"l2": Range("lin", 1.0, 1.0 + 1e-7, 100)}
    with pytest.raises(ValueError, match="--l2 has 100 values, 2 of them distinct"):
        search_space.grid([STATIC], axes)
    assert len(sample(axes, count=5, statics=[STATIC])) <= 2


@pytest.mark.parametrize("statics", [[], [STATIC, STATIC]])
def test_static_choices_are_distinct(statics):
    with pytest.raises(ValueError, match="expected at least one, and no repetition"):
        search_space.grid(statics, {})


def test_a_grid_that_fits_no_memory_is_refused():
    l2 = Range("lin", 0.0, 1.0, 1001)
    thousand = Range("lin", 0.0, 0.5, 1000)
    message = "1001000 candidates; expected at most 1000000"
    with pytest.raises(ValueError, match=message):
        search_space.grid([STATIC], {"l2": l2, "warmup": thousand})
    # Of what is not used there is only one value.
    assert len(search_space.grid([STATIC], {"l2": l2, "b1": thousand})) == 1001


@pytest.mark.parametrize(
    ("count", "seed", "message"),
    [
        (0, 0, "--sample is 0; expected 1 to 1000000"),
        (1_000_001, 0, "--sample is 1000001; expected 1 to 1000000"),
        (1, -1, "--sample_seed is -1"),
        (1, 2**32, "--sample_seed is 4294967296"),
    ],
)
def test_bad_samples_are_refused(count, seed, message):
    with pytest.raises(ValueError, match=message):
        sample({}, count, seed)


def test_a_sample_is_the_stream_of_pcg64_as_numpy_reads_it():
    """Generator.random makes the same uniforms, and NumPy's log and exp the rest."""
    linear = Range("lin", 0.5, 1.5, 2)
    axes = {"learning_rate": RATES, "l2": linear, "momentum": (0, 0.9)}
    candidates = sample(axes, seed=7)
    uniform = np.random.Generator(np.random.PCG64(7)).random((50, search_space.WORDS))
    index = {name: 1 + i for i, name in enumerate(Hparams._fields)}
    adam = uniform[:, 0] >= 0.5
    assert names(candidates) == np.where(adam, "adam", "momentum").tolist()
    rates = np.exp(np.log(1e-4) * (1 - uniform[:, index["learning_rate"]]))
    np.testing.assert_allclose(column(candidates, "learning_rate"), rates, rtol=1e-6)
    l2 = 0.5 + uniform[:, index["l2"]]
    np.testing.assert_allclose(column(candidates, "l2"), l2, rtol=1e-6)
    momentum = np.where(~adam & (uniform[:, index["momentum"]] >= 0.5), 0.9, 0.0)
    assert column(candidates, "momentum") == momentum.tolist()


def test_a_seed_names_the_same_candidates_for_ever():
    axes = {"learning_rate": RATES, "l2": Range("lin", 0.0, 1.0, 2)}
    drawn = sample(axes, count=3)
    assert [(s.optimizer, h.learning_rate, h.l2) for s, h in drawn] == [
        ("adam", 0.001199905, 0.04097352),
        ("adam", 0.01465024, 0.2997119),
        ("momentum", 0.07690478, 0.5253543),
    ]


def test_a_larger_sample_continues_a_smaller_one():
    axes = {"learning_rate": RATES, "momentum": (0.0, 0.5, 0.9)}
    large = sample(axes, 60, seed=3)
    for count in (1, 2, 31):
        assert sample(axes, count, seed=3) == large[:count]
    assert sample(axes, 60, seed=4) != large


def test_no_axis_moves_another():
    alone = sample({"l2": RATES}, statics=[STATIC])
    for axes in (
        {"learning_rate": RATES, "l2": RATES},
        {"l2": RATES, "momentum": (0.1, 0.2), "b1": Range("lin", 0.0, 0.5, 2)},
    ):
        for static in (STATIC, ADAM):
            candidates = sample(axes, statics=[static])
            assert column(candidates, "l2") == column(alone, "l2")
    assert len(Hparams._fields) < search_space.WORDS


@hypothesis.given(st.sampled_from(["log", "lin"]), st.data())
def test_draws_keep_to_their_range_in_digits_that_can_be_typed_in(kind, data):
    lowest = 1e-300 if kind == "log" else 0.0
    ends = [data.draw(st.floats(lowest, 3.4e38)) for _ in range(2)]
    drawn = column(sample({"l2": Range(kind, *ends, 2)}, seed=1), "l2")
    assert min(ends) <= min(drawn)
    assert max(drawn) <= max(ends)
    assert all(float(f"{value:.7g}") == value or value in ends for value in drawn)


def test_a_draw_that_was_drawn_before_is_left_out():
    axes = {"momentum": (0.5, 0.9), "b1": (0.8, 0.9)}
    candidates = sample(axes, count=100)
    assert len(candidates) == len({*map(search_space.identity, candidates)}) == 4
    assert sample(axes, count=200) == candidates
