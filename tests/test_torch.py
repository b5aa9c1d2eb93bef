"""Tensors of torch in frames; runs where torch is installed, which takes gigabytes."""

from __future__ import annotations

from typing import Any

import pytest

from proxystore.serialize import deserialize, serialize_buffers

torch: Any = pytest.importorskip('torch', reason='torch is not among the requirements')

TENSORS = {
    'float': lambda: torch.rand(200, 300),
    'bfloat16': lambda: torch.rand(200, 300).bfloat16(),
    'half': lambda: torch.rand(300, 300).half(),
    'float8': lambda: torch.rand(400, 300).to(torch.float8_e4m3fn),
    'int64': lambda: torch.arange(60_000),
    'bool': lambda: torch.rand(400, 300) > 0.5,
    'complex': lambda: torch.rand(200, 300, dtype=torch.complex64),
    'conjugate': lambda: torch.rand(200, 300, dtype=torch.complex64).conj(),
    'transposed': lambda: torch.rand(200, 300).T,
    'strided': lambda: torch.rand(200, 300)[:, ::2],
    'with gradient': lambda: torch.rand(200, 300, requires_grad=True),
    'parameter': lambda: torch.nn.Parameter(torch.rand(200, 300)),
}


def same(actual: Any, expected: Any) -> bool:
    def plain(tensor: Any) -> Any:
        tensor = tensor.detach().resolve_conj().contiguous()
        return tensor.reshape(-1).view(torch.uint8)

    return (
        type(actual) is type(expected)
        and actual.dtype == expected.dtype
        and actual.shape == expected.shape
        and actual.requires_grad == expected.requires_grad
        and torch.equal(plain(actual), plain(expected))
    )


@pytest.mark.parametrize('name', TENSORS)
@pytest.mark.parametrize('nested', [False, True])
@pytest.mark.filterwarnings('error')
def test_tensors_travel_beside_the_pickle(name, nested):
    expected = TENSORS[name]()
    parts = serialize_buffers([expected] if nested else expected, compatible=False)
    assert bytes(parts[0][:3]) == b'PF\n'
    assert len(parts[0]) < 1000
    got = deserialize(b''.join(parts))
    got = got[0] if nested else got
    assert same(got, expected)
    got.detach().fill_(0)


def test_tensors_are_not_copied():
    tensor = torch.rand(200, 300)
    address = torch.frombuffer(serialize_buffers(tensor, compatible=False)[1], dtype=torch.uint8)
    assert address.data_ptr() == tensor.data_ptr()


def test_models():
    model = torch.nn.Sequential(torch.nn.Linear(300, 300), torch.nn.Linear(300, 3))
    for obj in (model, model.state_dict()):
        parts = serialize_buffers(obj, compatible=False)
        assert bytes(parts[0][:3]) == b'PF\n'
        got = deserialize(b''.join(parts))
        got = got if isinstance(got, dict) else got.state_dict()
        assert got.keys() == model.state_dict().keys()
        assert all(same(got[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    'make',
    [
        lambda: torch.eye(300).to_sparse(),
        lambda: torch.rand(300, 300, requires_grad=True) * 2,
        lambda: torch.tensor(5.0),
        lambda: torch.rand(300, 1).expand(300, 300),
    ],
    ids=['sparse', 'not a leaf', 'small', 'expanded'],
)
def test_other_tensors_are_left_to_torch(make):
    expected = make()
    got = deserialize(b''.join(serialize_buffers(expected, compatible=False)))
    assert got.dtype == expected.dtype
    assert torch.equal(got.to_dense().detach(), expected.to_dense().detach())
