"""Runs the peers in turn on the same work and prints a table for each workload, fastest first.

    run_peers.py [--workloads w1,w2] [--threads 1,2] [--only torch,ours] [--quick] [--json FILE]
    run_peers.py --extra 'before=COMMAND'    # a command that takes the flags of a peer and prints its JSON line
"""
import argparse, json, os, shlex, subprocess, sys

HERE = os.path.dirname(os.path.abspath(__file__))
PEERS = {name: [sys.executable, f"{HERE}/{name}_peer.py"] for name in ("jax", "torch", "numpy", "ours")}
AMOUNTS = {"w1": "--epochs 3", "w2": "--epochs 3", "w3": "--steps 100 --reps 3", "w4": "--steps 5 --reps 3",
           "w5": "--steps 200 --reps 3"}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--workloads", default="w1,w2,w3,w4")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--only", default="", help="peers to run, by the beginnings of their names")
    p.add_argument("--extra", action="append", default=[], metavar="NAME=COMMAND")
    p.add_argument("--quick", action="store_true", help="one repetition of everything")
    p.add_argument("--timeout", type=int, default=240, help="seconds for each run")
    p.add_argument("--json", help="also write the results to this file")
    a = p.parse_args()
    peers = dict(PEERS)
    for extra in a.extra:
        name, command = extra.split("=", 1)
        peers[name] = shlex.split(command)
    if a.only:
        peers = {name: peers[name] for name in peers if name.startswith(tuple(a.only.split(",")))}

    rows, failed = [], []
    for workload in a.workloads.split(","):
        amount = AMOUNTS[workload]
        if a.quick:
            amount = amount.replace("--epochs 3", "--epochs 1").replace("--reps 3", "--reps 1")
        for name, command in peers.items():
            for threads in a.threads.split(","):
                argv = [*command, "--workload", workload, "--threads", threads, *amount.split()]
                try:
                    run = subprocess.run(argv, capture_output=True, text=True, timeout=a.timeout)
                    row = json.loads(run.stdout.splitlines()[-1])
                except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
                    why = str(error) if isinstance(error, (OSError, subprocess.TimeoutExpired)) else run.stderr.strip()[-200:]
                    failed.append(f"{name} {workload}, {threads} threads: {why}")
                    continue
                rows.append(dict(row, peer=name))
                print(f"{workload} {name}, {threads} threads: {row['steps_per_s']} steps/s", file=sys.stderr)

    for workload in a.workloads.split(","):
        print(f"\n{workload}\n{'peer':16} {'thr':>3} {'steps/s':>10} {'samples/s':>11} {'min..max':>21} {'GFLOP/s':>8} {'test acc':>8}")
        for r in sorted((r for r in rows if r["workload"] == workload), key=lambda r: -r["samples_per_s"]):
            acc = "" if r["test_acc"] is None else f"{100 * r['test_acc']:.2f}%"
            spread = f"{r['samples_per_s_min']:.0f}..{r['samples_per_s_max']:.0f}"
            print(f"{r['peer']:16} {r['threads']:>3} {r['steps_per_s']:>10.1f} {r['samples_per_s']:>11.0f} {spread:>21} "
                  f"{r['gflops']:>8.1f} {acc:>8}")
    if failed:
        print("\nfailed:\n  " + "\n  ".join(failed))
    if a.json:
        with open(a.json, "w") as file:
            json.dump(rows, file, indent=1)


main()
