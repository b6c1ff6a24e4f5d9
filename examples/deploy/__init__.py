# SPDX-License-Identifier: Apache-2.0
"""From a fresh clone to a model that runs without asl_fast, and to asl_fast without a compiler."""
