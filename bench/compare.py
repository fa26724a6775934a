#!/usr/bin/env python3
"""Compares runtimes line by line, as ratios to a reference peer.

    compare.py --bin=BUILD/bench [--lines=yield1000,sem_pp] [--peers=weft,boost_fiber]
               [--workers=1,2] [--rounds=5] [--reference=boost_fiber] [--output=micro.jsonl]
    compare.py --report=micro.jsonl [--reference=boost_fiber]

Each process runs one line once. A round runs every peer once, in an order that rotates from round to
round: a machine drifts, so only what ran close together is compared. Printed are the median, the
least and the greatest value, and the median of the ratios within each round. A peer that fails a line
is not asked again, and is listed as failed.
"""

import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys

LINES = (
    "switch switch1000 yield2 yield1000 spawn_one spawn_many skynet_join100k skynet_join1m skynet_chan100k "
    "skynet_chan1m mutex8 mutex64 mutex_unc mutex8y mutex64y generator sem_pp cond_pp chan_pp mpmc select8 "
    "select8_wait sleep100k sleep_idle idle100k idle1m foreign_lat foreign_wake idle_cpu"
).split()
PEERS = "weft boost_fiber go std_thread thread_pool fcontext coroutine2".split()

# Figures worth a look beside the value, by line.
BESIDE = {
    "spawn_many": ["cold_ns", "spawn_only_ns", "peak_rss_mb"],
    "skynet_join100k": ["cpu_ms", "peak_rss_mb"],
    "skynet_chan100k": ["cpu_ms", "peak_rss_mb"],
    "skynet_join1m": ["cpu_ms", "peak_rss_mb"],
    "skynet_chan1m": ["cpu_ms", "peak_rss_mb"],
    "sleep100k": ["late_median_us", "late_p99_us", "wall_ms"],
    "sleep_idle": ["late_p99_us", "cpu_ns_per_sleep"],
    "idle100k": ["page_tables_b_per_fiber", "maps_per_fiber", "park_ns", "release_ns"],
    "idle1m": ["page_tables_b_per_fiber", "maps_per_fiber", "park_ns", "release_ns"],
    "foreign_lat": ["p99_us", "cpu_us_per_request"],
    "foreign_wake": ["p99_us", "cpu_us_per_request"],
    "idle_cpu": ["wakeups_per_s"],
}
BESIDE.update({f"read_{cache}{depth}": ["cpu_us_per_read", "p50_us", "p99_us"]
               for cache in ("cached", "direct") for depth in (1, 32, 128)})
CPU_PER_OPERATION = ["cpu_ns"]  # above the value with two workers: both were busy


def run_once(program, line, workers, timeout):
    """The result of one process: a line's figures, or "error", or "na"."""
    try:
        process = subprocess.run([program, line, str(workers)], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return {"error": f"no result after {timeout:.0f} s"}
    if process.returncode != 0 or not process.stdout.strip():
        complaint = process.stderr.strip().splitlines()[-1:] or [""]
        return {"error": f"exit code {process.returncode} {complaint[0]}"}
    return json.loads(process.stdout.strip().splitlines()[-1])


def programs_of(options):
    found = {}
    for peer in options.peers.split(","):
        path = pathlib.Path(options.bin).resolve() / f"{peer}_lines"
        if path.exists():
            found[peer] = str(path)
        else:
            print("not built:", path, file=sys.stderr)
    return found


def takes_part(peer, line):
    if line.startswith("switch"):
        return peer == "fcontext"
    return line == "generator" or peer not in ("fcontext", "coroutine2")


def run_line(options, programs, line, workers, record):
    peers = [peer for peer in programs if takes_part(peer, line)]
    gone = set()
    for number in range(options.rounds):
        shift = number % max(1, len(peers))
        for peer in peers[shift:] + peers[:shift]:
            if peer in gone:
                continue
            result = run_once(programs[peer], line, workers, options.timeout)
            if "error" in result or result.get("na"):
                gone.add(peer)
            record({**result, "program": peer, "bench": line, "workers": workers, "round": number})


def run_all(options):
    programs = programs_of(options)
    for line in options.lines.split(","):
        for workers in map(int, options.workers.split(",")):
            if (line.startswith("switch") or line == "generator") and workers != 1:
                continue  # one thread
            results = []
            with open(options.output, "a", encoding="utf-8") as output:
                def record(result, results=results, output=output):
                    results.append(result)
                    output.write(json.dumps(result) + "\n")
                run_line(options, programs, line, workers, record)
            print_line(results, options.reference)


def shown(value):
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def extras(results):
    """The medians of the figures beside the value."""
    line = results[0]["bench"]
    parts = []
    for key in BESIDE.get(line, CPU_PER_OPERATION):
        values = [result[key] for result in results if key in result]
        if values:
            parts.append(f"{key} {shown(statistics.median(values))}")
    if any(result.get("ok") == 0 for result in results):
        parts.append("WRONG RESULT")
    return ", ".join(parts)


def print_line(results, reference):
    """The table of one line with one number of workers."""
    by_peer = collections.defaultdict(list)
    for result in results:
        by_peer[result["program"]].append(result)
    base = {r["round"]: r["value"] for r in by_peer.get(reference, []) if r.get("value")}
    rows = []
    unit = ""
    for peer, mine in by_peer.items():
        good = [result for result in mine if "value" in result]
        if not good:
            error = mine[0].get("error")
            if error:
                rows.append((float("inf"), f"| {peer} | failed: {error} | | | |"))
            continue
        unit = good[0]["unit"]
        values = [result["value"] for result in good]
        ratios = [r["value"] / base[r["round"]] for r in good if r["round"] in base]
        ratio = f"{statistics.median(ratios):.3f}" if ratios else "-"
        rows.append((statistics.median(values),
                     f"| {good[0]['peer']} | {shown(statistics.median(values))} "
                     f"[{shown(min(values))}-{shown(max(values))}] | {len(values)} | {ratio} "
                     f"| {extras(good)} |"))
    if not rows:
        return
    print(f"\n### {results[0]['bench']}, workers {results[0]['workers']}\n")
    print(f"| peer | {unit}: median [min-max] | n | ratio to {reference} | beside it |")
    print("|---|---|---|---|---|")
    for _, row in sorted(rows):
        print(row)
    sys.stdout.flush()


def report(files, reference):
    groups = collections.defaultdict(list)
    for name in files.split(","):
        with open(name, encoding="utf-8") as lines:
            for text in lines:
                result = json.loads(text)
                groups[(result["bench"], result["workers"])].append(result)
    for results in groups.values():
        print_line(results, reference)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", default="", help="folder of the built programs")
    parser.add_argument("--lines", default=",".join(LINES))
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reference", default="boost_fiber")
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--output", default="micro.jsonl")
    parser.add_argument("--report", default="", help="only print tables of recorded results")
    return parser.parse_args()


def main():
    options = parse_options()
    if options.report:
        report(options.report, options.reference)
    elif options.bin:
        run_all(options)
    else:
        sys.exit("--bin or --report is needed")


if __name__ == "__main__":
    main()
