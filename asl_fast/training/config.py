# SPDX-License-Identifier: Apache-2.0
"""Everything that decides a training run, as typed and frozen dataclasses.

`asl_fast.training.presets` fills them in per data set, the command line overrides single fields, and
`asl_fast.serialization` saves the result with the run.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from asl_fast.command_line.names import AlsoCalled
from asl_fast.data.channels import Centre
from asl_fast.data.datasets.catalogue import DATASETS
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.evaluation.conventions import get_convention
from asl_fast.losses.config import LossConfig
from asl_fast.models.config import DetectorConfig, InferenceConfig
from asl_fast.serialization import LATER, formerly
from asl_fast.training.loggers.names import parse_loggers
from asl_fast.training.ranges import check_ranges

Cache = Literal["auto", "device", "memory", "off"]


@dataclass(frozen=True)
class DataConfig:
    """How videos become training samples and batches.

    Attributes:
        max_length: Longest training crop, in grid steps; longer videos are cut at random.
        crop_ratio: Smallest and largest share kept of a training video that fits; None keeps all of it.
        truncation_threshold: Share of an action that must lie inside a crop for it to be kept.
        pad_multiple: Batches are padded to a multiple of this many grid steps; 0 pads all of them to max_length.
        bucket_by_length: Fill a batch with videos whose crops are padded to the same length; which ones, and the order
            of the batches, stays a matter of chance. Nothing changes where pad_multiple is 0.
        num_workers: Processes that read features; 0 reads in the training process.
        cache: Where the features of the training split are kept: "device", where training computes, so that no process
            reads and no batch is copied; "memory", the machine's, which the processes that read share; "off", in their
            files. "auto" takes the first of these with room for them in half of its free memory.
        synthetic_scale: Size of the synthetic twin that is used without data_root: "smoke", "reduced", "full", or a
            share of the benchmark's videos.
        synthetic_seed: Seed of the twin; it does not follow the run's seed, so that seeds compare on the same data.
        samples_per_step: Raw samples in one grid step (raw signals only, as are those below up to num_folds); None
            takes the data set's, or derives it from the lengths of the actions of one's own.
        signal_rate_hz: Samples per second that signals with uneven times are brought to, and that those without times
            have; None takes the data set's, or the usual distance of one's own time stamps.
        channels: What the channels of one's own signals are, in their order: kind:size joined by commas, such as
            triaxial:6,scalar:1 or skeleton:78:up=y; None takes what signals.json beside them says.
        centre: Where skeletons are put: "none", as recorded; "recording", relative to the root's median place in the
            recording; "joint", that for the root, and the other joints relative to the root at each time.
        velocities: Whether velocities of joints are put beside their positions.
        clip_sd: Normalised values are limited to this many standard deviations; 0 limits nothing.
        rotation_sd_deg: Spread of the random rotation, about any axis, of sensors and skeletons in training.
        speed_range: Largest random change of speed in training, as a share.
        turn_sd_deg: Spread of a further rotation about the vertical, where the data set says which axis that is.
        scale_range: Largest random change of a skeleton's size, as a share.
        jitter_sd: Noise on every value in training, in standard deviations of its channel.
        channel_dropout: Probability that a sensor, a joint other than the root, or a scalar channel is left out of a
            training sample.
        mirror_probability: Probability that a training sample is mirrored; only where the data set says that its
            actions stay the same in a mirror.
        fold: Hold out this fold of the training persons, or of the training recordings where persons are not known, for
            evaluation; None is the official split.
        num_folds: Number of folds.
        left_out_user: Train on all other users and score on this one, each user's recordings as one sequence (hapt
            only).
        num_channels: Channels used, from the first: all 6, or the 3 of the acceleration (hapt only).
        strict: Stop at a video that cannot be used instead of leaving it out with a warning.
        train_subset: Subset of one's own data to train on; None finds it by its name.
        test_subset: Subset of one's own data to score on; the same as train_subset holds videos out of it.
        holdout_share: Share of the videos of one's own data that is held out where there is one subset.
        split_seed: Seed of the choice of videos to hold out; it does not follow the run's seed, so that seeds compare
            on the same data.
        manifest: How the features were extracted; None takes the benchmark's, or derives it from one's own data.
        columns: Columns of a table of one's own annotations, video=NAME,start=NAME,...; None goes by their names.
            duration=NAME holds lengths of videos, whatever they look like; nothing behind duration= leaves them out.
        durations: File with the length of each video in seconds, which goes before what one's own annotations say.
    """

    max_length: int = 2304
    crop_ratio: tuple[float, float] | None = (0.9, 1.0)
    truncation_threshold: float = 0.5
    pad_multiple: int = 256
    bucket_by_length: bool = True
    num_workers: int = 0
    cache: Cache = field(default="auto", metadata=formerly("resident", {"auto": "auto", "on": "device", "off": "off"}))
    synthetic_scale: Annotated[Literal["smoke", "reduced", "full"] | float, AlsoCalled("--synthetic-scale")] = "full"
    synthetic_seed: int = 0
    samples_per_step: int | None = None
    signal_rate_hz: Annotated[float | None, AlsoCalled("--rate")] = None
    channels: Annotated[str | None, AlsoCalled("--channels")] = None
    centre: Centre = field(default="none", metadata=LATER)
    velocities: bool = field(default=False, metadata=LATER)
    clip_sd: float = field(default=0.0, metadata=LATER)
    rotation_sd_deg: float = 0.0
    speed_range: float = 0.0
    turn_sd_deg: float = field(default=0.0, metadata=LATER)
    scale_range: float = field(default=0.0, metadata=LATER)
    jitter_sd: float = field(default=0.0, metadata=LATER)
    channel_dropout: float = field(default=0.0, metadata=LATER)
    mirror_probability: float = field(default=0.0, metadata=LATER)
    fold: int | None = None
    num_folds: int = 5
    left_out_user: int | None = None
    num_channels: Literal[3, 6] = field(default=6, metadata=LATER)
    strict: Annotated[bool, AlsoCalled("--strict")] = False
    train_subset: str | None = None
    test_subset: str | None = None
    holdout_share: float = 0.2
    split_seed: int = 0
    manifest: FeatureManifest | None = None
    columns: Annotated[str | None, AlsoCalled("--columns")] = None
    durations: Annotated[str | None, AlsoCalled("--durations")] = None


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, its schedule and the average of the weights.

    Attributes:
        lr: Learning rate after the warm-up.
        weight_decay: Weight decay of linear layers and convolutions; nothing else decays.
        betas: Momenta of AdamW.
        eps: AdamW's guard against division by zero.
        clip_norm: Largest norm of the gradient; 0 does not clip.
        clip_apart: Clip the gradient of the loss's own parameters by itself. The fit of the Gaussians has a large one,
            and clipped together with it the detector would take smaller steps than without any sensitivity.
        loss_lr_multiplier: Learning rate of the loss's own parameters (Gaussians, evaluators), relative to lr.
        gaussian_lr: Learning rate of the class level alone, the Gaussians and the frame classifier they are fit to. In
            action lengths per step: Adam moves a parameter by about its rate whatever the size of the gradient, and mu
            has up to 0.5 to go, far for the rate of a network. None trains them like the rest of the loss.
        min_lr: Learning rate at the end of the cosine.
        ema_decay: Decay of the averaged weights, min(ema_decay, (1 + n) / (10 + n)) after n updates; 0 is no average.
    """

    lr: float = 1e-4
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 1.0
    clip_apart: bool = field(default=True, metadata={"before": False})
    loss_lr_multiplier: float = 1.0
    gaussian_lr: float | None = None
    min_lr: float = 1e-8
    ema_decay: float = 0.999


