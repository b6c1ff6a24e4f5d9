# SPDX-License-Identifier: Apache-2.0
"""Find actions in recordings with a trained detector.

Examples:
    python -m asl_fast.detect --run runs/thumos14-001 --features features/ --output detections.json
    python -m asl_fast.detect --run runs/thumos14-001 --features features/ --output subtitles/ --format srt
    python -m asl_fast.detect --run runs/mine-001 --videos x.mp4 --output x.srt --format srt
    python -m asl_fast.detect --run runs/mine-001 --stream camera.ts --output actions.jsonl
    python -m asl_fast.detect --run runs/hapt-001/best.pt --features acc_exp01_user01.txt --output detections.json
    python -m asl_fast.detect --actionformer epoch_034.pth.tar thumos_i3d.yaml --features i3d/ --output found.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from asl_fast.command_line.errors import if_stopped, run_command
from asl_fast.command_line.options import read_options
from asl_fast.command_line.outputs import check_output
from asl_fast.command_line.post_processing import PostProcessing
from asl_fast.data.features.reading import FeatureReading
from asl_fast.files import read_named_numbers
from asl_fast.formats.known import parse_formats, places
from asl_fast.video.options import CACHE
from asl_fast.wording import count, printable

if TYPE_CHECKING:
    import torch

    from asl_fast.detection.run import Found
    from asl_fast.detection.trained import TrainedDetector


_NOTES_SHOWN = 5
_OF_STREAMS = ("least_score", "longest", "patience")


@dataclass(frozen=True)
class Arguments:
    """Which detector looks at which recordings.

    Attributes:
        features: Feature file (.npy, .npz, .pt, .h5), a folder of them or a packed store; several are extractors to be
            put side by side, in training order. For runs on raw signals: recordings in arrays or in tables (.csv,
            .tsv), whose time stamps are brought to the rate of training, or as the data set has them (for hapt the zip,
            a folder or one acc_*.txt; for shrec22 and shrec21 a folder or one N.txt).
        run: Run folder of the training, a checkpoint file, or a folder that export wrote.
        actionformer: In its place, a checkpoint of ActionFormer's and the YAML file it was trained with, as published.
        classes: Names of its classes: a text file with one a line, or the annotations it was trained with; those that
            the YAML names, where they are there, unless given.
        videos: In place of features: video files and folders of them, whose features are extracted as those of the run
            were; kept in --video-cache.
        weights: With videos: where the backbone's weights lie now; where they lay in training unless given.
        video_cache: Folder that keeps features of videos.
        stream: In place of both: a video that still arrives, "-" for standard input, a named pipe, or a file that grows
            (.ts and .mkv can be read while they do). Each action is told once it is certain, one JSON line in --output.
        least_score: Of a stream: detections of at least this score are told.
        longest: Of a stream: no action is longer, in seconds; by the lengths of training unless given.
        patience: Of a stream: seconds without growth after which a file is at its end.
        output: The file to write. Several formats are written beside it, with the endings of their own; those with one
            file for each recording into a folder of its name, or into this one where there is nothing else to write.
        format: One or more of json (ActivityNet-style, in seconds), csv, label-studio, fiftyone, and, with one file for
            each recording, srt, vtt and elan: as json,csv,srt.
        batch_size: Recordings per batch.
        checkpoint: Which checkpoint of the run folder: of the last epoch, or of the one that scored best.
        device: "auto", "cpu", "cuda" or "cuda:N"; "auto" takes a GPU where there is one.
        precision: "fp32" computes in float32, "bf16" in bfloat16, which is faster where the hardware does that, and
            "auto" in bfloat16 there and in float32 elsewhere; as in training unless given.
        fps: Frames per second of the recordings: one number, or a JSON {"name": number} or CSV file of them. Unless
            given, as in training, where each recording is known or all had one rate.
        strict: Stop at a recording that cannot be used instead of leaving it out.
        durations: Lengths of the recordings as JSON {"name": seconds} or a table; from the number of features unless
            given.
        reading: How features lie in their files; as in training unless given.
        post_processing: What is done otherwise than in training.
    """

    output: Path
    run: Path | None = None
    actionformer: tuple[Path, Path] | None = None
    classes: Path | None = None
    features: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    weights: Path | None = None
    video_cache: Path = CACHE
    stream: str | None = None
    least_score: float = 0.3
    longest: float | None = None
    patience: float = 5.0
    format: str = "json"
    batch_size: int = 4
    checkpoint: Literal["last", "best"] = "last"
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] | None = None
    fps: str | None = None
    strict: bool = False
    durations: Path | None = None
    reading: Annotated[FeatureReading, tyro.conf.arg(name="")] = field(default_factory=FeatureReading)
    post_processing: Annotated[PostProcessing, tyro.conf.arg(name="")] = field(default_factory=PostProcessing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    return run_command(lambda: _detect(read_options(Arguments, "detect", __doc__, arguments)))


def _detect(chosen: Arguments) -> int:
    with if_stopped("nothing was written"):
        if chosen.batch_size < 1:
            raise ValueError(f"--batch-size must be at least 1, found {chosen.batch_size}")
        if (chosen.run is None) == (chosen.actionformer is None):
            raise ValueError(
                "name one detector: --run RUN of your own training, or --actionformer CHECKPOINT YAML of ActionFormer's"
            )
        if chosen.classes is not None and chosen.actionformer is None:
            raise ValueError("--classes belongs to --actionformer: a run knows the names of its classes")
        if chosen.actionformer is not None and (chosen.videos or chosen.stream is not None):
            raise ValueError("--actionformer takes --features: nothing says how those it learned from were extracted")
        inputs = [bool(chosen.features), bool(chosen.videos), chosen.stream is not None].count(True)
        if inputs == 0:
            raise ValueError("--features needs at least one file or folder, or give --videos or --stream")
        if inputs > 1:
            raise ValueError("give either --features, --videos or --stream, at least one file or folder")
        if not chosen.features and (chosen.fps is not None or chosen.durations is not None or chosen.reading.given):
            raise ValueError("--videos know their rates and lengths: leave out what describes features")
        if not chosen.features and chosen.run is None:
            raise ValueError("--videos and --stream need a --run that was trained on features of videos")
        if chosen.features and chosen.weights is not None:
            raise ValueError("--weights belongs to --videos and --stream: features that are there are made")
        if chosen.stream is not None:
            return _stream(chosen, chosen.stream)
        if foreign := [name for name in _OF_STREAMS if getattr(chosen, name) != getattr(Arguments, name)]:
            raise ValueError(f"--{foreign[0].replace('_', '-')} belongs to --stream")
        target = places(chosen.output, parse_formats(chosen.format))

        from asl_fast.detection.writing import (
            check_folder,
            check_single,
            crowded_subtitles,
            described,
            listed,
            write_formats,
        )

        for path in (*target.files.values(), target.single):
            if path is not None:
                read = (chosen.run, *(chosen.actionformer or ()), chosen.classes, chosen.durations)
                check_output("--output", path, (*read, *chosen.features, *chosen.videos))
        check_folder(target)

        from asl_fast.detection.extracted import facts_beside, open_videos, times
        from asl_fast.detection.rates import read_rates
        from asl_fast.detection.recordings import open_recordings
        from asl_fast.detection.run import detect_recordings
        from asl_fast.training.distributed import start_processes
        from asl_fast.video.cached import VideoInput, problem_lines

        fps = None if chosen.fps is None else read_rates(chosen.fps)
        device = start_processes(chosen.device).device
        trained, assumed = _load(chosen, fps, device)
        if chosen.videos:
            videos = VideoInput(chosen.videos, chosen.video_cache, chosen.device, chosen.strict)
            recordings, extracted = open_videos(videos, chosen.weights, trained.dataset)
            for line in problem_lines(extracted):
                print(printable(line), file=sys.stderr)
        else:
            facts, unknown = facts_beside(chosen.features, trained.dataset)
            assumed += unknown
            known = times(facts, fps)
            if chosen.durations is not None:
                known["durations_sec"] = read_named_numbers(chosen.durations, "seconds")
            recordings = open_recordings(chosen.features, trained.dataset, **known, reading=chosen.reading)
        check_single(target, len(recordings))
        found = detect_recordings(trained, recordings, batch_size=chosen.batch_size, strict=chosen.strict)
    written = write_formats(target, found, trained)
    for note in assumed:
        print(f"warning: {printable(note)}", file=sys.stderr)
    for note in recordings.notes[:_NOTES_SHOWN]:
        print(f"warning: {printable(note)}", file=sys.stderr)
    if more := recordings.notes[_NOTES_SHOWN:]:
        print(f"warning: {len(more)} more of these", file=sys.stderr)
    _report(found, trained, listed(written, target.folder))
    if hint := crowded_subtitles(target, described(found, trained)):
        print(hint)
    if found.skipped:
        first = next(iter(found.skipped.values()))
        are = "is" if len(recordings) == 1 else "are"
        left_out = f"{len(found.skipped)} of {count(len(recordings), 'recording')} {are} left out"
        print(f"warning: {left_out}, the first: {printable(str(first))}; --strict stops there", file=sys.stderr)
    return 0


def _stream(chosen: Arguments, source: str) -> int:
    """Tell the actions of a video that still arrives; those before an error are told all the same."""
    if chosen.format != "json":
        raise ValueError(f"--format {chosen.format}: a stream is told in JSON lines")
    if not 0 <= chosen.patience < float("inf"):
        raise ValueError(f"--patience must be seconds, at least 0, found {chosen.patience:g}")
    check_output("--output", chosen.output, (chosen.run, Path(source)))

    from asl_fast.detection.live import stream_actions
    from asl_fast.training.distributed import start_processes

    device = start_processes(chosen.device).device
    trained, _ = _load(chosen, None, device)
    actions = stream_actions(
        trained,
        source,
        weights=chosen.weights,
        device=chosen.device,
        patience_sec=chosen.patience,
        least_score=chosen.least_score,
        longest_sec=chosen.longest,
    )
    number = 0
    # What an earlier call wrote stays until there is something to say instead.
    first = next(actions, None)
    with chosen.output.open("w", encoding="utf-8") as file:
        for action in chain([] if first is None else [first], actions):
            number += 1
            # Each line at once: somebody waits for it.
            print(json.dumps(asdict(action) | {"delay_sec": action.delay_sec}), file=file, flush=True)
            print(
                f"  {action.start_sec:8.2f} s to {action.end_sec:8.2f} s  {action.score:.3f}  "
                f"{printable(action.label)}  (known {action.delay_sec:.1f} s after its end)",
                flush=True,
            )
    print(f"the stream has ended: {count(number, 'action')}, written to {chosen.output}")
    return 0


def _load(
    chosen: Arguments, fps: float | Mapping[str, float] | None, device: torch.device
) -> tuple[TrainedDetector, list[str]]:
    """Load the detector, with what is asked for otherwise than in training; also say what was assumed of it."""
    trained: TrainedDetector
    assumed: list[str] = []
    if chosen.actionformer is not None:
        from asl_fast.detection.published import load_published

        weights, config = chosen.actionformer
        trained, assumed = load_published(weights, config, classes=chosen.classes, fps=fps, device=device)
    else:
        from asl_fast.detection.trained import load_trained

        assert chosen.run is not None
        trained = load_trained(chosen.run, checkpoint=chosen.checkpoint, device=device)
    if chosen.precision is not None:
        trained = trained.with_precision(chosen.precision)
    return trained.with_post_processing(**chosen.post_processing.changes()), assumed


def _report(found: Found, trained: TrainedDetector, written: str) -> None:
    number = sum(len(each.scores) for each in found.detections.values())
    seconds = sum(found.durations_sec.values())
    recordings = count(len(found.detections), "recording")
    print(f"{count(number, 'detection')} in {recordings} ({seconds:.0f} s), written to {written}")
    if trained.dataset["synthetic"]:
        print("the detector was trained on synthetic data: these are no detections of real actions")
    if not number:
        print(
            f"warning: no detection in any recording: nothing scores {trained.config.inference.min_score} or more; is "
            "the detector trained, and are these features like those it was trained on?",
            file=sys.stderr,
        )
        return
    name, detections = next((name, each) for name, each in found.detections.items() if len(each.scores))
    print(f"the first in {printable(name)}:")
    rows = zip(detections.segments[:5].tolist(), detections.labels.tolist(), detections.scores.tolist(), strict=False)
    for (start, end), label, score in rows:
        print(f"  {start:8.2f} s to {end:8.2f} s  {score:.3f}  {printable(trained.class_names[label])}")


if __name__ == "__main__":
    sys.exit(main())
