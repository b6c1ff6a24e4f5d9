# SPDX-License-Identifier: Apache-2.0
"""Raw signals of sensors and joints: even rates, and the way from recordings to a data set."""
