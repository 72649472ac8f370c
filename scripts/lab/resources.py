"""What this process takes of the machine."""

import resource
import sys


def peak_memory() -> int:
    """Peak resident bytes of this process. On Linux not ``ru_maxrss``, which a child inherits from its parent."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return 1024 * next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
