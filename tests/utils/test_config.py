"""Models in TOML files."""

from __future__ import annotations

import io
import tomllib

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from proxystore.utils.config import dump, dumps, load, loads


class Part(BaseModel):
    flag: bool = False
    values: list[int] = Field(default_factory=list)


class Model(BaseModel):
    model_config = ConfigDict(extra='forbid')

    number: int = 1
    text: str | None = None
    part: Part = Field(default_factory=Part)


@pytest.mark.parametrize(
    'model', [Model(), Model(number=5, text='ü', part=Part(flag=True, values=[1, 2]))]
)
def test_models_survive(model):
    assert loads(Model, dumps(model)) == model
    file = io.BytesIO()
    dump(model, file)
    file.seek(0)
    assert load(Model, file) == model
    assert tomllib.loads(dumps(model)) == model.model_dump(exclude_none=True)


def test_none_cannot_be_written():
    assert 'text' not in dumps(Model())
    with pytest.raises(TypeError, match='None'):
        dumps(Model(), exclude_none=False)


@pytest.mark.parametrize(
    ('text', 'field'),
    [('number = "1"', 'number'), ('number = 1.0', 'number'), ('other = 1', 'other')],
)
def test_wrong_fields_are_refused(text, field):
    with pytest.raises(ValidationError, match=field):
        loads(Model, text)


def test_what_is_no_toml():
    with pytest.raises(tomllib.TOMLDecodeError):
        loads(Model, 'number ==')
    with pytest.raises(ValueError, match='utf-8'):
        load(Model, io.BytesIO(b'\xff'))
