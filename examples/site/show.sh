#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# From a fresh clone to the documentation: builds the site, which fails on any warning, and looks at every page in a
# browser, in light, in dark and on a narrow screen.
#
#   examples/site/show.sh [FOLDER]          FOLDER takes everything; build/site unless given
#
#   PYTHON=...       a Python with asl_fast's dependencies and those of its extra docs, and playwright; unless given, the
#                    clone makes its own environment
#   ASL_FAST_CHROMIUM=...  the browser; unless given, chromium or google-chrome on the path
. "$(dirname "$0")/../fresh_clone.sh" site -c constraints.txt --no-build-isolation -e '.[docs]' playwright -- "$@"

say "the site"
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict --quiet --site-dir "$out/docs"
find "$out/docs" -name '*.html' | wc -l | sed 's/$/ pages/'

say "every page in a browser"
"$python" -m examples.site.pictures "$out/docs" "$out/pictures"
