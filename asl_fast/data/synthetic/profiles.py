# SPDX-License-Identifier: Apache-2.0
"""Published statistics of the six benchmarks, as the synthetic twins use them.

Figures were computed from the benchmarks' public annotation files after clipping segments to the video and dropping
empty ones: THUMOS14 and MultiTHUMOS (validation and test videos), Charades v1, EPIC-Kitchens-100 (train, validation),
ActivityNet 1.3 (the 4,728-video validation set), Ego4D moments (train and val clips). No annotation is reproduced.
"""

from __future__ import annotations

from dataclasses import replace

from asl_fast.data.synthetic.statistics import BenchmarkProfile, Quantiles, SplitStatistics, TwinSize

# fmt: off
_THUMOS_NAMES = (
    "BaseballPitch", "BasketballDunk", "Billiards", "CleanAndJerk", "CliffDiving", "CricketBowling",
    "CricketShot", "Diving", "FrisbeeCatch", "GolfSwing", "HammerThrow", "HighJump", "JavelinThrow", "LongJump",
    "PoleVault", "Shotput", "SoccerPenalty", "TennisSwing", "ThrowDiscus", "VolleyballSpiking",
)
_MULTITHUMOS_NAMES = (
    *_THUMOS_NAMES,
    "Walk", "Sit", "StandUp", "Stand", "Run", "Jump", "Fall", "PickUp", "Hug", "PatPerson", "HighFive",
    "FistPump", "ClapHands", "OneRaisedArmCelebrate", "TwoRaisedArmCelebrate", "Throw", "Drop",
    "OneHandedCatch", "TwoHandedCatch", "BodyRoll", "BodyTurn", "BodyBend", "BodyContract", "Squat",
    "BasketballDribble", "BasketballPass", "BasketballBlock", "BasketballShot", "BasketballGuard",
    "VolleyballSet", "VolleyballBump", "VolleyballBlock", "VolleyballServe", "WeightliftingClean",
    "WeightliftingJerk", "HammerThrowWindUp", "HammerThrowSpin", "HammerThrowRelease", "PoleVaultPlantPole",
    "ShotPutBend", "DiscusWindUp", "DiscusRelease", "TalkToCamera", "CloseUpTalkToCamera", "NoHuman",
)
_THUMOS_COUNTS = (30, 303, 81, 42, 143, 178, 181, 499, 103, 31, 199, 269, 192, 163, 120, 70, 64, 69, 120, 146)
_THUMOS_MEDIANS = (
    3.45, 1.7, 3.2, 9.7, 2.6, 1.1, 1.1, 2.4, 1.8, 4.5, 7.1, 4.3, 6.25, 6.5, 6.85, 5.0, 2.95, 1.6, 2.55, 1.3,
)
_MULTITHUMOS_COUNTS = _THUMOS_COUNTS + (
    1447, 895, 401, 1352, 1726, 1719, 525, 121, 61, 31, 56, 82, 348, 132, 201, 1012, 55, 133, 246, 653, 35, 191, 848,
    298, 88, 99, 33, 299, 78, 52, 8, 60, 5, 36, 61, 181, 194, 218, 136, 61, 134, 126, 258, 217, 556,
)
_MULTITHUMOS_MEDIANS = _THUMOS_MEDIANS + (
    3.4, 3.0, 1.0, 3.0, 2.36, 1.47, 0.94, 1.66, 1.63, 1.0, 0.665, 1.115, 2.0, 1.2, 1.57, 0.57, 0.67, 0.56, 0.37, 1.14,
    2.4, 1.23, 0.77, 1.0, 1.585, 1.03, 0.76, 0.5, 2.395, 0.9, 0.83, 1.405, 2.0, 2.945, 1.67, 2.83, 2.64, 1.0, 0.4, 1.7,
    0.87, 0.72, 6.02, 5.23, 2.785,
)
_THUMOS_TRAIN_SEC = Quantiles((8.93, 30.8, 37.0, 81.2, 150.5, 228.7, 450.5, 700.0, 950.8, 1409.4))
_THUMOS_TEST_SEC = Quantiles((15.0, 33.7, 47.8, 97.2, 162.8, 229.0, 412.8, 687.5, 1244.8, 1673.4))
# fmt: on
_THUMOS_FPS = ((30.0, 0.925), (29.97, 0.044), (25.0, 0.026), (24.0, 0.005))
_CLIFF_DIVING = _THUMOS_NAMES.index("CliffDiving")
_DIVING = _THUMOS_NAMES.index("Diving")


