"""Factories: callables without arguments that produce the target of a proxy."""

from __future__ import annotations

import pickle

import pytest

from proxystore.factory import Factory, LambdaFactory, SimpleFactory
from proxystore.proxy import Proxy


def add(a, b=1):
    return a + b


def test_base_is_not_to_be_used():
    with pytest.raises(NotImplementedError):
        Factory()


def test_subclass_says_how_to_resolve():
    class Five(Factory[int]):
        def __init__(self):
            pass

        def resolve(self):
            return 5

    class Nothing(Factory[int]):
        def __init__(self):
            pass

    assert Five()() == 5
    assert Proxy(Five()) + 1 == 6
    with pytest.raises(NotImplementedError):
        Nothing()()


def test_simple_factory():
    obj = [1]
    assert SimpleFactory(obj)() is SimpleFactory(obj).resolve() is obj
    assert pickle.loads(pickle.dumps(SimpleFactory(obj)))() == obj


def test_lambda_factory():
    assert LambdaFactory(lambda: 5)() == 5
    factory = LambdaFactory(add, 2, b=3)
    assert factory() == factory.resolve() == 5
    assert pickle.loads(pickle.dumps(factory))() == 5


@pytest.mark.parametrize('factory', [SimpleFactory([1]), LambdaFactory(sorted, [2, 1])])
def test_pickles_go_to_upstream_and_back(factory, upstream):
    theirs, obj = upstream.run(
        'import pickle; f = pickle.loads(data); result = pickle.dumps(f), f()',
        data=pickle.dumps(factory),
    )
    assert pickle.loads(theirs)() == obj == factory()
