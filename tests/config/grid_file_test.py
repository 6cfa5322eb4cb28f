"""Grid files: strict JSON with grids, or a refusal with file, grid and name."""

import json

import pytest

from linclf_jax.config import flat, grid_file
from linclf_jax.config.sweep import SweepConfig
from linclf_jax.training.search_space import Range

GRID = {"optimizer": ["adam", "lars"], "learning_rate": "log:1e-4:1e-1:10", "l2": 0}
TEXT = json.dumps({"grids": [GRID, {"batch_size": 64, "b1": [0.5, 0.25]}]})


def test_grids_become_values_of_the_configuration():
    assert grid_file.overrides(TEXT) == (
        {
            "optimizer": ("adam", "lars"),
            "learning_rate": Range("log", 1e-4, 0.1, 10),
            "l2": (0.0,),
        },
        {"batch_size": (64,), "b1": (0.5, 0.25)},
    )


def test_a_path_becomes_its_text_so_that_the_flags_replay_alone(tmp_path):
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(json.loads(TEXT), indent=4))
    compact = grid_file.read(str(path))
    assert compact == TEXT.replace(" ", "")
    assert grid_file.read(f"  {TEXT}\n") == grid_file.read(compact) == compact
    config = flat.build(SweepConfig(), {"grid_file": str(path)})
    path.write_text(flat.to_flagfile(config))
    assert flat.read(path, SweepConfig) == config
    assert config.search.grid_file == compact


def test_a_file_that_is_not_there_is_named_with_its_flag(tmp_path):
    with pytest.raises(ValueError, match=r"--grid_file .*missing\.json: No such"):
        grid_file.read(str(tmp_path / "missing.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", ": line 1, column 2: "),
        ('{"grids": [{"l2": NaN}]}', "found NaN, which strict JSON lacks"),
        ('{"grids": [{"l2": 1, "l2": 2}]}', "found 'l2' twice in one object"),
        ('{"grids": [], "grids": [{}]}', "found 'grids' twice in one object"),
        ('{"grids": []}', r'found \{"grids": \[\]\}; expected \{"grids": \[...\]\}'),
        ('{"grids": {}}', "with at least one grid"),
        ('{"grids": [{}], "seed": 1}', r'expected \{"grids": \[...\]\} alone'),
        ('{"grids": [{}, 7]}', ", grid 2: found 7; expected an object"),
        ('{"grids": [{}, {"lr": 1}]}', ", grid 2: .* named 'lr'; expected one of feat"),
        ('{"grids": [{"seeds": [1]}]}', ", grid 1: .* named 'seeds'"),
        (
            '{"grids": [{"optimizer": 3}]}',
            "grid 1: optimizer: found 3; expected a name",
        ),
        ('{"grids": [{"optimizer": []}]}', r"optimizer: found \[\]; expected a name"),
        ('{"grids": [{"epochs": true}]}', "epochs: found true; expected an integer"),
        ('{"grids": [{"epochs": 1.0}]}', "epochs: found 1.0; expected an integer"),
        ('{"grids": [{"batch_size": [8, "9"]}]}', "batch_size: found .* list of them"),
        ('{"grids": [{"l2": true}]}', "grid 1: l2: found true; expected a number"),
        ('{"grids": [{"l2": [1, [2]]}]}', r"l2: found \[1, \[2\]\]; expected a number"),
        ('{"grids": [{"l2": []}]}', r"l2: found \[\]; expected a number"),
        ('{"grids": [{"l2": "log:0:1:3"}]}', "l2: found 'log:0:1:3'; expected numbers"),
        ('{"grids": [{"l2": 1e999}]}', "l2: found Infinity; expected finite numbers"),
        (f'{{"grids": [{{"l2": 1{"0" * 400}}}]}}', "grid 1: l2: .* too large"),
        (f'{{"grids": {"[" * 10**5}', "recursion"),
        # A long value is shortened.
        (json.dumps({"grids": [{"l2": [None] * 99}]}), r"^.{,200}\.\.\.; expected a n"),
    ],
)
def test_what_is_no_grid_file_is_refused_with_its_place(text, message, tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        grid_file.read(text)
    assert str(error.value).startswith("--grid_file")
    with pytest.raises(ValueError, match=r"^--grid_file .*bad\.json") as of_file:
        grid_file.read(str(path))
    same = str(error.value).removeprefix("--grid_file")
    assert str(of_file.value) == f"--grid_file {path}{same}"