def _numbered(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix} {index}" for index in range(count))


THUMOS14 = BenchmarkProfile(
    name="thumos14",
    title="THUMOS14",
    class_names=_THUMOS_NAMES,
    class_counts=_THUMOS_COUNTS,
    class_median_sec=_THUMOS_MEDIANS,
    class_share=0.50,
    video_share=0.24,
    count_video_correlation=0.65,
    length_count_correlation=-0.25,
    mixing=0.035,
    length_unit="sec",
    placement="video",
    companions=((_CLIFF_DIVING, _DIVING),),
    fps_choices=_THUMOS_FPS,
    stride_frame=4,
    window_frame=16,
    train=SplitStatistics(
        "validation",
        200,
        _THUMOS_TRAIN_SEC,
        Quantiles((1, 1, 2, 3, 8, 19, 38, 54, 95, 128)),
        Quantiles((0.2, 0.7, 0.9, 1.5, 2.9, 5.5, 8.0, 9.7, 16.3, 118.1)),
    ),
    test=SplitStatistics(
        "test",
        213,
        _THUMOS_TEST_SEC,
        Quantiles((1, 1, 2, 3.75, 9, 20, 35.8, 50.5, 83, 218)),
        Quantiles((0.2, 0.8, 1.1, 1.7, 3.2, 6.1, 9.1, 11.4, 18.2, 86.6)),
    ),
    full_feature_dim=2048,
    smoke=TwinSize(28, 14, 128, max_video_sec=80.0, active_classes=10, frequency_power=0.5),
    reduced=TwinSize(80, 40, 256, max_video_sec=110.0, frequency_power=0.5),
)

MULTITHUMOS = replace(
    THUMOS14,
    name="multithumos",
    title="MultiTHUMOS",
    class_names=_MULTITHUMOS_NAMES,
    class_counts=_MULTITHUMOS_COUNTS,
    class_median_sec=_MULTITHUMOS_MEDIANS,
    class_share=0.42,
    video_share=0.22,
    count_video_correlation=0.78,
    length_count_correlation=-0.15,
    mixing=3.6,
    placement="class",
    packing=1.0,
    gap_shape=0.5,
    train=SplitStatistics(
        "training",
        200,
        _THUMOS_TRAIN_SEC,
        Quantiles((2, 7, 13, 23, 47, 121, 234, 314, 443, 622)),
        Quantiles((0.03, 0.33, 0.47, 0.9, 1.8, 3.67, 7.0, 9.84, 24.6, 339.0)),
    ),
    test=SplitStatistics(
        "testing",
        213,
        _THUMOS_TEST_SEC,
        Quantiles((2, 11.6, 15, 26, 53, 103, 218, 321, 582, 1235)),
        Quantiles((0.03, 0.33, 0.5, 1.0, 2.0, 4.0, 7.56, 10.9, 25.8, 917.0)),
    ),
    full_feature_dim=1024,
    smoke=TwinSize(24, 12, 128, max_video_sec=60.0, active_classes=12, frequency_power=0.5),
    reduced=TwinSize(64, 32, 256, max_video_sec=100.0, active_classes=40, frequency_power=0.5),
)

