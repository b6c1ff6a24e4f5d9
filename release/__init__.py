# SPDX-License-Identifier: Apache-2.0
"""What is published: wheels and the source archive, built and checked by ``python -m release.wheels``."""
