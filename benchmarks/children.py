"""Each load in a process of its own, so that its peak memory is its own."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workload import Load

JOB = Path(__file__).with_name("job.py")


def measured(load: Load) -> dict[str, Any]:
    """What job.py measures of a load. Exits with its status where it fails; its messages are on the terminal then."""
    command = [sys.executable, str(JOB), json.dumps(asdict(load))]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if ran.returncode:
        sys.exit(ran.returncode)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found
