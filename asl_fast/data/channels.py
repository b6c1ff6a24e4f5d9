# SPDX-License-Identifier: Apache-2.0
"""What the channels of a raw signal are, and what is made of them before they are normalised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["triaxial", "skeleton", "scalar"]
Axis = Literal["x", "y", "z"]
Centre = Literal["none", "recording", "joint"]
KINDS: tuple[Kind, ...] = ("triaxial", "skeleton", "scalar")
AXES: tuple[Axis, ...] = ("x", "y", "z")
Places = tuple[NDArray[np.float64] | None, ...]
_PART_SAMPLES = 65536
CENTRES: tuple[Centre, ...] = ("none", "recording", "joint")


@dataclass(frozen=True)
class ChannelGroup:
    """Neighbouring channels that belong together.

    Attributes:
        kind: "triaxial", sensors of three axes each that sit on one rigid body, as accelerometer and gyroscope of one
            phone: the body may be worn at another angle, and all its sensors turn with it. "skeleton", positions
            (x, y, z) of joints, the root (wrist, palm, hip) first: the person may stand elsewhere, face another way
            and be of another size. "scalar", anything that has no direction.
        size: Channels; a multiple of 3 unless scalar.
        name: For messages.
        up: Axis that points up or down, about which a person turns; None where there is none, as on a worn sensor.
        mirror: Axis that may be reversed without making another action of any; None where left and right differ.

    Raises:
        ValueError: For an unknown kind or axis, or a size that does not fit the kind.
    """

    kind: Kind
    size: int
    name: str = ""
    up: Axis | None = None
    mirror: Axis | None = None

    def __post_init__(self) -> None:
        what = f"channel group {self.name or self.kind!r}"
        if self.kind not in KINDS:
            raise ValueError(f"{what}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ValueError(f"{what}: size must be a positive number of channels, got {self.size!r}")
        if self.kind != "scalar" and self.size % 3:
            raise ValueError(f"{what}: {self.kind} channels come in threes, got {self.size}")
        for key in ("up", "mirror"):
            axis = getattr(self, key)
            if axis is not None and (axis not in AXES or self.kind == "scalar"):
                allowed = "a scalar has none" if self.kind == "scalar" else f"it is one of {', '.join(AXES)}"
                raise ValueError(f"{what}: {key} is {axis!r}, but {allowed}")

    @classmethod
    def parse(cls, content: object, where: str) -> ChannelGroup:
        """Make a group of keys and values, as JSON holds them.

        Raises:
            ValueError: Beginning with ``where``, for anything that is no group.
        """
        names = [entry.name for entry in fields(cls)]
        if not isinstance(content, Mapping) or not {"kind", "size"} <= set(content) <= set(names):
            raise ValueError(
                f'{where}: expected {{"kind": "triaxial", "size": 6}} with the keys {", ".join(names)}, found '
                f"{content!r:.80}"
            )
        try:
            return cls(**content)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{where}: {error}") from None


def parse_channels(content: object, where: str) -> tuple[ChannelGroup, ...]:
    """Make groups of a list, as JSON holds it; errors begin with ``where``.

    Raises:
        ValueError: For anything that is no list of groups.
    """
    if not isinstance(content, Sequence) or isinstance(content, (str, bytes)) or not content:
        raise ValueError(f'{where}: expected a list like [{{"kind": "triaxial", "size": 6}}], found {content!r:.80}')
    return tuple(ChannelGroup.parse(each, f"{where}[{index}]") for index, each in enumerate(content))


def read_channels(text: str) -> tuple[ChannelGroup, ...]:
    """Read groups from words such as ``triaxial:6,scalar:1`` or ``skeleton:78:up=y``, as the command line has them.

    Raises:
        ValueError: Saying how groups are written.
    """
    groups = []
    for word in text.split(","):
        kind, *rest = word.strip().split(":")
        pairs = [part.partition("=") for part in rest[1:]]
        if not rest or not rest[0].isdecimal() or not all(key and mark for key, mark, _ in pairs):
            raise ValueError(
                f"channels {text!r}: expected kind:size, several joined by commas, such as triaxial:6,scalar:1 or "
                f"skeleton:78:up=y, found {word!r}"
            )
        content = {"kind": kind, "size": int(rest[0])} | {key: value for key, _, value in pairs}
        groups.append(ChannelGroup.parse(content, f"channels {text!r}, {word.strip()!r}"))
    return tuple(groups)


@dataclass(frozen=True)
class Part:
    """Neighbouring channels of a prepared signal.

    Attributes:
        start: First channel.
        size: Number of channels.
        group: The group they were made of, by its number.
        is_velocity: Whether they are differences from sample to sample, which grow with the speed.
    """

    start: int
    size: int
    group: int
    is_velocity: bool

    @property
    def channels(self) -> slice:
        """The channels as an index."""
        return slice(self.start, self.start + self.size)


@dataclass(frozen=True)
class Preparation:
    """From a raw signal to the channels that are learned from.

    Whatever is made commutes with a rotation of all joints, so that training may rotate what was prepared.

    Attributes:
        channels: Groups of the raw signal, in its order.
        centre: Of skeletons. "none" keeps positions as recorded; "recording" takes the root's median place in the
            recording off every position, so that it does not matter where the person stood; "joint" does that to the
            root and makes all other joints relative to the root at each time.
        velocities: Whether velocities of skeletons follow, as central differences from sample to sample.

    Raises:
        ValueError: For an unknown way to centre.
    """

    channels: tuple[ChannelGroup, ...]
    centre: Centre = "none"
    velocities: bool = False

    def __post_init__(self) -> None:
        if self.centre not in CENTRES:
            raise ValueError(f"centre must be one of {', '.join(CENTRES)}, got {self.centre!r}")
        object.__setattr__(self, "channels", tuple(self.channels))

    @property
    def num_raw(self) -> int:
        """Channels of the raw signal."""
        return sum(group.size for group in self.channels)

    @property
    def num_channels(self) -> int:
        """Channels of the prepared signal."""
        return sum(part.size for part in self.parts)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What the prepared signal consists of: all groups, then the velocities of the skeletons among them."""
        moving = [number for number, group in enumerate(self.channels) if self.velocities and group.kind == "skeleton"]
        numbers = [*((number, False) for number in range(len(self.channels))), *((number, True) for number in moving)]
        parts, start = [], 0
        for number, is_velocity in numbers:
            size = self.channels[number].size
            parts.append(Part(start, size, number, is_velocity))
            start += size
        return tuple(parts)

    @property
    def reach(self) -> int:
        """Samples at either side of one that decide what is made of it, beside its `places`."""
        return int(any(part.is_velocity for part in self.parts))

    def places(self, signal: NDArray[Any]) -> Places:
        """Find where the root of each group stands in a recording (N, num_raw), (3,); None where it does not matter."""
        places, start = [], 0
        for group in self.channels:
            root = slice(start, start + 3)
            moves = group.kind == "skeleton" and self.centre != "none"
            places.append(geometric_median(_columns(signal, root)) if moves else None)
            start += group.size
        return tuple(places)

    def __call__(self, signal: NDArray[Any], places: Places | None = None) -> NDArray[np.float64]:
        """Prepare a recording, (N, num_raw) to (N, num_channels); all values must be finite.

        Args:
            signal: The recording, or neighbouring samples of it; what is made of the outermost ``reach`` of these is
                right only where they are the recording's.
            places: Of the recording; None finds them in ``signal``.
        """
        places = self.places(signal) if places is None else places
        prepared = np.empty((len(signal), self.num_channels))
        positions: dict[int, NDArray[np.float64]] = {}
        start = 0
        for number, (group, place) in enumerate(zip(self.channels, places, strict=True)):
            values = np.asarray(signal[:, start : start + group.size], np.float64)
            positions[number] = values if place is None else self._centred(values, place)
            start += group.size
        for part in self.parts:
            values = positions[part.group]
            prepared[:, part.channels] = _velocity(values) if part.is_velocity else values
        return prepared

    def _centred(self, positions: NDArray[np.float64], place: NDArray[np.float64]) -> NDArray[np.float64]:
        joints = positions.reshape(len(positions), -1, 3)
        root = joints[:, :1]
        moved = joints - (root if self.centre == "joint" else place)
        moved[:, :1] = root - place
        return moved.reshape(positions.shape)

    def state(self) -> dict[str, Any]:
        """Plain values, for JSON or a checkpoint."""
        return {
            "channels": [asdict(group) for group in self.channels],
            "centre": self.centre,
            "velocities": self.velocities,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Preparation:
        """Invert `state`."""
        return cls(parse_channels(state["channels"], "channels"), state["centre"], bool(state["velocities"]))


def _columns(signal: NDArray[Any], columns: slice) -> NDArray[np.float64]:
    """Return columns of a recording (N, num_raw) in float64, of which no more is in memory than they and a part."""
    # Apart from each other, as in the recording: sums over neighbouring rows are rounded otherwise.
    found = np.empty((len(signal), 2, columns.stop - columns.start))[:, 0]
    for start in range(0, len(signal), _PART_SAMPLES):
        found[start : start + _PART_SAMPLES] = signal[start : start + _PART_SAMPLES, columns]
    return found


def _velocity(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.gradient(values, axis=0) if len(values) > 1 else np.zeros_like(values)


def geometric_median(points: NDArray[np.float64], iterations: int = 50) -> NDArray[np.float64]:
    """Find the point whose summed distance to (N, 3) points is least, by Weiszfeld's iteration from their mean.

    A few samples in which tracking jumped metres away hardly move it, and unlike the median of each coordinate it
    turns with the points.
    """
    found: NDArray[np.float64] = points.mean(axis=0)
    spread = float(np.abs(points - found).max(initial=0.0))
    if spread == 0:
        return found
    for _ in range(iterations):
        weight = 1 / np.maximum(np.linalg.norm(points - found, axis=1), 1e-9 * spread)
        found = weight @ points / weight.sum()
    return found
