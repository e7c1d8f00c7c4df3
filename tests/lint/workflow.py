#!/usr/bin/python3
"""Checks that .github/workflows does nothing that cannot be repeated without it: each step that runs something runs
one documented make target, or is one of the two that a bare container needs before there is a checkout, and
what a step uploads is what a target writes."""

import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BEFORE_A_CHECKOUT = re.compile(r'apt-get update && apt-get install -y --no-install-recommends [a-z0-9 -]+|'
                               r'git config --global --add safe\.directory "\$GITHUB_WORKSPACE"')
# Of others' actions only their published major versions.
ACTION = re.compile(r"actions/[a-z-]+@v\d+")
# What the tests and the gate write, by the target.
WRITTEN = {"make test": "build/test-logs", "make load-gate": "build/load-gate"}


def targets():
    shown = subprocess.run(["make", "-s", "-C", ROOT, "help"], capture_output=True, text=True, check=True).stdout
    return {f"make {line.split()[0]}" for line in shown.splitlines() if line.strip()}


def wrong_with(workflow, known):
    for name, job in workflow["jobs"].items():
        if "timeout-minutes" not in job:
            yield f"{name} has no bound"
        run = [step["run"].strip() for step in job["steps"] if "run" in step]
        for command in run:
            if command not in known and not BEFORE_A_CHECKOUT.fullmatch(command):
                yield f"{name}: `{command}` is no target of the Makefile"
        for step in job["steps"]:
            uses = step.get("uses", "")
            if uses and not ACTION.fullmatch(uses):
                yield f"{name}: {uses}"
            if uses.startswith("actions/upload-artifact") and step["with"]["path"] not in [WRITTEN.get(c) for c in run]:
                yield f"{name}: no step writes {step['with']['path']}"


def main():
    known, wrong, commands = targets(), [], 0
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        workflow = yaml.safe_load(path.read_text())
        wrong += [f"{path.name}: {what}" for what in wrong_with(workflow, known)]
        commands += sum(step.get("run", "").strip() in known for job in workflow["jobs"].values() for step in job["steps"])
    if not commands:
        wrong.append("no workflow runs a make target")
    print("\n".join(wrong), end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
