"""The operations of a compiled expression, by number: what the compiler of expressions writes and the kernels read.

A program is a list of (operation, argument) in postfix order: each works on the values of operations before it, the
last of them right before. Every value is a float64: numbers are themselves, levels with a text are their positions,
True is 1 and False 0; missing and unknown are NaN.
"""

from __future__ import annotations

# of no value
CONSTANT = 0  # constant[arg]
LOAD = 1  # x[arg]
START = 2  # start[arg]
# of the value right before
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
# of two values: that `arg` operations before, and that right before
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
# of three values: that of arg >> FAR before, of the condition arg & NEAR before, and of that right before
CHOOSE = 25  # the first if the condition is True, the last if it is False, missing if it is unknown
FAR, NEAR = 32, 0xFFFFFFFF
