"""Folders and zip archives of images: PNG and JPEG, decoded once into bytes."""

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from multirate.data.imagefiles import ImageFiles, image_files
from multirate.data.mapped import MEMORY_LIMIT, Survey, check_memory_limit, source_of
from multirate.data.prepared import prepared_rows
from multirate.data.rows import RowFile
from multirate.data.source import Likelihood, Source, TensorSource
from multirate.data.splits import SPLIT_SEED, choose
from multirate.data.unpacking import ZIP_UNREADABLE
from multirate.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

_GRAY_MODES = ("1", "L", "LA")
_EIGHT_BIT_MODES = (*_GRAY_MODES, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_PIXELS = 1 << 26
_CHUNK = 1 << 23
_STRIP = 1 << 22

# So many bytes of pixels are unpacked from whatever there is; more must not be blank.
_FREE_BYTES = 1 << 28
_LARGEST_RATIO = 500


@dataclass(frozen=True)
class Look:
    """How images are made alike.

    Args:
        crop: side of the square that is cut out of the middle, in pixels; None for the largest if there is a size, else
            nothing is cut.
        size: side that the square is resized to (bicubic, antialiased); None for no resizing.
        grayscale: one channel or three; None for three unless all images are gray. Transparency is ignored.

    Raises:
        UsageError: if a side is not a positive integer, or ``grayscale`` not a truth value.
    """

    crop: int | None = None
    size: int | None = None
    grayscale: bool | None = None

    def __post_init__(self) -> None:
        for name, side, what in (("crop", self.crop, "square to cut out"), ("size", self.size, "images")):
            if side is not None and (isinstance(side, bool) or not isinstance(side, int) or side < 1):
                raise UsageError(f"{name} is the side of the {what} in pixels, an integer of at least 1; got {side!r}")
        if self.grayscale is not None and not isinstance(self.grayscale, bool):
            raise UsageError(f"grayscale is true or false; got {self.grayscale!r}")

    def record(self) -> dict[str, str]:
        """Return what the record of a run should say of it."""
        if self.crop is None and self.size is None:
            return {}
        square = "centre square" if self.crop is None else f"centre square of {self.crop}"
        return {"resize": square if self.size is None else f"{square} to {self.size}, bicubic"}


def load_images(
    path: Path,
    split: str,
    look: Look,
    *,
    memory_limit: float = MEMORY_LIMIT,
    likelihood: Likelihood | None = None,
    scale: float | None = None,
) -> Source:
    """Load the images of one split of a folder or zip archive, in order of their path.

    Which they are is told by :func:`~multirate.data.imagefiles.image_files` and, where splits are missing, by
    :func:`~multirate.data.splits.choose`.

    Args:
        path: the folder or archive.
        split: ``train``, ``validation`` or ``test``.
        look: how they are made alike.
        memory_limit: up to this many megabytes of pixels are held in memory; more are decoded once into the cache
            (:func:`~multirate.data.prepared.prepared_rows`) and mapped.
        likelihood: by default ``bernoulli`` if every pixel is black or white, else ``gaussian``.
        scale: every value is divided by it, 255 by default.

    Returns:
        Images ``[C, H, W]``.

    Raises:
        DataError: if there are no images, one cannot be read, is not of 8 bits, is smaller than the crop, or differs in
            size and ``size`` is None.
    """
    limit = check_memory_limit(memory_limit)
    with image_files(path) as (files, parts):
        part, indices = choose(split, {part: len(numbers) for part, numbers in parts.items()}, str(path))
        chosen = [parts[part][i] for i in indices]
        if not chosen:
            raise DataError(f"{path} holds no PNG or JPEG images for {split}; add some to its subfolder")
        details: dict[str, Any] = {"path": str(path), "checksum_of": "images in order of path", **look.record()}
        if len(chosen) != len(parts[part]):
            details["split_seed"] = SPLIT_SEED

        def is_gray() -> bool:
            return all(has_gray_mode(files, number) for numbers in parts.values() for number in numbers)

        record: dict[str, Any] = {"name": path.stem, "split": split, "likelihood": likelihood, "scale": scale}
        decoder = Decoder(files, chosen, look, is_gray)
        if decoder.bytes > limit:
            file, details["sha256"], survey = decoder.prepared(path.stem)
            return source_of(file, memory_limit=memory_limit, survey=survey, details=details, **record)
        pixels, details["sha256"] = decoder.decoded()
        return TensorSource(torch.from_numpy(pixels), details=details, **record)


class Decoder:
    """Decodes image files into bytes ``[N, C, H, W]``; the first one says how large all must be.

    Args:
        files: where they lie.
        chosen: which of them, in order.
        look: how they are made alike.
        is_gray: tells whether all images are gray, if the look leaves it open.
        required: width and height that every image must have before it is cut, if they are known.

    Raises:
        DataError: here and later, if an image cannot be read, is not of 8 bits, is smaller than the crop, or differs in
            size from the first.
    """

    def __init__(
        self,
        files: ImageFiles,
        chosen: Sequence[int],
        look: Look,
        is_gray: Callable[[], bool] = lambda: False,
        *,
        required: tuple[int, int] | None = None,
    ) -> None:
        self._files = files
        self._chosen = chosen
        self._look = look
        self._required = required
        self._gray = is_gray() if look.grayscale is None else look.grayscale
        height, width, channels = self._pixels(chosen[0]).shape
        self.shape = len(chosen), channels, height, width
        self.bytes = len(chosen) * channels * height * width
        if self.bytes > _FREE_BYTES:
            stored = sum(files.stored(number) for number in chosen)
            if self.bytes > _LARGEST_RATIO * stored:
                raise DataError(
                    f"the images from {files.where(chosen[0])} on have {self.bytes:,} bytes of pixels, packed into "
                    f"{stored:,}; give size=... to make them smaller, or leave them out"
                )

    def decoded(self) -> tuple[NDArray[np.uint8], str]:
        """Decode all into memory; return them and the sha256 of their pixels, an image after the other."""
        values = np.empty(self.shape, dtype=np.uint8)
        digest, start = hashlib.sha256(), 0
        for chunk in self.chunks():
            values[start : start + len(chunk)] = chunk
            digest.update(chunk.tobytes())
            start += len(chunk)
        return values, digest.hexdigest()

    def prepared(self, name: str) -> tuple[RowFile, str, Survey]:
        """Decode all into the cache, unless they are there: :func:`~multirate.data.prepared.prepared_rows`."""
        key = [asdict(self._look), self._gray, [self._files.stamp(number) for number in self._chosen]]
        return prepared_rows(name, key, self.shape, self.chunks)

    def chunks(self) -> Iterator[NDArray[np.uint8]]:
        """Decode a few megabytes at a time."""
        count = max(1, _CHUNK * len(self._chosen) // self.bytes)
        for start in range(0, len(self._chosen), count):
            numbers = self._chosen[start : start + count]
            yield np.ascontiguousarray(np.stack([self._alike(number) for number in numbers]).transpose(0, 3, 1, 2))

    def _alike(self, number: int) -> NDArray[np.uint8]:
        pixels = self._pixels(number)
        if pixels.shape[:2] != self.shape[2:]:
            raise DataError(
                f"{self._files.where(number)} is {pixels.shape[1]}x{pixels.shape[0]}, other images are "
                f"{self.shape[3]}x{self.shape[2]}; give size=... to crop and resize them to one size"
            )
        return pixels

    def _pixels(self, number: int) -> NDArray[np.uint8]:
        image = cut(self._image(number), self._look, self._files.where(number))
        pixels = np.empty((image.height, image.width, len(image.getbands())), dtype=np.uint8)
        step = max(1, _STRIP // image.width)
        for top in range(0, image.height, step):  # at once, there would be two further copies of a large image
            strip = image.crop((0, top, image.width, min(top + step, image.height)))
            pixels[top : top + step] = np.asarray(strip).reshape(strip.height, strip.width, -1)
        return pixels

    def _image(self, number: int) -> "Image":
        where, mode = self._files.where(number), "L" if self._gray else "RGB"
        with self._files.open(number) as stream, _opened(stream, where) as opened:
            if self._required is not None and opened.size != self._required:
                raise DataError(f"{where} is {opened.size}, not {self._required} pixels; remove the file, get it again")
            if opened.mode not in _EIGHT_BIT_MODES:
                raise DataError(
                    f"{where} has pixels of mode {opened.mode}, not of 8 bits; convert it, or save an .npz of floats"
                )
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of transparency, which is left out on purpose
                    opened.load()
                    return opened if opened.mode == mode else opened.convert(mode)
            except (*ZIP_UNREADABLE, SyntaxError) as error:
                raise DataError(f"{where} is truncated or corrupt ({error}); remove it or save it again") from error


def cut(image: "Image", look: Look, where: str) -> "Image":
    """Cut the centre square out of an image and resize it.

    Args:
        image: of 8 bits.
        look: its sides.
        where: which image it is, for the error.

    Raises:
        DataError: if it is smaller than the crop.
    """
    from PIL import Image

    if look.crop is None and look.size is None:
        return image
    side = look.crop or min(image.size)
    if side > min(image.size):
        raise DataError(f"{where} is {image.width}x{image.height}, smaller than crop={side}; give a smaller crop")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # Cropped first: a resize with a box would let pixels from outside of it in.
    square = image.crop((left, top, left + side, top + side))
    return square if look.size is None else square.resize((look.size, look.size), Image.Resampling.BICUBIC)


def has_gray_mode(files: ImageFiles, number: int) -> bool:
    """Return whether an image is stored with one channel, transparency aside; :class:`DataError` if it is no image."""
    with files.open(number) as stream, _opened(stream, files.where(number)) as image:
        return image.mode in _GRAY_MODES


def _opened(stream: BinaryIO, where: str) -> "Image":
    from PIL import Image, UnidentifiedImageError

    too_large = f"{where} has more than 64 million pixels; make it smaller or leave it out"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(stream, formats=("PNG", "JPEG"))
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(too_large) from error
    except (*ZIP_UNREADABLE, UnidentifiedImageError, SyntaxError) as error:
        raise DataError(f"{where} is no readable PNG or JPEG; remove it or save it again") from error
    if image.width * image.height > _PIXELS:
        image.close()
        raise DataError(too_large)
    return image
