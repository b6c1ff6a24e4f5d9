# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.pack``: a data set's features in one memory-mapped store, read like the files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

from asl_fast.data.custom.data import open_own_data
from asl_fast.data.features.file_store import ConcatenatedFeatureStore, open_store
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.packed_store import PackedFeatureStore
from asl_fast.data.features.packing import Packed, pack_features
from asl_fast.data.features.store import FeatureStore
from asl_fast.data.load import BENCHMARKS, load_dataset


@dataclass(frozen=True)
class Arguments:
    """Pack a data set's features into one memory-mapped store. Stopped, the same command goes on where it was."""

    dataset: str | None = None
    """Benchmark whose videos and timing are packed; its extractors are put side by side."""
    data_root: Path | None = None
    """With --dataset: the folder that training takes as --data-root."""
    features: tuple[Path, ...] = ()
    """Instead of both: feature folders or .h5 files, several to be put side by side."""
    annotations: Path | None = None
    """With --features: annotations of your own data; only their videos are packed, with the timing that fits them."""
    output: Path | None = None
    """The store to write; default: "packed" in the data root, where training finds it."""
    dtype: Literal["float32", "float16"] = "float32"
    """float32 keeps every bit; float16 halves size and reading, and rounds to 3 digits."""
    strict: bool = False
    """Stop at a video without usable features instead of leaving it out with a warning."""
    verify: Path | None = None
    """Instead of packing: read a packed store whole and compare its checksums."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 for a damaged store, 2 for what cannot be done, 130 after Ctrl-C."""
    chosen = tyro.cli(Arguments, args=arguments, prog="python -m asl_fast.pack", description=Arguments.__doc__)
    try:
        return _verify(chosen.verify) if chosen.verify is not None else _pack(chosen)
    except (ValueError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped; what is written is kept, the same command goes on from there", file=sys.stderr)
        return 130


def _pack(arguments: Arguments) -> int:
    store, videos, manifest, root = _source(arguments)
    if arguments.output is None and root is None:
        raise ValueError("--features needs --output, the store to write")
    output = arguments.output or Path(root or ".") / "packed"
    with tqdm(total=len(videos), unit="video", disable=None) as bar:
        packed = pack_features(
            store,
            videos,
            output,
            dtype=arguments.dtype,
            manifest=manifest,
            source=", ".join(map(str, arguments.features)) or f"{arguments.dataset}, {arguments.data_root}",
            strict=arguments.strict,
            progress=lambda video_id: bar.update(),
        )
    _report(packed, arguments)
    return 0


def _source(arguments: Arguments) -> tuple[FeatureStore, list[str], FeatureManifest | None, Path | None]:
    """Features, the videos to pack, their timing where it is known, and the data root."""
    if arguments.features:
        if arguments.dataset is not None or arguments.data_root is not None:
            raise ValueError("give either --features, or --dataset and --data-root, not both")
        if arguments.annotations is not None:
            own = open_own_data(arguments.annotations, arguments.features, strict=arguments.strict).source
            return own.store, [video.id for video in own.videos], own.layout, None
        stores = [open_store(path) for path in arguments.features]
        store = stores[0] if len(stores) == 1 else ConcatenatedFeatureStore(stores)
        return store, list(store.video_ids), None, None
    if arguments.annotations is not None:
        raise ValueError("--annotations needs --features, the folders or .h5 files to pack")
    if arguments.dataset == "hapt":
        raise ValueError("hapt is read whole into memory from its zip, there are no feature files to pack")
    if arguments.data_root is None or arguments.dataset is None:
        missing = "--data-root DIR" if arguments.dataset else f"--dataset, one of {', '.join(BENCHMARKS[:-1])}"
        raise ValueError(f"give {missing}; a synthetic twin is generated in memory and is not packed")
    # Headers are enough here: every array is read and checked when it is packed.
    bundle = load_dataset(arguments.dataset, arguments.data_root, verify=False, strict=arguments.strict)
    layout: Any = bundle.test.layout
    return bundle.train.store, sorted(bundle.annotations.videos), layout, arguments.data_root


def _report(packed: Packed, arguments: Arguments) -> None:
    resumed = f", {packed.resumed} of them by an earlier attempt" if packed.resumed else ""
    print(f"{packed.path}: {packed.videos} videos{resumed}, {packed.num_bytes / 2**20:.1f} MiB as {arguments.dtype}")
    if packed.skipped:
        print(f"{len(packed.skipped)} videos were left out, for example {next(iter(packed.skipped))!r}")
    if arguments.dtype == "float16":
        print(f"float16 changed values by at most {packed.rounding:.2g}; results differ slightly from the files'")
    if arguments.dataset is not None:
        print(f"next: python -m asl_fast.train --dataset {arguments.dataset} --data-root {packed.path}")
    elif arguments.annotations is not None:
        print(f"next: python -m asl_fast.train --annotations {arguments.annotations} --features {packed.path}")


def _verify(path: Path) -> int:
    store = PackedFeatureStore(path)
    damaged = 0
    for video_id in tqdm(store.video_ids, unit="video", disable=None):
        try:
            store.verify(video_id)
        except ValueError as error:
            damaged += 1
            print(f"error: {error}", file=sys.stderr)
    intact = len(store.video_ids) - damaged
    print(f"{path}: {intact} of {len(store.video_ids)} videos are intact, {store.num_bytes / 2**20:.1f} MiB")
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