CHARADES = BenchmarkProfile(
    name="charades",
    title="Charades",
    class_names=_numbered("class", 157),
    class_counts=Quantiles((25, 40, 52, 127, 232, 400, 678, 950, 1341, 1444)),
    class_median_sec=None,
    class_share=0.30,
    video_share=0.10,
    count_video_correlation=0.19,
    length_count_correlation=-0.12,
    mixing=200.0,
    length_unit="sec",
    placement="class",
    packing=0.9,
    gap_shape=0.3,
    fps_choices=((24.0, 1.0),),
    stride_frame=8,
    window_frame=16,
    train=SplitStatistics(
        "training",
        7985,
        Quantiles((2.33, 15.7, 20.0, 27.0, 30.5, 32.2, 36.7, 41.7, 59.0, 194.3)),
        Quantiles((1, 2, 3, 4, 6, 8, 10, 12, 15, 28)),
        Quantiles((1.19, 4.29, 4.9, 5.94, 8.8, 17.0, 28.3, 30.9, 37.4, 151.4)),
        empty_fraction=174 / 7985,
    ),
    test=SplitStatistics(
        "testing",
        1863,
        Quantiles((3.12, 12.3, 16.7, 25.7, 30.6, 32.6, 35.8, 39.2, 47.5, 72.0)),
        Quantiles((1, 3, 4, 6, 9, 12, 14, 16, 20, 28)),
        Quantiles((1.76, 4.12, 4.7, 5.64, 8.1, 15.9, 28.0, 31.0, 35.9, 72.0)),
        empty_fraction=49 / 1863,
    ),
    full_feature_dim=1024,
    smoke=TwinSize(96, 48, 128, active_classes=12, frequency_power=0.5),
    reduced=TwinSize(480, 160, 256, active_classes=40, frequency_power=0.5),
)

EGO4D_MQ = BenchmarkProfile(
    name="ego4d-mq",
    title="Ego4D moment queries",
    class_names=_numbered("moment", 110),
    class_counts=Quantiles((21, 30, 38, 46, 77, 133, 211, 330, 1107, 1863)),
    class_median_sec=None,
    class_share=0.20,
    video_share=0.25,
    count_video_correlation=0.1,
    length_count_correlation=-0.2,
    mixing=5.5,
    length_unit="sec",
    placement="class",
    packing=0.8,
    annotator_repeats=0.25,
    fps_choices=((30.0, 1.0),),
    stride_frame=16,
    window_frame=32,
    train=SplitStatistics(
        "train",
        1486,
        Quantiles((182, 474.2, 479.4, 480, 480, 480, 480, 480, 480, 480.03)),
        Quantiles((1, 2, 3, 5, 8, 11, 15, 19.75, 36, 88)),
        Quantiles((0.183, 1.06, 1.544, 3.34, 8.67, 28.1, 109.9, 274.2, 479.5, 480)),
    ),
    test=SplitStatistics(
        "val",
        521,
        Quantiles((197, 477.4, 479.3, 480, 480, 480, 480, 480, 480, 480.03)),
        Quantiles((1, 2, 3, 5, 7, 10, 15, 18, 26.8, 49)),
        Quantiles((0.6, 1.15, 1.65, 3.43, 9.2, 32.0, 158.5, 348.9, 480, 480)),
    ),
    full_feature_dim=4096,
    smoke=TwinSize(24, 12, 128, active_classes=8, frequency_power=0.5),
    reduced=TwinSize(72, 36, 256, active_classes=24, frequency_power=0.5),
)

