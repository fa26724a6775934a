#!/usr/bin/env python3
"""Compares servers: requests per second and server CPU per request, as ratios to a reference.

    net/compare.py --bin=BUILD/bench [--protocol=echo|http] [--cells=64:64,512:64] [--rounds=5]
                   [--servers=weft,fib-ring,ur,threads] [--reference=epoll] [--secs=1] [--warm=0.3]
                   [--idle=10000] [--rate=20000]

Each server runs alone, pinned to one CPU, against a load generator pinned to another. A round runs
every server once, in an order that rotates, with the reference first and last: a machine drifts, so
a server is compared with the mean of the references around it, and only medians of those ratios over
the rounds mean anything. A run that somebody else disturbed is repeated. Cells are connections:bytes;
for HTTP the size is ignored. With --idle there are so many silent connections beside them, and a
column says what each adds to the server's memory. With --rate so many requests are sent per second,
answered or not: then CPU time and latencies are what differs. The raw results are appended to --output as JSON lines.
"""

import argparse
import importlib.util
import json
import pathlib
import socket
import statistics
import subprocess
import sys

REFERENCE_MODES = ["epoll", "ur", "fib-ring", "fib-epoll"]


def server_commands(binaries, protocol):
    """Name -> command without the port, of the servers that were built."""
    http = ["--http=1"] if protocol == "http" else []
    commands = {mode: ["reference_server", f"--mode={mode}", *http] for mode in REFERENCE_MODES}
    commands["threads"] = ["thread_server", *http]
    for name, io in {"weft": "uring", "weft-epoll": "epoll"}.items():
        commands[name] = [f"weft_{protocol}", f"--io={io}", "--workers=1"]
        commands[f"{name}-lent"] = [*commands[name], "--lent=1"]
    commands["weft-2"] = [f"weft_{protocol}", "--io=uring", "--workers=2"]
    commands["go"] = [f"go_{protocol}"]
    for name, program in {"asio": "asio_server", "asio-ring": "asio_ring_server", "libuv": "uv_server"}.items():
        commands[name] = [program, *http]
    found = {name: pathlib.Path(binaries).resolve() / command[0] for name, command in commands.items()}
    commands = {
        name: [str(found[name]), *command[1:]]
        for name, command in commands.items()
        if found[name].exists()
    }
    if importlib.util.find_spec("gevent"):
        script = pathlib.Path(__file__).with_name("gevent_server.py")
        commands["gevent"] = [sys.executable, str(script), *http]
    return commands


