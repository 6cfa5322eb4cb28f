"""The page and its figures as files, renewed in a folder that stays sealed."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from linclf_jax.runs import directory

PAGE = "report.html"


def renew(
    folder: Path,
    draw: Callable[[Path], Mapping[str, bytes]],
    names: Collection[str],
) -> Path:
    """Draws the page of a sealed run again, which stays sealed.

    Where the same bytes come out, nothing is written. Where others do, for the code
    that draws has changed, or the folder has moved, whose path the page names, they
    are written and their entries in the manifest renewed, and no other entry: the
    results are compared with the manifest before they are drawn, and stay comparable.

    Args:
        folder: a sealed run folder.
        draw: from the folder to the page and its figures, by the names of their files.
        names: of all files that ``draw`` may make: these need not be as sealed.

    Returns:
        The path of ``report.html``.

    Raises:
        ValueError: files that the page is made from are not as they were sealed; or as
            ``draw`` does.
    """
    directory.verify(folder, besides=names)
    drawn = draw(folder)
    new = [n for n in drawn if not _holds(folder / n, drawn[n])]
    for name in new:
        directory.write(folder / name, drawn[name])
    if new or not _is_sealed(folder):
        directory.seal(folder, drawn)
    return folder / PAGE


def _holds(path: Path, data: bytes) -> bool:
    return path.exists() and path.read_bytes() == data


def _is_sealed(folder: Path) -> bool:
    """Whether the manifest is true; a stop may have come before its renewal."""
    try:
        return bool(directory.verify(folder))
    except ValueError:
        return False
