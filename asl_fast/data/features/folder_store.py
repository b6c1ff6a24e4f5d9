# SPDX-License-Identifier: Apache-2.0
"""Features in a folder with one file per video."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_files import WHOLE, read_array, read_shape
from asl_fast.data.features.feature_files import feature_files
from asl_fast.data.features.layout import COMPARED, COMPARED_WHOLE, is_transposed, readable_shapes, usual_width
from asl_fast.data.features.rows import Rows, checked_rows, rows_in_memory, rows_of_file
from asl_fast.data.features.store import check_features, check_shape


class FolderFeatureStore:
    """A folder with one file per video, ``<prefix><video id><suffix><extension>``, or with folders of such files.

    Args:
        folder: Where the files lie.
        dim: Width of a feature vector; None takes the one that most of the first files have.
        prefix: Text before the video id, e.g. ``"v_"`` for ActivityNet; ``"rgb/"`` where several folders inside hold
            files of the same names.
        suffix: Text after it.
        extension: One of ``array_files.EXTENSIONS``; None takes the one that occurs in the folder.
        key: Entry of files that hold several arrays.
        transposed: The files hold (D, T); None finds out, see `is_transposed`.

    Raises:
        FileNotFoundError: When the folder is not there or holds no feature file.
        ValueError: When the extension is not clear.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        dim: int | None = None,
        prefix: str = "",
        suffix: str = "",
        extension: str | None = None,
        key: str | None = None,
        transposed: bool | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.prefix = prefix
        self.suffix = suffix
        self.key = key
        self._transposed = transposed
        if not self.folder.is_dir():
            raise FileNotFoundError(f"feature folder {self.folder} does not exist")
        self._files = feature_files(self.folder, extension)
        self.extension = next(iter(self._files.values())).suffix
        self._dim = dim
        self._known_shapes: list[tuple[int, ...]] | None = None

    @property
    def transposed(self) -> bool:
        """Whether the files hold (D, T)."""
        if self._transposed is None:
            self._transposed = is_transposed(self._shapes(), f"feature folder {self.folder}")
        return self._transposed

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        if self._dim is None:
            self._dim = usual_width(self._shapes(), transposed=self.transposed)
        return self._dim

    def _shapes(self) -> list[tuple[int, ...]]:
        """Shapes in the first files; in all of them where none of those can be read."""
        if self._known_shapes is None:
            number = COMPARED_WHOLE if self.extension.lower() in WHOLE else COMPARED
            names = [name for name in sorted(self._files) if self._fits(name)] or sorted(self._files)
            read = [partial(read_shape, self._files[name], self.key) for name in names]
            try:
                self._known_shapes = readable_shapes(read[:number])
            except (ValueError, OSError):
                self._known_shapes = readable_shapes(read)
        return self._known_shapes

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files without extension, whether or not they begin with the prefix."""
        return tuple(sorted(self._files))

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that have a file."""
        fits = (name for name in self._files if self._fits(name))
        return tuple(sorted(name[len(self.prefix) : len(name) - len(self.suffix)] for name in fits))

    def path(self, video_id: str) -> Path:
        """File that holds a video's features, whether or not it exists."""
        name = self._name(video_id)
        return self._files.get(name, self.folder / f"{name}{self.extension}")

    def source_files(self, video_id: str) -> tuple[Path, ...]:
        """Files that a video's features are read from."""
        return (self.path(video_id),)

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32.

        Raises:
            FileNotFoundError: Naming the file, and one that looks alike if there is one.
            ValueError: Naming the file, when it is damaged, of another width or holds values that are not finite.
        """
        path = self._existing(video_id)
        array = read_array(path, self.key)
        array = np.ascontiguousarray(array.T) if self.transposed else array
        check_features(array, self.dim, str(path))
        return array

    def rows(self, video_id: str) -> Rows:
        """Open the features of one video, to be read in parts, which raises as `load`; only ``.npy`` has parts."""
        path = self._existing(video_id)
        if path.suffix.lower() != ".npy":
            return rows_in_memory(self.load(video_id))
        return checked_rows(rows_of_file(path, transposed=self.transposed), self.dim, str(path))

    def length(self, video_id: str) -> int:
        """Count feature vectors, from the header where the format has one; the width is checked as well."""
        path = self._existing(video_id)
        shape = read_shape(path, self.key)
        shape = tuple(reversed(shape)) if self.transposed else shape
        check_shape(shape, self.dim, str(path))
        return shape[0]

    def __contains__(self, video_id: object) -> bool:
        return self._name(video_id) in self._files

    def _fits(self, name: str) -> bool:
        return name.startswith(self.prefix) and name.endswith(self.suffix)

    def _name(self, video_id: object) -> str:
        return f"{self.prefix}{video_id}{self.suffix}"

    def _existing(self, video_id: str) -> Path:
        path = self.path(video_id)
        if video_id not in self:
            alike = [name for name in self._files if video_id in name]
            hint = (
                f"; {min(alike)}{self.extension} is there: see --feature-prefix and --feature-suffix" if alike else ""
            )
            raise FileNotFoundError(f"no features for video {video_id!r}: {path} does not exist{hint}")
        return path
