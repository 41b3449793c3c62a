"""Two hundred pictures go through one at a time."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

PROGRAM = """
import resource, sys, torch
from supir_core.command import cli
torch.set_num_threads(1)
for pictures, out in ((sys.argv[1], sys.argv[2]), (sys.argv[3], sys.argv[4])):
    assert cli.main(["evaluate", pictures, "-o", out, "--setting", "sr4", "--method", "bicubic", "-q"]) == 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
MEGABYTE = 1024
"""Of the kilobytes that Linux counts in."""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted otherwise there")
def test_two_hundred_pictures_take_no_more_memory_than_a_few(tmp_path):
    folders = {}
    for count in (10, 200):
        folders[count] = tmp_path / str(count)
        folders[count].mkdir()
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (256, 256, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folders[count] / f"{number}.png")
    words = [folders[10], tmp_path / "few", folders[200], tmp_path / "many"]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *map(str, words)], check=True, capture_output=True, text=True)
    few, many = map(int, done.stdout.split())
    assert many < 3000 * MEGABYTE
    assert many - few < 40 * MEGABYTE, f"{few} KB for 10 pictures, {many} for 200"
