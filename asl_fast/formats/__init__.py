# SPDX-License-Identifier: Apache-2.0
"""Detections as other programs read them: tables, subtitles, annotation tools; one file per format."""
