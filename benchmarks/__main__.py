"""`python -m benchmarks search|throughput|startup|blackbox|language|tail|table`: measure, write, print tables."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from . import table

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run one command; 1 when a cost contradicts what is proven elsewhere."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    search = commands.add_parser("search", help="time the search proper, query by query")
    search.add_argument("--instance", help="a frozen instance by name, or `all`")
    search.add_argument("--dataset", help="a data set by name, with --model")
    search.add_argument("--model", default="xgboost", help="xgboost, lightgbm, random_forest or logistic")
    search.add_argument("--queries", type=int, default=100)
    search.add_argument("--nodes", type=int, default=400_000, help="node budget of one query")
    search.add_argument("--runs", type=int, default=5)

    throughput = commands.add_parser("throughput", help="applicants a second and memory through find_many")
    throughput.add_argument("--instance", default="heloc-xgboost-100x6-policy")
    throughput.add_argument("--rows", type=int, default=20_000)
    throughput.add_argument("--threads", type=int, default=2)
    throughput.add_argument("--runs", type=int, default=5)

    startup = commands.add_parser("startup", help="what a person waits for: import, compilation, ten applicants")
    startup.add_argument("--runs", type=int, default=5)

    blackbox = commands.add_parser("blackbox", help="a neural network: ours against NICE, CFNOW and DiCE")
    blackbox.add_argument("--dataset", choices=("heloc", "adult"), help="one of the two")
    blackbox.add_argument("--kind", choices=("free", "policy"), help="without or with the data set's constraints")
    blackbox.add_argument("--rival", help="one of them, as name or name:method")
    blackbox.add_argument("--queries", type=int, default=100)
    blackbox.add_argument("--seconds", type=float, default=60.0, help="what a rival may take for one applicant")

    language = commands.add_parser("language", help="the hand-made policies on real data, behind pipelines")
    language.add_argument("--dataset", help="one of them")
    language.add_argument("--queries", type=int, default=200)
    language.add_argument("--runs", type=int, default=3)

    tail = commands.add_parser("tail", help="hard instances: what 10^4, 10^5 and 10^6 nodes prove, and the gaps")
    tail.add_argument("--queries", type=int, nargs=3, default=(10, 10, 10), help="applicants for each budget")
    tail.add_argument("--wide", type=int, nargs=3, default=(10, 10, 10), help="the same with all features free")

    commands.add_parser("table", help="print the README's table from the committed results")
    for command in (search, throughput, startup, blackbox, language, tail):
        command.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")

    run = {
        "search": _search,
        "throughput": _throughput,
        "startup": _startup,
        "blackbox": _blackbox,
        "language": _language,
        "tail": _tail,
        "table": _table,
    }
    return run[(given := parser.parse_args()).command](given)


def _search(given: argparse.Namespace) -> int:
    from . import search, startup
    from .workloads import frozen, public

    if bool(given.instance) == bool(given.dataset):
        raise SystemExit("give either --instance or --dataset")
    if given.instance:
        names = frozen.NAMES if given.instance == "all" else (given.instance,)
        if unknown := [name for name in names if name not in frozen.NAMES]:
            raise SystemExit(f"no frozen instance {unknown[0]!r}; there are {', '.join(frozen.NAMES)}")
        works = (frozen.load(name) for name in names)
    else:
        if given.model not in public.MODELS:
            raise SystemExit(f"no model {given.model!r}; there are {', '.join(public.MODELS)}")
        works = (public.load(name, given.model, given.queries) for name in (given.dataset,))
    compile_seconds = startup.compile_cold()
    wrong = []
    for work in works:
        result = search.measure(work, nodes=given.nodes, compile_seconds=compile_seconds, runs=given.runs)
        _write(result, given.out)
        wrong += search.disagreements(work, result)
        print(f"{work.name}: proven {result['proven']} of {len(result['queries'])}, ms {result['ms']}")
    print(*wrong, sep="\n", file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def _throughput(given: argparse.Namespace) -> int:
    from . import throughput
    from .workloads import frozen

    work = frozen.refused(given.instance)
    result = throughput.measure(work, rows=given.rows, threads=given.threads, runs=given.runs)
    _write(result, given.out)
    print(f"{result['applicants_per_second']} applicants a second; {result['statuses']}; memory {result['memory']}")
    return 0


def _startup(given: argparse.Namespace) -> int:
    from . import startup

    result = startup.measure(runs=given.runs)
    _write(result, given.out)
    print(result["seconds"])
    return 0


def _blackbox(given: argparse.Namespace) -> int:
    from . import blackbox

    rivals = [r for r in blackbox.RIVALS if given.rival in (None, r[0], ":".join(r))]
    if not rivals:
        raise SystemExit(f"no rival {given.rival!r}; there are {', '.join(map(':'.join, blackbox.RIVALS))}")
    works: list[dict[str, Any]] = []
    for dataset in blackbox.DATASETS if given.dataset is None else (given.dataset,):
        known: dict[tuple[str, str], Any] = {}
        for kind in blackbox.KINDS if given.kind is None else (given.kind,):
            work = blackbox.load(dataset, kind, given.queries)
            works.append(blackbox.measure(work, seconds=given.seconds, rivals=rivals, known=known))
    _write(blackbox.result(works, seconds=given.seconds), given.out)
    wrong = blackbox.shortcomings(works)
    for done in works:
        for one in done["against"]:
            print(done["name"], one["rival"], one["method"], one["rival_calls"], one["our_calls"], one["cost_on_both"])
    print(*wrong, sep="\n", file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


def _language(given: argparse.Namespace) -> int:
    from . import language
    from .workloads import language as works

    if given.dataset not in (None, *works.DATASETS):
        raise SystemExit(f"no data set {given.dataset!r} with such a policy; there are {', '.join(works.DATASETS)}")
    violations = 0
    for dataset in works.DATASETS if given.dataset is None else (given.dataset,):
        result = language.measure(works.load(dataset, given.queries), runs=given.runs)
        _write(result, given.out)
        for kind, one in result["answers"].items():
            print(dataset, kind, one["statuses"], one["ms"], f"{one['violations']} violations")
            violations += one["violations"]
    return 1 if violations else 0


def _tail(given: argparse.Namespace) -> int:
    from . import tail

    result = tail.measure(tuple(given.queries), tuple(given.wide))
    _write(result, given.out)
    for one in result["settings"]:
        for told in one["budgets"]:
            print(one["setting"], told)
    return 0


def _table(given: argparse.Namespace) -> int:
    print(table.render(RESULTS))
    return 0


def _write(result: dict[str, Any], folder: Path) -> None:
    """Write a result, one query a line so that differences read well."""
    queries = result.pop("queries", None)
    text = json.dumps(result, indent=1)
    if queries is not None:
        result["queries"] = queries
        lines = ",\n  ".join(json.dumps(query) for query in queries)
        text = f'{text[:-2]},\n "queries": [\n  {lines}\n ]\n}}'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{result['workload']}.json").write_text(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
