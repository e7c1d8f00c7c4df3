#!/usr/bin/env python3
"""Tests the load gate with real loads: it is open for the build that is here, and closed for one that is slowed.

Needs `make bench-build` and ecom-server-failpoints. Says what passed as `go test -v` does, which tests/run counts.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
from harness import ROOT
from unit_tests import Said

RELEASE = ROOT / "build" / "release" / "bin"
# Each batch of claims waits for so long before it is decided.
SLOWED = "issuer.before-gate=stall:20"
SECONDS_MAX = 300


def gate(out, *options, **environment):
    done = subprocess.run([ROOT / "bench" / "run.py", "gate", "--out", out, *options], env={**os.environ, **environment},
                          capture_output=True, text=True, timeout=SECONDS_MAX)
    print(done.stdout + done.stderr)
    return done


class Gate(unittest.TestCase):
    def test_it_is_open_for_this_build_and_closed_for_one_that_is_slowed(self):
        with tempfile.TemporaryDirectory(dir=ROOT / "build") as folder:
            slowed, out = pathlib.Path(folder) / "bin", pathlib.Path(folder) / "out"
            slowed.mkdir()
            for binary in RELEASE.iterdir():
                (slowed / binary.name).symlink_to(binary)
            (slowed / "ecom-server").unlink()
            (slowed / "ecom-server").symlink_to(RELEASE / "ecom-server-failpoints")

            done = gate(out)
            self.assertEqual(done.returncode, 0)
            self.assertTrue((out / "report.html").exists())
            passed = (out / "passed.json").read_text()

            done = gate(out, "--bin", slowed, "--rounds", "1", FAILPOINTS=SLOWED)
            self.assertEqual(done.returncode, 1)
            self.assertIn("issue-coupon at 64 connections: answers/s as a ratio to the limit's is", done.stderr)
            self.assertIn("issue-coupon at 64 connections: ratio to the limit's, of that of the run before is", done.stderr)
            # The build that was not slowed is what the next one is compared with.
            self.assertEqual((out / "passed.json").read_text(), passed)
            self.assertTrue((out / "comparison.html").exists())


if __name__ == "__main__":
    unittest.main(testRunner=unittest.TextTestRunner(resultclass=Said, verbosity=0, stream=sys.stdout))
