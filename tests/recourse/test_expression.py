"""The language of rules: what it reads, what it refuses and in which words, and what its expressions give."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recourse import datasets
from recourse.errors import DataError, PolicyError, UnknownFeature
from recourse.expression import (
    Apply,
    Compiler,
    Name,
    Node,
    Number,
    Raw,
    Start,
    Text,
    dependents,
    names_in,
    otherwise,
    parse,
    rule_nodes,
    starts_in,
)
from recourse.policy import Feature, Policy
from recourse.search.programs import run_point
from recourse.state import after, present, violations
from tests.expressions import FEATURES, as_number, conditions, encoded, numbers, rows, value_of

QUEER = {
    **FEATURES,
    "a-b": Feature(kind="number"),
    "x.y": Feature(kind="number"),
    "größe": Feature(kind="number"),
    "min": Feature(kind="number"),
    "start": Feature(kind="number"),
}
EVERYTHING: dict[str, Any] = {
    "income": 1000,
    "net income": 500.0,
    "months": -9,
    "class": 3,
    "flag": 1,
    "sure": False,
    "housing": "rent",
    "before": "free",
    "school": "school",
    "rungs": 2,
    "mixed": 1,
    "a-b": 4,
    "x.y": 5,
    "größe": 6,
    "min": 7,
    "start": 8,
    "wait": 6,
}
START = {**EVERYTHING, "income": 900, "school": "none", "months": 4}


def give(text: str, **changed: Any) -> Any:
    return parse(text, QUEER).evaluate({**EVERYTHING, **changed}, START)


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize(
    "text, expected",
    [
        ("income + 1", 1001),
        ("-income * 2 - +3", -2003),
        ("income / 0", None),
        ("0 / 0 == 1", None),
        ("1e308 * 10", None),
        ("exp(1000)", None),
        ("log(0)", None),
        ("log(-1)", None),
        ("exp(0)", 1),
        ("floor(-0.5)", -1),
        ("min(3, 1, 2)", 1),
        ("max(`net income`, income, 2)", 1000),
        ("abs(start.income - income)", 100),
        ("income > start.income", True),
        ("100 < income <= 1000", True),
        ("100 < income <= 999 or income != 1000", False),
        ("1 if flag else 0", 1),
        ("5 if income > 2000 else 6", 6),
        ("flag", 1),
        ("not flag", False),
        ("flag and not sure", True),
        ("flag == True", True),
        ("flag == (income > 0)", True),
        ("sure == 0", True),
        ("flag == '1'", True),
        ("True", True),
        ("housing", "rent"),
        ("housing == 'rent'", True),
        ("housing != before", True),
        ("housing in ['own', 'free']", False),
        ("housing not in ('own', 'free')", True),
        ("(housing if flag else 'free') == 'free'", False),
        ("school > start.school", True),
        ("school >= 'degree'", False),
        ("'none' < school < 'degree'", True),
        ("rungs < 3", True),
        ("mixed == 1", True),
        ("mixed == '1'", True),
        ("mixed in ['a', 2.5]", False),
        ("`class` + `a-b` + `x.y` + größe + min + start", 33),
        ("start.start + start.`net income`", 508),
        ("min(min, 2)", 2),
        ("wait >= 6", True),
        ("1_000 == income", True),
        ("  income\n  ==\n1000 ", True),
        ("income in {1000}", True),
    ],
)
def test_values(text: str, expected: Any) -> None:
    """Expressions give what they say; what cannot be computed is missing."""
    found = give(text)
    assert found == expected
    assert isinstance(found, bool) == isinstance(expected, bool)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("months + 1", None),
        ("abs(months)", None),
        ("months < 0", None),
        ("0 < months + income", None),
        ("months == -9", True),
        ("months == '-9'", True),
        ("months != -9", False),
        ("months == -7", False),
        ("months in [-7, '-9']", True),
        ("months not in ['-7']", True),
        ("months == start.months", False),
        ("months", -9),
        ("months if flag else 0", -9),
        ("(months if flag else 0) + 1", None),
        ("start.months + 1", 5),
    ],
)
def test_codes(text: str, expected: Any) -> None:
    """A code is missing in arithmetic, functions and order, and itself where values are told apart or handed on."""
    assert give(text) == expected


def test_codes_are_missing_on_request() -> None:
    """Where a number is needed, as for a threshold, a code that is handed on is missing."""
    bare = parse("months if flag else 0", QUEER, keep_codes=False)
    assert bare.evaluate(EVERYTHING, START) is None
    assert bare.evaluate({**EVERYTHING, "months": 4}, START) == 4


@pytest.mark.parametrize(
    "text, expected",
    [
        ("income > 1", None),
        ("income == 1", None),
        ("income != 1", None),
        ("income in [1]", None),
        ("income not in [1]", None),
        ("not income > 1", None),
        ("income > 1 and flag", None),
        ("income > 1 and not flag", False),
        ("income > 1 or flag", True),
        ("income > 1 or not flag", None),
        ("1 if income > 1 else 1", None),
        ("1 if flag else income", 1.0),
        ("min(1, income)", None),
        ("0 * income", None),
    ],
)
@pytest.mark.parametrize("missing", [None, math.nan, np.float64("nan"), math.inf])
def test_missing(text: str, expected: Any, missing: Any) -> None:
    """A comparison with a missing value is unknown, and unknown decides nothing (Kleene's logic)."""
    found = give(text, income=missing)
    assert found == expected
    assert type(found) is type(expected)


def test_values_as_frames_hold_them() -> None:
    """NumPy's numbers and the spellings of a level in a file are read; a level never seen is missing."""
    assert give("income + rungs", income=np.int64(4), rungs="2") == 6
    assert give("flag", flag=np.True_) is not None
    assert give("flag == 1", flag=1.0) is True
    assert give("housing == 'own'", housing="castle") is None
    assert give("housing == 'own' or housing != 'own'", housing="castle") is None
    with pytest.raises(DataError, match="income: expected a number, got 'much'"):
        give("income > 1", income="much")
    with pytest.raises(KeyError, match="income"):
        parse("income > 1", QUEER).evaluate({}, {})
    assert parse("wait > 1", QUEER).evaluate({}, {}) is False


def test_names() -> None:
    """What an expression reads is told apart by when."""
    found = parse("income > start.`class` and wait > 3 and months == -9", QUEER)
    assert found.names == {"income", "wait", "months"}
    assert found.start_names == {"class"}
    assert found.kind == "boolean"
    assert [parse(text, QUEER).kind for text in ("1", "flag", "housing")] == ["number", "number", "text"]


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "'': is empty. Write an expression, such as income > 1000."),
        ("incme > 1", "'incme > 1', column 1: no feature named 'incme'. Did you mean 'income'?"),
        ("1 < start.incme", "'1 < start.incme', column 5: no feature named 'incme'. Did you mean 'income'?"),
        ("ﬁ > 1", "'ﬁ > 1', column 1: no feature named 'ﬁ'."),  # Python's parser would make it fi
        ("größe > gröse", "'größe > gröse', column 9: no feature named 'gröse'. Did you mean 'größe'?"),
        ("a-b > 1", "column 1: no feature named 'a'. The feature 'a-b' is written in backticks: `a-b`."),
        ("x.y > 1", "the dot has a meaning in start.x alone, not in x.y. The feature 'x.y' is written in backticks"),
        ("class > 1", "is not an expression: invalid syntax. The feature 'class' is written in backticks: `class`."),
        ("net income > 1", "The feature 'net income' is written in backticks: `net income`."),
        ("`net income", "column 1: the backtick ` is not closed."),
        ("1 + ``", "column 5: there is no name between the backticks."),
        ("`a-b``x.y` > 1", "`a-b``x.y` is not one name. Put an operator between its parts."),
        ("income = 3", "column 8: = is not part of the language. Write ==, <= or >= to compare."),
        ("income => 3", "column 8: => is not part of the language."),
        ("income && flag", "column 8: && is not part of the language. Write and."),
        ("income & flag", "column 8: & is not part of the language. Write and."),
        ("!flag", "column 1: ! is not part of the language. Write not."),
        ("income ≥ 3", "column 8: ≥ is not part of the language. Write >=."),
        ("income ** 2 > 1", "column 8: ** is not part of the language. Write a product."),
        ("(income) // 2", "column 10: // is not part of the language. Write floor(a / b)."),
        ("income % 2", "column 8: % is not part of the language. Allowed are names, numbers,"),
        ("income is 3", "is and is not are not part of the language. Write == or !=."),
        ("income == None", "column 11: there is no None: a comparison with a missing value is unknown"),
        ("income > 1 # rich", "column 12: # has no meaning. Put remarks outside of the quotes."),
        ("start.wait > 1", "wait is 0 at the start. Write wait."),
        ("flag == true", "column 9: write True."),
        ("mni(1, 2)", "no function named 'mni'. Did you mean 'min'?"),
        ("min(income)", "min takes 2 to 100 values, got 1."),
        ("abs(1, 2)", "abs takes one value, got 2."),
        ("min(a=1)", "min takes plain values: write min(a, b)."),
        ("exp + 1", "exp is a function: write exp(a)."),
        (
            "housing == 'onw'",
            """"onw" is not among the levels of housing: "rent", "own", "free". Did you mean 'own'?""",
        ),
        ("(housing if flag else 'x') == before", '"x" is not among the levels of housing or before.'),
        ("housing < 'own'", 'the levels of housing have no order. Use == or in, or make its kind "ordinal"'),
        ("school < 'phd'", '"phd" is not among the levels of school: "none", "school", "degree".'),
        ("school < housing", "housing is not on the ladder of school"),
        ("school > income", "income is not on the ladder of school"),
        ("rungs == 7", '7 is not among the levels of rungs: "0", "1", "2", "3".'),
        ("income == '3'", 'income is a number, "3" a text. Delete the quotes.'),
        ("months == '-8'", 'months is a number, "-8" a text. Delete the quotes. Its codes are "-7", "-9", "5".'),
        ("income < 'x'", 'income is a number, "x" a text.'),
        ("housing == income", "housing is a text, income is a number."),
        ("income > (flag == 1)", "flag == 1 is a condition, neither more nor less than another."),
        ("income and flag", "expected a condition, income is a number. Compare it, as in income > 0."),
        ("not housing", "expected a condition, housing is a text. Compare it with one of its levels."),
        ("housing + 1", "expected a number, housing is a text. Compare it with one of its levels."),
        ("'3' + income", "expected a number, '3' is a text. Delete the quotes."),
        ("1 + (income > 2)", "expected a number, income > 2 is a condition. Write 1 if ... else 0."),
        ("'rent' if flag else 3", "the two sides of if ... else are a text and a number. Make them alike."),
        ("'a' == 'b'", "compares two texts. Write the name of a feature without quotes."),
        ("'a' < 'b'", "texts have an order only as the levels of an ordinal feature."),
        ("income in []", "the list is empty, so nothing is in it."),
        ("income in 3", "to the right of in stands a list in square brackets, as in [1, 2]."),
        ("income in [income]", "a list holds constants alone, not income. Use == and or."),
        ("'own' in [housing]", "to the left of in stands a feature or an expression."),
        ("1e999", "this number is too large."),
        ("9" * 400, "this number is too large."),
        ("1" * 5000, "a number has too many digits."),
        ("1j * income", "1j is neither a number nor a text nor True or False."),
        ("housing == 'a\\d'", "invalid escape sequence"),
        ("income + " * 150 + "1", "is too deep: at most 2000 names and operations, nested at most 100 deep."),
        (" * ".join(["(" + " + ".join(["1"] * 90) + ")"] * 7), ""),
        (" or ".join(["1 > 0"] * 900), "is too large: at most 2000 names and operations"),
        ("not " * 2000 + "flag", "is too deep"),
        ("(" * 300 + "1" + ")" * 300, "is not an expression: too many nested parentheses."),
        ("income > 1 or " * 1000, "has 14000 characters, more than 10000. Split it."),
        ("income\x00", "null bytes"),
        ("housing == '\ud800'", "characters that no text has"),
    ],
)
def test_errors(text: str, message: str) -> None:
    """What is wrong is said in the words of a policy's author, with the column and the remedy."""
    features = {name: feature for name, feature in QUEER.items() if name not in ("min", "start")}
    if message == "":
        assert parse(text, features).kind == "number"  # large, but not too large
        return
    with pytest.raises(PolicyError) as caught:
        parse(text, features)
    assert message in str(caught.value)
    assert ("no feature named" in message) == isinstance(caught.value, UnknownFeature)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "open('/etc/passwd')",
        "income.real",
        "income.__class__",
        "start.income.real",
        "start.__class__",
        "(lambda: 1)()",
        "[i for i in [1]]",
        "{1: 2}",
        "[1, 2]",
        "income[0]",
        "f'{income}' == housing",
        "b'rent' == housing",
        "(income := 3) > 1",
        "await income",
        "(yield)",
        "...",
        "*income",
        "income if flag",
        "income; flag",
        "income @ income",
        "income << 100000",
        "~flag",
        "min(*[1, 2])",
        "min(income, key=abs)",
        "`__import__`('os')",
        "`min`(1, 2)",
        "`start`.income",
        "exp(exp)(1)",
        "True + 1",
        "max(1, True)",
    ],
)
def test_nothing_else_is_let_in(text: str) -> None:
    """Whatever Python has beyond the list is refused before anything runs."""
    with pytest.raises(PolicyError):
        parse(text, FEATURES)


