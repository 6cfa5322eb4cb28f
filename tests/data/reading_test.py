"""Columns that are no features, labels of every kind, rows that are left out."""

import json
import shlex

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from linclf_jax.cli import flag_types
from linclf_jax.config import data
from linclf_jax.config.data import DataFlags
from linclf_jax.data import class_names, columns, datasets, files
from linclf_jax.data.columns import ReadOptions
from linclf_jax.data.datasets import Files

N = 60
X = np.random.default_rng(5).normal(size=(N, 3)).astype(np.float32)
LABELS = np.random.default_rng(6).permutation(np.arange(N) % 3)


def table(**more):
    return {**{f"f{k}": X[:, k] for k in range(3)}, **more}


def write(path, columns, index=()):
    made = pa.table(columns)
    if index:
        metadata = {"index_columns": index, "columns": [], "pandas_version": "2.2.0"}
        made = made.replace_schema_metadata({"pandas": json.dumps(metadata)})
    parquet.write_table(made, path)
    return path


def load(train, labels=None, options=None, **more):
    given = Files(train_features=train, train_labels=labels or train, **more)
    return datasets.load("features", split_seed=0, files=given, options=options)


class TestColumns:
    @pytest.mark.parametrize("name", ["__index_level_0__", "id", "anything at all"])
    def test_an_index_of_pandas_is_no_feature(self, name, tmp_path):
        index = np.random.default_rng(0).permutation(N)
        columns = table(**{name: index, "label": LABELS})
        path = write(tmp_path / "x.parquet", columns, [name])
        np.testing.assert_array_equal(files.read_features(path), X)
        assert files.feature_names(path) == ("f0", "f1", "f2")
        kept = ReadOptions(keep_columns=(name,))
        assert files.read_features(path, options=kept).shape == (N, 4)
        assert files.feature_names(path, kept) == ("f0", "f1", "f2", name)

    def test_a_range_in_the_metadata_is_no_column(self, tmp_path):
        path = write(tmp_path / "x.parquet", table(), [{"kind": "range", "stop": N}])
        assert files.feature_names(path) == ("f0", "f1", "f2")

    @pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_1__"])
    def test_an_index_without_metadata_is_none_either(self, name, tmp_path):
        path = write(tmp_path / "x.parquet", {name: np.arange(N), **table()})
        np.testing.assert_array_equal(files.read_features(path), X)

    @pytest.mark.parametrize("name", ["label", "labels", "target", "y"])
    def test_labels_by_a_usual_name_are_no_feature(self, name, tmp_path):
        path = write(tmp_path / "x.parquet", table(**{name: LABELS}))
        dataset = load(path)
        assert dataset.train.x.shape[1] == 3
        np.testing.assert_array_equal(dataset.train.labels, LABELS[dataset.train.index])
        kept = ReadOptions(keep_columns=(name,))
        assert files.feature_names(path, kept)[-1] == name

    def test_two_usual_names_are_refused_until_one_is_named(self, tmp_path):
        coordinate = np.linspace(0, 1, N)
        path = write(tmp_path / "x.parquet", table(y=coordinate, target=LABELS))
        with pytest.raises(ValueError, match=r"columns target, y, any .*--label_c"):
            load(path)
        for options in (
            ReadOptions(label_column="target"),
            ReadOptions(keep_columns=("y",)),
        ):
            assert load(path, options=options).train.x.shape[1] == 4
        options = ReadOptions(drop_columns=("y",))
        assert load(path, options=options).train.x.shape[1] == 3

    def test_labels_of_any_name(self, tmp_path):
        path = write(tmp_path / "x.parquet", table(species=LABELS.astype(str)))
        with pytest.raises(ValueError, match=r"f2', 'species'\]; expected one of l"):
            files.read_labels(path)
        options = ReadOptions(label_column="species")
        assert load(path, options=options).train.x.shape[1] == 3
        assert files.feature_names(path, options) == ("f0", "f1", "f2")

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"label_column": "lable"}, "--label_column is 'lable'; expected .* f0, f"),
            ({"drop_columns": ("f9",)}, "--drop_columns holds 'f9'; .*parquet: f0, f"),
            ({"keep_columns": ("f9",)}, "--keep_columns holds 'f9'; expected columns"),
            (
                {"drop_columns": ("f1",), "keep_columns": ("f1",)},
                "'f1' is in keep_columns, and dropped",
            ),
            ({"drop_columns": ("f0", "f1", "f2")}, r"columns \[\] of features"),
        ],
    )
    def test_columns_that_are_misspelt_or_contradict(self, options, message, tmp_path):
        path = write(tmp_path / "x.parquet", table(label=LABELS))
        with pytest.raises(ValueError, match=message):
            load(path, options=ReadOptions(**options))

    def test_columns_of_an_array_are_numbers(self, tmp_path):
        np.save(tmp_path / "x.npy", X)
        np.save(tmp_path / "y.npy", LABELS)
        options = ReadOptions(drop_columns=("1",))
        assert files.peek(tmp_path / "x.npy", options) == ((N, 2), np.float32)
        dataset = load(tmp_path / "x.npy", tmp_path / "y.npy", options)
        np.testing.assert_array_equal(
            dataset.train.x, X[dataset.train.index][:, [0, 2]]
        )
        assert files.feature_names(tmp_path / "x.npy", options) is None
        with pytest.raises(ValueError, match=r"--drop_columns holds '3'; .*: 0\.\.2"):
            load(
                tmp_path / "x.npy",
                tmp_path / "y.npy",
                ReadOptions(drop_columns=("3",)),
            )

    def test_other_data_has_no_columns_to_name(self):
        with pytest.raises(ValueError, match="'iris' takes no --drop_columns"):
            datasets.load(
                "iris", split_seed=0, options=ReadOptions(drop_columns=("x",))
            )

    def test_a_flag_in_a_message_is_what_a_shell_takes(self):
        names = ("a,b", "back\\slash", "it's $HOME", "plain")
        flag, text = shlex.split(columns.flag("drop_columns", *names))[0].split("=")
        assert flag == "--drop_columns"
        assert flag_types.PARSERS[tuple[str, ...]].parse(text) == names
        label = shlex.split(columns.flag("label_column", "a,b\\c"))
        assert label == ["--label_column=a,b\\c"]

    def test_an_index_without_a_name_is_no_news(self, tmp_path, capsys):
        rows = [f"{k},{float(x[0])!r},{k % 2}" for k, x in enumerate(X)]
        (tmp_path / "x.csv").write_text("\n".join([",f0,label", *rows]))
        flags = dict.fromkeys(("train_features", "train_labels"), f"{tmp_path}/x.csv")
        data.load(DataFlags(dataset="features", **flags))
        assert capsys.readouterr().err == ""

    def test_one_file_is_named_once(self, tmp_path):
        path = write(tmp_path / "x.parquet", table(label=LABELS))
        with pytest.raises(ValueError, match=r"expected a column of \S*x.parquet: f0"):
            load(path, options=ReadOptions(label_column="lable"))

    def test_a_script_tells_what_nobody_has_dropped(self, tmp_path, capsys):
        columns = table(target=LABELS, __index_level_0__=np.arange(N))
        path = write(tmp_path / "x.parquet", columns)
        np.save(tmp_path / "y.npy", LABELS)
        flags = {"dataset": "features", "train_features": str(path)}
        data.load(DataFlags(**flags, train_labels=str(tmp_path / "y.npy")))
        told = capsys.readouterr().err
        assert "'target' of" in told
        assert "taken for the labels" in told
        assert "'__index_level_0__' of" in told
        drop = ("__index_level_0__",)
        data.load(DataFlags(**flags, train_labels=str(path), drop_columns=drop))
        assert capsys.readouterr().err == ""


