"""The first use: the factory runs once, and no thread can wait for ever."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import greenlet
import pytest

from proxystore.proxy import ProxyResolveError, extract, is_resolved, resolve
from tests.support.interpreter import run_program

# Generous: nothing below takes as long unless it hangs.
PATIENCE = 30.0


class Factory:
    """A factory that lets a test see and hold up its calls."""

    def __init__(self, *, held: bool = False) -> None:
        self.calls = 0
        self.called = threading.Event()
        self.release = threading.Event()
        if not held:
            self.release.set()

    def __call__(self) -> object:
        self.calls += 1
        self.called.set()
        assert self.release.wait(PATIENCE)
        return [self.calls]


class Worker(threading.Thread):
    """A thread whose result or exception a test asks for."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self._function = function
        self._args = args
        self.start()

    def run(self):
        try:
            self._result = self._function(*self._args)
            self._error = None
        except BaseException as e:
            self._error = e

    def result(self):
        self.join(PATIENCE)
        assert not self.is_alive(), 'the thread hangs'
        if self._error is not None:
            raise self._error
        return self._result


def until_asleep(thread: threading.Thread) -> None:
    """Returns when the thread sleeps on a lock, other than the interpreter's own."""
    futex = {'x86_64': '202', 'aarch64': '98'}[platform.machine()]
    state = Path(f'/proc/self/task/{thread.native_id}/syscall')
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        number, *arguments = state.read_text().split()
        if number == futex and not is_in_interpreter(int(arguments[0], 16)):
            return
    pytest.fail('the thread does not fall asleep')


def is_in_interpreter(address: int) -> bool:
    """Whether memory belongs to the interpreter's image, where it keeps its global lock."""
    image, end = False, 0
    for line in Path('/proc/self/maps').read_text().splitlines():
        span, _, _, _, _, *path = line.split(maxsplit=5)
        low, high = (int(bound, 16) for bound in span.split('-'))
        if path:
            # Not the extension modules, whose names contain the interpreter's.
            image = Path(path[0]).name.startswith(('python', 'libpython'))
        else:
            # The zeroed part of the image has no path and comes right after the rest.
            image = image and low == end
        if low <= address < high:
            return image
        end = high
    return False


def test_the_factory_runs_once_for_many_threads(proxy_class):
    factory = Factory(held=True)
    proxy = proxy_class(factory)
    with ThreadPoolExecutor(16) as pool:
        first = pool.submit(len, proxy)
        assert factory.called.wait(PATIENCE)
        others = [pool.submit(len, proxy) for _ in range(15)]
        factory.release.set()
        assert {future.result(PATIENCE) for future in [first, *others]} == {1}
    assert factory.calls == 1


def test_many_proxies_under_many_threads(proxy_class):
    factories = [Factory() for _ in range(200)]
    proxies = [proxy_class(factory) for factory in factories]
    barrier = threading.Barrier(8)

    def touch_all():
        barrier.wait()
        return [extract(proxy) for proxy in proxies]

    with ThreadPoolExecutor(8) as pool:
        results = [future.result() for future in [pool.submit(touch_all) for _ in range(8)]]
    assert all(a is b for result in results for a, b in zip(result, results[0], strict=True))
    assert {factory.calls for factory in factories} == {1}


def test_touching_itself_is_a_recursion_error(proxy_class):
    proxy = proxy_class(lambda: proxy + 1)
    with pytest.raises(ProxyResolveError) as caught:
        resolve(proxy)
    # Of the outer call the inner one is the cause.
    inner = caught.value.cause
    assert isinstance(inner, ProxyResolveError)
    assert isinstance(inner.cause, RecursionError)
    assert inner.__cause__ is inner.cause
    assert not is_resolved(proxy)


def test_a_failed_factory_can_be_called_again(proxy_class):
    results = iter([ValueError('not yet'), 'there'])

    def factory():
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    proxy = proxy_class(factory)
    with pytest.raises(ProxyResolveError, match='not yet') as caught:
        str(proxy)
    assert isinstance(caught.value.cause, ValueError)
    assert caught.value.__cause__ is caught.value.cause
    assert not is_resolved(proxy)
    assert str(proxy) == 'there'


