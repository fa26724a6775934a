#!/usr/bin/env python3
"""Draws the results of fibers_vs_pools by gnuplot: a row for each job, a column for each figure.

    plot.py RESULTS.jsonl PICTURE.svg

Points are medians over the rounds. Without gnuplot it says so, and draws nothing.
"""

import collections
import json
import shutil
import statistics
import subprocess
import sys

FIGURES = {
    "value": ("tasks per second", 1),
    "p99_us": ("p99, ms", 1e-3),
    "cpu_ms": ("CPU time, ms", 1),
    "peak_rss_mb": ("peak memory, MB", 1),
}


def read_points(path):
    """Job -> variant -> tasks -> results."""
    points = collections.defaultdict(
        lambda: collections.defaultdict(lambda: collections.defaultdict(list)))
    with open(path, encoding="utf-8") as lines:
        for text in lines:
            result = json.loads(text)
            if "value" in result:
                result["cpu_ms"] = result["user_ms"] + result["system_ms"]
                points[result["bench"].split(".")[1]][result["peer"]][result["tasks"]].append(result)
    return points


def panel(job, variants, figure):
    title, factor = FIGURES[figure]
    blocks, curves = [], []
    for number, (variant, by_tasks) in enumerate(variants.items()):
        name = f"${job}_{figure}_{number}"
        rows = [f"{tasks} {factor * statistics.median(result[figure] for result in results)}"
                for tasks, results in sorted(by_tasks.items())]
        blocks.append("\n".join([f"{name} << EOD", *rows, "EOD"]))
        curves.append(f"{name} with linespoints title '{variant}'")
    return "\n".join([*blocks, f"set title '{job}: {title}'", "plot " + ", ".join(curves)])


def script(points, picture):
    size = f"{420 * len(FIGURES)},{320 * len(points)}"
    head = ["set terminal svg noenhanced background '#ffffff' font 'sans,12' size " + size,
            f"set output '{picture}'", "set logscale xy", "set format '%g'", "set xlabel 'tasks'",
            "set key below samplen 2", "set grid", f"set multiplot layout {len(points)},{len(FIGURES)}"]
    panels = [panel(job, variants, figure) for job, variants in points.items() for figure in FIGURES]
    return "\n".join([*head, *panels, "unset multiplot", ""])


def main(results, picture):
    if shutil.which("gnuplot") is None:
        print("no plot: gnuplot is not installed")
        return 0
    points = read_points(results)
    if not points:
        print("no plot: no results")
        return 0
    return subprocess.run(["gnuplot"], input=script(points, picture), text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
