# SPDX-License-Identifier: Apache-2.0
"""Examples: small programs that show what asl_fast is for."""
