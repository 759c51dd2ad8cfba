"""Keras's ImageDataGenerator by its own argument names, on the native passes of this package."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import _core
from ...errors import DTypeError, ShapeError
from ...nn._args import choice, flag, number
from .batch import BatchShape, interval
from .keras_files import FolderFlow, Reading, TableFlow
from .keras_flow import ArrayFlow, Saving, random_state
from .keras_maps import affine_maps, brightened, per_image

__all__ = ["ImageDataGenerator"]

Array = npt.NDArray[Any]
_SHIFTED = ("theta", "tx", "ty", "shear", "zx", "zy")
_PARAMETERS = (
    *_SHIFTED,
    "flip_horizontal",
    "flip_vertical",
    "channel_shift_intensity",
    "brightness",
)


class ImageDataGenerator:
    """Batches of augmented images, with the arguments and the meanings of Keras 3's class.

    The random numbers are drawn as Keras draws them, so that a seed gives the same parameters, with one
    difference: `width_shift_range` moves images to the sides and `height_shift_range` up and down, as Keras's
    documentation says (its code exchanges the two), and images turn about their own centre where they are not
    square.

    Args:
        featurewise_center, featurewise_std_normalization: subtract the mean, divide by the standard deviation
            of each channel, which `fit` finds.
        samplewise_center, samplewise_std_normalization: likewise with each image's own, over all its values.
        zca_whitening, zca_epsilon: multiply by the whitening matrix that `fit` finds.
        rotation_range: degrees, drawn from (-range, range).
        width_shift_range, height_shift_range: a part of the size if below 1, else pixels, from (-range, range);
            an integer n: a whole number below n; a sequence: one of its numbers, each of either sign.
        brightness_range: (least, most) factor, of values that are cut to whole numbers in 0 to 255.
        shear_range: degrees.
        zoom_range: (least, most) factor of what is seen, one drawn for each axis, or z for (1 - z, 1 + z).
        channel_shift_range: from (-range, range), added to all channels within the image's least and greatest
            value.
        fill_mode: "constant", "nearest", "reflect" or "wrap", as `warp_affine` has them.
        cval: the value of "constant".
        horizontal_flip, vertical_flip: flip half of the images.
        rescale: a factor that follows `preprocessing_function`; None or 0 for none.
        preprocessing_function: called with each image after augmentation.
        data_format: "channels_last", batches (N, H, W, C), or "channels_first", (N, C, H, W), which fastconv's
            layers take. `KerasStyle` takes flows of both.
        validation_split: the part of the data that is `subset="validation"`.
        interpolation_order: 0 or 1.
        dtype: float32 or float64, of the batches; images are interpolated in float32.

    Raises:
        ShapeError, DTypeError: an argument is out of its range or of the wrong type.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: Any = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Callable[[Array], Any] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: Any = None,
    ) -> None:
        who = "ImageDataGenerator"
        self.samplewise_std_normalization = flag(
            who, "samplewise_std_normalization", samplewise_std_normalization
        )
        self.samplewise_center = _implied(
            who, "samplewise_center", samplewise_center, self.samplewise_std_normalization
        )
        self.zca_whitening = flag(who, "zca_whitening", zca_whitening)
        self.zca_epsilon = number(who, "zca_epsilon", zca_epsilon, 0.0)
        self.featurewise_std_normalization = flag(
            who, "featurewise_std_normalization", featurewise_std_normalization
        )
        self.featurewise_center = _implied(
            who,
            "featurewise_center",
            featurewise_center,
            self.zca_whitening or self.featurewise_std_normalization,
        )
        if self.zca_whitening and self.featurewise_std_normalization:
            self.featurewise_std_normalization = False
            warnings.warn(
                f"{who}: zca_whitening leaves out featurewise_std_normalization", stacklevel=2
            )
        self.rotation_range = number(who, "rotation_range", rotation_range, 0.0)
        self.width_shift_range = _shifts(who, "width_shift_range", width_shift_range)
        self.height_shift_range = _shifts(who, "height_shift_range", height_shift_range)
        self.brightness_range = (
            None
            if brightness_range is None
            else interval(who, "brightness_range", brightness_range, 0.0)
        )
        self.shear_range = number(who, "shear_range", shear_range, 0.0)
        if isinstance(zoom_range, (tuple, list)):
            self.zoom_range = interval(who, "zoom_range", zoom_range, 0.0)
        else:
            zoom = number(who, "zoom_range", zoom_range, 0.0, 1.0)
            self.zoom_range = (1 - zoom, 1 + zoom)
        self.channel_shift_range = number(who, "channel_shift_range", channel_shift_range, 0.0)
        self.fill_mode = choice(
            who, "fill_mode", fill_mode, ("constant", "nearest", "reflect", "wrap")
        )
        self.cval = number(who, "cval", cval)
        self.horizontal_flip = flag(who, "horizontal_flip", horizontal_flip)
        self.vertical_flip = flag(who, "vertical_flip", vertical_flip)
        self.rescale = None if rescale is None else number(who, "rescale", rescale)
        if preprocessing_function is not None and not callable(preprocessing_function):
            raise DTypeError(
                f"{who}: preprocessing_function is a {type(preprocessing_function).__name__}, "
                "not callable"
            )
        self.preprocessing_function = preprocessing_function
        self.data_format = choice(
            who, "data_format", data_format or "channels_last", ("channels_last", "channels_first")
        )
        self.validation_split = number(who, "validation_split", validation_split, 0.0, 1.0)
        if self.validation_split == 1:
            raise ShapeError(f"{who}: validation_split must be below 1")
        if interpolation_order not in (0, 1):
            raise ShapeError(
                f"{who}: interpolation_order must be 0 or 1, got {interpolation_order!r}"
            )
        self.interpolation_order = int(interpolation_order)
        self.dtype = np.dtype(np.float32 if dtype is None else dtype)
        if self.dtype not in (np.float32, np.float64):
            raise DTypeError(f"{who}: dtype must be float32 or float64, got {self.dtype}")
        self.mean: Array | None = None
        self.std: Array | None = None
        self.zca_whitening_matrix: Array | None = None

    # Batches

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        save_to_dir: str | PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        ignore_class_split: bool = False,
        subset: str | None = None,
    ) -> ArrayFlow:
        """Batches of images in memory.

        Args:
            x: images, four dimensions in the order of `data_format`; or a pair of them and another array, or a
                list of such, which batches have too, as they are.
            y: labels, as many; None for batches of images alone.
            batch_size: images a batch; the last of an epoch may have fewer.
            shuffle: whether each epoch has an order of its own.
            sample_weight: a third array of every batch.
            seed: of order and parameters; None takes it from `fastconv.manual_seed`'s state.
            save_to_dir: a folder where the images of batches are written too, each with its values stretched to
                0 to 255; it is made if it is missing.
            save_prefix, save_format: of these files: PREFIX_PLACE_NUMBER.FORMAT; "png", "jpeg", "bmp", ...
            ignore_class_split: whether the parts of `validation_split` may have different labels.
            subset: "training" or "validation": the later or the first part of `validation_split`.

        Returns:
            Batches (images, labels), (images, labels, weights) or images; see `ArrayFlow`.

        Raises:
            ShapeError, DTypeError: arrays do not fit each other, or an argument is out of range.
        """
        return ArrayFlow(
            self,
            x,
            y,
            sample_weight,
            batch_size,
            shuffle,
            seed,
            Saving.of("ImageDataGenerator.flow", save_to_dir, save_prefix, save_format),
            subset,
            ignore_class_split,
        )

    def flow_from_directory(
        self,
        directory: str | PathLike[str],
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        follow_links: bool = False,
        subset: str | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
    ) -> FolderFlow:
        """Batches of images in a folder with a sub-folder a class, read with Pillow as they are needed.

        Other than in Keras the EXIF orientation is applied, 16 bits are cut to 8, hidden files are left out.

        Args:
            directory: the folder.
            target_size: (height, width) that images are resized to, whatever their proportions.
            color_mode: "rgb", "grayscale" (both drop transparency) or "rgba", of four channels.
            classes: names of sub-folders in the order of their labels; by default all, sorted.
            class_mode: of labels: "categorical" (float rows of a one), "binary" or "sparse" (numbers), "input"
                (the images), None (batches of images alone).
            batch_size, shuffle, seed, save_to_dir, save_prefix, save_format: as for `flow`.
            follow_links: whether links to folders inside those of the classes are followed.
            subset: "training" or "validation", a part of each class.
            interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming".
            keep_aspect_ratio: cut the middle with the proportions of `target_size` out before.

        Returns:
            Batches, and `samples`, `classes`, `class_indices`, `filenames`, `filepaths`; see `FolderFlow`.

        Raises:
            ShapeError, DTypeError: an argument is out of range.
            FormatError: there are no classes or no images; from a batch, a file cannot be decoded.
            ImportError: Pillow is not installed.
        """
        who = FolderFlow.who
        return FolderFlow(
            self,
            directory,
            Reading.of(who, target_size, color_mode, interpolation, keep_aspect_ratio),
            Saving.of(who, save_to_dir, save_prefix, save_format),
            classes,
            class_mode,
            batch_size,
            shuffle,
            seed,
            subset,
            follow_links,
        )

    def flow_from_dataframe(
        self,
        dataframe: Any,
        directory: str | PathLike[str] | None = None,
        x_col: str = "filename",
        y_col: str | Sequence[str] = "class",
        weight_col: str | None = None,
        target_size: Sequence[int] = (256, 256),
        color_mode: str = "rgb",
        classes: Sequence[str] | None = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        save_to_dir: str | PathLike[str] | None = None,
        save_prefix: str = "",
        save_format: str = "png",
        subset: str | None = None,
        interpolation: str = "nearest",
        validate_filenames: bool = True,
        keep_aspect_ratio: bool = False,
    ) -> TableFlow:
        """Batches of images that a table lists, read with Pillow as they are needed.

        Args:
            dataframe: anything whose columns are had as dataframe["name"]: of pandas, a dictionary of lists or
                arrays, a structured array.
            directory: the folder that paths are relative to; by default the working directory.
            x_col: the column with names of files.
            y_col: the column with labels; of several outputs, or several raw numbers, a list of columns.
            weight_col: a column of numbers, the third array of every batch.
            target_size, color_mode, interpolation, keep_aspect_ratio: as for `flow_from_directory`.
            classes: names in the order of their labels, images of others are left out; by default all, sorted.
            class_mode: of labels: "categorical" (float rows of a one; an image may have a list of names, and then
                several ones), "binary" or "sparse" (numbers of names), "raw" (what the column holds),
                "multi_output" (a list of arrays, one for each of `y_col`), "input" (the images), None.
            batch_size, shuffle, seed, save_to_dir, save_prefix, save_format: as for `flow`.
            subset: "training" or "validation": the later or the first part of `validation_split`.
            validate_filenames: leave out, with a warning, what is no file or has no image's extension.

        Returns:
            Batches, and `samples`, `classes`, `class_indices`, `filenames`, `filepaths`; see `TableFlow`.

        Raises:
            ShapeError, DTypeError: a column is missing or holds something else, or an argument is out of range.
            FormatError: there are no images; from a batch, a file cannot be decoded.
            ImportError: Pillow is not installed.
        """
        who = TableFlow.who
        return TableFlow(
            self,
            dataframe,
            directory,
            x_col,
            y_col,
            weight_col,
            Reading.of(who, target_size, color_mode, interpolation, keep_aspect_ratio),
            Saving.of(who, save_to_dir, save_prefix, save_format),
            classes,
            class_mode,
            batch_size,
            shuffle,
            seed,
            subset,
            validate_filenames,
        )

    # Parameters

    def get_random_transform(
        self, img_shape: Sequence[int], seed: int | None = None
    ) -> dict[str, Any]:
        """Parameters for an image of a shape, under Keras's names.

        theta, tx (columns), ty (rows), shear, zx, zy, flip_horizontal, flip_vertical, channel_shift_intensity and
        brightness, of which the last two may be None.
        """
        height, width, _ = self._sizes(img_shape)
        drawn = self.draw(1, height, width, random_state(seed))
        return {name: None if value is None else value[0].item() for name, value in drawn.items()}

    def draw(
        self, count: int, height: int, width: int, random: np.random.RandomState
    ) -> dict[str, Any]:
        """Parameters for several images: arrays of `count` under the names of `get_random_transform`."""
        shifts = (self.height_shift_range, self.width_shift_range)
        used = {
            "theta": self.rotation_range > 0,
            "ty": isinstance(shifts[0], float) and shifts[0] > 0,
            "tx": isinstance(shifts[1], float) and shifts[1] > 0,
            "shear": self.shear_range > 0,
            "zx": self.zoom_range != (1.0, 1.0),
            "zy": self.zoom_range != (1.0, 1.0),
            "flip_horizontal": True,
            "flip_vertical": True,
            "channel_shift_intensity": self.channel_shift_range > 0,
            "brightness": self.brightness_range is not None,
        }
        # In Keras's order, image after image: one number for each parameter that is in use.
        names = [name for name, drawn in used.items() if drawn]
        columns = dict(zip(names, random.random_sample((count, len(names))).T, strict=True))

        def between(name: str, low: float, high: float) -> Any:
            return low + (high - low) * columns[name]

        made: dict[str, Any] = {name: np.zeros(count) for name in _SHIFTED}
        made["zx"], made["zy"] = np.ones(count), np.ones(count)
        if used["theta"]:
            made["theta"] = between("theta", -self.rotation_range, self.rotation_range)
        if used["shear"]:
            made["shear"] = between("shear", -self.shear_range, self.shear_range)
        for name, shift, size in zip(("ty", "tx"), shifts, (height, width), strict=True):
            if isinstance(shift, float):
                if used[name]:
                    made[name] = between(name, -shift, shift) * (size if shift < 1 else 1)
            else:
                signs = random.choice([-1, 1], count)
                made[name] = random.choice(shift, count) * signs * 1.0
                if max(shift) < 1:
                    made[name] *= size
        for name in ("zx", "zy"):
            if used[name]:
                made[name] = between(name, *self.zoom_range)
        made["flip_horizontal"] = (columns["flip_horizontal"] < 0.5) & self.horizontal_flip
        made["flip_vertical"] = (columns["flip_vertical"] < 0.5) & self.vertical_flip
        reach = self.channel_shift_range
        made["channel_shift_intensity"] = (
            between("channel_shift_intensity", -reach, reach) if reach else None
        )
        made["brightness"] = (
            None if self.brightness_range is None else between("brightness", *self.brightness_range)
        )
        return made

    # Images

    def random_transform(self, x: Any, seed: int | None = None) -> Array:
        """An image (three dimensions) augmented at random."""
        return self.apply_transform(x, self.get_random_transform(np.shape(x), seed))

    def apply_transform(self, x: Any, transform_parameters: dict[str, Any]) -> Array:
        """An image (three dimensions) augmented by parameters as `get_random_transform` returns them.

        Those left out change nothing.
        """
        image = np.asarray(x)
        self._sizes(image.shape)
        given = {
            name: None
            if transform_parameters.get(name) is None
            else np.array([transform_parameters[name]])
            for name in _PARAMETERS
        }
        made: Array = self.apply(image[np.newaxis], given)[0].astype(self.dtype)
        return made

    def apply(self, batch: Array, drawn: dict[str, Any]) -> Array:
        """Images in `data_format` augmented by parameters, arrays as `draw` returns them or None: float32."""
        last = self.data_format == "channels_last"
        x = np.ascontiguousarray(batch.transpose(0, 3, 1, 2) if last else batch, np.float32)
        matrices = affine_maps(drawn, BatchShape.of(x))
        x = _core.augment_batch(
            x,
            np.ascontiguousarray(matrices[:, :2]),
            None,
            ("nearest", "bilinear")[self.interpolation_order],
            self.fill_mode,
            np.full(x.shape[1], self.cval),
            *(None, None, (0.0, 1.0), None, None, None),
        )
        if drawn["channel_shift_intensity"] is not None:
            bounds = x.min((1, 2, 3), keepdims=True), x.max((1, 2, 3), keepdims=True)
            x = np.clip(x + per_image(drawn["channel_shift_intensity"]), *bounds)
        if drawn["brightness"] is not None:
            x = brightened(x, per_image(drawn["brightness"]))
        return x.transpose(0, 2, 3, 1) if last else x

    def standardize(self, x: Any) -> Array:
        """Images, one or a batch, as the network gets them: `preprocessing_function`, `rescale`, and the
        centring, scaling and whitening asked for. Each image is taken by itself; a new array.

        Warns where `fit` was to find something and was not called.
        """
        given = np.asarray(x)
        batch = given[np.newaxis] if given.ndim == 3 else given
        if batch.ndim != 4:
            raise ShapeError(
                f"ImageDataGenerator.standardize: expected an image or a batch, got {given.shape}"
            )
        if self.preprocessing_function is not None:
            batch = np.stack([np.asarray(self.preprocessing_function(image)) for image in batch])
        batch = batch.astype(self.dtype)
        if self.rescale:
            batch *= self.rescale
        if self.samplewise_center:
            batch -= batch.mean((1, 2, 3), keepdims=True)
        if self.samplewise_std_normalization:
            batch /= batch.std((1, 2, 3), keepdims=True) + 1e-6
        for wanted, name, found in (
            (self.featurewise_center, "featurewise_center", self.mean),
            (self.featurewise_std_normalization, "featurewise_std_normalization", self.std),
            (self.zca_whitening, "zca_whitening", self.zca_whitening_matrix),
        ):
            if wanted and found is None:
                warnings.warn(f"ImageDataGenerator: {name} needs fit(x) first", stacklevel=2)
        if self.featurewise_center and self.mean is not None:
            batch -= self.mean
        if self.featurewise_std_normalization and self.std is not None:
            batch /= self.std + 1e-6
        if self.zca_whitening and self.zca_whitening_matrix is not None:
            flat = batch.reshape(len(batch), -1) @ self.zca_whitening_matrix
            batch = flat.reshape(batch.shape).astype(self.dtype)
        return batch[0] if given.ndim == 3 else batch

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Find the mean, deviation and whitening matrix that the arguments ask for.

        Args:
            x: images, four dimensions in the order of `data_format`; `rescale` is applied to them.
            augment: whether augmented images are taken instead, `rounds` times all.
            rounds, seed: of these.

        Raises:
            ShapeError: there are no images, or not four dimensions.
        """
        batch = np.asarray(x)
        if batch.ndim != 4 or not batch.size:
            raise ShapeError(
                f"ImageDataGenerator.fit: expected images of four dimensions, got {batch.shape}"
            )
        batch = batch.astype(self.dtype)
        if self.rescale:
            batch *= self.rescale
        if augment:
            random = random_state(seed)
            height, width, _ = self._sizes(batch.shape[1:])
            batch = np.concatenate(
                [
                    self.apply(batch, self.draw(len(batch), height, width, random))
                    for _ in range(rounds)
                ]
            ).astype(self.dtype)
        axes = (0, 1, 2) if self.data_format == "channels_last" else (0, 2, 3)
        if self.featurewise_center:
            self.mean = batch.mean(axes, keepdims=True)[0]
            batch -= self.mean
        if self.featurewise_std_normalization:
            self.std = batch.std(axes, keepdims=True)[0]
            batch /= self.std + 1e-6
        if self.zca_whitening:
            flat = batch.reshape(len(batch), -1)
            u, s, _ = np.linalg.svd(flat.T, full_matrices=False)
            self.zca_whitening_matrix = (u * (np.sqrt(len(flat)) / (s + self.zca_epsilon))) @ u.T

    def _sizes(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """(height, width, channels) of an image's shape."""
        if len(shape) != 3:
            raise ShapeError(
                f"ImageDataGenerator: expected an image of three dimensions, got {tuple(shape)}"
            )
        first, second, third = shape
        if self.data_format == "channels_last":
            return first, second, third
        return second, third, first


def _implied(who: str, name: str, value: Any, needed: bool) -> bool:
    """A flag that another one needs."""
    if needed and not flag(who, name, value):
        warnings.warn(f"{who}: {name} is on: other arguments need it", stacklevel=3)
        return True
    return flag(who, name, value)


def _shifts(who: str, name: str, value: Any) -> float | list[float]:
    """A range, or the numbers to choose from."""
    if isinstance(value, (tuple, list)):
        if not value:
            raise ShapeError(f"{who}: {name} must be a number or some, got none")
        return [number(who, name, v) for v in value]
    reach = number(who, name, value, 0.0)
    if isinstance(value, (int, np.integer)) and value > 0:
        return [float(v) for v in range(value)]
    return reach
