"""Grid files: strict JSON with grids, or a refusal with file, grid and name."""

import json

import pytest

from linclf_jax.config import grid_file
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


def test_a_path_and_its_text_are_the_same(tmp_path):
    path = tmp_path / "sweep.json"
    path.write_text(json.dumps(json.loads(TEXT), indent=4))
    compact = grid_file.read(str(path))
    assert compact == TEXT.replace(" ", "")
    assert grid_file.read(f"  {TEXT}\n") == grid_file.read(compact) == compact
    assert grid_file.overrides(compact) == grid_file.overrides(TEXT)


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
        ('{"grid": [{}]}', r'found \{"grid": \[\{\}\]\}; expected'),
        ('{"grids": [{}, 7]}', ", grid 2: found 7; expected an object"),
        (
            '{"grids": [{}, {"lr": 1}]}',
            ", grid 2: .* named 'lr'; expected one of features",
        ),
        ('{"grids": [{"seeds": [1]}]}', ", grid 1: .* named 'seeds'"),
        ('{"grids": [{"grid_file": ""}]}', ", grid 1: .* named 'grid_file'"),
        ('{"grids": [{"optimizer": 3}]}', "grid 1: optimizer is 3; expected a name"),
        ('{"grids": [{"optimizer": []}]}', r"optimizer is \[\]; expected a name"),
        ('{"grids": [{"optimizer": null}]}', "optimizer is null; expected a name"),
        ('{"grids": [{"epochs": true}]}', "epochs is true; expected an integer"),
        ('{"grids": [{"epochs": 1.0}]}', "epochs is 1.0; expected an integer"),
        ('{"grids": [{"epochs": "3"}]}', 'epochs is "3"; expected an integer'),
        ('{"grids": [{"batch_size": [8, "9"]}]}', "batch_size is .* list of them"),
        ('{"grids": [{"l2": true}]}', "grid 1: l2: found true; expected a number"),
        ('{"grids": [{"l2": [1, [2]]}]}', r"l2: found \[1, \[2\]\]; expected a number"),
        ('{"grids": [{"l2": []}]}', r"l2: found \[\]; expected a number"),
        ('{"grids": [{"l2": "fast"}]}', "grid 1: l2: found 'fast'; expected numbers"),
        ('{"grids": [{"l2": "log:0:1:3"}]}', "l2: found 'log:0:1:3'; expected numbers"),
        ('{"grids": [{"l2": 1e999}]}', "l2: found Infinity; expected finite numbers"),
        (f'{{"grids": [{{"l2": 1{"0" * 400}}}]}}', "grid 1: l2: .* too large"),
        (f'{{"grids": {"[" * 10**5}', "recursion"),
    ],
)
def test_what_is_no_grid_file_is_refused_with_its_place(text, message, tmp_path):
    with pytest.raises(ValueError, match=f"^--grid_file.*{message}"):
        grid_file.overrides(text)
    with pytest.raises(ValueError, match=f"^--grid_file.*{message}"):
        grid_file.read(text)
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"^--grid_file .*bad\.json.*{message}"):
        grid_file.read(str(path))


def test_a_long_value_is_shortened():
    with pytest.raises(ValueError, match=r"\.\.\.; expected a number") as error:
        grid_file.overrides(json.dumps({"grids": [{"l2": [None] * 1000}]}))
    assert len(str(error.value)) < 250
