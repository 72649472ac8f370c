#!/usr/bin/env python
"""``hf-vtg train`` from a clone, also under torchrun: see ``python scripts/train.py --help``."""

import sys

import torch

from hf_vtg.cli import main

if __name__ == "__main__":
    status = main(["train", *sys.argv[1:]])
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Its threads may otherwise abort a process that is done.
        torch.distributed.destroy_process_group()
    sys.exit(status)
