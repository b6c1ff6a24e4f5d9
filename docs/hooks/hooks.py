# SPDX-License-Identifier: Apache-2.0
"""Hooks of mkdocs.yml: generated pages and figures, formulas as MathML, links and roles that the site shows otherwise.

MathML needs neither script nor font from elsewhere: browsers draw it by themselves.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from docs.hooks import benchmark_pages, commands, figures, scoring  # noqa: E402

FORMULA = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', flags=re.DOTALL)
ROLE = re.compile(r":(?:func|class|mod|data|meth|attr|obj|exc):<code>~?(?:asl_fast\.)?([^<]+)</code>")
OUTSIDE = re.compile(r"(!?)\[([^\]]*)\]\(((?:\.\./)+[^)#\s]*)(#[^)]*)?\)")
ELSEWHERE = "https://unpkg.com/iframe-worker/shim"  # the search of a page that was opened as a file
RESULTS = re.compile(r"(?:\.\./)+benchmarks/results/([\w.-]+)/(table\.md|[\w.-]+\.svg)")


def on_config(config: Any) -> Any:
    """Add the pages of the committed benchmark results to the navigation."""
    sections = next(entry["Results"] for entry in config.nav if "Results" in entry)
    sections += benchmark_pages.navigation()
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add what is generated."""
    generated: dict[str, str] = {**benchmark_pages.pages(), **figures.pictures()}
    for name, content in generated.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Fill in generated tables, and mend links that lead out of docs."""
    for name, make in (("scoring protocols", scoring.protocols), ("scoring conventions", scoring.conventions)):
        if (mark := f"<!-- {name} -->") in markdown:
            markdown = markdown.replace(mark, make())
    if "<!-- commands -->" in markdown:
        markdown = markdown.replace("<!-- commands -->", commands.overview())
    up = "../" * page.file.src_uri.count("/")
    return OUTSIDE.sub(lambda link: inside(link, up), markdown)


def inside(link: re.Match[str], up: str) -> str:
    """Point a link or picture at what the site has for a file of the repository, or leave its words."""
    mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
    if result := RESULTS.fullmatch(target):
        name = f"{result[1]}.md" if result[2] == "table.md" else f"{result[1]}-{result[2]}"
        return f"{mark}[{text}]({up}benchmarks/{name}{anchor})"
    return link[0] if target.count("../") * len("../") <= len(up) else text


def on_page_content(content: str, **_: Any) -> str:
    """Draw formulas, and show the names that docstrings refer to without the marks around them."""
    content = FORMULA.sub(formula, content)
    return ROLE.sub(r"<code>\1</code>", content)


def formula(found: re.Match[str]) -> str:
    """Return the MathML of one formula."""
    block = found[1] == "div"
    text = html.unescape(found[2]).strip().removeprefix("\\[" if block else "\\(")
    mathml = convert(text.removesuffix("\\]" if block else "\\)").strip(), display="block" if block else "inline")
    return f'<div class="formula">{mathml}</div>' if block else mathml


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Take what the theme would fetch from another host from the site itself."""
    return output.replace(ELSEWHERE, f"{'../' * page.file.dest_uri.count('/')}assets/file-worker.js")


def on_post_template(output_content: str, **_: Any) -> str:
    """Do the same on the page for a wrong address, which no page stands behind."""
    return output_content.replace(ELSEWHERE, "assets/file-worker.js")
