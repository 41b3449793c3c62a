"""``supir restore --report``: a page beside the results that compares each with its input."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..evaluation.manifest import Manifest
from ..evaluation.page import Shown, write_page
from ..files.hidden import PREFIX
from ..restoration.transparency import opaque
from .making import write_pictures
from .output import pixel_size
from .plan import Job
from .report import Report

NAME = "supir_report.html"
IN_BROWSERS = (".png", ".jpg", ".webp")
"""Results that every browser shows; of the others, and of all inputs, the page has copies."""


def write_batch_page(folder: Path, jobs: Sequence[Job], page: int | None, report: Report) -> None:
    """Write the page into the folder of the results, and copies for it into a hidden folder there.

    Args:
        folder: of the results.
        jobs: of the batch; those without a result are left out.
        page: which page or frame of the inputs was restored.
        report: told where it is.
    """
    done = [job for job in jobs if all(map(os.path.isfile, job.pictures))]  # false too for names too long
    with Manifest(folder / f"{PREFIX}page") as manifest:

        def viewed(paths: Sequence[tuple[Path, Path]], of: str, page: int | None = None) -> dict[Path, Path]:
            """What a browser shows of files: a copy by the file it belongs to."""
            copies = [
                Job(file, manifest.folder / of / result.relative_to(folder).with_suffix(".jpg"), None)
                for file, result in paths
            ]
            made = write_pictures(
                copies, lambda picture, job: opaque(picture), lambda job: {"page": page}, manifest, report, page
            )
            return {job.source: job.result for job in made}

        inputs = viewed([(job.source, job.result) for job in done], "input", page)
        results = [path for job in done for path in job.pictures]
        shown = {path: path for path in results if path.suffix in IN_BROWSERS}
        shown |= viewed([(path, path) for path in results if path not in shown], "result")
    pictures = [
        Shown(
            job.result.relative_to(folder).as_posix(),
            pixel_size(shown[job.result]) or (1, 1),
            {"input": inputs[job.source]},
            {
                what: shown[path]
                for what, path in (("restored", job.result), ("stage 1", job.stage1))
                if path is not None and path in shown
            },
        )
        for job in done
        if job.source in inputs and job.result in shown
    ]
    write_page(folder / NAME, "Restored pictures", pictures)
    report.say(f"written: {folder / NAME}")
