"""Where the files of a published image set lie, and how they are fetched."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from snas import InputError
from snas.images.imageset import Options

DOWNLOADS = Path("data")
"""Where downloads go when no path is given, seen from the working directory."""
UNFINISHED = ".download-"
"""How the names of folders of unfinished downloads begin."""


def find(
    options: Options,
    subfolder: str,
    files: Sequence[str],
    places: Iterable[str | Path],
    *,
    zipped: bool = False,
) -> Path | None:
    """Return the folder that holds ``files`` (each as it is or, if they may be ``zipped``, with ``.gz``).

    It is ``options.path`` or its ``subfolder``; without a path, one of ``places`` or its ``subfolder``.
    """
    for place in (options.path,) if options.path else places:
        for folder in (Path(place), Path(place) / subfolder):
            if all((folder / n).is_file() or (zipped and (folder / f"{n}.gz").is_file()) for n in files):
                return folder
    return None


def fetch(
    options: Options,
    subfolder: str,
    files: Sequence[str],
    download: Callable[[Path], object],
) -> Path | None:
    """Download by torchvision into ``options.path`` (or ``data``) and return the folder that then holds ``files``.

    One process at a time downloads, into a folder of its own beside; only whole files are moved to where all look.
    """
    root = Path(options.path or DOWNLOADS)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _alone(root), tempfile.TemporaryDirectory(dir=root, prefix=UNFINISHED) as beside:
            if found := find(options, subfolder, files, (root,)):
                return found  # another process was first
            download(Path(beside))
            for file in sorted(p for p in Path(beside, subfolder).rglob("*") if p.is_file()):
                place = root / file.relative_to(beside)
                place.parent.mkdir(parents=True, exist_ok=True)
                file.replace(place)
    except (OSError, RuntimeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"image set {options.name!r}: the download to {root} failed ({reason}); "
            "fetch the files on another machine and give their place as the path"
        ) from error
    return find(options, subfolder, files, (root,))


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Wait until no other process of this machine is in here; a file system without locks lets everyone in."""
    with (folder / ".download.lock").open("a") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
            for left in folder.glob(f"{UNFINISHED}*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
        yield
