"""Which image files a folder of classes has."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import FormatError, ShapeError
from .image import printable

__all__ = ["EXTENSIONS", "class_folders", "image_files", "in_order_of"]

# What Pillow reads and people keep photographs in.
EXTENSIONS = frozenset(
    (
        *(".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"),
        *(".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
    )
)


def class_folders(who: str, root: Path) -> dict[str, Path]:
    """Class name -> its folder, sorted by the names' bytes; hidden ones are left out.

    Raises:
        FormatError: there is none. OSError: `root` is no folder or cannot be read.
    """
    with os.scandir(root) as entries:
        found = sorted(
            (os.fsencode(entry.name), Path(entry.path))
            for entry in entries
            if not entry.name.startswith(".") and entry.is_dir()
        )
    if not found:
        images = sum(1 for _ in image_files(root))
        holds = f"has {images} images and" if images else "is empty, or"
        raise FormatError(
            f"{who}: {printable(root)} {holds} has no sub-folders, expected one for each class"
        )
    return {printable(path.name): path for _, path in found}


def image_files(folder: Path, follow_links: bool = True) -> Iterator[Path]:
    """The image files of a folder and its sub-folders, sorted; hidden ones are left out.

    Links are followed, to sub-folders where that is asked for; those that lead back to a folder on
    the way are not.
    """
    yield from _walk(folder, (_identity(folder),), follow_links)


def _walk(folder: Path, above: tuple[tuple[int, int], ...], follow: bool) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        inside = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in inside:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if _is_folder(entry):
            identity = _identity(path)
            if identity not in above and (follow or not entry.is_symlink()):
                yield from _walk(path, (*above, identity), follow)
        elif path.suffix.lower() in EXTENSIONS:
            yield path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _identity(folder: Path) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def in_order_of(
    who: str, classes: Sequence[str], found: dict[str, Path]
) -> tuple[dict[str, Path], list[str]]:
    """The folders of `classes`, in their order, and the classes that have none.

    Raises:
        ShapeError: a class comes twice. FormatError: there is a folder of no class.
    """
    if len(set(classes)) != len(classes):
        twice = next(name for name in classes if list(classes).count(name) > 1)
        raise ShapeError(f"{who}: classes has {twice!r} twice")
    others = [name for name in found if name not in set(classes)]
    if others:
        folder = printable(found[others[0]].parent)
        raise FormatError(
            f"{who}: {folder} has sub-folders of no class: {', '.join(others[:5])}; the classes "
            f"are {', '.join(classes[:10])}{' ...' if len(classes) > 10 else ''}"
        )
    return (
        {name: found[name] for name in classes if name in found},
        [name for name in classes if name not in found],
    )
