# SPDX-License-Identifier: Apache-2.0
"""What a command line may say about how features lie in their files, where finding out is not enough."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from asl_fast.data.features.manifest import FeatureManifest


@dataclass(frozen=True)
class FeatureReading:
    """How features lie in their files; the same stands in a manifest, without ``feature_``.

    Attributes:
        layout: Whether arrays are (time, channels), TC, or (channels, time), CT; found out unless given.
        feature_key: Entry of feature files that hold several arrays; rgb+flow puts two of them side by side.
        feature_prefix: Text before the video's name in the names of its features, such as v_; found out unless given.
        feature_suffix: Text after it, such as _feat; -rgb+-flow puts two files of each video side by side.
        feature_extension: Which files to take from a folder that holds several kinds, such as .npy.
    """

    layout: Literal["TC", "CT"] | None = None
    feature_key: str | None = None
    feature_prefix: str | None = None
    feature_suffix: str | None = None
    feature_extension: str | None = None

    @property
    def given(self) -> dict[str, str]:
        """What was said, by the names that a manifest has for it."""
        named = {
            "layout": self.layout,
            "key": self.feature_key,
            "prefix": self.feature_prefix,
            "suffix": self.feature_suffix,
            "extension": self.feature_extension,
        }
        return {name: value for name, value in named.items() if value is not None}

    def applied(self, manifest: FeatureManifest) -> FeatureManifest:
        """Return the manifest with what was said in place of its own."""
        return replace(manifest, **self.given)  # type: ignore[arg-type]
