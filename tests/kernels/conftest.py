# SPDX-License-Identifier: Apache-2.0
from tests.kernels.cuda_on_host import cuda_device as cuda_device
