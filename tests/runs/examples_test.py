"""The rows that a page shows are the right ones, and shown as they are."""

import types

import numpy as np
import pytest

from linclf_jax import losses
from linclf_jax.data import preprocessing
from linclf_jax.data.datasets import Split
from linclf_jax.params import Params
from linclf_jax.runs import directory, examples
from linclf_jax.studies import run_files


def make_split(labels, x=None):
    labels = np.asarray(labels, np.int32)
    x = np.zeros((len(labels), 1)) if x is None else x
    return Split(x, labels, 100 + np.arange(len(labels)))


def collect(logits, labels, *, calibrated=True, **given):
    split = make_split(labels, given.pop("x", None))
    shape = given.pop("image_shape", None)
    return examples.collect(
        np.asarray(logits), split, image_shape=shape, calibrated=calibrated
    )


def rows(found, group):
    return (found.index[found.group == group] - 100).tolist()


class TestRows:
    # The true class, and by how much the scores favour the predicted one.
    LABELS = (0, 0, 0, 1, 1, 2, 2, 2)
    PREDICTED = (0, 1, 1, 1, 0, 2, 0, 2)
    SURE = (5.0, 1.0, 3.0, 4.0, 2.0, 0.5, 0.25, 0.5)

    @pytest.fixture
    def found(self):
        logits = np.zeros((8, 3), np.float32)
        logits[np.arange(8), self.PREDICTED] = self.SURE
        return collect(logits, self.LABELS)

    def test_frequent_confusions_come_first_and_of_each_the_surest(self, found):
        assert rows(found, examples.CONFUSED) == [2, 1, 4, 6]
        pairs = found.group == examples.CONFUSED
        assert found.labels[pairs].tolist() == [0, 0, 1, 2]
        assert found.predictions[pairs].tolist() == [1, 1, 0, 0]
        assert found.alike[pairs].tolist() == [2, 2, 1, 1]

    def test_the_surest_and_the_least_sure_ties_in_order(self, found):
        assert rows(found, examples.SUREST) == [0, 3, 2, 4]
        assert rows(found, examples.LEAST_SURE) == [6, 5, 7, 1]

    def test_certainty_is_the_probability_of_the_prediction(self, found):
        first = found.certainty[found.group == examples.SUREST][0]
        expected = np.exp(5.0) / (np.exp(5.0) + 2)
        np.testing.assert_allclose(first, expected, rtol=1e-6)

    def test_at_most_so_many_of_each(self):
        count = 2 * 7 * 20
        labels = np.arange(count) % 7
        logits = np.eye(7)[(labels + 1 + (np.arange(count) < 7)) % 7]
        found = collect(logits * 3.0, labels)
        sizes = [len(rows(found, group)) for group in examples.GROUPS]
        assert sizes == [examples.MOST_PAIRS * examples.EACH, 16, 16]
        assert set(found.alike[found.group == examples.CONFUSED]) == {39}

    def test_blocks_change_nothing(self, monkeypatch):
        logits = np.random.default_rng(0).normal(size=(50, 4))
        labels = np.arange(50) % 4
        whole = collect(logits, labels)
        monkeypatch.setattr(examples, "BLOCK", 7)
        for one, other in zip(whole, collect(logits, labels), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_hinge_has_margins(self):
        logits = [[9.0, 8.0, 8.0], [9.0, 7.5, 0.0]]
        found = collect(logits, [0, 1], calibrated=False)
        assert rows(found, examples.SUREST) == [1]
        assert found.certainty[found.group == examples.SUREST].tolist() == [1.5]
        assert not found.calibrated
        # Three equal scores of two rivals share the probability, not the margin.
        assert rows(collect(logits, [0, 1]), examples.SUREST) == [1]

    def test_log_odds_tell_probabilities_of_one_apart(self):
        logits = [[90.0, 0.0], [800.0, 0.0], [400.0, 0.0], [60.0, 0.0]]
        found = collect(logits, [0, 0, 0, 0])
        assert rows(found, examples.SUREST) == [1, 2]
        assert found.certainty.tolist() == [1.0] * 4

    def test_log_odds_against_the_formula(self):
        logits = np.random.default_rng(1).normal(size=(20, 5))
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        top = probs.max(1)
        expected = np.log(top / (1 - top))
        odds = examples.certainty(logits, calibrated=True)
        np.testing.assert_allclose(odds, expected, rtol=1e-12)

    def test_a_row_of_which_nothing_is_known_is_left_out(self):
        logits = [[np.inf, 0.0], [-np.inf, 2.0], [np.nan, 1.0], [1.0, 0.0]]
        found = collect(logits, [0, 0, 0, 0])
        assert rows(found, examples.CONFUSED) == [1]
        assert rows(found, examples.SUREST) == [1]
        assert rows(found, examples.LEAST_SURE) == [3]

    @pytest.mark.parametrize("calibrated", [True, False])
    def test_one_class_and_one_row(self, calibrated):
        found = collect([[1.0]], [0], calibrated=calibrated)
        assert len(found.index) == 0


@pytest.mark.parametrize(
    ("x", "row", "shape", "expected"),
    [
        (np.arange(12, dtype=np.uint8).reshape(2, 6), 1, (1, 2, 3), range(6, 12)),
        *(
            (np.array([[0, 16], [4, 8]], dtype), 1, (1, 2), [64, 128])  # one scale
            for dtype in (np.float16, np.float64, np.int32)
        ),
        (np.ones((1, 4)), 0, (2, 2), [0] * 4),
        (np.arange(200, dtype=np.uint8)[None], 0, (1, 200), range(0, 200, 3)),
    ],
)
def test_images_are_bytes_that_a_screen_shows(x, row, shape, expected):
    (image,) = examples.render(x, np.array([row]), shape)
    assert image.dtype == np.uint8
    assert image.ndim == len(shape)
    assert image.ravel().tolist() == [*expected]


def test_without_a_shape_there_are_no_images():
    assert examples.render(np.ones((3, 4)), np.arange(2), None).shape == (2, 0)


class TestFile:
    def test_it_comes_back_the_same_bytes_every_time(self, tmp_path):
        x = np.random.default_rng(0).integers(0, 256, (9, 4)).astype(np.uint8)
        logits = np.random.default_rng(1).normal(size=(9, 3))
        found = collect(logits, np.arange(9) % 3, x=x, image_shape=(2, 2))
        examples.write(tmp_path, found)
        first = (tmp_path / examples.FILE).read_bytes()
        back = examples.read(tmp_path)
        assert back is not None
        for one, other in zip(found, back, strict=True):
            np.testing.assert_array_equal(one, other)
        examples.write(tmp_path, back)
        assert (tmp_path / examples.FILE).read_bytes() == first

    def test_there_may_be_none(self, tmp_path):
        assert examples.read(tmp_path) is None

    @pytest.mark.parametrize("fault", ["other", "length"])
    def test_what_does_not_fit_is_refused(self, tmp_path, fault):
        arrays = collect(np.eye(4), np.arange(4))._asdict()
        if fault == "other":
            arrays["more"] = arrays.pop("alike")
        else:
            arrays["labels"] = arrays["labels"][1:]
        directory.write(tmp_path / examples.FILE, arrays)
        with pytest.raises(ValueError, match=r"examples.npz: found (arrays|lengths)"):
            examples.read(tmp_path)


class TestOfAStudy:
    """The rows are those of the classifier that was measured."""

    @pytest.fixture
    def study(self):
        generator = np.random.default_rng(0)
        x = generator.normal(loc=3.0, size=(60, 4))
        split = make_split(generator.integers(0, 3, 60), x)
        scaling = preprocessing.fit("standardize", x[:30])
        params = Params(generator.normal(size=(4, 3)), generator.normal(size=3))
        dataset = types.SimpleNamespace(image_shape=(2, 2))
        inputs = types.SimpleNamespace(
            features="raw", x=x, scaling=scaling, dataset=dataset
        )
        return types.SimpleNamespace(params=params, precision="highest"), inputs, split

    @pytest.mark.parametrize("loss", losses.LOSSES)
    def test_pairs_are_counted_as_in_the_confusion_matrix(self, tmp_path, loss, study):
        (classifier, inputs, split), counts = study, np.zeros((3, 3), int)
        classifier.loss = loss
        run_files.write_examples(tmp_path, *study)
        scores = preprocessing.apply(inputs.scaling, split.x) @ classifier.params.W
        predictions = (scores + classifier.params.b).argmax(axis=1)
        np.add.at(counts, (split.labels, predictions), 1)
        read = examples.read(tmp_path)
        np.testing.assert_array_equal(read.alike, counts[read.labels, read.predictions])
        assert bool(read.calibrated) == (loss == "softmax_cross_entropy")
        assert read.images.shape[1:] == (2, 2)

    def test_rows_that_are_no_images_are_not_kept(self, tmp_path, study):
        study[1].dataset.image_shape = None
        run_files.write_examples(tmp_path, *study)
        assert list(tmp_path.iterdir()) == []
