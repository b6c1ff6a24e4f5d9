# SPDX-License-Identifier: Apache-2.0
"""Pack a data set's features into one memory-mapped store.

Training reads it like the files. Stopped, the same command goes on.

Examples:
    python -m asl_fast.pack --dataset thumos14 --data-root data/thumos14
    python -m asl_fast.pack --annotations mine.json --features features/ --output packed
    python -m asl_fast.pack --verify data/thumos14/packed
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from asl_fast.command_line.errors import if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.program import program
from asl_fast.data.features.reading import FeatureReading
from asl_fast.wording import count, printable

if TYPE_CHECKING:
    from asl_fast.data.features.manifest import FeatureManifest
    from asl_fast.data.features.packing import Packed
    from asl_fast.data.features.store import FeatureStore


@dataclass(frozen=True)
class Arguments:
    """What to pack, and where to.

    Attributes:
        dataset: Benchmark whose videos and timing are packed; its extractors are put side by side.
        data_root: With --dataset: the folder that training takes as --data-root.
        features: Instead of both: feature folders or .h5 files, several to be put side by side.
        annotations: With --features: annotations of your own data; only their videos are packed, with the timing that
            fits them.
        manifest: How the features were extracted: a known name such as thumos14-i3d, or a JSON file; the benchmark's,
            or derived from your own data, unless given.
        columns: Columns of a .csv or .tsv table of annotations, video=NAME,start=NAME,...; by their names unless given.
        durations: Length of each video in seconds, which goes before what the annotations say: JSON
            {"name": seconds} or a table.
        reading: How features lie in their files.
        output: The store to write; "packed" in the data root, where training finds it, unless given.
        dtype: float32 keeps every bit; float16 halves size and reading, and rounds to 3 digits.
        strict: Stop at a video without usable features instead of leaving it out with a warning.
        verify: Instead of packing: read a packed store whole and compare its checksums.
    """

    dataset: str | None = None
    data_root: Path | None = None
    features: tuple[Path, ...] = ()
    annotations: Path | None = None
    manifest: str | None = None
    columns: str | None = None
    durations: str | None = None
    reading: Annotated[FeatureReading, tyro.conf.arg(name="")] = field(default_factory=FeatureReading)
    output: Path | None = None
    dtype: Literal["float32", "float16"] = "float32"
    strict: bool = False
    verify: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status, 1 for a damaged store."""
    return run_command(lambda: _pack_or_verify(read_options(Arguments, "pack", __doc__, arguments)))


def _pack_or_verify(chosen: Arguments) -> int:
    if chosen.verify is not None:
        return _verify(chosen.verify)
    with if_stopped("what is written is kept, the same command goes on from there"):
        return _pack(chosen)


def _pack(arguments: Arguments) -> int:
    from tqdm import tqdm

    from asl_fast.data.features.extraction import read_video_facts
    from asl_fast.data.features.manifest_file import MANIFEST_NAME
    from asl_fast.data.features.packing import pack_features

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
            facts=read_video_facts(arguments.features[0] / MANIFEST_NAME) if arguments.features else None,
            source=", ".join(map(str, arguments.features)) or f"{arguments.dataset}, {arguments.data_root}",
            strict=arguments.strict,
            progress=lambda video_id: bar.update(),
        )
    _report(packed, arguments)
    return 0


