# SPDX-License-Identifier: Apache-2.0
"""A sum over all programs of a launch, in an order that depends on the sizes alone, by the program that ends last."""

import triton
import triton.language as tl

# Programs of a launch that sums: eight for each of the 132 processors of an H100, all at work at once, so that each has
# an equal share, and what the last one adds up is few.
PROGRAMS = 132 * 8
BLOCK = 2048  # parts that the last one reads at a time: all


@triton.jit
def sum_of_programs(own, parts_ptr, counter_ptr, total_ptr, BLOCK: tl.constexpr):
    """Set total[0] to the sum of a number that each program has, of the dtype of ``parts``; the last act of a program.

    Args:
        own: The program's number.
        parts_ptr: Room for one number of each program.
        counter_ptr: 0 before the launch and after it (``launch_counter.counter``).
        total_ptr: Where the sum goes.
        BLOCK: How many parts are read at a time.
    """
    programs = tl.num_programs(0)
    tl.store(parts_ptr + tl.program_id(0), own)
    tl.debug_barrier()  # the part is written before the program counts as finished
    if tl.atomic_add(counter_ptr, 1) == programs - 1:
        lane = tl.arange(0, BLOCK)
        total = tl.zeros((BLOCK,), dtype=parts_ptr.dtype.element_ty)
        for first in range(0, programs, BLOCK):  # read past the cache of this processor
            total += tl.load(parts_ptr + first + lane, mask=first + lane < programs, other=0.0, cache_modifier=".cg")
        tl.store(total_ptr, tl.sum(total, 0))
        tl.store(counter_ptr, 0)
