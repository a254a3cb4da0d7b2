"""The operations of a compiled expression, by number: what the compiler of expressions writes and the kernels read.

A program is a list of (operation, argument) in postfix order on a stack. Every value is a float64: numbers are
themselves, levels with a text are their positions, True is 1 and False 0; missing and unknown are NaN.
"""

from __future__ import annotations

# push one value
CONSTANT = 0  # constant[arg]
LOAD = 1  # x[arg]
START = 2  # start[arg]
# change the top of the stack
CLEAN = 3  # missing where it is a declared code of feature arg
NEGATIVE = 4
ABSOLUTE = 5
FLOOR = 6
LOG = 7
EXP = 8
NOT = 9
KNOWN = 10  # is it not missing?
MEMBER = 11  # is it one of constant[arg + 1 : arg + 1 + constant[arg]]?
LOOKUP = 12  # constant[arg + 1 + value]; the value is a position below constant[arg]
# pop two values, push one
ADD = 13
SUBTRACT = 14
MULTIPLY = 15
DIVIDE = 16
MINIMUM = 17
MAXIMUM = 18
LESS = 19
AT_MOST = 20
EQUAL = 21
AND = 22
OR = 23
OTHERWISE = 24  # the first, unless it is missing: then the second
# pop three values, push one
CHOOSE = 25  # the first if the second is True, the third if it is False, missing if it is unknown

PUSHES = {CONSTANT: 1, LOAD: 1, START: 1, CHOOSE: -2} | dict.fromkeys(range(ADD, CHOOSE), -1)  # 0 where not named
