"""MNIST from the shell: the fastest settings that reach an accuracy on a validation part, for this program and for a plain PyTorch
script, and then the time of whole processes that learn all 60,000 images with them, in turns, and what they reach on the test images.

    MNIST=FOLDER GPU_BACKPROP=PROGRAM venv/bin/python mnist.py --search CACHE    # the validation part: minutes
    MNIST=FOLDER GPU_BACKPROP=PROGRAM venv/bin/python mnist.py --run CACHE       # the test images, seeds 0 to 4
"""
import argparse, itertools, json, os, statistics, subprocess, sys, time

GRID = dict(hidden=[128, 256], batch=[64, 128, 256], eta=[0.001, 0.003, 0.006], epochs=[2, 3, 4, 6, 8, 12])
SEEDS = [0, 1, 2]
GOALS = [0.97, 0.98]
HERE = os.path.dirname(os.path.abspath(__file__))


def ours(s, validation):
    flags = [f"--{flag}={s[flag]}" for flag in ("hidden", "batch", "eta", "epochs", "seed")]
    flags += ["--validation=0.16667", "--keep=last", "--test=0"] if validation else ["--validation=0"]
    start = time.time()
    done = subprocess.run(
        [os.environ["GPU_BACKPROP"], "train", os.environ["MNIST"], "--recipe=modern", "--dropout=0", "--lambda=0", "--device=cpu", "--threads=2", "--monitor=none", "--quiet", "--json", *flags],
        capture_output=True, text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    report = json.loads(done.stdout)
    return report["validation_accuracy" if validation else "test_accuracy"], time.time() - start


def torch(s):
    flags = [f"--{flag}={s[flag]}" for flag in ("hidden", "batch", "eta", "epochs", "seed")]
    start = time.time()
    done = subprocess.run([sys.executable, os.path.join(HERE, "torch_mnist.py"), *flags], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["accuracy"], time.time() - start


def torch_validation(settings):
    """One process for all of them: the import is no part of the search."""
    command = [sys.executable, os.path.join(HERE, "torch_mnist.py"), "--validation", "--search", json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            found = json.loads(line)
            yield found["accuracy"], found["seconds"]


def search(program, cache):
    """Settings by accuracy on the validation part: seed 0 of all; the other seeds of the fastest, until their mean reaches a goal."""
    found = cache.setdefault(program, {})

    def measure(settings):
        settings = [s for s in settings if json.dumps(s) not in found]
        results = torch_validation(settings) if program == "torch" else (ours(s, True) for s in settings)
        for s, result in zip(settings, results):
            found[json.dumps(s)] = result

    grid = [dict(zip(GRID, values)) for values in itertools.product(*GRID.values())]
    measure([{**s, "seed": 0} for s in grid])
    best = {}
    for goal in GOALS:
        # What one seed reached is luck by a tenth of a per cent.
        near = [s for s in grid if found[json.dumps({**s, "seed": 0})][0] >= goal - 0.001]
        for s in sorted(near, key=lambda s: found[json.dumps({**s, "seed": 0})][1]):
            measure([{**s, "seed": seed} for seed in SEEDS])
            accuracy = statistics.mean(found[json.dumps({**s, "seed": seed})][0] for seed in SEEDS)
            if accuracy >= goal:
                best[goal] = s
                print(f"{program}: {goal:.0%} of the validation part by {s}: {accuracy:.2%}", flush=True)
                break
        else:
            print(f"{program}: no settings reach {goal:.0%}")
    cache.setdefault("best", {})[program] = best


def run(cache, seeds):
    for goal in GOALS:
        rounds = []
        for seed in range(seeds):
            programs = [("ours", lambda s: ours(s, False)), ("torch", torch)]
            rounds.append({name: of({**cache["best"][name][str(goal)], "seed": seed}) for name, of in programs[:: 1 if seed % 2 else -1]})
        for name in ("ours", "torch"):
            accuracies = ", ".join(f"{r[name][0]:.2%}" for r in rounds)
            times = ", ".join(f"{r[name][1]:.2f}" for r in rounds)
            print(f"{goal:.0%} {name}: {accuracies}, mean {statistics.mean(r[name][0] for r in rounds):.2%}, in {times} s")
        print(f"{goal:.0%}: ratio of times {statistics.median(r['torch'][1] / r['ours'][1] for r in rounds):.1f} (median of {seeds} rounds)")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--search", metavar="CACHE")
    p.add_argument("--only", choices=["ours", "torch"])
    p.add_argument("--run", metavar="CACHE")
    p.add_argument("--seeds", type=int, default=5)
    a = p.parse_args()
    path = a.search or a.run or p.error("--search CACHE or --run CACHE")
    cache = json.load(open(path)) if os.path.exists(path) else {}
    for program in ["ours", "torch"] if a.search else []:
        if a.only in (None, program):
            search(program, cache)
            json.dump(cache, open(path, "w"))
    if a.run:
        run(json.load(open(path)), a.seeds)
