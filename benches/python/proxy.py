"""The proxy, beside the plain object, the original, wrapt and lazy-object-proxy.

Usage: python -m benches.python.proxy
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from benches.python.harness import UPSTREAM, Contender, Row, answer, compete, table

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, ORIGINAL, PLAIN, WRAPT, LAZY = 'ours', 'original', 'plain', 'wrapt', 'lazy-object-proxy'

#: Operations in a row that are timed together.
NUMBER = 5000


class Case(NamedTuple):
    """A statement over a proxy `p` of a target.

    Attributes:
        statement: What is repeated.
        target: Name of the target in `targets`.
        plain: What the plain object took on the machine that the bar was set on, in nanoseconds.
        bar: What was aimed for there, in nanoseconds; it holds here in proportion to what the plain
            object takes here. None: at most 1.15 times lazy-object-proxy. Negative: the plain
            object's time and so much more.
        number: Operations in a row.
    """

    statement: str
    target: str
    plain: float
    bar: float | None = None
    number: int = NUMBER


CASES = {
    'p.x': Case('p.x', 'object', 14, 80),
    'p.m()': Case('p.m()', 'object', 42, 130),
    'p.x = 1': Case('p.x = 1', 'object', 14, 120),
    'p()': Case('p()', 'callable', 91, 130),
    'Proxy(f)': Case('make(factory)', 'object', 186, 160),
    'Proxy(f), resolved': Case('resolve(make(factory))', 'object', 186, 260),
    'isinstance(p, int)': Case('isinstance(p, int)', 'number', 29, 100),
    'isinstance(p, str), false': Case('isinstance(p, str)', 'number', 56, 100),
    'p.__class__': Case('p.__class__', 'number', 14, 60),
    'p[5]': Case('p[5]', 'list', 17),
    "p['a']": Case("p['a']", 'dict', 26),
    'len(p)': Case('len(p)', 'list', 24),
    'bool(p)': Case('bool(p)', 'list', 31),
    'p == 41': Case('p == 41', 'number', 22),
    'p < 42': Case('p < 42', 'number', 24),
    'hash(p)': Case('hash(p)', 'number', 28),
    'p + 1': Case('p + 1', 'number', 19),
    '1 + p': Case('1 + p', 'number', 19),
    'p + p': Case('p + p', 'number', 20),
    '5 in p': Case('5 in p', 'list', 100),
    'np.asarray(p)': Case('asarray(p)', 'array', 60, 700),
    'p.sum() of 10': Case('p.sum()', 'array', 1185, -250, 1000),
}

#: Figures without a bar.
CREATED = '1,000 proxies created, pickled, loaded, resolved'
THREADS = '10,000 proxies resolved by 8 threads'


class Plain:
    """What a proxy stands for; also what a proxy's construction compares with."""

    __slots__ = ('factory', 'x')

    def __init__(self, factory: Callable[[], object]) -> None:
        self.factory = factory
        self.x = 1

    def m(self) -> None:
        """Do nothing."""

    def __call__(self) -> None:
        """Do nothing."""


def factory() -> int:
    """Return a target."""
    return 1


def contender(kind: str) -> None:
    """Measure one kind of proxy, or the plain object."""
    make, wrap = makers(kind)
    cases = {name: measure(case, make, wrap) for name, case in CASES.items() if fits(kind, name)}
    if kind in (OURS, ORIGINAL):
        cases |= {CREATED: created, THREADS: resolved_by_threads}
    answer(cases)


def fits(kind: str, name: str) -> bool:
    """Whether a kind can do a case: wrapt's ObjectProxy cannot be lazy, nor called."""
    without = {WRAPT: ('p()', 'Proxy(f), resolved'), PLAIN: ('Proxy(f), resolved',)}
    return name not in without.get(kind, ())


def makers(kind: str) -> tuple[Callable[..., Any], Callable[[Any], Any]]:
    """How to make a proxy from a factory, and a resolved one of a target."""
    if kind == PLAIN:
        return Plain, lambda target: target
    if kind == WRAPT:
        import wrapt

        return wrapt.ObjectProxy, wrapt.ObjectProxy
    if kind == LAZY:
        import lazy_object_proxy

        make = lazy_object_proxy.Proxy
    else:
        from proxystore.proxy import Proxy

        make = Proxy

    def wrap(target: Any) -> Any:
        proxy = make(lambda: target)
        repr(proxy.__class__)
        return proxy

    return make, wrap


