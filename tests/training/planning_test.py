"""How many batches fit, what a program takes, and which errors say it was too much."""

import itertools

import jax
import jax.numpy as jnp
import pytest

from linclf_jax.training import planning


def fits(batches, budget, resident, per_batch):
    return resident + batches * per_batch <= budget


@pytest.mark.parametrize(
    ("budget", "resident", "per_batch", "num_batches", "most"),
    [*itertools.product((500, 999, 1000), (0, 150), (1, 250, 333), (1, 7), (1, 3, 9))],
)
def test_a_plan_is_the_largest_that_fits(
    budget, resident, per_batch, num_batches, most
):
    plan = planning.plan(
        budget=budget,
        resident=resident,
        per_batch=per_batch,
        num_batches=num_batches,
        most=most,
    )
    allowed = [
        batches
        for batches in range(1, min(num_batches, most) + 1)
        if fits(batches, budget, resident, per_batch)
    ]
    assert plan.at_once == max(allowed, default=1)
    assert plan.predicted_bytes == resident + plan.at_once * per_batch
    assert plan.budget_bytes == budget


def test_what_does_not_fit_is_refused_with_the_numbers_and_what_helps():
    mib = 2**20
    with pytest.raises(ValueError, match="--trials_per_batch smaller") as refusal:
        planning.plan(
            budget=2000 * mib,
            resident=500 * mib,
            per_batch=1500 * mib + 1,
            num_batches=4,
            most=4,
        )
    for told in ("1,500.0 MiB", "500.0 MiB", "2,000.0 MiB", "--memory_budget larger"):
        assert told in str(refusal.value)


def test_batches_of_unknown_size_are_as_many_as_help():
    plan = planning.plan(budget=10, resident=5, per_batch=0, num_batches=8, most=4)
    assert plan.at_once == 4


def compiled(function, x, **options):
    return jax.jit(function, **options).lower(x).compile().memory_analysis()


def test_a_program_takes_its_arguments_its_outputs_and_what_lies_between():
    x = jnp.ones((300, 200), jnp.float32)
    taken = planning.program_bytes(compiled(lambda x: (x @ x.T) @ x, x))
    assert taken == pytest.approx(4 * (300 * 200 + 300 * 300 + 300 * 200), rel=0.05)


def test_an_output_in_the_place_of_an_argument_counts_once():
    x = jnp.ones(100_000, jnp.float32)
    twice = planning.program_bytes(compiled(lambda x: x + 1, x))
    once = planning.program_bytes(compiled(lambda x: x + 1, x, donate_argnums=0))
    assert twice == pytest.approx(800_000, rel=0.05)
    assert once == pytest.approx(400_000, rel=0.05)


def test_a_platform_that_does_not_tell_counts_as_nothing():
    assert planning.program_bytes(None) == 0


def test_fewer_ends_at_one():
    assert [planning.fewer(batches) for batches in (9, 4, 2, 1)] == [4, 2, 1, 1]


def test_a_real_allocation_that_is_too_large_is_recognised():
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jnp.zeros((2**46,), jnp.uint8).block_until_ready()
    assert planning.is_exhausted(caught.value)


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (MemoryError(), True),
        (jax.errors.JaxRuntimeError("INTERNAL: CUDA_ERROR_OUT_OF_MEMORY"), True),
        (jax.errors.JaxRuntimeError("INTERNAL: a bug"), False),
        (ValueError("RESOURCE_EXHAUSTED"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_other_errors_are_told_apart(error, exhausted):
    assert planning.is_exhausted(error) == exhausted
