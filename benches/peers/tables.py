"""gpu-backprop beside scikit-learn on public tables, each program with its defaults and as whole processes.

    python3 -m venv venv && venv/bin/pip install -r tables-requirements.txt
    venv/bin/python tables.py --binary PATH [--cache DIR] [--only iris,ames] [--splits 5] [--json FILE]
    venv/bin/python tables.py --binary PATH --extra "--hidden 100"      # a variant: flags for `train`
    venv/bin/python tables.py --binary PATH --budget 10s                # `sweep --budget` beside `train`, without scikit-learn
    venv/bin/python tables.py --list                                    # the tables of tables_data.py

Split s is `train_test_split(test_size=0.2, random_state=s)`, stratified by class, written as train.csv and as test.csv
without its target. Ours are `train` with `--target`, `--task regression` and `--missing mean` where a table needs them, and
then `predict`. Theirs is tables_sklearn.py: MLPClassifier or MLPRegressor with random_state=s, and Ridge for regression.
The probabilities of both are normalised to a sum of 1 and clipped at 1e-15. Seconds are those of the processes from
start to end, reading and writing files included, with --threads threads: their median over the splits. Other figures
are means over the splits; those of a program that failed are nan, and no claim about them holds.

--cache keeps the figures of scikit-learn for each split, program text, version and number of threads, with the seconds
they took then: for a comparison of times, run without it on a quiet machine.
"""
import argparse, hashlib, json, math, os, shlex, statistics, subprocess, sys, tempfile, time
import numpy as np
import pandas as pd
import sklearn
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from tables_data import TABLES

SKLEARN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tables_sklearn.py")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--binary", default=os.environ.get("GPU_BACKPROP", "gpu-backprop"))
    p.add_argument("--extra", default="", help="flags for `gpu-backprop train`")
    p.add_argument("--budget", help="compare `gpu-backprop sweep --budget` with `train`, both with their defaults")
    p.add_argument("--only", default="", help="names of tables")
    p.add_argument("--splits", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    p.add_argument("--cache", help="folder for the figures of scikit-learn")
    p.add_argument("--json", help="write the figures of every split to this file")
    p.add_argument("--list", action="store_true", help="print the tables and stop")
    a = p.parse_args()
    only = a.only.split(",") if a.only else [table.name for table in TABLES]
    if unknown := set(only) - {table.name for table in TABLES}:
        p.error(f"--only: no table {', '.join(sorted(unknown))}; --list prints them")
    tables = [table for table in TABLES if table.name in only]
    if a.list:
        return print_tables(tables)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(a.threads)

    rows = []
    for table in tables:
        frame = table.load()
        runs = [run_split(a, table, frame, split) for split in range(a.splits)]
        rows.append({"table": table.name, "task": table.task, "rows": len(frame), "runs": runs, **summary(runs)})
        print(f"{table.name}: {summary(runs)}", file=sys.stderr)
    if a.json:
        with open(a.json, "w") as file:
            json.dump(rows, file, indent=1)
    if a.budget:
        return print_budget(rows)
    print_results(rows)
    print_verdict(rows)


def run_split(a, table, frame, split):
    """{program: {figure: value}} of one split."""
    classes = frame[table.target] if table.task == "classification" else None
    train, test = train_test_split(frame, test_size=0.2, random_state=split, stratify=classes)
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{name}" for name in ("train.csv", "test.csv", "out.csv")]
        train.to_csv(files[0], index=False)
        test.drop(columns=table.target).to_csv(files[1], index=False)

        def figures(*commands):
            seconds = run(commands)
            if seconds is None:
                return dict.fromkeys(("accuracy", "log_loss", "r2", "seconds"), math.nan)
            return {**score(table, test[table.target], pd.read_csv(files[2])), "seconds": seconds}

        flags = ["--task", "regression"] if table.task == "regression" else []
        flags += ["--missing", "mean"] if frame.isna().any(axis=None) else []
        threads = ["--device", "cpu", "--threads", str(a.threads)]
        model = f"{folder}/model.safetensors"
        common = [files[0], "--target", table.target, *flags, *threads, "--quiet", *shlex.split(a.extra)]
        predict = [files[1], *threads, "-o", files[2], *(["--probabilities"] if table.task == "classification" else [])]
        found = {"ours": figures([a.binary, "train", *common, "-o", model], [a.binary, "predict", model, *predict])}
        if a.budget:
            sweep = [a.binary, "sweep", *common, "--budget", a.budget, "-o", f"{folder}/sweep"]
            found["sweep"] = figures(sweep, [a.binary, "predict", f"{folder}/sweep/best.safetensors", *predict])
            return found
        for name in ["mlp", "ridge"] if table.task == "regression" else ["mlp"]:
            command = [sys.executable, SKLEARN, name, table.task, table.target, str(split), *files]
            cached = a.cache and f"{a.cache}/{table.name}-{split}-{name}-{fingerprint(a, files[:2])}.json"
            found[name] = from_cache(cached, lambda: figures(command))
    return found


def run(commands):
    """The seconds that the commands take, or None if one fails."""
    start = time.perf_counter()
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{shlex.join(command)}: exit code {done.returncode}: {done.stderr.strip()[-500:]}", file=sys.stderr)
            return None
    return time.perf_counter() - start


def fingerprint(a, files):
    """A hash of everything that the figures of scikit-learn depend on."""
    content = hashlib.sha256(f"{sklearn.__version__} {a.threads}".encode())
    for file in [SKLEARN, *files]:
        with open(file, "rb") as opened:
            content.update(opened.read())
    return content.hexdigest()[:12]


def from_cache(file, compute):
    if file and os.path.exists(file):
        with open(file) as opened:
            return json.load(opened)
    figures = compute()
    if file and figures["seconds"] > 0:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "w") as opened:
            json.dump(figures, opened)
    return figures


