"""What the plugin costs a session that does not use it: `pytest --co` of an empty folder with and without it.

python benchmarks/startup.py          medians of 10 runs each, which take turns
python benchmarks/startup.py --runs 30
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time


def seconds(folder: str, *options: str) -> float:
    """The wall time of one session. Other people's plugins are left out: Hypothesis's own takes part in both."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "--co", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    runs = parser.parse_args().runs
    ways = {"without the plugin": (), "with the plugin": ("-p", "rnn_props.pytest_plugin")}
    found: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        for options in ways.values():  # once to fill the caches of files
            seconds(folder, *options)
        for _ in range(runs):
            for name, options in ways.items():
                found[name].append(seconds(folder, *options))
    print(f"pytest --co of an empty folder, medians of {runs} runs in turns, Python {sys.version.split()[0]}")
    for name, times in found.items():
        low, high = min(times), max(times)
        print(f"{name:20} {1000 * statistics.median(times):6.0f} ms   ({1000 * low:.0f} to {1000 * high:.0f})")
    without, with_it = (statistics.median(times) for times in found.values())
    print(f"{'difference':20} {1000 * (with_it - without):6.0f} ms")


if __name__ == "__main__":
    main()