class TestLeakage:
    @pytest.mark.parametrize(
        "twin",
        [
            LABELS,
            LABELS.astype(np.float32),
            np.array([7, -2, 0.5])[LABELS],
            np.array([1, 0, 0])[(LABELS > 0) * 1],
        ],
    )
    def test_a_column_that_is_the_labels(self, twin, tmp_path):
        labels = LABELS if len({*twin}) == 3 else (LABELS > 0) * 1
        np.save(tmp_path / "y.npy", labels)
        path = write(tmp_path / "x.parquet", table(group=twin))
        with pytest.raises(ValueError, match=r"column group has one .*columns=group"):
            load(path, tmp_path / "y.npy")
        for options in (
            ReadOptions(drop_columns=("group",)),
            ReadOptions(keep_columns=("group",)),
        ):
            width = 3 + len(options.keep_columns)
            found = load(path, tmp_path / "y.npy", options)
            assert found.train.x.shape[1] == width

    @pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float64, jnp.bfloat16])
    def test_rows_that_count_themselves(self, dtype, tmp_path):
        for numbers in (np.arange(N), N - np.arange(N), np.random.permutation(N) + 100):
            x = np.column_stack([X, numbers]).astype(dtype)
            np.save(tmp_path / "x.npy", x)
            np.save(tmp_path / "y.npy", LABELS)
            with pytest.raises(ValueError, match=r"column 3 numbers .*columns=3\)"):
                load(tmp_path / "x.npy", tmp_path / "y.npy")
            options = ReadOptions(drop_columns=("3",))
            load(tmp_path / "x.npy", tmp_path / "y.npy", options)

    @pytest.mark.parametrize(
        "column",
        [
            np.arange(N) * 2,
            np.arange(N) // 2,
            np.r_[np.arange(N - 1), N],
            np.arange(N) + 0.5,
            np.where(np.arange(N) == 7, 1 - LABELS, LABELS),
            np.minimum(LABELS, 1),
            np.zeros(N),
        ],
    )
    def test_columns_that_tell_less_are_features(self, column):
        x = np.column_stack([X, column])
        assert columns.row_numbers(x) == []
        assert columns.label_columns(x, LABELS) == []

    def test_all_columns_are_told_at_once(self, tmp_path):
        twins = {"a,b": LABELS, "group": LABELS + 5, "id": np.arange(N)}
        path = write(tmp_path / "x.parquet", table(**twins, label=LABELS))
        message = (
            r"column a,b has one .*, and 2 more such columns; .*='a\\,b,group,id'\)"
        )
        with pytest.raises(ValueError, match=message):
            load(path)
        options = ReadOptions(drop_columns=("a,b", "id"), keep_columns=("group",))
        assert files.feature_names(path, options) == ("f0", "f1", "f2", "group")
        assert load(path, options=options).train.x.shape[1] == 4

    def test_few_rows_may_be_chance(self, tmp_path):
        labels = np.arange(columns.FEWEST) % 2
        np.save(tmp_path / "x.npy", np.column_stack([X[: len(labels)], labels])[:-1])
        np.save(tmp_path / "y.npy", labels[:-1])
        assert load(tmp_path / "x.npy", tmp_path / "y.npy").train.x.shape[1] == 4

    def test_all_rows_count_not_a_sample_alone(self, monkeypatch):
        monkeypatch.setattr(columns, "_SAMPLE", 4)
        x = np.column_stack([LABELS, np.arange(N)])
        assert columns.label_columns(x, LABELS) == [0]
        assert columns.row_numbers(x) == [1]
        x[30] += 1  # neither of the sample nor the first of its class
        assert columns.label_columns(x, LABELS) == []
        assert columns.row_numbers(x) == []
        x[:, 1] = np.where(np.arange(N) == 30, N + 5, np.arange(N))  # one apart is not
        assert columns.row_numbers(x) == []

    @pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
    def test_no_bundled_data_is_refused(self, name, tmp_path):
        dataset = datasets.load(name, split_seed=0)
        np.save(tmp_path / "x.npy", dataset.train.x)
        np.save(tmp_path / "y.npy", dataset.train.labels)
        load(tmp_path / "x.npy", tmp_path / "y.npy")


