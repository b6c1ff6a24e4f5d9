# SPDX-License-Identifier: Apache-2.0
"""Every op is whole: the same base name in every layer, operands that its schema is read off, an example, a benchmark.

That implementations load, keep the contract of a device and have an example of a call is for tests/ops/test_backend.py
and tests/kernels/test_device_contract.py.
"""
