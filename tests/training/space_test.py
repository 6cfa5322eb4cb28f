"""What is swept: axes as text, grids, and samples that are the same everywhere."""

import dataclasses

import numpy as np
import pytest

from linclf_jax.training import optimizers, search_space, settings
from linclf_jax.training.search_space import Range
from linclf_jax.training.settings import Hparams, Static

HINGE = "weston_watkins_hinge"
STATIC = Static(num_classes=3)
ADAM = Static(num_classes=3, optimizer="adam")
RATES = Range("log", 1e-4, 1.0, 5)


def column(points, name):
    return [getattr(point.hparams, name) for point in points]


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
    np.testing.assert_allclose(
        search_space.values(search_space.parse(text)), values, rtol=1e-12
    )


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


@pytest.mark.parametrize(
    "axis",
    [
        (),
        (0.1,),
        (0.1 + 0.2, 1e-30, 123456789.0, 5e-324, np.inf),
        (1.0, -0.0, 1e22),
        Range("log", 1e-3, 100.0, 16),
        Range("lin", 0.1 + 0.2, 1.0 - 2**-53, 1),
    ],
)
def test_an_axis_survives_its_text(axis):
    assert search_space.parse(search_space.text(axis)) == axis


def test_a_range_keeps_its_text():
    assert (
        search_space.text(search_space.parse("log:1e-3:100:16")) == "log:0.001:100:16"
    )


def test_a_grid_is_the_product_in_order():
    axes = {"learning_rate": Range("lin", 0.1, 0.3, 2), "l2": (0.0, 1.0)}
    points = search_space.grid([STATIC, ADAM], axes)
    assert [p.static.optimizer for p in points] == ["momentum"] * 4 + ["adam"] * 4
    assert column(points, "learning_rate") == [0.1, 0.1, 0.3, 0.3] * 2
    assert column(points, "l2") == [0.0, 1.0] * 4
    assert all(type(value) is float for p in points for value in p.hparams)
    assert set(column(points, "b1")) == {Hparams().b1}


def test_an_axis_that_is_not_used_makes_no_points():
    axes = {"momentum": Range("lin", 0.5, 0.9, 3), "b1": (0.8, 0.9)}
    points = search_space.grid([STATIC, ADAM], axes)
    assert [p.static.optimizer for p in points] == ["momentum"] * 3 + ["adam"] * 2
    assert column(points, "momentum") == [0.5, 0.7, 0.9, 0.5, 0.5]
    assert column(points, "b1") == [0.8, 0.8, 0.8, 0.8, 0.9]
    drawn = search_space.sample([STATIC, ADAM], axes, count=40, seed=0)
    for point in drawn:
        if point.static.optimizer == "adam":
            assert point.hparams.momentum == 0.5
        else:
            assert point.hparams.b1 == 0.8


def test_labels_are_smoothed_only_where_it_is_asked_for_and_used():
    hinge = Static(num_classes=3, loss=HINGE)
    points = search_space.grid([STATIC, hinge], {"label_smoothing": (0.1, 0.0)})
    assert [(p.static.loss, p.static.smoothed) for p in points] == [
        ("softmax_cross_entropy", True),
        ("softmax_cross_entropy", False),
        (HINGE, False),
    ]
    assert points[1].static == STATIC
    assert "label_smoothing" not in optimizers.uses(hinge)
    smoothed = dataclasses.replace(hinge, smoothed=True)
    with pytest.raises(ValueError, match=f"--loss is '{HINGE}', .* --label_smoothing"):
        settings.validate_static(
            smoothed, num_rows=200, optimizers=optimizers.OPTIMIZERS
        )


def test_what_a_point_does_not_use_is_no_part_of_its_identity():
    point = search_space.make_candidate(STATIC, Hparams(learning_rate=0.1))
    for changes, same in (
        ({"b1": 0.5, "weight_decay": 1.0}, True),
        ({"learning_rate": 0.1 + 1e-12}, True),  # equal in float32
        ({"momentum": 0.5}, False),
        ({"label_smoothing": 0.5}, False),
    ):
        other = search_space.make_candidate(STATIC, point.hparams._replace(**changes))
        assert (search_space.identity(other) == search_space.identity(point)) == same


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"learning_rate": ()}, "--learning_rate is empty"),
        ({"learning_rate": (0.1, 0.1)}, "expected no repetition"),
        ({"l2": (0.1, 0.1000000001)}, "--l2 has 2 values, 1 of them distinct"),
        ({"learning_rate": (0.0,)}, "--learning_rate holds 0; expected above 0"),
        ({"l2": (-1.0,)}, "--l2 holds -1; expected at least 0"),
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
        search_space.sample([STATIC], axes, count=1, seed=0)


def test_a_range_that_repeats_in_float32_makes_no_grid():
    axes = {"l2": Range("lin", 1.0, 1.0 + 1e-7, 100)}
    with pytest.raises(ValueError, match="--l2 has 100 values, 2 of them distinct"):
        search_space.grid([STATIC], axes)
    assert len(search_space.sample([STATIC], axes, count=5, seed=0)) <= 2


@pytest.mark.parametrize("statics", [[], [STATIC, STATIC]])
def test_static_choices_are_distinct(statics):
    with pytest.raises(ValueError, match="expected at least one, and no repetition"):
        search_space.grid(statics, {})


def test_a_grid_that_fits_no_memory_is_refused():
    axes = {"l2": Range("lin", 0.0, 1.0, 1001), "warmup": Range("lin", 0.0, 0.5, 1000)}
    with pytest.raises(
        ValueError, match="1001000 candidates; expected at most 1000000"
    ):
        search_space.grid([STATIC], axes)
    # Of what is not used there is only one value.
    unused = {"l2": axes["l2"], "b1": Range("lin", 0.0, 0.5, 1000)}
    assert len(search_space.grid([STATIC], unused)) == 1001


