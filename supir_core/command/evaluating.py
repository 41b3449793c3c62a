"""``supir evaluate``: damages, restores, measures, and writes the table and the page."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..cluster.options import add_cluster, check_cluster, for_driver
from ..evaluation.cases import Case, safe
from ..evaluation.degradation import DAMAGES
from ..evaluation.manifest import Manifest
from ..evaluation.measures import NAMES, check_metric
from ..evaluation.protocols import COMPARISON, PROTOCOLS, Protocol
from ..restoration.knobs import SCALE
from ..sdxl.model import defaults
from .cases import find_cases
from .measuring import load_metrics, measure, write_results
from .methods import SPECS, STAGE1, Method, Place, method_of
from .options import INSTANTIR_FILES, SUPIR_FILES, add_captions, add_weights, on_disk, seed
from .output import check_folder
from .report import Report
from .weights import Weights


def add_evaluate_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``supir evaluate``."""
    add = parser.add_argument
    text = "clean pictures; without --setting damaged ones; folders of them, or patterns"
    add("inputs", nargs="+", type=on_disk, metavar="IN", help=text)
    add("-o", "--output", type=on_disk, required=True, metavar="OUT", help="folder for everything that is made")
    add("-r", "--recursive", action="store_true", help="go into the folders below too")
    add(
        "--protocol",
        choices=PROTOCOLS,
        help="settings, metrics, sizes and method as published, and the published numbers",
    )
    text = "how to damage: of the paper's Table 1, or second-order; repeatable"
    add("--setting", choices=DAMAGES, action="append", default=[], help=text)
    add("--reference", type=Path, metavar="FOLDER", help="clean pictures of damaged ones, named as they")
    text = f"{SCALE.text} For damaged pictures without --reference ({SCALE.range()}, default %(default)s)"
    add("--scale", type=float, default=SCALE.default, help=text)
    text = "of damage and of what restores; repeatable, 0 by default"
    add("--seed", type=seed, action="append", default=[], metavar="N", help=text)
    add("--method", action="append", default=[], metavar="METHOD", help=f"{SPECS}; repeatable, bicubic by default")
    text = f"{', '.join(NAMES)}, or pyiqa:NAME; repeatable ({', '.join(COMPARISON.metrics)})"
    add("--metric", action="append", default=[], metavar="METRIC", help=text)
    add("--stage1", action="store_true", help="measure what sampling began from, too, as a method of its own")
    add("-q", "--quiet", action="store_true", help="say only what failed")
    add_captions(parser, kept=False)
    add_weights(parser, SUPIR_FILES | INSTANTIR_FILES)
    parser.add_argument("--dino", metavar="FOLDER", help="DINOv2-L in transformers' layout, for InstantIR")
    add_cluster(parser)
    parser.set_defaults(dry_run=False)


def evaluate_pictures(options: argparse.Namespace) -> int:
    """Run ``supir evaluate``; gives the exit code.

    Raises:
        Exception: nothing can be done at all: of the options, the inputs, the output, the weights.
    """
    check_cluster(options)
    report = Report(options.quiet)
    protocol = PROTOCOLS.get(options.protocol, COMPARISON)
    _complete(options, protocol)
    names = [check_metric(name) for name in options.metric]
    methods = [method_of(spec, options) for spec in options.method]
    if len({safe(method.name).casefold() for method in methods}) < len(methods):
        raise ValueError("two methods have the same name, as folders go; give one of them another with NAME=METHOD")
    weights = lru_cache(1)(lambda kind: Weights(for_driver(argparse.Namespace(**{**vars(options), "method": kind}))))
    for kind in filter(None, {method.kind for method in methods}):
        weights(kind)  # what is wrong with them is said before anything is done
    device, _ = defaults(options.device, None)
    check_folder(options.output)
    with Manifest(options.output) as manifest:
        place = Place(options.output, manifest, report, options, device, weights)
        results = _restore(place, methods, find_cases(place, protocol.side))
        weights.cache_clear()
        gc.collect()
        referenced = any(case.reference for cases in results.values() for case in cases)
        metrics, notes = load_metrics(place, names, referenced)
        scores = measure(place, results, metrics, protocol)
        write_results(place, results, scores, metrics, protocol, [*notes, *protocol.notes])
    return report.close()


def _complete(options: argparse.Namespace, protocol: Protocol) -> None:
    """Fill in what was not asked for by what the protocol says; each once.

    Raises:
        ValueError: options do not go together.
    """
    given = options.reference
    if given is not None and options.setting:
        raise ValueError("--reference is for pictures that are damaged already; leave out it or --setting")
    if given is not None and not given.is_dir():
        raise FileNotFoundError(f"{given}: expected a folder of clean pictures, but there is none")
    defaults = {"method": protocol.methods, "metric": protocol.metrics, "setting": protocol.settings, "seed": (0,)}
    for name, usual in defaults.items():
        setattr(options, name, list(dict.fromkeys(getattr(options, name) or usual)))
    if given is not None:
        options.setting = []


def _restore(place: Place, methods: Sequence[Method], groups: Sequence[Sequence[Case]]) -> dict[str, list[Case]]:
    """Let each method restore what it has not restored yet; gives the cases that are done, by method."""
    results: dict[str, list[Case]] = {}
    for method in methods:
        for cases in filter(None, groups):
            place.report.say(f"{method.name}: {cases[0].setting}, seed {cases[0].seed}")
            done = method.run(place, method.name, cases)
            names = [method.name, method.name + STAGE1] if method.kind and place.options.stage1 else [method.name]
            for name in names:
                results.setdefault(name, []).extend(done)
    return results