class TestLabels:
    @pytest.mark.parametrize(
        ("found", "names"),
        [
            (LABELS > 0, ("0", "1")),
            (LABELS.astype(float), ("0", "1", "2")),
            (jnp.asarray(LABELS, jnp.bfloat16), ("0", "1", "2")),
            (LABELS[:, None], ("0", "1", "2")),
            (LABELS.astype(str)[:, None], ("0", "1", "2")),
        ],
    )
    def test_what_loses_nothing_is_taken(self, found, names, tmp_path):
        np.save(tmp_path / "y.npy", np.asarray(found))
        for values in ("consecutive", "as_is"):
            options = ReadOptions(label_values=values)
            read = files.read_labels(tmp_path / "y.npy", options=options)
            assert read.class_names == names
            assert read.labels.tolist() == np.minimum(LABELS, len(names) - 1).tolist()

    @pytest.mark.parametrize(
        "values", [[1, 2, 3], [-1, 1, 2], [10, 20, 50], [2**63, 5, 2**63 + 9]]
    )
    def test_integers_as_they_are(self, values, tmp_path):
        kind = np.uint64 if max(values) > 2**62 else np.int64  # or NumPy takes floats
        np.save(tmp_path / "y.npy", np.array(values, kind)[LABELS])
        read = files.read_labels(tmp_path / "y.npy")
        expected = sorted(values)
        assert read.class_names == tuple(map(str, expected))
        assert [expected[k] for k in read.labels] == [values[k] for k in LABELS]
        np.save(tmp_path / "test.npy", np.array(values, kind)[[1, 1, 0]])
        read = files.read_labels(tmp_path / "test.npy", read.class_names)
        assert [expected[k] for k in read.labels] == [values[k] for k in (1, 1, 0)]
        np.save(tmp_path / "test.npy", np.array([values[0], 4], kind))
        with pytest.raises(ValueError, match=r"row 1, is 4; expected classes as in"):
            files.read_labels(tmp_path / "test.npy", read.class_names)

    @pytest.mark.parametrize("values", [[1, 2, 3], [-1, 0, 1], [0, 1, 5]])
    def test_a_script_says_why_and_what_takes_them(self, values, tmp_path):
        np.save(tmp_path / "x.npy", X)
        np.save(tmp_path / "y.npy", np.array(values)[LABELS])
        flags = DataFlags(
            dataset="features",
            train_features=str(tmp_path / "x.npy"),
            train_labels=str(tmp_path / "y.npy"),
        )
        with pytest.raises(ValueError, match=r"y\.npy.*--label_values=as_is"):
            data.load(flags)
        taken = data.load(DataFlags(**{**vars(flags), "label_values": "as_is"}))
        assert taken.class_names == tuple(map(str, values))
        with pytest.raises(ValueError, match="--label_values is 'other'; expected one"):
            data.load(DataFlags(**{**vars(flags), "label_values": "other"}))

    def test_integers_have_names_of_a_file(self, tmp_path):
        (tmp_path / "names.txt").write_text("\ufeffant\nbee\ncat\n\n", "utf-8")
        (tmp_path / "list.json").write_text('["ant", "bee", "cat"]')
        (tmp_path / "map.json").write_text('{"0": "ant", "2": "cat", "1": "bee"}')
        np.save(tmp_path / "y.npy", LABELS)
        np.save(tmp_path / "texts.npy", np.array(["cat", "ant"]))
        for name in ("names.txt", "list.json", "map.json"):
            options = ReadOptions(class_names=class_names.read(tmp_path / name))
            strict = options._replace(label_values="consecutive")
            for given in (options, strict):
                read = files.read_labels(tmp_path / "y.npy", options=given)
                assert read.class_names == ("ant", "bee", "cat")
                assert read.labels.tolist() == LABELS.tolist()
            np.save(tmp_path / "test.npy", np.array([2, 0]))
            for other in ("test.npy", "texts.npy"):
                read = files.read_labels(
                    tmp_path / other, ("ant", "bee", "cat"), options=strict
                )
                assert read.labels.tolist() == [2, 0]
        with pytest.raises(ValueError, match=r"has integers; expected .*--class_names"):
            files.read_labels(tmp_path / "test.npy", ("ant", "bee", "cat"))

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.txt", "ant\nant\n", "2 names, 1 of them more than once, such as 'ant'"),
            ("a.txt", "ant\n\nbee", "names 1 ''; expected a name a line"),
            ("a.txt", "", "a.txt has no names; expected a name a line"),
            (
                "a.json",
                '{"0": "a", "00": "b"}',
                "names '00'; expected .* this one as 0",
            ),
            ("a.json", '{"0": "a", "0": "b"}', "'0' is there more than once"),
            ("a.json", "{", "JSONDecodeError"),
            ("a.json", "3", "expected a name a line, or .json"),
            ("a.json", '{"cat": "0"}', "invalid literal"),
            ("a.json", "[1, 2]", "names 0 1; expected"),
        ],
    )
    def test_what_are_no_names(self, name, content, message, tmp_path):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=message) as refused:
            class_names.read(tmp_path / name)
        assert str(tmp_path / name) in str(refused.value)

    def test_classes_and_names_that_do_not_fit(self, tmp_path):
        np.save(tmp_path / "y.npy", LABELS)
        np.save(tmp_path / "texts.npy", LABELS.astype(str))
        two, four = ({k: f"n{k}" for k in range(count)} for count in (2, 4))
        for names, values, message in (
            (two, "as_is", "is 2; expected one of the 2 integers that class_names"),
            (two, "consecutive", r"is 2; expected integers in 0\.\.1, those that have"),
            (four, "consecutive", "no row of class 3"),
        ):
            options = ReadOptions(class_names=names, label_values=values)
            with pytest.raises(ValueError, match=message):
                files.read_labels(tmp_path / "y.npy", options=options)
        read = files.read_labels(
            tmp_path / "y.npy", options=ReadOptions(class_names=four)
        )
        assert read.class_names == ("n0", "n1", "n2")
        with pytest.raises(ValueError, match="labels that are texts; expected int"):
            files.read_labels(
                tmp_path / "texts.npy", options=ReadOptions(class_names=two)
            )


