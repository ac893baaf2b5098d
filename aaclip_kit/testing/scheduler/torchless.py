"""A process of its own, in which torch must not turn up."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from ..check import Found, NotApplicable
from ..subject import Subject

PROGRAM = """
import json, sys
from pathlib import Path
from aaclip_kit.plugin_host.discovery import discover
from aaclip_kit.plugin_host.plugin_files import with_plugin_files
name, options, file = json.loads(sys.argv[1])
registry = discover() if file is None else with_plugin_files(discover(), [Path(file)], "plugin_file")
before = "torch" in sys.modules
component = registry.get("scheduler", name)
component.build(component.options.model_validate_json(options)).next_loop(())
print(before, "torch" in sys.modules)
"""
"""Prints whether torch was there when all plugins had been loaded, and after the component was used."""


def needs_no_torch(subject: Subject) -> None:
    """Build it and ask for the first plan."""
    file = None if subject.plugin_file is None else str(subject.plugin_file)
    given = json.dumps([subject.name, subject.options().model_dump_json(), file])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM, given]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    if ran.returncode:
        raise Found(f"in a process of its own it failed: {ran.stderr.strip().splitlines()[-1]}")
    before, after = ran.stdout.split()[-2:]
    if before == "True":
        raise NotApplicable("a plugin imports torch when it is loaded, so this cannot be told")
    if after == "True":
        raise Found("torch was imported when it was built and asked for a plan")
