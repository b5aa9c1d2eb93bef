"""An operator gives the same over a proxy as over its target: the same value or the same error."""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import fractions
import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxystore.proxy import Proxy, extract


class Vector:
    """Reflects, mutates in place, and declines what it does not know."""

    def __init__(self, *parts):
        self.parts = list(parts)

    def __repr__(self):
        return f'Vector{tuple(self.parts)}'

    def __eq__(self, other):
        return self.parts == other.parts if isinstance(other, Vector) else NotImplemented

    def __hash__(self):
        return hash(tuple(self.parts))

    def __add__(self, other):
        if not isinstance(other, Vector):
            return NotImplemented
        return Vector(*(a + b for a, b in zip(self.parts, other.parts, strict=False)))

    def __rmul__(self, other):
        return (
            Vector(*(other * a for a in self.parts)) if isinstance(other, int) else NotImplemented
        )

    def __imul__(self, other):
        if not isinstance(other, int):
            return NotImplemented
        self.parts = [a * other for a in self.parts]
        return self

    def __matmul__(self, other):
        return sum(a * b for a, b in zip(self.parts, other.parts, strict=False))

    def __len__(self):
        return len(self.parts)

    def __getitem__(self, key):
        return self.parts[key]

    def __lt__(self, other):
        return len(self) < len(other)


numbers = st.one_of(
    st.integers(-1000, 1000),
    st.booleans(),
    st.floats(allow_nan=False, width=32),
    st.complex_numbers(max_magnitude=100, allow_nan=False),
    st.decimals(-1000, 1000, places=2),
    st.fractions(-100, 100, max_denominator=20),
)
containers = st.one_of(
    st.text(max_size=5),
    st.binary(max_size=5),
    st.binary(max_size=5).map(bytearray),
    st.lists(st.integers(0, 5), max_size=4),
    st.lists(st.integers(0, 5), max_size=4).map(tuple),
    st.sets(st.integers(0, 5), max_size=4),
    st.frozensets(st.integers(0, 5), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=3),
    st.integers(0, 4).map(range),
)
others = st.one_of(
    st.none(),
    st.dates(),
    st.timedeltas(dt.timedelta(-100), dt.timedelta(100)),
    st.lists(st.integers(-9, 9), min_size=1, max_size=3).map(lambda parts: Vector(*parts)),
    st.lists(st.integers(-9, 9), min_size=3, max_size=3).map(np.array),
    st.floats(-100, 100, width=32).map(np.float64),
    st.integers(-100, 100).map(np.int64),
    st.sampled_from([int, str, len, Ellipsis, slice(1, 2)]),
)
values = st.one_of(numbers, containers, others)

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
    divmod,
    operator.matmul,
    operator.and_,
    operator.or_,
    operator.xor,
    operator.eq,
    operator.ne,
    operator.lt,
    operator.le,
    operator.gt,
    operator.ge,
    operator.getitem,
    operator.contains,
]
COMPARISONS = BINARY[11:17]
SMALL = [pow, operator.lshift, operator.rshift]
IN_PLACE = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ifloordiv,
    operator.imod,
    operator.imatmul,
    operator.iand,
    operator.ior,
    operator.ixor,
]
UNARY = [
    operator.neg,
    operator.pos,
    operator.invert,
    operator.index,
    operator.not_,
    abs,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    hash,
    len,
    list,
    sorted,
    dir,
    round,
    math.floor,
    math.ceil,
    math.trunc,
    format,
    memoryview,
    lambda x: round(x, 1),
    lambda x: list(reversed(x)),
    lambda x: {**x},
    lambda x: [*x],
    lambda x: x.__class__,
    lambda x: x.__doc__,
    lambda x: x(),
    lambda x: next(iter(x)),
    lambda x: isinstance(x, int),
    lambda x: isinstance(x, (str, list)),
    lambda x: {'a': 1}.get(x),
]


def outcome(function, *args):
    """What a call gives, in a form that compares: a type and a value, or an error."""
    try:
        result = function(*args)
    except RecursionError:
        raise
    except Exception as e:
        return type(e), ''
    if isinstance(result, memoryview):
        return memoryview, result.tobytes()
    if type(result) is np.ndarray:
        return np.ndarray, str(result.dtype), repr(result.tolist())
    return type(result), repr(result)


def fresh(value):
    """A copy, so that no operation sees what another one has changed."""
    try:
        return copy.deepcopy(value)
    except TypeError:
        return value


def proxy(value, cls=Proxy):
    made = fresh(value)
    return cls(lambda: made)


@given(values)
@pytest.mark.parametrize('function', UNARY)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings('ignore::RuntimeWarning', 'ignore::DeprecationWarning')
def test_unary(function, value):
    assert outcome(function, proxy(value)) == outcome(function, fresh(value))