def score(table, truth, found):
    """Figures of predictions `found`: a value for each row, or a label and the probability of each class."""
    if table.task == "regression":
        return {"r2": r2_score(truth, found[table.target])}
    truth = truth.astype(str).to_numpy()
    classes = found.columns[1:].astype(str)
    outputs = np.clip(found.iloc[:, 1:].to_numpy(float), 1e-15, None)
    of_truth = (outputs / outputs.sum(1, keepdims=True))[np.arange(len(truth)), classes.get_indexer(truth)]
    return {"accuracy": float((found["label"].astype(str) == truth).mean()),
            "log_loss": float(-np.log(np.clip(of_truth, 1e-15, 1 - 1e-15)).mean())}


def summary(runs):
    """Means over the splits, but the median of seconds: {"ours accuracy": 0.95, ...}."""
    def over_splits(program, figure):
        values = [run[program][figure] for run in runs]
        return statistics.median(values) if figure == "seconds" else statistics.mean(values)
    return {f"{program} {figure}": round(over_splits(program, figure), 5)
            for program in runs[0] for figure in ("accuracy", "log_loss", "r2", "seconds")
            if all(figure in run[program] for run in runs)}


def print_results(rows):
    def speed(r):
        return f"{r['ours seconds']:.3f} s | {r['mlp seconds']:.2f} s | {r['mlp seconds'] / r['ours seconds']:.1f} |"

    if named := [r for r in rows if r["task"] == "classification"]:
        print("| | rows | accuracy | scikit-learn | log loss | scikit-learn | time | scikit-learn | ratio |\n|---|" + "--:|" * 8)
        for r in named:
            print(f"| {r['table']} | {r['rows']:,} | {r['ours accuracy']:.2%} | {r['mlp accuracy']:.2%} "
                  f"| {r['ours log_loss']:.4f} | {r['mlp log_loss']:.4f} | {speed(r)}")
        print()
    if numbers := [r for r in rows if r["task"] == "regression"]:
        print("| | rows | R² | scikit-learn | Ridge | time | scikit-learn | ratio |\n|---|" + "--:|" * 7)
        for r in numbers:
            print(f"| {r['table']} | {r['rows']:,} | {r['ours r2']:.3f} | {r['mlp r2']:.3f} | {r['ridge r2']:.3f} | {speed(r)}")
        print()


