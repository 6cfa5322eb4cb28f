"""Tables have every row and no empty column, and mark what was chosen."""

import numpy as np
import pytest

from linclf_jax.reports import penalties, tables
from tests.reports import records


def as_dicts(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


class TestRanking:
    def test_trials(self):
        table = tables.best(records.sweep())
        columns = ["trial", "optimizer", "learning_rate", "l2", "seed"]
        assert table.columns[:5] == columns
        # Neighbours of trial 17 at equal distance: the stronger l2 comes first, which
        # every second setting has; of equal ones the lower trial.
        trials = [int(row[0]) for row in table.rows]
        assert trials == [17, 18, 16, 15, 19, 14, 20, 13, 21, 22]
        assert table.marked == 0
        second = " ".join(as_dicts(table)[1].values())
        assert second == "18 adam 0.1 0.001235 0 0.2812 0.9219 0.2156 0.9700"

    def test_the_chosen_one_may_be_further_down(self):
        assert tables.best(records.sweep(trial=15)).marked == 3
        assert tables.best(records.sweep(trial=0)).marked is None
        assert tables.best(records.sweep(trial=None)).marked is None

    def test_those_that_were_retired_are_left_out(self):
        rows = records.training_rows(retired=(16,))
        table = tables.best(records.sweep(rows))
        assert [row[0] for row in table.rows][:3] == ["17", "18", "15"]

    def test_settings_by_their_means(self):
        table = tables.best(records.folds(refit=True))
        assert table.columns[:2] == ["l2", "repeats"]
        first, second, third = as_dicts(table)
        assert (first["l2"], first["repeats"]) == ("0.01", "3")
        assert first["validation loss"] == "0.3000 ± 0.1000"
        assert second["validation loss"] == "0.4000 ± 0.2646"
        assert third["validation accuracy"] == "0.6000 ± 0.0500"
        assert table.marked == 0

    def test_one_repeat_has_no_spread_and_an_unknown_score_no_mean(self):
        record = records.folds(refit=True)
        record.rows[0]["train_loss"] = None
        table = tables.best(record._replace(rows=record.rows[:7]))
        by_l2 = {row["l2"]: row for row in as_dicts(table)}
        assert by_l2["0.1"]["validation loss"] == "0.9000"
        assert by_l2["0.1"]["repeats"] == "1"
        assert by_l2["0"]["training loss"] == "none"

    def test_penalties_that_were_given_as_the_inverse_are_shown_so(self):
        settings = records.config("sweep", C=[1.0, 2.0])
        rows = [row | {"C": 1 + row["seed"]} for row in records.training_rows()]
        table = tables.best(records.sweep(rows, settings=settings))
        assert "C" in table.columns


class TestScores:
    def test_every_set_has_a_line_and_no_column_is_empty(self):
        record = records.sets("clip", "<b>mae</b>", "dino", chosen=1)
        table = tables.scores(record, record.selected)
        assert "top-5" not in table.columns
        assert "learning_rate" not in table.columns
        assert table.marked == 1
        assert as_dicts(table)[2] == {
            "features": "dino",
            "inputs": "4",
            "rows": "60",
            "test accuracy": "0.8750 (0.625 to 1.000)",
            "mean per-class recall": "0.8750",
            "log-loss": "0.5000",
            "calibration error": "0.0432",
            "after temperature scaling": "0.0312",
            "held-out accuracy": "0.8750 (0.750 to 0.969)",
            "l2": "0.1",
            "C": "1.5",
        }

    def test_draws_have_a_mean_a_spread_and_a_range(self):
        record = records.shots(chosen=9)
        table = tables.scores(record, record.selected)
        assert len(table.rows) == 4
        assert table.marked == 3
        line = as_dicts(table)[1]
        assert (line["features"], line["shots"]) == ("clip", "10")
        assert line["test accuracy"] == "0.5156 ± 0.0156"
        assert line["held-out accuracy"] == "0.8750 ± 0.0000"
        assert line["l2"] == "0.01 to 1"
        assert "seed" not in table.columns

    def test_groups_of_trials_have_their_settings(self):
        record = records.grouped()
        table = tables.scores(record, record.selected)
        assert [row["optimizer"] for row in as_dicts(table)] == ["sgd", "adam"]
        assert [row["learning_rate"] for row in as_dicts(table)] == ["1", "0.1"]
        assert [row["epoch"] for row in as_dicts(table)] == ["2", "2"]
        assert table.marked == 1
        assert "optimizer" in table.words

    def test_a_group_without_a_selection_keeps_its_line(self):
        record = records.grouped()
        entries = record.selected["entries"]
        entries[0] = {"group": {"optimizer": "sgd"}, "failure": "all diverged"}
        table = tables.scores(record, record.selected)
        assert set(table.rows[0]) == {"sgd", "none"}
        assert table.marked == 1


def test_pairs_have_their_counts_and_adjusted_p_values():
    pairs = [records.pair("clip", "dino", 0.04)]
    record = records.sets("clip", "dino", comparisons=pairs)
    (row,) = tables.comparisons(record.selected).rows
    assert row == [
        *("clip", "dino", "-0.0625", "-0.1250 to +0.0312"),
        *("7", "11", "0.0200", "0.0400"),
    ]


class TestRules:
    def rules(self, **changes):
        return tables.rules(records.path(**changes).selected)

    def test_both_are_told_and_that_which_was_asked_for_is_marked(self):
        table = self.rules()
        assert table.rows == [
            ["the lowest loss", "0.01", "1.25", "0.2500 ± 0.0577", "0.9300"],
            ["one standard error", "0.1", "0.125", "0.5000 ± 0.0577", "0.9300"],
        ]
        assert table.marked == 0
        assert self.rules(rule="one_standard_error").marked == 1

    @pytest.mark.parametrize(
        ("metric", "name"),
        [
            ("val_accuracy", "the highest accuracy"),
            ("val_loss_calibrated", "the lowest calibrated loss"),
        ],
    )
    def test_they_are_called_by_the_metric(self, metric, name):
        table = self.rules(metric=metric)
        assert table.rows[0][0] == name
        calibrated = metric == "val_loss_calibrated"
        assert (table.columns[-1] == "calibrated") == calibrated
        assert (table.rows[1][-1] == "0.2500") == calibrated


class TestPenalties:
    def table(self, **changes):
        *_, section = penalties.make(records.path(**changes))
        assert section.id == "path"
        return section.table

    def test_every_penalty_has_a_row(self):
        table = self.table()
        assert [row[0] for row in table.rows] == ["1", "0.1", "0.01", "0.001"]
        assert table.rows[2] == [
            *("0.01", "1.25", "0.2500 ± 0.0577", "0.9375 ± 0.0577", "1 to 3"),
            *("1.5e-7", "converged", "the lowest loss"),
        ]
        assert table.rows[1][-1] == "one standard error"
        assert table.marked == 2

    def test_one_penalty_may_be_selected_by_both_rules(self):
        table = self.table(l2s=(0.5,), losses=(0.25,), at=(0, 0))
        assert table.rows[0][-1] == "the lowest loss, one standard error"

    def test_no_penalty_has_no_inverse(self):
        table = self.table(l2s=(0.1, 0.0), losses=(0.5, 0.25), at=(1, 0))
        assert table.rows[-1][:2] == ["0", "none"]

    def test_how_fits_ended(self):
        ends = {(3, 0): ("max_steps", 1e-3), (3, 1): ("no_finite_optimum", np.inf)}
        last = self.table(ends=ends).rows[-1]
        assert last[5:7] == ["unknown", "1 max steps, 1 no finite optimum"]

    def test_leave_one_out_has_one_fit_a_penalty(self):
        last = self.table(num_folds=0).rows[-1]
        assert last[2:4] == ["0.3750 ± 0.0300", "0.9062 ± 0.0300"]

    def test_the_inverse_of_a_fit_that_was_not_made_is_that_for_as_many_rows(self):
        """Penalties below the chosen one are compared, and not fitted again."""
        record = records.path()
        rows = [r for r in record.rows if r["fold"] is not None or r["l2"] >= 0.01]
        *_, section = penalties.make(record._replace(rows=rows))
        assert section.table.rows[-1][:2] == ["0.001", "12.5"]