def _source(arguments: Arguments) -> tuple[FeatureStore, list[str], FeatureManifest | None, Path | None]:
    """Return features, the videos to pack, their timing where it is known, and the data root."""
    from asl_fast.data.custom.data import AnnotationTable, open_own_data
    from asl_fast.data.datasets.benchmarks import told_manifest
    from asl_fast.data.datasets.catalogue import DATASETS
    from asl_fast.data.features.manifest import FeatureManifest
    from asl_fast.data.features.manifest_file import MANIFEST_NAME, read_manifest
    from asl_fast.data.features.opening import open_features
    from asl_fast.data.load import load_dataset

    if arguments.features:
        if arguments.dataset is not None or arguments.data_root is not None:
            raise ValueError("give either --features, or --dataset and --data-root, not both")
        if arguments.annotations is not None:
            own = open_own_data(
                arguments.annotations,
                arguments.features,
                manifest=arguments.manifest,
                reading=arguments.reading,
                table=AnnotationTable(arguments.columns, arguments.durations),
                strict=arguments.strict,
            ).source
            return own.store, [video.id for video in own.videos], own.layout, None
        store = open_features(arguments.features, arguments.reading.applied(FeatureManifest("", 1, None)).store_options)
        beside = arguments.features[0] / MANIFEST_NAME
        alone = len(arguments.features) == 1 and beside.is_file()
        manifest = read_manifest(beside, store.dim) if alone else None
        # One that was written by hand may name files otherwise than they are named here.
        known = manifest is not None and manifest.extraction is not None
        return store, list(store.video_ids), manifest if known else None, None
    if arguments.annotations is not None:
        raise ValueError("--annotations needs --features, the folders or .h5 files to pack")
    packable = [entry.name for entry in DATASETS.values() if entry.has_feature_files]
    if arguments.dataset in DATASETS and arguments.dataset not in packable:
        raise ValueError(
            f"{arguments.dataset} is read whole into memory from its download, there are no feature files to pack"
        )
    if arguments.data_root is None or arguments.dataset is None:
        missing = "--data-root DIR" if arguments.dataset else f"--dataset, one of {', '.join(packable)}"
        raise ValueError(f"give {missing}; a synthetic twin is generated in memory and is not packed")
    # Headers are enough here: every array is read and checked when it is packed.
    options: dict[str, Any] = {}
    if arguments.manifest is not None or arguments.reading.given:
        options["manifest"] = told_manifest(arguments.dataset, arguments.manifest, None, arguments.reading)
    bundle = load_dataset(arguments.dataset, arguments.data_root, verify=False, strict=arguments.strict, **options)
    layout: Any = bundle.test.layout
    return bundle.train.store, sorted(bundle.annotations.videos), layout, arguments.data_root


def _report(packed: Packed, arguments: Arguments) -> None:
    resumed = f", {packed.resumed} of them by an earlier attempt" if packed.resumed else ""
    size = f"{packed.num_bytes / 2**20:.1f} MiB as {arguments.dtype}"
    print(f"{packed.path}: {count(packed.videos, 'video')}{resumed}, {size}")
    if packed.skipped:
        were = "was" if len(packed.skipped) == 1 else "were"
        print(f"{count(len(packed.skipped), 'video')} {were} left out, for example {next(iter(packed.skipped))!r}")
    if arguments.dtype == "float16":
        print(f"float16 changed values by at most {packed.rounding:.2g}; results differ slightly from the files'")
    if arguments.dataset is not None:
        print(f"next: {program('train')} --dataset {arguments.dataset} --data-root {packed.path}")
    elif arguments.annotations is not None:
        more = "".join(
            f" --{option} {value}"
            for option, value in (("columns", arguments.columns), ("durations", arguments.durations))
            if value is not None
        )
        print(f"next: {program('train')} --annotations {arguments.annotations} --features {packed.path}{more}")


def _verify(path: Path) -> int:
    from tqdm import tqdm

    from asl_fast.data.features.packed_store import PackedFeatureStore

    store = PackedFeatureStore(path)
    damaged = 0
    for video_id in tqdm(store.video_ids, unit="video", disable=None):
        try:
            store.verify(video_id)
        except ValueError as error:
            damaged += 1
            print(f"error: {printable(str(error))}", file=sys.stderr)
    intact = len(store.video_ids) - damaged
    number = len(store.video_ids)
    are = "is" if number == 1 else "are"
    print(f"{path}: {intact} of {count(number, 'video')} {are} intact, {store.num_bytes / 2**20:.1f} MiB")
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