def free_port():
    """A port nobody listens on. A new one each time: a killed ring lets go of its port late."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_once(options, command, name, cell):
    connections, size = cell
    port = free_port()
    server = subprocess.Popen(
        ["taskset", "-c", options.server_cpu, *command, f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        load = subprocess.run(
            ["taskset", "-c", options.client_cpu, f"{options.bin}/load", f"--port={port}",
             f"--conns={connections}", f"--size={size}", f"--secs={options.secs}",
             f"--warm={options.warm}", f"--pid={server.pid}", f"--name={name}",
             f"--workers={2 if name.endswith('-2') else 1}",
             f"--idle={options.idle}", f"--rate={options.rate}", f"--http={int(options.protocol == 'http')}"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            timeout=options.secs + options.warm + 30,
        )
        if load.returncode == 0:
            return json.loads(load.stdout)
        return {"peer": name, "error": load.stderr.strip()}
    except subprocess.TimeoutExpired:
        return {"peer": name, "error": "the load generator did not finish"}
    finally:
        server.kill()
        errors = server.communicate()[1].strip()
        if errors:
            print(f"{name}: {errors.splitlines()[-1]}", file=sys.stderr)


def run_undisturbed(options, command, name, cell):
    """Repeats a run during which others used the CPUs, a few times."""
    result = {}
    for _ in range(options.attempts):
        result = run_once(options, command, name, cell)
        if result.get("others_util", 0) < options.disturbance:
            break
    result.update(conns=cell[0], size=cell[1], bench=options.protocol)
    return result


def run_round(options, commands, names, cell, number):
    """One run of every server. Returns name -> (result, throughput ratio, CPU ratio)."""
    shift = number % max(1, len(names))
    order = [options.reference, *names[shift:], *names[:shift], options.reference]
    results = []
    for name in order:
        result = run_undisturbed(options, commands[name], name, cell)
        result["round"] = number
        with open(options.output, "a", encoding="utf-8") as output:
            output.write(json.dumps(result) + "\n")
        results.append((name, result))
    references = [result for name, result in results if name == options.reference]
    if any("error" in reference for reference in references):
        return {}
    base = {key: statistics.mean(reference[key] for reference in references)
            for key in ("value", "server_cpu_ns")}
    return {
        name: (result, result["value"] / base["value"],
               result["server_cpu_ns"] / base["server_cpu_ns"])
        for name, result in results
        if "error" not in result
    }


def print_table(options, cell, rounds):
    beside = f" beside {options.idle} idle ones" if options.idle else ""
    pace = f", {options.rate:,.0f} requests/s" if options.rate else ""
    print(f"\n### {options.protocol}, {cell[0]} connections x {cell[1]} B{beside}{pace} "
          f"(ratios to {options.reference}, medians of {len(rounds)} rounds)\n")
    print("| server | n | requests/s | ratio [min-max] | CPU ratio | p50 us | p99 us | p99.9 us | disturbed |"
          + (" B per idle one |" if options.idle else ""))
    print("|---|---|---|---|---|---|---|---|---|" + ("---|" if options.idle else ""))
    rows = []
    for name in {name for results in rounds for name in results}:
        runs = [results[name] for results in rounds if name in results]
        ratios = [ratio for _, ratio, _ in runs]

        def median(key, runs=runs):
            return statistics.median(result[key] for result, _, _ in runs)

        disturbed = sum(result["others_util"] >= options.disturbance for result, _, _ in runs)
        rows.append((-statistics.median(ratios),
                     f"| {name} | {len(runs)} | {median('value'):,.0f} "
                     f"| {statistics.median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}] "
                     f"| {statistics.median(cpu for _, _, cpu in runs):.3f} "
                     f"| {median('p50_us'):.0f} | {median('p99_us'):.0f} | {median('p999_us'):.0f} "
                     f"| {disturbed} |" + (f" {median('idle_b'):,.0f} |" if options.idle else "")))
    for _, row in sorted(rows):
        print(row)
    sys.stdout.flush()


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bin", required=True, help="folder of the built programs")
    parser.add_argument("--protocol", choices=["echo", "http"], default="echo")
    parser.add_argument("--cells", default="64:64,512:64")
    parser.add_argument("--servers", default="weft,weft-epoll,ur,fib-ring,fib-epoll,threads,go")
    parser.add_argument("--reference", default="epoll")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--secs", type=float, default=1)
    parser.add_argument("--warm", type=float, default=0.3)
    parser.add_argument("--idle", type=int, default=0, help="silent connections beside each cell's")
    parser.add_argument("--rate", type=float, default=0, help="requests per second")
    parser.add_argument("--attempts", type=int, default=4)
    parser.add_argument("--disturbance", type=float, default=0.12, help="CPUs others may use")
    parser.add_argument("--server-cpu", default="0")
    parser.add_argument("--client-cpu", default="1")
    parser.add_argument("--output", default="net.jsonl")
    return parser.parse_args()


def main():
    options = parse_options()
    commands = server_commands(options.bin, options.protocol)
    wanted = options.servers.split(",")
    names = [name for name in wanted if name in commands and name != options.reference]
    missing = sorted(set(wanted) - set(names) - {options.reference})
    if missing:
        print("not built:", ", ".join(missing), file=sys.stderr)
    for text in options.cells.split(","):
        cell = tuple(int(number) for number in text.split(":"))
        rounds = [run_round(options, commands, names, cell, n) for n in range(options.rounds)]
        print_table(options, cell, rounds)


if __name__ == "__main__":
    main()
