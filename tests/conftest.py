"""One CPU thread, so that results do not depend on the machine and tests do not crowd each other."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)
