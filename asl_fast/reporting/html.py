# SPDX-License-Identifier: Apache-2.0
"""One HTML file that holds all it shows: style, script and content, and may fetch nothing.

The charts are written by hand, in ``page/``: some 1,500 lines that know what is drawn here, where a plotting library
would be several times the size of the page, and would not know how to draw a timeline.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from string import Template
from typing import Any

# In the order in which they need one another.
SCRIPTS = (
    *("dom", "unpack", "chart", "overview", "training", "scores", "curves", "errors", "confusion", "sensitivity"),
    *("timeline", "videolist", "player", "control", "videos", "theme", "main"),
)
STYLES = ("page", "charts", "print")


def render(content: Mapping[str, Any]) -> str:
    """Write a page.

    Whatever names hold, they cannot leave their place: the content is JSON without ``<``, which the script adds as text
    alone, and the policy of the page runs no other script than this one.

    Args:
        content: What `asl_fast.reporting.content.content` gathers.

    Raises:
        ValueError: For a number that JSON does not have (NaN, infinity).
    """
    script = '\n"use strict";\n(() => {\n' + "\n".join(_read(f"{name}.js") for name in SCRIPTS) + "})();\n"
    style = "\n" + "\n".join(_read(f"{name}.css") for name in STYLES)
    policy = [
        "default-src 'none'",
        f"script-src '{_digest(script)}'",
        f"style-src '{_digest(style)}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    if content["videos"]["media"] is not None:
        # Where the user's own videos lie: beside the page, on disk or served with it.
        policy.append("media-src 'self' file:")
    return Template(_read("page.html")).substitute(
        policy="; ".join(policy),
        title=html.escape(f"{content['title']}: {' and '.join(run['name'] for run in content['runs'])}"),
        style=style,
        content=_json(content),
        script=script,
    )


def _json(content: Mapping[str, Any]) -> str:
    r"""JSON that may stand in a script element: no ``<``, ``>`` or ``&``, and nothing beyond ASCII."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _read(name: str) -> str:
    return (files("asl_fast.reporting") / "page" / name).read_text(encoding="utf-8")