def test_a_sample_is_the_stream_of_pcg64_as_numpy_reads_it():
    """Generator.random makes the same uniforms, and NumPy's log and exp the rest."""
    axes = {
        "learning_rate": RATES,
        "l2": Range("lin", 0.5, 1.5, 2),
        "momentum": (0, 0.9),
    }
    points = search_space.sample([STATIC, ADAM], axes, count=50, seed=7)
    uniform = np.random.Generator(np.random.PCG64(7)).random((50, search_space.WORDS))
    index = {name: 1 + i for i, name in enumerate(Hparams._fields)}
    adam = uniform[:, 0] >= 0.5
    assert [p.static.optimizer == "adam" for p in points] == adam.tolist()
    rates = np.exp(np.log(1e-4) * (1 - uniform[:, index["learning_rate"]]))
    np.testing.assert_allclose(column(points, "learning_rate"), rates, rtol=1e-6)
    l2 = 0.5 + uniform[:, index["l2"]]
    np.testing.assert_allclose(column(points, "l2"), l2, rtol=1e-6)
    momentum = np.where(~adam & (uniform[:, index["momentum"]] >= 0.5), 0.9, 0.0)
    assert column(points, "momentum") == momentum.tolist()


GOLDEN = [
    ("adam", 0.001199905, 0.04097352),
    ("adam", 0.01465024, 0.2997119),
    ("momentum", 0.07690478, 0.5253543),
]


def test_a_seed_names_the_same_points_for_ever():
    axes = {"learning_rate": RATES, "l2": Range("lin", 0.0, 1.0, 2)}
    points = search_space.sample([STATIC, ADAM], axes, count=3, seed=0)
    assert [
        (p.static.optimizer, p.hparams.learning_rate, p.hparams.l2) for p in points
    ] == GOLDEN


def test_a_larger_sample_continues_a_smaller_one():
    axes = {"learning_rate": RATES, "momentum": (0.0, 0.5, 0.9)}
    large = search_space.sample([STATIC, ADAM], axes, count=60, seed=3)
    for count in (1, 2, 31):
        assert (
            search_space.sample([STATIC, ADAM], axes, count=count, seed=3)
            == large[:count]
        )
    assert search_space.sample([STATIC, ADAM], axes, count=60, seed=4) != large


def test_no_axis_moves_another():
    alone = search_space.sample([STATIC], {"l2": RATES}, count=20, seed=0)
    for axes in (
        {"learning_rate": RATES, "l2": RATES},
        {"l2": RATES, "momentum": (0.1, 0.2), "b1": Range("lin", 0.0, 0.5, 2)},
    ):
        for statics in ([STATIC], [ADAM]):
            points = search_space.sample(statics, axes, count=20, seed=0)
            assert column(points, "l2") == column(alone, "l2")
    assert len(Hparams._fields) < search_space.WORDS


def test_draws_are_uniform_and_independent():
    axes = {
        "learning_rate": RATES,
        "l2": Range("lin", 1.0, 3.0, 2),
        "init_scale": (0.1, 0.2, 0.4),
    }
    count = 3000
    points = search_space.sample([STATIC, ADAM], axes, count=count, seed=0)
    assert len(points) == count
    columns = [
        np.log(column(points, "learning_rate")) / np.log(1e-4),
        (np.array(column(points, "l2")) - 1) / 2,
    ]
    for uniform in columns:
        shares = np.histogram(uniform, bins=4, range=(0, 1))[0] / count
        # Four standard deviations of a share of a quarter.
        np.testing.assert_allclose(shares, 0.25, atol=4 * np.sqrt(0.1875 / count))
    choices = np.array(column(points, "init_scale"))
    for value in axes["init_scale"]:
        share = np.mean(choices == value)
        np.testing.assert_allclose(share, 1 / 3, atol=4 * np.sqrt(2 / 9 / count))
    columns += [choices, [point.static.optimizer == "adam" for point in points]]
    np.testing.assert_allclose(np.mean(columns[-1]), 0.5, atol=4 * 0.5 / count**0.5)
    correlations = np.corrcoef(np.array(columns, float)) - np.eye(4)
    assert np.abs(correlations).max() < 4 / np.sqrt(count)


@pytest.mark.parametrize(
    "axis",
    [
        Range("log", 0.123456789, 0.1234567891, 2),
        Range("lin", 1.23456789, 1.23456788, 2),
        Range("log", 1e-300, 1e38, 2),
        Range("lin", 0.0, 3.4e38, 2),
        Range("log", 0.5, 0.5, 1),
    ],
)
def test_draws_keep_to_their_range(axis):
    found = column(search_space.sample([STATIC], {"l2": axis}, count=50, seed=1), "l2")
    assert min(axis.low, axis.high) <= min(found)
    assert max(found) <= max(axis.low, axis.high)


def test_drawn_values_have_digits_that_can_be_typed_in():
    for value in column(
        search_space.sample([STATIC], {"l2": RATES}, count=50, seed=1), "l2"
    ):
        assert float(f"{value:.7g}") == value


def test_a_draw_that_was_drawn_before_is_left_out():
    axes = {"momentum": (0.5, 0.9), "b1": (0.8, 0.9)}
    points = search_space.sample([STATIC, ADAM], axes, count=100, seed=0)
    assert len(points) == len({search_space.identity(point) for point in points}) == 4
    assert search_space.sample([STATIC, ADAM], axes, count=200, seed=0) == points


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
        search_space.sample([STATIC], {}, count=count, seed=seed)