def print_budget(rows):
    """Differences of `sweep` from `train`, split by split: above 0 is better."""
    def differences(row, figure, sign):
        each = [sign * (run["sweep"][figure] - run["ours"][figure]) for run in row["runs"]]
        error = statistics.stdev(each) / len(each) ** 0.5 if len(each) > 1 else math.nan
        return statistics.mean(each), error

    print("| | rows | figure | train | sweep | better by | seconds of the sweep |\n|---|--:|---|--:|--:|--:|--:|")
    better = []
    for row in rows:
        for figure, sign in [("log_loss", -1), ("accuracy", 1)] if row["task"] == "classification" else [("r2", 1)]:
            mean, error = differences(row, figure, sign)
            print(f"| {row['table']} | {row['rows']:,} | {figure} | {row[f'ours {figure}']:.4f} | {row[f'sweep {figure}']:.4f} "
                  f"| {mean:+.4f} ± {error:.4f} | {row['sweep seconds']:.1f} |")
            if figure != "accuracy":
                better.append(mean)
    print(f"\nlog loss or R² better on {sum(x > 0 for x in better)}, the same on {sum(x == 0 for x in better)}, "
          f"worse on {sum(x < 0 for x in better)} of {len(better)} tables")


def print_verdict(rows):
    def line(claim, rows, by, allowed=0.0, share=1.0):
        """`by(row)` is by how much the claim holds: at least -allowed on this share of the rows."""
        if rows:
            short = {r["table"]: by(r) for r in rows if not by(r) >= -allowed - 1e-9}
            good = len(rows) - len(short)
            names = ", ".join(f"{name} ({value:+.3g})" for name, value in sorted(short.items(), key=lambda item: item[1]))
            print(f"- {'holds' if good >= share * len(rows) else 'FAILS'}: {claim}: {good} of {len(rows)} tables"
                  + (f"; not {names}" if names else ""))

    named = [r for r in rows if r["task"] == "classification"]
    numbers = [r for r in rows if r["task"] == "regression"]
    line("accuracy at most 1 point below scikit-learn's on every table (points)", named,
         lambda r: 100 * (r["ours accuracy"] - r["mlp accuracy"]), allowed=1)
    if named:
        ours, theirs = (statistics.mean(r[f"{program} accuracy"] for r in named) for program in ("ours", "mlp"))
        print(f"- {'holds' if ours > theirs else 'FAILS'}: mean accuracy above scikit-learn's: {ours:.2%} and {theirs:.2%}")
    line("log loss below scikit-learn's on three quarters of the tables", named,
         lambda r: r["mlp log_loss"] - r["ours log_loss"], share=0.75)
    line("R² at least scikit-learn's on three quarters of the tables", numbers,
         lambda r: r["ours r2"] - r["mlp r2"], share=0.75)
    line("R² at most 0.02 below Ridge's on every table", numbers, lambda r: r["ours r2"] - r["ridge r2"], allowed=0.02)
    ratios = [r["mlp seconds"] / r["ours seconds"] for r in rows]
    line(f"whole processes at least 10 times as fast on every table (median {statistics.median(ratios):.1f})", rows,
         lambda r: r["mlp seconds"] / r["ours seconds"] - 10)


def print_tables(tables):
    print("| name | rows | inputs | text columns | rows with missing values | target | about | from |\n|---|" + "--:|" * 4 + "---|" * 3)
    for table in tables:
        frame = table.load()
        inputs, y = frame.drop(columns=table.target), frame[table.target]
        text = inputs.shape[1] - inputs.select_dtypes("number").shape[1]
        if table.task == "regression":
            kind = f"number, skewness {y.skew():.1f}"
        else:
            shares = y.value_counts(normalize=True)
            kind = f"{len(shares)} classes, {shares.min():.0%} to {shares.max():.0%}"
        print(f"| {table.name} | {len(frame):,} | {inputs.shape[1]} | {text} | {inputs.isna().any(axis=1).sum():,} "
              f"| {kind} | {table.about} | {table.package}, `{table.item}` |")


if __name__ == "__main__":
    main()
