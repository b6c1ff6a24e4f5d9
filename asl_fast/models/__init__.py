# SPDX-License-Identifier: Apache-2.0
"""The action detector."""

from asl_fast.models.config import DetectorConfig, FrontEndConfig
from asl_fast.models.detector import ActionDetector, DetectorOutput

__all__ = ["ActionDetector", "DetectorConfig", "DetectorOutput", "FrontEndConfig"]
