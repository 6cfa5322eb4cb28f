"""Published datasets, whose files are the same everywhere: their names and checksums.

The SHA-256 sums of the IDX files are those of the files without compression; the MD5
sums of CIFAR-10 are those of the files in its archives. Other files of the same formats
are read as the dataset ``features``.
"""

from pathlib import Path

import numpy as np

from linclf_jax.data import cifar, files, idx
from linclf_jax.data.checks import BadFileError
from linclf_jax.data.sources import Source, Unread

NAMES = ("fashion_mnist", "mnist", "cifar10")
DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = (
    "T-shirt/top",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
THINGS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_IDX = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_FASHION_MNIST = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
_MNIST = (
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
SHA256 = {
    "fashion_mnist": dict(zip(_IDX, _FASHION_MNIST, strict=True)),
    "mnist": dict(zip(_IDX, _MNIST, strict=True)),
}
MD5 = {  # of CIFAR-10, binary and as Python batches
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
    "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
_CIFAR = (
    "cifar-10-batches-bin",
    "cifar-10-batches-py",
    "cifar-10-binary.tar.gz",
    "cifar-10-python.tar.gz",
)
_CIFAR_TEST_ROWS = 10_000
_FASHION_FOLDER = "/usr/share/datasets/fashion-mnist"
_WHERE = {
    "fashion_mnist": "`apt install dataset-fashion-mnist` puts them into "
    f"{_FASHION_FOLDER}, and github.com/zalandoresearch/fashion-mnist has them",
    "mnist": "storage.googleapis.com/cvdf-datasets/mnist/ has them",
    "cifar10": "www.cs.toronto.edu/~kriz/cifar.html has it",
}


def open_parts(name: str, data_dir: str | Path | None) -> tuple[Source, Unread[Source]]:
    """Reads the training rows, and the headers and labels of the test rows.

    ``data_dir`` is the folder with the files; None is where Debian puts Fashion-MNIST.
    Files that are missing, damaged, or of other checksums are refused.
    """
    if data_dir is None and name == "fashion_mnist":
        data_dir = _FASHION_FOLDER
    folder = None if data_dir is None else Path(data_dir)
    if name == "cifar10":
        return _open_cifar(folder)
    train, test = _idx_paths(name, folder, "train"), _idx_paths(name, folder, "t10k")
    num_rows = files.DataFile(test[0]).shape[0]
    labels = _verified(name, test[1])
    unread = Unread(num_rows, lambda: _read_idx(name, *test), labels)
    return _read_idx(name, *train), unread


def _idx_paths(name: str, folder: Path | None, part: str) -> list[Path]:
    stems = [stem for stem in _IDX if stem.startswith(part)]
    paths = []
    for stem in stems:
        both = [folder / f"{stem}{end}" for end in ("", ".gz")] if folder else []
        paths += [path for path in both if path.is_file()][:1]
    if len(paths) < len(stems):
        raise _missing(name, folder, f"{' and '.join(stems)}, with or without .gz")
    return paths


def _read_idx(name: str, images: Path, labels: Path) -> Source:
    x, y = _verified(name, images), _verified(name, labels)
    if x.ndim != 3 or y.shape != x.shape[:1]:
        raise BadFileError(
            f"{images} has shape {x.shape} and {labels} {y.shape}; expected (N, H, W) "
            "and (N,)"
        )
    names = CLOTHES if name == "fashion_mnist" else DIGITS
    return Source(x.reshape(len(x), -1), y, names, image_shape=x.shape[1:])


def _verified(name: str, path: Path) -> np.ndarray:
    """Returns the array of a file whose checksum is the published one."""
    array = idx.read(path)
    digest, expected = idx.sha256(array), SHA256[name][path.name.removesuffix(".gz")]
    if digest != expected:
        raise BadFileError(
            f"{path} holds bytes with the SHA-256 {digest}; expected {expected}, that "
            f"of {name}"
        )
    return array


def _open_cifar(folder: Path | None) -> tuple[Source, Unread[Source]]:
    paths = [folder / name for name in _CIFAR] if folder else []
    paths = [path for path in paths if path.exists()]
    if folder is not None and not paths:
        names = {path.name for path in folder.glob("*")}
        paths = [folder] if names & {"data_batch_1", "data_batch_1.bin"} else []
    if not paths:
        raise _missing("cifar10", folder, f"one of {', '.join(_CIFAR)}")

    def read(part: str) -> Source:
        x, labels = cifar.read(paths[0], part, md5=MD5)
        x = x.reshape(len(x), -1)
        return Source(x, labels, THINGS, image_shape=cifar.IMAGE_SHAPE)

    return read("train"), Unread(_CIFAR_TEST_ROWS, lambda: read("test"))


def _missing(name: str, folder: Path | None, wanted: str) -> ValueError:
    if folder is None:
        return ValueError(
            f"dataset {name!r} needs --data_dir, a folder with {wanted}; {_WHERE[name]}"
        )
    return ValueError(f"{folder}: expected {wanted}; {_WHERE[name]}")
