"""Data sets of image files: a table (CSV) of paths and labels."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DTypeError, FormatError, ShapeError
from .folder import Decoding, ImageFiles, check_on_missing
from .idx import PathLike
from .image import printable

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["CsvImages"]

_MOST_CLASSES = 1_000_000
_SHOWN = 60  # characters of a value in a message


class CsvImages(ImageFiles):
    """Image files that a CSV file lists with their labels (RFC 4180, UTF-8).

    Labels are names or numbers. With `classes`, each is one of these names, or the place of one in
    them. Without, whole numbers stand for themselves, and names are sorted into classes.

    Args:
        table: the CSV file.
        root: the folder that paths are relative to; by default the one with the file.
        path_column, label_column: names in the first line, or places from 0.
        header: whether the first line has names.
        delimiter: between the fields, one character.
        classes: names in the order of the labels.
        on_missing: what is done about one of `classes`, or of the table's, of which there is no
            image: "raise", or "warn" and go on.
        size: see `ImageFiles`.
        options: channels, resize, background, reduce, on_error, cache, mean, std of `ImageFiles`.
            With on_error="skip" a file that is missing is skipped too.

    Raises:
        FormatError: the file is no such table; a line has no path or no label, or a label that
            stands for no class; a class has no images; and as `ImageFiles`.
        FileNotFoundError: the table, or a file that it lists, is missing.
        ShapeError, DTypeError: an argument is out of range or of the wrong type.
    """

    def __init__(
        self,
        table: PathLike,
        root: PathLike | None = None,
        path_column: str | int = "path",
        label_column: str | int = "label",
        *,
        size: int | Sequence[int] | None,
        header: bool = True,
        delimiter: str = ",",
        classes: Sequence[str] | None = None,
        on_missing: str = "raise",
        **options: Unpack[Decoding],
    ) -> None:
        check_on_missing("CsvImages", on_missing)
        if not isinstance(delimiter, str) or len(delimiter) != 1:
            raise ShapeError(f"CsvImages: delimiter must be one character, got {delimiter!r}")
        if isinstance(classes, str):
            raise DTypeError("CsvImages: classes is a str, expected several names")
        source = Path(table)
        lines = _read(source, header, delimiter, path_column, label_column)
        base = source.parent if root is None else Path(root)
        names, labels = _labels(source, lines, None if classes is None else tuple(classes))
        paths, kept, skipped = [], [], {}
        for (number, relative, _), label in zip(lines, labels, strict=True):
            path = base / relative
            if not path.is_file():
                problem = f"{printable(source)}, line {number}: there is no file {printable(path)}"
                if options.get("on_error") != "skip":
                    raise FileNotFoundError(f"CsvImages: {problem}")
                skipped[printable(path)] = problem
                continue
            paths.append(path)
            kept.append(label)
        super().__init__(
            paths,
            np.array(kept, np.int64),
            names,
            size=size,
            name=printable(source),
            skipped=skipped,
            **options,
        )
        wanted = set(labels) if classes is None else set(range(len(names)))
        lost = sorted(wanted - set(self.labels.tolist()))
        if lost:
            listed = lost[0] in labels
            message = (
                f"CsvImages: {printable(source)}: "
                + ("every image" if listed else "there is no image")
                + f" of class {names[lost[0]]!r}"
                + (" was skipped" if listed else "")
                + (f" (and of {len(lost) - 1} more classes)" if len(lost) > 1 else "")
            )
            if on_missing == "raise":
                raise FormatError(message)
            warnings.warn(message, stacklevel=2)


def _read(
    source: Path, header: bool, delimiter: str, path_column: str | int, label_column: str | int
) -> list[tuple[int, str, str]]:
    """(line number, path, label) of every line that is not empty."""
    name = printable(source)
    lines = []
    try:
        with open(source, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            first = next(reader, None) if header else None
            if header and first is None:
                raise FormatError(f"CsvImages: {name} is empty, expected a line with column names")
            places = [_place(name, column, first) for column in (path_column, label_column)]
            for fields in reader:
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) <= max(places):
                    raise FormatError(
                        f"CsvImages: {name}, line {reader.line_num}: {len(fields)} fields, "
                        f"expected at least {max(places) + 1}"
                    )
                path, label = (fields[place].strip() for place in places)
                if not path or not label or "\0" in path:
                    what = "label" if path and not label else "path"
                    raise FormatError(f"CsvImages: {name}, line {reader.line_num}: no {what}")
                lines.append((reader.line_num, path, label))
    except (csv.Error, UnicodeDecodeError) as error:
        raise FormatError(f"CsvImages: {name}: no table in UTF-8: {error}") from error
    if not lines:
        raise FormatError(f"CsvImages: {name} lists no images")
    return lines


def _place(name: str, column: str | int, first: Sequence[str] | None) -> int:
    if isinstance(column, bool) or not isinstance(column, (str, int)):
        raise DTypeError(f"CsvImages: a column is a {type(column).__name__}, expected str or int")
    if isinstance(column, int):
        if column < 0:
            raise ShapeError(f"CsvImages: a column is {column}, expected at least 0")
        return column
    if first is None:
        raise ShapeError(
            f"CsvImages: column {column!r} has a name, but header=False: expected its place"
        )
    stripped = [field.strip() for field in first]
    if column not in stripped:
        raise FormatError(
            f"CsvImages: {name} has no column {column!r}; it has {', '.join(stripped)[:200]}"
        )
    return stripped.index(column)


def _labels(
    source: Path, lines: Sequence[tuple[int, str, str]], classes: tuple[str, ...] | None
) -> tuple[tuple[str, ...], list[int]]:
    """The classes, and the label of every line."""
    texts = [label for _, _, label in lines]
    numbers = [_whole(text) for text in texts]
    if classes is not None:
        known = {name: label for label, name in enumerate(classes)}
        if len(known) != len(classes):
            raise ShapeError("CsvImages: classes has a name twice")
    elif all(number is not None for number in numbers):
        count = 1 + max(number for number in numbers if number is not None)
        known, classes = {}, tuple(map(str, range(min(count, _MOST_CLASSES))))
    else:
        classes = tuple(sorted(set(texts)))
        known = {name: label for label, name in enumerate(classes)}
    labels = []
    for (line, _, text), number in zip(lines, numbers, strict=True):
        label = known.get(text, number)
        if label is None or not 0 <= label < len(classes):
            expected = f"one of {', '.join(classes[:10])}" + (" ..." if len(classes) > 10 else "")
            raise FormatError(
                f"CsvImages: {printable(source)}, line {line}: label {text[:_SHOWN]!r}, expected "
                f"{expected if known else 'a number from 0 on'}"
                + (f" or 0 to {len(classes) - 1}" if number is not None else "")
            )
        labels.append(label)
    return classes, labels


def _whole(text: str) -> int | None:
    """A whole number, negative ones too, as few digits as any label has."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None
