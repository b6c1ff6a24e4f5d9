# SPDX-License-Identifier: Apache-2.0
"""Training a detector: `config` says what a run is, `loop` trains, `scoring` scores, `run` puts all of it together."""
