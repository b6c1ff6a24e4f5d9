#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Chromium for the tests of pages, where the system lets us install it; without it they skip and say so.
set -u
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  command -v "$name" >/dev/null && exit 0
done
[ -n "${ASL_FAST_CHROMIUM:-}" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "no Chromium here and none can be installed: the tests of pages will skip"
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core)
# Sources may be out of date, and Ubuntu's package is no browser but a stub.
{ timeout 60 apt-get update -qq; timeout 240 "${install[@]}"; } >/dev/null 2>&1
command -v chromium >/dev/null && chromium --version --no-sandbox 2>/dev/null ||
  echo "Chromium could not be installed: the tests of pages will skip"