TOKENS = [
    *(
        "income",
        "`net income`",
        "flag",
        "housing",
        "start",
        ".",
        "'rent'",
        "1",
        "-9",
        "(",
        ")",
        "[",
        "]",
        ",",
        "+",
        "-",
    ),
    *(
        "*",
        "/",
        "**",
        "<",
        "==",
        "=",
        "in",
        "not",
        "and",
        "or",
        "if",
        "else",
        "lambda",
        ":",
        "min",
        "`",
        "'",
        "{",
        "f'",
    ),
    *("\\", "#", "@", " ", "\n", "é", "\x00"),
]


@given(st.one_of(st.text(max_size=40), st.lists(st.sampled_from(TOKENS), max_size=20).map(" ".join)))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text, it is an expression of a known kind or a `PolicyError`: no other error, no warning."""
    try:
        found = parse(text, FEATURES)
    except PolicyError:
        return
    assert found.kind in ("number", "boolean", "text")
    assert found.names | found.start_names <= {*FEATURES, "wait"}


@given(st.text(st.characters(exclude_characters="`\x00", exclude_categories=["Cs"]), min_size=1, max_size=8))
def test_any_name_can_be_written(name: str) -> None:
    """In backticks any name of a column is read as it is, keywords, spaces and quotes included."""
    features = {name: Feature(kind="number")}
    found = parse(f"2 * `{name}` + start.`{name}`", features)
    assert found.names == found.start_names == {name}
    assert found.evaluate({name: 3}, {name: 4}) == 10


def test_reading_loads_no_compiler() -> None:
    """Policies are read and rules evaluated without Numba."""
    script = "import sys, recourse.expression, recourse.policy; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ------------------------------------------------------------------------------------------------------------- programs


@numba.njit
def _point(programs, k, x, start, stack):  # type: ignore[no-untyped-def]
    return run_point(programs, k, x, start, stack)


def run(programs: Any, k: int, x: np.ndarray, start: np.ndarray) -> float:
    """Return what a program gives on one row."""
    return float(_point(programs, k, x, start, np.empty((programs.depth, 3))))


def test_a_compiler_shares_constants_and_says_what_is_read() -> None:
    """Programs number from 0, know what they read, and keep each constant once."""
    compiler = Compiler(FEATURES, ["months", "income", "wait"])
    texts = ["income + 2.5 > 2.5", "months + start.income == wait", "housing == housing"]
    assert compiler.add(parse(texts[0], FEATURES)) == 0
    assert compiler.add(parse(texts[1], FEATURES)) == 1
    with pytest.raises(PolicyError, match="reads 'housing', which is not among the features of the search"):
        compiler.add(parse(texts[2], FEATURES))
    programs = compiler.programs()
    assert programs.constant.tolist() == [2.5]
    assert [compiler.reads(0), compiler.reads(1)] == [(1,), (0, 2)]
    assert programs.code[programs.code_start[0] : programs.code_start[1]].tolist() == [-7, -9, 5]
    assert run(programs, 1, np.array([4.0, 0.0, 7.0]), np.array([0.0, 3.0, 0.0])) == 1.0
    assert run(programs, 1, np.array([5.0, 0.0, 8.0]), np.array([0.0, 3.0, 0.0])) != 1.0  # 5 is a code


def test_without_waiting_nobody_waits() -> None:
    """`wait` is 0 where it is no action of the search."""
    compiler = Compiler(FEATURES, ["income"])
    compiler.add(parse("wait + income", FEATURES))
    assert run(compiler.programs(), 0, np.array([3.0]), np.array([3.0])) == 3.0


def test_inlining_by_hand() -> None:
    """A name is replaced by the node given for it, in which names are actions; codes of the result are missing."""
    grown: Node = otherwise(Apply("+", (Name("months"), Number(12.0))), Raw("months"))
    compiler = Compiler(FEATURES, ["months"])
    for text in ("months", "months + 0", "months == -9", "start.months + 0"):
        compiler.add(parse(text, FEATURES), {"months": grown})
    programs = compiler.programs()

    def all_of(months: float) -> list[float]:
        return [run(programs, k, np.array([months]), np.array([4.0])) for k in range(4)]

    assert all_of(8.0) == [20.0, 20.0, 0.0, 4.0]
    coded = all_of(-9.0)
    assert [coded[0], coded[2]] == [-9.0, 1.0]
    assert coded[1] != coded[1]
    assert all_of(-19.0)[1] != all_of(-19.0)[1]  # -19 + 12 is a code
    assert names_in(grown) == {"months"}
    assert starts_in(Apply("+", (Start("income"), Text("x")))) == {"income"}


def test_what_grows_beyond_reason_is_refused() -> None:
    """A chain of derived features that doubles at each step is refused with a remedy, at once."""
    features: dict[str, Any] = {"a0": {"kind": "number", "step": 1}}
    for i in range(1, 41):
        features[f"a{i}"] = {"kind": "number", "role": "derived", "value": f"a{i - 1} + a{i - 1}"}
    policy = Policy.model_validate({"decision": {"threshold": 0.5}, "features": features})
    nodes = dependents(policy)
    compiler = Compiler(policy.features, list(policy.features))
    assert run_all(compiler, nodes["a3"], 1.0) == 8.0
    with pytest.raises(PolicyError, match="more than 20000 operations once the features that it reads are written out"):
        compiler.add(nodes["a40"])


def run_all(compiler: Compiler, node: Node, value: float) -> float:
    k = compiler.add(node)
    programs = compiler.programs()
    x = np.full(len(programs.code_start) - 1, value)
    return run(programs, k, x, x)


# --------------------------------------------------------------------------------------------------------- dependents


def lender(**more: Any) -> dict[str, Any]:
    """A policy over the features of `tests.expressions` as a dictionary; `features` are added to them."""
    plain = {name: feature.model_dump(exclude_defaults=True) for name, feature in FEATURES.items()}
    features = {name: {"kind": feature.kind, **plain[name]} for name, feature in FEATURES.items()}
    for name, extra in more.pop("features", {}).items():
        features[name] = {**features.get(name, {}), **extra}
    return {"decision": {"threshold": 0.5, "knockouts": more.pop("knockouts", [])}, "features": features, **more}


def tick_values(tick: float, kind: str, months: list[int], **more: Any) -> list[float]:
    policy = Policy.model_validate(
        {
            "decision": {"threshold": 0.5},
            "features": {"x": {"kind": kind, "role": "fixed", "tick": tick}},
            "time": {"horizon": 400, "cost_per_month": 0.1},
            **more,
        }
    )
    compiler = Compiler(policy.features, ["x", "wait"])
    k = compiler.add(dependents(policy)["x"])
    programs = compiler.programs()
    return [run(programs, k, np.array([30.0, float(m)]), np.array([30.0, 0.0])) for m in months]


def test_ticks_are_exact_decimals() -> None:
    """Months times the decimal that is written, rounded once: 100 months of 0.29 are 29, not 28.999..."""
    assert tick_values(0.29, "integer", [0, 1, 99, 100]) == [30, 30, 58, 59]
    assert tick_values(0.0833, "integer", [12, 13, 120]) == [30, 31, 39]
    assert tick_values(0.1, "number", [3, 7]) == [30 + 0.3, 30 + 0.7]
    assert tick_values(1, "integer", [5]) == [35]
    assert tick_values(1.5, "integer", [3]) == [34]
    assert tick_values(1, "integer", [0, 5, 9], reapply={"after_months": 6}) == [36, 36, 39]


def test_dependents_are_those_that_are_not_simply_chosen() -> None:
    """A feature is a dependent if it is derived or an effect, ticks while months can pass, or changes on reapplying."""
    features = {
        "months": {"role": "fixed", "tick": 1},
        "ratio": {"kind": "number", "role": "derived", "value": "income / `net income`"},
        "savings": {"kind": "number", "effect": "start.savings + 0.2 * (income - start.income)"},
    }
    assert set(dependents(Policy.model_validate(lender(features=features)))) == {"ratio", "savings"}
    waiting = Policy.model_validate(lender(features=features, time={"horizon": 12, "cost_per_month": 1}))
    assert set(dependents(waiting)) == {"ratio", "savings", "months"}
    again = Policy.model_validate(
        lender(features=features, reapply={"after_months": 6, "effects": {"class": "+1", "flag": "1"}})
    )
    assert set(dependents(again)) == {"ratio", "savings", "months", "class", "flag"}
    assert names_in(dependents(again)["ratio"]) == {"income", "net income"}
    assert starts_in(dependents(again)["savings"]) == {"savings", "income"}
    assert dependents(Policy.model_validate(lender())) == {}


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies with a derived feature of a derived one, effects, ticks, rules, knock-outs and changes on reapplying."""
    tick = st.sampled_from([1, 0.5, 0.0833, 0.1])
    features: dict[str, dict[str, Any]] = {
        "months": {"tick": draw(tick)},
        "net income": {"tick": draw(tick)},
        "ratio": {"kind": "number", "role": "derived", "value": draw(numbers())},
        "poor": {"kind": "flag", "role": "derived", "value": draw(conditions())},
        "grade": {"kind": "number", "role": "derived", "value": f"ratio + {draw(numbers(2))} if poor else ratio"},
        "tenure": {
            "kind": "category",
            "role": "derived",
            "levels": ["own", "rent", "free"],
            "value": f"'own' if {draw(conditions(2))} else housing",
        },
        "savings": {"kind": "number", "effect": f"start.savings + {draw(numbers(2))}", "codes": {"-1": "none"}},
        "loans": {"kind": "integer", "effect": f"floor(grade) if {draw(conditions(1))} else start.loans", "tick": 2},
    }
    reapply = {
        "after_months": draw(st.sampled_from([0, 6])),
        "effects": {
            "class": draw(st.sampled_from(["+1", "-1", "*0.5", "/ rungs", "+ start.months", "- (income + 1)"])),
            "months": draw(st.sampled_from(["+1", "start.months", "- start.`class`"])),
            "savings": draw(st.sampled_from(["+ loans", "* 2", "grade"])),
            "sure": draw(st.sampled_from(["True", "rungs > 1", "start.sure"])),
        },
    }
    if not draw(st.booleans()):
        reapply["effects"] = {}
    rules = [
        {"require": f"{draw(conditions(2))} or not poor"},
        {"when": "tenure != start.tenure", "then": f"True and {draw(conditions(2))}"},
        {"require": "savings + 1 > loans"},
        {"require": "savings != -1"},
    ]
    knockouts = [{"name": "out", "deny_when": f"poor and {draw(conditions(1))}"}]
    time = {"horizon": 36, "cost_per_month": 0.1} if draw(st.booleans()) else None
    return Policy.model_validate(
        lender(features=features, rules=rules, knockouts=knockouts, time=time, reapply=reapply)
    )


