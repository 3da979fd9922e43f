"""A folder of class folders, as people have them: ``leaves/oak/1.jpg``, with or without ``train/`` and ``test/``."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from snas import InputError
from snas.images.decode import decode_all
from snas.images.imageset import LARGEST_NUMBER, ImageSet, Options, divide, own_split, training_part
from snas.words import counted

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
IGNORED = ("thumbs.db", "desktop.ini", "__macosx")
"""What systems leave in folders; hidden files (``.DS_Store``) are ignored too."""


def folder(options: Options) -> ImageSet:
    """Return the images of class folders; with ``train`` and ``test`` folders each of them holds the class folders.

    Classes are sorted by name.  Without these two, a fifth of the images is for testing, chosen by the base seed in
    proportion to the classes.  Links are followed inside the folder only.
    """
    options.refuse("download")
    if options.path is None:
        raise InputError("image set 'folder' needs a path: a folder with one folder of images per class")
    if not options.path.is_dir():
        raise InputError(
            f"{options.path}: no such folder; a folder with one folder of images per class is expected"
        )
    root = options.path.resolve()
    parts = [part for part in ("train", "test") if (root / part).is_dir() and _entries(root / part, root)[0]]
    if not parts:
        classes = _classes(root, root)
        if classes.keys() == {"test", "train"}:  # a network that tells these two apart is what nobody wants
            raise InputError(
                f"{root}: train and test hold images and no class folders; each of them needs one folder per class"
            )
        images, labels = _read(classes, list(classes), options)
        return divide(
            options,
            images,
            labels,
            tuple(classes),
            train_images=training_part(options, len(labels), len(classes)),
            flip=True,
            source=str(options.path),
            names=_names(classes, root),
        )
    train, test = _two_parts(root)
    names = list(train)
    return own_split(
        options,
        *_same_channels(_read(train, names, options), _read(test, names, options)),
        tuple(names),
        flip=True,
        source=str(options.path),
        names=_names(train, root) + _names(test, root),
    )


def _two_parts(root: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Return the class folders of ``train`` and of ``test``, which must be the same classes and stand alone."""
    folders = sorted(path.name for path in _entries(root, root)[0])
    if folders != ["test", "train"]:
        raise InputError(
            f"{root}: the folders {', '.join(folders)}; either train and test alone, or one folder per class is expected"
        )
    train, test = _classes(root / "train", root), _classes(root / "test", root)
    for name in sorted(train.keys() ^ test.keys()):
        have, lack = ("train", "test") if name in train else ("test", "train")
        raise InputError(f"{root}: class {name!r} is in {have} and not in {lack}; both need the same classes")
    return train, test


def _same_channels(
    train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Make RGB of a grey part where the other has colours."""
    channels = max(train[0].shape[1], test[0].shape[1])
    grey = [
        part[0] if part[0].shape[1] == channels else part[0].repeat(1, channels, 1, 1)
        for part in (train, test)
    ]
    return (grey[0], train[1]), (grey[1], test[1])


def _read(classes: dict[str, list[Path]], names: list[str], options: Options) -> tuple[Tensor, Tensor]:
    files = [path for name in names for path in classes[name]]
    if len(files) > LARGEST_NUMBER:
        raise InputError(f"{options.path}: {len(files)} images; at most {LARGEST_NUMBER} are possible")
    labels = torch.tensor([label for label, name in enumerate(names) for _ in classes[name]])
    images = decode_all(
        ((_shown(path), path) for path in files),
        len(files),
        side=options.side,
        channels=options.channels,
        threads=options.threads,
    )
    return images, labels


def _classes(folder: Path, root: Path) -> dict[str, list[Path]]:
    """Return name → image files of the class folders in ``folder``, sorted by name."""
    folders, files = _entries(folder, root)
    for path in files:
        if path.suffix.lower() in SUFFIXES:
            raise InputError(
                f"{path}: an image outside the class folders; move it into the folder of its class"
            )
    if len(folders) < 2:
        raise InputError(f"{folder}: {counted(len(folders), 'class folder')}; at least two are needed")
    classes, spellings = {}, dict[str, str]()
    for path in folders:
        name = unicodedata.normalize("NFC", path.name)
        if not name.isprintable():
            raise InputError(
                f"{folder}: the class folder {name!a} has a name that is not printable text; rename it"
            )
        other = spellings.setdefault(_spelling(name), path.name)
        if other != path.name:
            raise InputError(
                f"{folder}: {other!r} and {path.name!r} look like two spellings of one class; rename or merge"
            )
        classes[name] = _images(path, root)
    return dict(sorted(classes.items()))


def _spelling(name: str) -> str:
    """Return what is left of a class name without case, accents' encoding, blanks, hyphens and underscores."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(c for c in folded if c not in " _-")


def _images(folder: Path, root: Path) -> list[Path]:
    folders, files = _entries(folder, root)
    if folders:
        raise InputError(
            f"{folders[0]}: a folder inside a class folder; images stand directly in the folder of their class"
        )
    for path in files:
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(
                f"{path}: not an image by its name ({', '.join(SUFFIXES)}); remove it from the class folder"
            )
    if not files:
        raise InputError(
            f"{folder}: the class has no image; each class needs at least two, one of them to test on (ten for snas search)"
        )
    return files


def _names(classes: dict[str, list[Path]], root: Path) -> tuple[str, ...]:
    """Return the paths of all images below ``root``, in the order in which they are read."""
    return tuple(_shown(path.relative_to(root)) for paths in classes.values() for path in paths)


def _shown(path: Path) -> str:
    """Return the path for messages, with the bytes of a name that is no text escaped."""
    return str(path).encode(errors="backslashreplace").decode()


def is_shown(name: str) -> bool:
    """Return whether a file or folder of this name is looked at: none that is hidden, or that systems leave."""
    return not name.startswith(".") and name.lower() not in IGNORED


def image_files(root: Path, onerror: Callable[[OSError], None] | None = None) -> list[Path]:
    """Return what is named as an image in ``root`` and in the folders below it, hidden ones left out, sorted by path."""
    found: list[Path] = []
    for place, folders, names in os.walk(root, onerror=onerror):
        folders[:] = filter(is_shown, folders)
        found += [Path(place, name) for name in names if is_shown(name) and name.lower().endswith(SUFFIXES)]
    return sorted(found)


def _entries(folder: Path, root: Path) -> tuple[list[Path], list[Path]]:
    """Return folders and regular files in ``folder``, each sorted, without hidden ones; links must stay in ``root``."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read ({error.strerror}); a readable folder is expected"
        ) from error
    for entry in found:
        if not is_shown(entry.name):
            continue
        path = Path(entry.path)
        if entry.is_symlink():
            _check_link(path, root)
        if entry.is_dir():
            folders.append(path)
        elif entry.is_file():
            files.append(path)
        else:
            raise InputError(f"{path}: neither a file nor a folder; remove it")
    return folders, files


def _check_link(path: Path, root: Path) -> None:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: a link that leads nowhere; remove it") from error
    if not target.is_relative_to(root):
        raise InputError(f"{path}: a link that leads out of {root}; put the file itself there")
