"""Events survive their form on the wire, and what is no event is refused."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxystore.connectors.local import LocalConnector, LocalKey
from proxystore.serialize import SerializationError, serialize
from proxystore.store import Store
from proxystore.stream.events import (
    EndOfStreamEvent,
    EventBatch,
    NewObjectEvent,
    NewObjectKeyEvent,
    bytes_to_event,
    dict_to_event,
    event_to_bytes,
    event_to_dict,
)
from proxystore.warnings import NewerFormatWarning

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
metadata = st.dictionaries(st.text(), values)
topics = st.text()
config = Store('events', LocalConnector()).config()
keys = st.builds(LocalKey, st.text())
events = (
    st.builds(EndOfStreamEvent, topics)
    | st.builds(NewObjectEvent, topics, values, metadata)
    | st.builds(
        lambda key, topic, evict, metadata: NewObjectKeyEvent.from_key(
            key, evict=evict, metadata=metadata, store_config=config, topic=topic
        ),
        keys,
        topics,
        st.booleans(),
        metadata,
    )
)


@given(events | st.builds(EventBatch, topics, st.lists(events)))
def test_round_trips(event) -> None:
    data = event_to_dict(event)
    assert dict_to_event(data) == event
    assert dict_to_event(data) == event, 'the dictionary is left as it was'
    assert bytes_to_event(event_to_bytes(event)) == event


@given(keys)
def test_key_keeps_its_class(key: LocalKey) -> None:
    event = NewObjectKeyEvent.from_key(key, evict=True, metadata={}, store_config=config, topic='t')
    assert event.key_type == 'proxystore.connectors.local.LocalKey'
    assert event.get_key() == key
    assert type(event.get_key()) is LocalKey


@dataclasses.dataclass
class Point:
    x: int


class Uncopyable:
    def __deepcopy__(self, memo: object) -> None:
        raise AssertionError


def test_objects_are_carried_as_they_are() -> None:
    obj = Uncopyable()
    assert event_to_dict(NewObjectEvent('t', obj, {}))['obj'] is obj
    event = NewObjectEvent('t', Point(1), {'at': Point(2)})
    assert bytes_to_event(event_to_bytes(event)) == event


def test_wire_form() -> None:
    batch = EventBatch('t', [NewObjectEvent('t', [1], {'a': 1}), EndOfStreamEvent('t')])
    message = event_to_bytes(batch)
    assert message.startswith(b'PK\n')
    assert pickle.loads(message[3:]) == {
        'event_type': 'EVENT_BATCH',
        'topic': 't',
        'events': [
            {'event_type': 'NEW_OBJECT', 'topic': 't', 'obj': [1], 'metadata': {'a': 1}},
            {'event_type': 'END_OF_STREAM', 'topic': 't'},
        ],
    }


def test_large_arrays_stay_readable_by_upstream() -> None:
    event = NewObjectEvent('t', {'array': np.arange(100_000)}, {})
    assert event_to_bytes(event)[:3] == b'PK\n'


@pytest.mark.parametrize(
    ('data', 'says'),
    [
        ({}, 'Unknown type of stream event None'),
        ({'event_type': 'X', 'topic': 't'}, "event 'X'; known are END_OF_STREAM, NEW_OBJECT"),
        ({'event_type': []}, 'Unknown type'),
        ({'event_type': 'END_OF_STREAM'}, 'EndOfStreamEvent lacks the field topic'),
        ({'event_type': 'NEW_OBJECT', 'topic': 't'}, 'lacks the field metadata, obj'),
        ({'event_type': 'EVENT_BATCH', 'topic': 't'}, 'EventBatch lacks the field events'),
        ({'event_type': 'EVENT_BATCH', 'topic': 't', 'events': [{}]}, 'Unknown type'),
    ],
)
def test_malformed_events_are_refused(data, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        dict_to_event(data)
    with pytest.raises(ValueError, match=says):
        bytes_to_event(serialize(data))


def test_what_is_no_event_is_refused() -> None:
    with pytest.raises(TypeError, match='got int'):
        event_to_dict(3)
    with pytest.raises(SerializationError, match='serialized list'):
        bytes_to_event(serialize([]))
    with pytest.raises(SerializationError):
        bytes_to_event(b'garbage')


def test_fields_of_a_newer_version_are_ignored_with_a_warning() -> None:
    data = event_to_dict(EndOfStreamEvent('t'))
    with pytest.warns(NewerFormatWarning, match='ignores: colour'):
        event = dict_to_event({**data, 'colour': 'red'})
    assert event == EndOfStreamEvent('t')