@given(st.data(), policies())
def test_dependents_and_rules_are_what_the_policy_says(data: st.DataObject, policy: Policy) -> None:
    """Every dependent and every rule, compiled over the actions, gives what `recourse.state` makes of the policy's
    text step by step: effects, months, reapplying, formulas."""
    row = data.draw(rows)
    row.pop("wait")
    row |= {name: data.draw(value_of(policy.features[name])) for name in ("savings", "loans")}
    wait = 0 if policy.time is None else data.draw(st.integers(0, 36))
    now = present(policy, row)
    chosen = {name: data.draw(value_of(feature)) for name, feature in FEATURES.items()}
    state = after(policy, row, chosen, wait)

    order = [*policy.features, "wait"]
    compiler = Compiler(policy.features, order)
    nodes = dependents(policy)
    number = {name: compiler.add(node) for name, node in nodes.items()}
    rules = [(name, compiler.add(node)) for name, node in rule_nodes(policy)]
    programs = compiler.programs()
    x = encoded({**now, **chosen, "wait": wait}, policy.features, order)
    start = encoded(now, policy.features, order)
    wanted = encoded(state, policy.features, order)
    for name, k in number.items():
        found = run(programs, k, x, start)
        assert as_number(found) == pytest.approx(wanted[order.index(name)], rel=0, abs=0, nan_ok=True), name
    broken = [name for name, k in rules if run(programs, k, x, start) == 0.0]
    assert broken == violations(policy, state, now)


