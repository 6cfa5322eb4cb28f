"""Scores are in their places, with what is sure of them."""

from linclf_jax.figures import comparisons, style
from linclf_jax.figures.comparisons import Estimate, ShotCurve


def test_a_forest_has_every_number_in_its_place():
    rows = [
        Estimate("one", 0.5, 0.375, 0.75, "note 1", False, other=0.625),
        Estimate("two", 0.25, 0.125, 0.5, "note 2", True),
    ]
    figure = comparisons.forest(rows, label="accuracy", other="held out", reference=0.0)
    (axis,) = figure.axes
    zero, first, hollow, second = (line.get_xydata() for line in axis.lines)
    assert zero[:, 0].tolist() == [0, 0]
    assert first.tolist() == [[0.5, 0]]
    assert hollow.tolist() == [[0.625, 0]]
    assert second.tolist() == [[0.25, 1]]
    ends = [c.get_segments()[0][:, 0].tolist() for c in axis.collections]
    assert ends == [[0.375, 0.75], [0.125, 0.5]]
    assert [line.get_color() for line in (axis.lines[1], axis.lines[3])] == [
        style.TYPICAL,
        style.CHOSEN,
    ]
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == ["one", "two"]
    below, above = axis.get_ylim()
    assert above < 0 < 1 < below  # the first is on top
    assert [text.get_text() for text in axis.texts] == ["note 1", "note 2"]


def test_shots_show_means_seeds_and_spread():
    curve = ShotCurve(
        "clip", (1, 10), (0.5, 0.75), (0.125, 0.0), ((0.25, 0.75), (0.75,))
    )
    figure = comparisons.shots([curve, curve], label="accuracy")
    (axis,) = figure.axes
    one, ten, mean = (line.get_xydata().tolist() for line in axis.lines[:3])
    assert one == [[1, 0.25], [1, 0.75]]
    assert ten == [[10, 0.75]]
    assert mean == [[1, 0.5], [10, 0.75]]
    band = axis.collections[0].get_paths()[0].vertices
    assert {0.375, 0.625} <= set(band[band[:, 0] == 1][:, 1])
    assert axis.get_xscale() == "log"
    assert [label.get_text() for label in axis.get_xticklabels()] == ["1", "10"]
    assert axis.lines[2].get_color() != axis.lines[5].get_color()