class TestIgnoredRows:
    """Rows that nobody has labelled, in every file."""

    @pytest.fixture
    def folder(self, tmp_path):
        for seed, role in enumerate(("train", "val", "test")):
            rng = np.random.default_rng(seed)
            labels = rng.permutation(np.arange(N) % 4) - 1
            np.save(tmp_path / f"{role}_features.npy", rng.normal(size=(N, 3)))
            np.save(tmp_path / f"{role}_labels.npy", labels)
        return tmp_path

    def files(self, folder, *roles):
        kinds = [f"{role}_{what}" for role in roles for what in ("features", "labels")]
        return Files(**{kind: folder / f"{kind}.npy" for kind in kinds})

    @pytest.mark.parametrize("roles", [("train",), ("train", "val", "test")])
    def test_rows_are_left_out_and_numbers_are_of_the_files(self, roles, folder):
        options = ReadOptions(ignore_label="-1", label_values="consecutive")
        dataset = datasets.load(
            "features", split_seed=0, files=self.files(folder, *roles), options=options
        )
        x, labels = (
            np.concatenate([np.load(folder / f"{r}_{what}.npy") for r in roles])
            for what in ("features", "labels")
        )
        splits = dataset.train, dataset.validation, dataset.test.read()
        for split in splits:
            np.testing.assert_array_equal(split.x, x[split.index])
            np.testing.assert_array_equal(split.labels, labels[split.index])
        every = np.concatenate([split.index for split in splits])
        np.testing.assert_array_equal(np.sort(every), np.flatnonzero(labels >= 0))
        assert dataset.test.size == len(splits[2].labels)
        assert dataset.class_names == ("0", "1", "2")

    def test_lengths_are_those_of_the_files(self, folder):
        np.save(folder / "train_labels.npy", np.load(folder / "train_labels.npy")[:-1])
        with pytest.raises(ValueError, match="has 59 labels; expected 60, one"):
            datasets.load(
                "features",
                split_seed=0,
                files=self.files(folder, "train"),
                options=ReadOptions(ignore_label="-1"),
            )

    def test_texts_and_messages_have_rows_of_the_file(self, tmp_path):
        np.save(tmp_path / "y.npy", np.array(["?", "ant", "bee", "?", "ant", "cow"]))
        options = ReadOptions(ignore_label="?")
        read = files.read_labels(tmp_path / "y.npy", options=options)
        assert read.class_names == ("ant", "bee", "cow")
        assert read.rows.tolist() == [1, 2, 4, 5]
        with pytest.raises(ValueError, match=r"1 of 4 labels .* in row 5, is cow"):
            files.read_labels(tmp_path / "y.npy", ("ant", "bee"), options=options)
        np.save(tmp_path / "y.npy", np.array(["?", "?"]))
        with pytest.raises(ValueError, match=r"no label but \?, which is left out"):
            files.read_labels(tmp_path / "y.npy", options=options)

    def test_a_column_is_compared_where_there_are_labels(self, folder):
        labels = np.load(folder / "train_labels.npy")
        x = np.load(folder / "train_features.npy")
        x[:, 1] = np.where(labels < 0, 9, labels)
        np.save(folder / "train_features.npy", x)
        with pytest.raises(ValueError, match="column 1 has one value for each class"):
            datasets.load(
                "features",
                split_seed=0,
                files=self.files(folder, "train"),
                options=ReadOptions(ignore_label="-1"),
            )