def measure(
    case: Case, make: Callable[..., Any], wrap: Callable[[Any], Any]
) -> Callable[[], float]:
    """A function that times a case once, in nanoseconds an operation.

    The statement stands in the loop itself: a call around it would cost more than most of them.
    """
    from numpy import arange, asarray

    targets: dict[str, Any] = {
        'object': Plain(factory),
        'callable': Plain(factory),
        'number': 41,
        'list': list(range(10)),
        'dict': {'a': 1},
        'array': arange(10.0),
    }
    if case.statement.startswith('resolve('):
        own = make.__module__.startswith('proxystore')
        attribute = '__proxy_wrapped__' if own else '__wrapped__'
        statement = f'make(factory).{attribute}'
    else:
        statement = case.statement
    source = (
        'def measured(repeat, clock, p, make, factory, asarray):\n'
        '    start = clock()\n'
        '    for _ in repeat:\n'
        f'        {statement}\n'
        '    return clock() - start\n'
    )
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    proxy = wrap(targets[case.target])
    repeat = range(case.number)
    arguments = (repeat, time.perf_counter_ns, proxy, make, factory, asarray)
    return lambda: namespace['measured'](*arguments) / case.number


def created() -> float:
    """Time a thousand proxies from their making to their use elsewhere."""
    import pickle

    from proxystore.proxy import Proxy, resolve

    start = time.perf_counter_ns()
    for proxy in [pickle.loads(pickle.dumps(Proxy(factory))) for _ in range(1000)]:
        resolve(proxy)
    return time.perf_counter_ns() - start


def resolved_by_threads() -> float:
    """Time eight threads that resolve the same ten thousand proxies."""
    import threading

    from proxystore.proxy import Proxy, resolve

    proxies = [Proxy(factory) for _ in range(10_000)]
    barrier = threading.Barrier(9)

    def run() -> None:
        barrier.wait()
        for proxy in proxies:
            resolve(proxy)
        barrier.wait()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter_ns()
    barrier.wait()
    took = time.perf_counter_ns() - start
    for thread in threads:
        thread.join()
    return took


def rows() -> list[Row]:
    """Measure everything."""
    code = 'from benches.python import proxy; proxy.contender({!r})'
    pythons = {OURS: sys.executable, ORIGINAL: UPSTREAM}
    with ExitStack() as stack:
        best = compete(
            {
                kind: stack.enter_context(
                    Contender([pythons.get(kind, sys.executable), '-c', code.format(kind)])
                )
                for kind in (OURS, PLAIN, ORIGINAL, LAZY, WRAPT)
            }
        )
    return [judge(name, best[name], best) for name in (*CASES, CREATED, THREADS)]


def judge(name: str, times: dict[str, float], best: dict[str, dict[str, float]]) -> Row:
    """Hold a case to its bar."""
    ours = times[OURS]
    others = {kind: times[kind] for kind in (PLAIN, ORIGINAL, LAZY, WRAPT) if kind in times}
    case = CASES.get(name)
    if case is None:
        return Row(name, ours, others)
    if case.bar is None:
        ratio = ours / times[LAZY]
        return Row(name, ours, others, '<= 1.15 x lazy-object-proxy', f'{ratio:.2f}', ratio <= 1.15)
    plain = best['Proxy(f)' if name == 'Proxy(f), resolved' else name][PLAIN]
    here = abs(case.bar) * plain / case.plain
    if case.bar < 0:
        more = ours - plain
        words = f'<= plain + {-case.bar:.0f} ns, here {here:.0f}'
        return Row(name, ours, others, words, f'+ {more:.0f} ns', more <= here)
    words = f'<= {case.bar:.0f} ns, here {here:.0f}'
    return Row(name, ours, others, words, f'{ours:.0f} ns', ours <= here)


def main() -> str:
    """Measure and lay out the results."""
    return table('Proxy', rows())


if __name__ == '__main__':
    print(main())