EPIC_VERB = BenchmarkProfile(
    name="epic100-verb",
    title="EPIC-Kitchens-100 verbs",
    class_names=_numbered("verb", 97),
    class_counts=Quantiles((1, 5, 10, 33, 75, 266, 1652, 3500, 12225, 14848)),
    class_median_sec=None,
    class_share=0.32,
    video_share=0.21,
    count_video_correlation=0.91,
    length_count_correlation=-0.09,
    mixing=6.0,
    length_unit="sec",
    placement="video",
    packing=0.9,
    fps_choices=((30.0, 1.0),),
    stride_frame=16,
    window_frame=32,
    train=SplitStatistics(
        "train",
        495,
        Quantiles((10.5, 27.5, 52.0, 124, 317.5, 718.5, 1390, 1855, 3351, 3708)),
        Quantiles((1, 7, 12.4, 27.5, 69, 171.5, 350.6, 496, 792, 940)),
        Quantiles((0.2, 0.57, 0.69, 0.97, 1.57, 3.13, 6.77, 10.5, 23.7, 297)),
    ),
    test=SplitStatistics(
        "validation",
        138,
        Quantiles((11.1, 32.2, 54.7, 90.8, 216.1, 470.2, 807.8, 1171.8, 1834.8, 1968.6)),
        Quantiles((3, 8.7, 12, 19.25, 35.5, 65.5, 147.3, 297, 442, 564)),
        Quantiles((0.5, 0.74, 0.857, 1.2, 1.96, 3.88, 7.98, 11.9, 25.7, 147)),
    ),
    full_feature_dim=2304,
    smoke=TwinSize(24, 12, 128, max_video_sec=180.0, active_classes=12, frequency_power=0.5),
    reduced=TwinSize(64, 32, 256, max_video_sec=360.0, active_classes=60, frequency_power=0.5),
)

EPIC_NOUN = replace(
    EPIC_VERB,
    name="epic100-noun",
    title="EPIC-Kitchens-100 nouns",
    class_names=_numbered("noun", 300),
    class_counts=Quantiles((1, 3, 6, 17, 53, 207, 689, 1200, 2457, 3617)),
    class_share=0.18,
    video_share=0.25,
    mixing=9.5,
    reduced=TwinSize(64, 32, 256, max_video_sec=360.0, active_classes=80, frequency_power=0.5),
)

ACTIVITYNET13 = BenchmarkProfile(
    name="activitynet13",
    title="ActivityNet 1.3",
    class_names=_numbered("activity", 200),
    class_counts=Quantiles((34, 42, 47, 56, 67, 88, 112, 130, 179, 181)),
    class_median_sec=None,
    class_share=0.14,
    video_share=0.70,
    count_video_correlation=0.2,
    length_count_correlation=-0.85,
    mixing=0.0005,
    length_unit="video",
    placement="video",
    fps_choices=((15.0, 1.0),),
    stride_frame=16,
    window_frame=16,
    train=SplitStatistics(
        "training",
        9649,
        Quantiles((1.6, 18.3, 30.3, 61.7, 114.5, 172.7, 210.6, 224.1, 236.6, 755)),
        Quantiles((1, 1, 1, 1, 1, 1, 3, 4, 7, 23)),
        Quantiles((0.001, 0.019, 0.03, 0.076, 0.325, 0.793, 0.953, 0.997, 1, 1)),
        empty_fraction=8 / 9649,
    ),
    test=SplitStatistics(
        "validation",
        4728,
        Quantiles((2.3, 17.5, 28.2, 60.6, 117.6, 176.0, 212.1, 225.7, 237.2, 745.5)),
        Quantiles((1, 1, 1, 1, 1, 1, 3, 4, 8, 18)),
        Quantiles((0.001, 0.019, 0.03, 0.081, 0.33, 0.798, 0.959, 0.997, 1, 1)),
        empty_fraction=2 / 4728,
    ),
    full_feature_dim=512,
    smoke=TwinSize(120, 60, 128, active_classes=8, frequency_power=0.5),
    reduced=TwinSize(480, 240, 256, active_classes=24, frequency_power=0.5),
    fixed_points=192,
)

PROFILES: dict[str, BenchmarkProfile] = {
    profile.name: profile
    for profile in (THUMOS14, MULTITHUMOS, CHARADES, EGO4D_MQ, EPIC_VERB, EPIC_NOUN, ACTIVITYNET13)
}