@pytest.mark.parametrize("name", ["heloc", "german_credit", "south_german_credit", "adult", "hmeq"])
def test_the_policies_of_real_data(name: str, data_dir: Any) -> None:
    """On real applicants with changes drawn from what other applicants have, each dependent, rule and knock-out of the
    hand-made policies is what `recourse.state` makes of it."""
    data_dir(name)
    policy = Policy.from_toml(datasets.policy_path(name))
    frame = datasets.load(name).frame
    order = [*policy.features, "wait"]
    compiler = Compiler(policy.features, order)
    number = {feature: compiler.add(node) for feature, node in dependents(policy).items()}
    rules = [(rule, compiler.add(node)) for rule, node in rule_nodes(policy)]
    programs = compiler.programs()
    assert rules
    random = np.random.default_rng(0)
    free = [feature for feature in policy.movable if feature in frame.columns and feature not in number]
    horizon = 0 if policy.time is None else policy.time.horizon
    states = 0
    for i in random.integers(len(frame), size=60).tolist():
        row = frame.iloc[i].to_dict()
        now = present(policy, row)
        others = present(policy, frame.iloc[int(random.integers(len(frame)))].to_dict())
        changes = {feature: others[feature] for feature in free if random.random() < 0.4}
        wait = int(random.integers(horizon + 1))
        state = after(policy, row, changes, wait)
        now = {feature: now.get(feature) for feature in order}
        x = encoded({**now, **changes, "wait": wait}, policy.features, order)
        start, wanted = encoded(now, policy.features, order), encoded({**now, **state}, policy.features, order)
        for feature, k in number.items():
            found = run(programs, k, x, start)
            assert found == wanted[order.index(feature)] or (found != found and state[feature] is None), feature
        assert [rule for rule, k in rules if run(programs, k, x, start) == 0.0] == violations(policy, state, now)
        states += bool(changes)
    assert states > 20