@given(values, values)
@pytest.mark.parametrize('function', BINARY)
@settings(max_examples=80, deadline=None)
@pytest.mark.filterwarnings('ignore::RuntimeWarning', 'ignore::DeprecationWarning')
def test_binary(function, left, right):
    expected = outcome(function, fresh(left), fresh(right))
    assert outcome(function, proxy(left), fresh(right)) == expected
    if function is not operator.getitem and asks_the_right_operand(function, left, right):
        assert outcome(function, fresh(left), proxy(right)) == expected
        assert outcome(function, proxy(left), proxy(right)) == expected


def asks_the_right_operand(function, left, right):
    """Whether the left operand's own C code gives one on its right a say.

    Text and bytes do not when they search or are formatted, sets take only sets for frozen ones,
    and scalars of numpy decide by type what they leave to others. A comparison that the left
    operand declines is made the other way round, so a scalar of numpy answers in numpy's booleans.
    """
    if isinstance(left, str | bytes | bytearray):
        return function not in (operator.contains, operator.mod)
    if isinstance(left, set | frozenset):
        return function is not operator.contains or not isinstance(right, set)
    if function in COMPARISONS and isinstance(right, np.generic):
        return isinstance(left, np.generic | np.ndarray)
    if isinstance(left, np.generic | np.ndarray):
        return isinstance(right, int | float | complex | np.generic | np.ndarray)
    return True


@given(st.one_of(st.integers(-9, 9), st.floats(-3, 3, width=16), containers), st.integers(0, 5))
@pytest.mark.parametrize('function', SMALL)
@settings(max_examples=60, deadline=None)
def test_small_right_operands(function, left, right):
    expected = outcome(function, fresh(left), right)
    assert outcome(function, proxy(left), right) == expected
    assert outcome(function, left, proxy(right)) == expected
    assert outcome(function, proxy(left), proxy(right)) == expected


@given(values, values)
@pytest.mark.parametrize('function', IN_PLACE)
@settings(max_examples=60, deadline=None)
@pytest.mark.filterwarnings('ignore::RuntimeWarning', 'ignore::DeprecationWarning')
def test_in_place(function, left, right):
    expected = outcome(function, fresh(left), fresh(right))
    for operand in (fresh(right), proxy(right)):
        target = proxy(left)

        def operate(target=target, operand=operand):
            result = function(target, operand)
            assert result is target
            return extract(result)

        assert outcome(operate) == expected


def test_in_place_on_something_mutable_mutates_it(proxy_class):
    vector = Vector(1, 2)
    proxy = same = proxy_class(lambda: vector)
    proxy *= 2
    assert proxy is same
    assert extract(proxy) is vector
    assert vector.parts == [2, 4]


def test_a_failing_operation_in_place_leaves_the_target(proxy_class):
    proxy = proxy_class(lambda: 5)
    with pytest.raises(TypeError, match=r'\+='):
        proxy += 'text'
    assert extract(proxy) == 5


def test_not_implemented_from_both_sides_is_a_type_error(proxy_class):
    with pytest.raises(TypeError, match="'Vector' and 'int'"):
        proxy_class(lambda: Vector(1)) + 1
    assert (proxy_class(lambda: Vector(1)) == 1) is False


def test_the_reflected_method_of_the_target_is_used(proxy_class):
    assert 3 * proxy_class(lambda: Vector(1, 2)) == Vector(3, 6)
    assert proxy_class(lambda: 3) * Vector(1, 2) == Vector(3, 6)
    assert proxy_class(lambda: 3) * proxy_class(lambda: Vector(1, 2)) == Vector(3, 6)


def test_standard_types_mixed(proxy_class):
    assert proxy_class(lambda: decimal.Decimal(1)) + 1 == 2
    assert fractions.Fraction(1, 2) * proxy_class(lambda: fractions.Fraction(2)) == 1
    assert dt.date(2020, 1, 1) + proxy_class(lambda: dt.timedelta(1)) == dt.date(2020, 1, 2)


def test_a_subclass_may_override_operators():
    class Loud(Proxy):
        __slots__ = ()

        def __add__(self, other):
            return 'overridden', extract(self) + other

        def __radd__(self, other):
            return 'reflected', other + extract(self)

        def __getitem__(self, key):
            return 'item', super().__getitem__(key)

        def __len__(self):
            return 100 + super().__len__()

        def __eq__(self, other):
            return 'equal'

        def __hash__(self):
            return 7

        def __call__(self):
            return 'called'

    loud = Loud(lambda: 5)
    assert loud + 1 == ('overridden', 6)
    assert 1 + loud == ('reflected', 6)
    assert Proxy(lambda: 1) + loud == ('reflected', 6)
    assert loud - 1 == 4
    assert 6 - loud == 1
    assert (loud == 1) == 'equal'
    assert loud < 6
    assert hash(loud) == 7
    assert loud() == 'called'
    items = Loud(lambda: [1, 2])
    assert items[0] == ('item', 1)
    assert len(items) == 102
    assert 1 in items