@dataclass(frozen=True)
class EvaluationConfig:
    """When and how detections are scored.

    Attributes:
        every: Epochs between evaluations; 0 evaluates after the last epoch only. The last epoch is always evaluated.
        tiou_thresholds: Temporal IoU thresholds of the main average mAP.
        strict_thresholds: A second, stricter list that is reported beside it; may be empty.
        convention: Rules of the scoring, a name in `asl_fast.evaluation.conventions.CONVENTIONS`.
        batch_size: Videos per batch in inference.
        spotting_threshold: Least score of a detection that counts as a result, where the benchmark counts results
            instead of ranking detections (shrec22, shrec21).
    """

    every: int = 5
    tiou_thresholds: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    strict_thresholds: tuple[float, ...] = ()
    convention: str = "default"
    batch_size: int = 4
    spotting_threshold: float = field(default=0.3, metadata=LATER)


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes:
        dataset: Benchmark name, or a name for one's own data.
        data_root: Where the real data lie; None trains on the benchmark's synthetic twin.
        annotations: Annotation file: of one's own data, or of a benchmark where it is not at its usual place.
        features: Feature folders or .h5 files: of one's own data, or of a benchmark where they are not at their usual
            place; several are put side by side.
        signals: Folder of one's own raw recordings, or one of them, in place of features: tables with or without time
            stamps, .npy or .mat; a small network on the samples is learned with the detector.
        init_from: Start from the weights of a trained detector, and with its architecture: a run folder, a checkpoint,
            a folder that export wrote, or with af_config a checkpoint of ActionFormer's. What classifies starts anew
            where the classes are others.
        af_config: The YAML file of that checkpoint of ActionFormer's.
        output: Run folder; None makes the next free runs/DATASET-NNN.
        seed: Seed of weights, crops, order and drop path.
        epochs: Passes over the training split after the warm-up.
        warmup_epochs: Passes during which the learning rate rises; they come on top of epochs.
        batch_size: Videos per batch and process.
        device: "auto" takes a GPU where there is one.
        precision: "bf16" runs the detector under autocast, losses stay in float32; "auto" is that where the hardware
            computes in bfloat16.
        compile: Compile the detector with torch.compile.
        graph: Run the whole step as one CUDA graph per padded length: "auto" does on a GPU, and trains without where
            that fails; "on" stops there; "off" never does. Several processes train without.
        threads: CPU threads; 0 leaves torch's choice.
        process_timeout_sec: Under several processes, how long one that does not get on is waited for; then the others
            end, and the run can be resumed.
        log_every: Steps between two looks at the loss for the progress bar and the check for non-finite values.
        logger: Where to write what is measured beside metrics.jsonl, one or more of tensorboard, wandb, mlflow and csv:
            as tensorboard,csv. Each but csv needs its package.
        profile: Record this many steps of the first epoch: trace.json.gz, which ui.perfetto.dev shows, and a table of
            where their time goes; 0 records none. ASL_FAST_NVTX=1 marks the stages of all steps for NVIDIA's profilers.
        data: Samples and batches.
        model: The detector.
        loss: The training objective.
        optimizer: Optimiser, schedule, averaging.
        inference: Post-processing of detections.
        evaluation: Scoring.
    """

    dataset: str = "hapt"
    data_root: str | None = None
    annotations: str | None = None
    features: tuple[str, ...] = ()
    signals: str | None = None
    init_from: str | None = None
    af_config: str | None = None
    output: str | None = None
    seed: int = 0
    epochs: int = 30
    warmup_epochs: int = 5
    batch_size: int = 2
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    compile: bool = False
    graph: Literal["auto", "on", "off"] = field(default="auto", metadata=LATER)
    threads: int = 0
    process_timeout_sec: float = field(default=60.0, metadata=LATER)
    log_every: int = 20
    logger: str = field(default="", metadata=formerly("tensorboard", {True: "tensorboard", False: ""}))
    profile: int = field(default=0, metadata=LATER)
    data: DataConfig = field(default_factory=DataConfig)
    model: DetectorConfig = field(default_factory=DetectorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def without_places(self) -> TrainConfig:
        """Return what others may have: the same without names of files, folders and devices of this machine."""
        return replace(
            self,
            data_root=None,
            annotations=None,
            features=(),
            signals=None,
            init_from=None,
            af_config=None,
            output=None,
            device="auto",
        )

    @property
    def is_own_data(self) -> bool:
        """Whether this trains on an annotation file and features of one's own, not on a benchmark."""
        return self.annotations is not None and self.dataset not in DATASETS

    @property
    def loggers(self) -> tuple[str, ...]:
        """Names of the loggers."""
        return parse_loggers(self.logger)

    @property
    def total_epochs(self) -> int:
        """Passes over the training split, the warm-up included."""
        return self.epochs + self.warmup_epochs

    def validate(self) -> None:
        """Check values that a type does not rule out.

        Raises:
            ValueError: Naming the field, the value found and what is allowed.
        """
        check_ranges(self)
        parse_loggers(self.logger)
        if self.total_epochs < 1:
            raise ValueError("epochs and warmup_epochs are both 0, so there is nothing to train")
        if self.features and self.annotations is None and self.data_root is None:
            raise ValueError(
                "features need the annotations of your own data (--annotations), or the folder of a benchmark "
                "(--data-root)"
            )
        if self.output == "":
            raise ValueError("--output is empty; name the folder of the run")
        if self.signals is not None and (self.features or not self.is_own_data):
            raise ValueError("--signals are of your own data: give --annotations with them, and no --features")
        of_signals = ("channels", "samples_per_step", "signal_rate_hz")
        if (
            self.is_own_data
            and self.features
            and (given := [n for n in of_signals if getattr(self.data, n) is not None])
        ):
            raise ValueError(f"data.{given[0]} says what raw signals are (--signals); these are features")
        if self.af_config is not None and self.init_from is None:
            raise ValueError("--af-config belongs to a checkpoint of ActionFormer's: name that with --init-from")
        crop_ratio = self.data.crop_ratio
        if crop_ratio is not None and crop_ratio[0] > crop_ratio[1]:
            raise ValueError(f"data.crop_ratio must be a smallest and a largest share, found {crop_ratio}")
        if self.data.fold is not None and self.data.fold >= self.data.num_folds:
            raise ValueError(f"data.fold must lie in 0 to {self.data.num_folds - 1}, found {self.data.fold}")
        if not self.evaluation.tiou_thresholds:
            raise ValueError("evaluation.tiou_thresholds must be one or more numbers in (0, 1], found none")
        for name in ("tiou_thresholds", "strict_thresholds"):
            values = getattr(self.evaluation, name)
            if len(set(values)) < len(values):
                # One that stands there twice would count twice in the average.
                raise ValueError(f"evaluation.{name} must be different numbers, found {values}")
        try:
            get_convention(self.evaluation.convention)
        except ValueError as error:
            raise ValueError(f"evaluation.convention: {error}") from None
        try:
            self.loss.validate()
        except ValueError as error:
            raise ValueError(f"loss.{error}") from None

    def with_dataset(self, *, feature_dim: int, num_classes: int) -> TrainConfig:
        """Give the model the inputs and outputs that the data set has.

        Raises:
            ValueError: When the model was configured for another width or number of classes.
        """
        for name, found in (("feature_dim", feature_dim), ("num_classes", num_classes)):
            wanted = getattr(self.model, name)
            if wanted not in (0, found):
                raise ValueError(f"model.{name} is {wanted}, but {self.dataset} has {found}; leave it at 0")
        return replace(self, model=replace(self.model, feature_dim=feature_dim, num_classes=num_classes))
