"""What happens to proxies when proxystore is imported a second time in one process."""

from __future__ import annotations

from tests.support.interpreter import run_program


def test_proxies_outlive_their_modules():
    run_program(
        """
        import pickle
        import sys

        import proxystore.proxy as before


        class Sub(before.Proxy):
            pass


        def make():
            return [1, 2]


        old = [before.Proxy(make), before.Proxy(make), Sub(make)]
        assert old[0] + [3] == [1, 2, 3]
        for name in [name for name in sys.modules if name.split('.')[0] == 'proxystore']:
            del sys.modules[name]
        import proxystore.proxy as after

        assert after.Proxy is not before.Proxy
        for p in [*old, before.Proxy(make), Sub(make), after.Proxy(make)]:
            assert p + [3] == [1, 2, 3]
            assert [0] + p == [0, 1, 2]
            assert p == [1, 2]
            assert len(p) == 2
            assert isinstance(p, list)
            assert after.extract(p) is before.extract(p)
            assert pickle.loads(pickle.dumps(p)) == [1, 2]
        assert after.Proxy(make) + before.Proxy(make) == [1, 2, 1, 2]
        """
    )


def test_a_second_interpreter_of_the_process_is_refused():
    # The module has another name from Python 3.13 on.
    run_program(
        """
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters

        import proxystore.proxy

        ATTEMPT = '''
        import sys

        try:
            import proxystore.proxy
        except ImportError as error:
            # From Python 3.12 on the interpreter refuses by itself, in its own words.
            refusal = 'another interpreter of this process'
            if sys.version_info >= (3, 12):
                refusal = 'does not support loading in subinterpreters'
            assert refusal in str(error), error
        else:
            raise AssertionError
        '''
        other = interpreters.create()
        for _ in range(2):
            assert interpreters.run_string(other, ATTEMPT) is None
        interpreters.destroy(other)
        assert proxystore.proxy.Proxy(lambda: [5]) + [1] == [5, 1]
        """
    )
