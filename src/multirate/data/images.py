"""Folders of images: PNG and JPEG, read once into one tensor of bytes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from multirate.data.splits import SPLIT_SEED, choose, named_splits
from multirate.errors import DataError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")

_GRAY_MODES = ("1", "L", "LA")
_EIGHT_BIT_MODES = (*_GRAY_MODES, "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_PIXELS = 1 << 26


def read_folder(
    folder: Path, split: str, *, size: int | None = None, grayscale: bool | None = None
) -> tuple[Tensor, dict[str, Any]]:
    """Read the images of one split of a folder and its subfolders, in order of their path.

    Subfolders ``train``, ``validation`` (or ``valid``, ``val``) and ``test`` of the folder are splits; without them, or
    without some of them, splits are cut as :func:`~multirate.data.splits.choose` says. Hidden files are passed over.

    Args:
        folder: where the images are, at any depth.
        split: ``train``, ``validation`` or ``test``.
        size: cut the centre square out of every image and resize it to this many pixels a side (bicubic, antialiased).
        grayscale: one channel or three; None for three unless all images are gray. Transparency is ignored.

    Returns:
        Bytes, ``[N, C, H, W]``, and what the record of a run should say of them.

    Raises:
        DataError: if there are no images, one cannot be read, is not of 8 bits, or differs in size and ``size`` is
            None.
        UsageError: if ``size`` is not a positive integer, or ``grayscale`` not a truth value.
    """
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise UsageError(f"size is the side of the images in pixels, an integer of at least 1; got {size!r}")
    if grayscale is not None and not isinstance(grayscale, bool):
        raise UsageError(f"grayscale is true or false; got {grayscale!r}")
    parts = named_splits({path.name: path for path in sorted(folder.iterdir()) if path.is_dir()})
    files = {part: _image_files(path) for part, path in (parts or {"train": folder}).items()}
    if not any(files.values()):
        raise DataError(f"{folder} holds no PNG or JPEG images")
    part, indices = choose(split, {part: len(paths) for part, paths in files.items()}, str(folder))
    chosen = [files[part][i] for i in indices]
    if not chosen:
        raise DataError(f"{folder} holds no PNG or JPEG images for {split}; add some to its subfolder")
    if grayscale is None:
        grayscale = all(_is_gray(path) for paths in files.values() for path in paths)
    digest = hashlib.sha256()
    first = _pixels(chosen[0], size, grayscale, digest)
    values = np.empty((len(chosen), *first.shape), dtype=np.uint8)
    values[0] = first
    for i, path in enumerate(chosen[1:], 1):
        pixels = _pixels(path, size, grayscale, digest)
        if pixels.shape != first.shape:
            raise DataError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]}, other images are {first.shape[1]}x{first.shape[0]}; "
                "give size=... to crop and resize them to one size"
            )
        values[i] = pixels
    details: dict[str, Any] = {
        "path": str(folder),
        "sha256": digest.hexdigest(),
        "checksum_of": "images in order of path",
    }
    if len(chosen) != len(files[part]):
        details["split_seed"] = SPLIT_SEED
    if size is not None:
        details["resize"] = f"centre square to {size}, bicubic"
    return torch.from_numpy(values).permute(0, 3, 1, 2), details


def _image_files(folder: Path) -> Sequence[Path]:
    def shown(path: Path) -> bool:
        return not any(part.startswith(".") for part in path.relative_to(folder).parts)

    found = (
        path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and shown(path)
    )
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _is_gray(path: Path) -> bool:
    with _opened(path) as image:
        return image.mode in _GRAY_MODES


def _pixels(path: Path, size: int | None, grayscale: bool, digest: "hashlib._Hash") -> NDArray[np.uint8]:
    from PIL import Image

    with _opened(path) as opened:
        if opened.mode not in _EIGHT_BIT_MODES:
            raise DataError(
                f"{path} has pixels of mode {opened.mode}, not of 8 bits; convert it, or save an .npz of floats"
            )
        try:
            image = opened.convert("L" if grayscale else "RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path} is truncated or corrupt ({error}); remove it or save it again") from error
    if size is not None:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        # Cropped first: a resize with a box would let pixels from outside of it in.
        image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    pixels: NDArray[np.uint8] = np.asarray(image)
    digest.update(pixels.tobytes())
    return pixels[:, :, None] if grayscale else pixels


def _opened(path: Path) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(path, formats=("PNG", "JPEG"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is no readable PNG or JPEG; remove it or save it again") from error
    if image.width * image.height > _PIXELS:
        image.close()
        raise DataError(f"{path} has {image.width}x{image.height} pixels, more than 64 million; make it smaller")
    return image