@pytest.mark.parametrize('kind', [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_of_the_factory_passes_as_it_is(proxy_class, kind):
    error = kind('stop')

    def factory():
        raise error

    proxy = proxy_class(factory)
    with pytest.raises(kind) as caught:
        resolve(proxy)
    assert caught.value is error
    assert not is_resolved(proxy)


def test_waiters_retry_once_and_share_what_comes_of_it(proxy_class):
    attempts = []
    held = threading.Event()
    waiting = threading.Event()

    def factory():
        attempts.append(threading.get_ident())
        if len(attempts) == 1:
            held.set()
            assert waiting.wait(PATIENCE)
        raise OSError(f'attempt {len(attempts)}')

    proxy = proxy_class(factory)
    first = Worker(resolve, proxy)
    assert held.wait(PATIENCE)
    others = [Worker(resolve, proxy) for _ in range(5)]
    for other in others:
        until_asleep(other)
    waiting.set()
    errors = []
    for worker in [first, *others]:
        with pytest.raises(ProxyResolveError) as caught:
            worker.result()
        errors.append(str(caught.value.cause))
    assert errors[0] == 'attempt 1'
    assert set(errors[1:]) == {'attempt 2'}
    assert len(attempts) == 2


def test_waiters_get_an_object_that_came_to_be_during_the_first_attempt(proxy_class):
    stored = []
    held = threading.Event()
    waiting = threading.Event()

    def factory():
        found = list(stored)
        if not held.is_set():
            held.set()
            assert waiting.wait(PATIENCE)
        if not found:
            raise KeyError('missing')
        return found[0]

    proxy = proxy_class(factory)
    first = Worker(resolve, proxy)
    assert held.wait(PATIENCE)
    stored.append('object')
    second = Worker(str, proxy)
    until_asleep(second)
    waiting.set()
    with pytest.raises(ProxyResolveError):
        first.result()
    assert second.result() == 'object'


def test_two_threads_that_wait_for_each_other_go_on(proxy_class):
    both = threading.Barrier(2)

    def factory_of(other):
        def factory():
            # In the cycle a factory is called a second time, which goes straight through.
            if factory.first:
                factory.first = False
                both.wait(PATIENCE)
                return [*proxies[other]]
            return ['again']

        factory.first = True
        return factory

    proxies = {}
    proxies['a'] = proxy_class(factory_of('b'))
    proxies['b'] = proxy_class(factory_of('a'))
    a, b = Worker(list, proxies['a']), Worker(list, proxies['b'])
    assert sorted([a.result(), b.result()])
    assert is_resolved(proxies['a'])
    assert is_resolved(proxies['b'])


def test_a_long_cycle_of_waits_goes_on(proxy_class):
    size = 6
    barrier = threading.Barrier(size)
    fresh = [True] * size

    def factory_of(number):
        def factory():
            if fresh[number]:
                fresh[number] = False
                barrier.wait(PATIENCE)
                return 1 + len(proxies[(number + 1) % size])
            return [number]

        return factory

    proxies = [proxy_class(factory_of(number)) for number in range(size)]
    workers = [Worker(resolve, proxy) for proxy in proxies]
    # The cycle breaks at one thread, which makes a list; whoever waited for its length has a
    # number, and whoever waits for the length of that fails, and calls again.
    for worker in workers:
        with contextlib.suppress(ProxyResolveError):
            worker.result()
    assert not any(worker.is_alive() for worker in workers)
    assert any(is_resolved(proxy) and isinstance(extract(proxy), list) for proxy in proxies)


def test_a_waiter_that_holds_a_lock_of_the_factory_goes_on(proxy_class):
    lock = threading.RLock()
    inside = threading.Event()
    calls = []

    def factory():
        calls.append(threading.get_ident())
        inside.set()
        with lock:
            return 'value'

    proxy = proxy_class(factory)
    with lock:
        other = Worker(str, proxy)
        assert inside.wait(PATIENCE)
        until_asleep(other)
        # Upstream calls the factory here, which may take the lock again.
        assert str(proxy) == 'value'
    assert other.result() == 'value'
    assert len(calls) == 2


def test_only_one_result_is_kept(proxy_class):
    lock = threading.RLock()
    inside = threading.Event()

    def factory():
        inside.set()
        with lock:
            return object()

    proxy = proxy_class(factory)
    with lock:
        other = Worker(extract, proxy)
        assert inside.wait(PATIENCE)
        mine = extract(proxy)
    assert other.result() is mine
    assert extract(proxy) is mine


def test_a_waiter_inside_an_import_does_not_hold_up_the_factory(tmp_path):
    # The module touches the proxy while it is imported, and the factory imports the module.
    (tmp_path / 'touching.py').write_text(
        'import __main__\n__main__.importing.set()\n__main__.inside.wait()\n'
        'value = str(__main__.proxy)\n'
    )
    run_program(
        """
        import sys, threading, time
        sys.path.insert(0, sys.argv[1])
        from proxystore.proxy import Proxy

        importing, inside = threading.Event(), threading.Event()

        def factory():
            if threading.current_thread() is resolver:
                importing.wait()
                inside.set()
                import touching
            return 'value'

        proxy = Proxy(factory)
        resolver = threading.Thread(target=str, args=(proxy,))
        resolver.start()
        began = time.monotonic()
        import touching
        resolver.join()
        assert touching.value == 'value'
        """,
        str(tmp_path),
        timeout=PATIENCE,
    )


def test_another_greenlet_of_the_same_thread_calls_the_factory_itself(proxy_class):
    calls = []

    def factory():
        calls.append(greenlet.getcurrent())
        if len(calls) == 1:
            main.switch('inside')
        return len(calls)

    proxy = proxy_class(factory)
    main = greenlet.getcurrent()
    first = greenlet.greenlet(lambda: int(proxy))
    assert first.switch() == 'inside'
    second = greenlet.greenlet(lambda: int(proxy))
    assert second.switch() == 2
    # The first result wins: the first greenlet gets it too, though it goes on to return its own.
    assert first.switch() == 2
    assert len(calls) == 2


def test_recursion_within_a_greenlet_is_still_found(proxy_class):
    proxy = proxy_class(lambda: int(proxy))

    def touch():
        with pytest.raises(ProxyResolveError) as caught:
            int(proxy)
        return caught.value.cause.cause

    assert isinstance(greenlet.greenlet(touch).switch(), RecursionError)


def test_recursion_of_a_second_runner_is_found(proxy_class):
    calls = []

    def factory():
        calls.append(1)
        if len(calls) == 1:
            main.switch('inside')
            return 1
        return int(proxy)

    proxy = proxy_class(factory)
    main = greenlet.getcurrent()
    first = greenlet.greenlet(lambda: int(proxy))
    first.switch()

    def touch():
        with pytest.raises(ProxyResolveError) as caught:
            int(proxy)
        return caught.value.cause.cause

    assert isinstance(greenlet.greenlet(touch).switch(), RecursionError)
    assert first.switch() == 1


def test_a_forked_child_does_not_wait_for_a_thread_of_its_parent(proxy_class):
    factory = Factory(held=True)
    proxy = proxy_class(factory)
    owner = Worker(len, proxy)
    assert factory.called.wait(PATIENCE)
    waiter = Worker(len, proxy)
    until_asleep(waiter)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(int(PATIENCE))
            factory.release.set()
            status = 0 if len(proxy) == 1 and factory.calls == 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    factory.release.set()
    assert owner.result() == waiter.result() == 1
    assert factory.calls == 1


def test_a_factory_may_fork(proxy_class):
    def factory():
        child = os.fork()
        if child == 0:
            return 'child'
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        return 'parent'

    proxy = proxy_class(factory)
    text = str(proxy)
    if text == 'child':
        os._exit(7 if is_resolved(proxy) and str(proxy) == 'child' else 1)
    assert text == 'parent'


def test_a_waiting_main_thread_answers_signals(proxy_class):
    factory = Factory(held=True)
    proxy = proxy_class(factory)
    owner = Worker(len, proxy)
    assert factory.called.wait(PATIENCE)
    main = threading.main_thread()

    def interrupt():
        until_asleep(main)
        signal.pthread_kill(main.ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 the signal must not come before
        Worker(interrupt)
        len(proxy)
    assert not is_resolved(proxy)
    factory.release.set()
    assert len(proxy) == owner.result() == 1
    assert factory.calls == 1


@contextlib.contextmanager
def interrupted_by(handler):
    """The main thread, which runs the body, soon gets a signal that this function handles."""
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        main = threading.main_thread().ident
        Worker(lambda: signal.pthread_kill(main, signal.SIGUSR1))
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_that_returns_does_not_end_the_wait(proxy_class):
    factory = Factory(held=True)
    proxy = proxy_class(factory)
    owner = Worker(len, proxy)
    assert factory.called.wait(PATIENCE)
    handled = []

    def handler(*_):
        handled.append(1)
        factory.release.set()

    with interrupted_by(handler):
        assert len(proxy) == 1
    assert handled == [1]
    assert owner.result() == 1
    assert factory.calls == 1


def test_a_handler_may_touch_a_proxy_while_its_thread_waits_for_another(proxy_class):
    factory, inner = Factory(held=True), proxy_class(lambda: 'inner')
    proxy = proxy_class(factory)
    owner = Worker(len, proxy)
    assert factory.called.wait(PATIENCE)

    def handler(*_):
        assert str(inner) == 'inner'
        factory.release.set()

    with interrupted_by(handler):
        assert len(proxy) == 1
    assert owner.result() == 1


@pytest.mark.parametrize('waiting', [True, False])
def test_the_interpreter_ends_while_threads_resolve(waiting):
    run_program(
        f"""
        import threading
        from proxystore.proxy import Proxy

        inside = threading.Event()

        def factory():
            inside.set()
            threading.Event().wait()

        proxy = Proxy(factory)
        threading.Thread(target=str, args=(proxy,), daemon=True).start()
        inside.wait()
        if {waiting}:
            for _ in range(4):
                threading.Thread(target=str, args=(proxy,), daemon=True).start()
        """,
        timeout=PATIENCE,
    )


def test_the_interpreter_ends_while_a_target_runs_in_a_thread():
    # Before Python 3.14 the interpreter ends such threads by unwinding them, through the slots.
    run_program(
        """
        import threading, time
        from proxystore.proxy import Proxy

        inside = threading.Event()

        class Target:
            def __call__(self):
                inside.set()
                while True:
                    time.sleep(0.001)

            __len__ = __bool__ = __hash__ = __iter__ = __str__ = __call__

            def __add__(self, other): self()
            def __eq__(self, other): self()
            def __getitem__(self, key): self()
            def __setattr__(self, name, value): self()

            @property
            def attribute(self): self()

        def set_attribute(p): p.attribute = 1

        for touch in (lambda p: p(), len, bool, hash, iter, str, lambda p: p + 1, lambda p: p == 1,
                      lambda p: p[0], lambda p: p.attribute, set_attribute):
            inside.clear()
            threading.Thread(target=touch, args=(Proxy(Target),), daemon=True).start()
            assert inside.wait(10)
        """,
        timeout=PATIENCE,
    )


def test_a_finalizer_may_resolve(proxy_class):
    seen = []
    proxy = proxy_class(lambda: 'value')

    class Garbage:
        def __init__(self):
            self.cycle = self

        def __del__(self):
            seen.append(str(proxy))

    def factory():
        Garbage()
        gc.collect()
        return 'other'

    assert str(proxy_class(factory)) == 'other'
    assert seen == ['value']


def test_asyncio_tasks_share_one_call(proxy_class):
    factory = Factory()
    proxy = proxy_class(factory)

    async def touch():
        await asyncio.sleep(0)
        return len(proxy)

    async def main():
        return await asyncio.gather(*(touch() for _ in range(10)))

    assert asyncio.run(main()) == [1] * 10
    assert factory.calls == 1


def test_a_target_that_was_set_meanwhile_wins(proxy_class):
    def factory():
        proxy.__proxy_wrapped__ = 'preset'
        return 'made'

    proxy = proxy_class(factory)
    assert str(proxy) == 'preset'


def test_a_target_that_was_set_meanwhile_outweighs_an_error(proxy_class):
    def factory():
        proxy.__proxy_wrapped__ = 'preset'
        raise ValueError

    proxy = proxy_class(factory)
    assert str(proxy) == 'preset'


def test_a_proxy_that_was_unresolved_resolves_again(proxy_class):
    factory = Factory()
    proxy = proxy_class(factory)
    assert proxy == [1]
    del proxy.__proxy_wrapped__
    assert not is_resolved(proxy)
    assert proxy == [2]


def test_threads_that_unresolve_and_resolve_all_the_time(proxy_class):
    proxy = proxy_class(lambda: 'value')
    until = time.monotonic() + 0.5

    def hammer():
        count = 0
        while time.monotonic() < until:
            assert str(proxy) == 'value'
            with contextlib.suppress(AttributeError):
                del proxy.__proxy_wrapped__
            count += 1
        return count

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            counts = [future.result() for future in [pool.submit(hammer) for _ in range(8)]]
    finally:
        sys.setswitchinterval(before)
    assert all(counts)
