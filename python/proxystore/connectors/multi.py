"""Connector that distributes objects over several others by policy."""

from __future__ import annotations

import logging

# The annotations of `Policy`, which says that it is of this module, are looked up here.
from collections.abc import Iterable, Sequence  # noqa: TC003
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeVar

from proxystore.connectors._multi_asyncio import DistributedOperations
from proxystore.connectors._policy import Policy, PolicyDict
from proxystore.connectors.exceptions import (
    ConnectorConfigError,
    ConnectorError,
    ConnectorKeyError,
)
from proxystore.connectors.protocols import Connector, copies, needs_checksums, statistics
from proxystore.serialize import BytesLike
from proxystore.serialize._frames import join_buffers
from proxystore.utils.environment import hostname
from proxystore.utils.imports import get_object_path, import_from_path

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    'BytesLike',
    'Connector',
    'ConnectorPolicyConfig',
    'MultiConnector',
    'MultiConnectorError',
    'MultiKey',
    'Policy',
    'PolicyDict',
    'get_object_path',
    'import_from_path',
]

logger = logging.getLogger(__name__)

KeyT = TypeVar('KeyT', bound=tuple[Any, ...])


class MultiConnectorError(ConnectorError):
    """No policy accepts the object, or the connector of a key is unknown or dormant here."""


#: Import path of a connector's class, its configuration, and its policy.
ConnectorPolicyConfig = tuple[str, dict[str, Any], PolicyDict]


class MultiKey(NamedTuple):
    """Key of an object in one of several connectors.

    Attributes:
        connector_name: Name of the connector that has the object.
        connector_key: Key of the object there.
    """

    connector_name: str
    connector_key: Any


class _ConnectorPolicy(NamedTuple):
    connector: Connector[Any]
    policy: Policy


class MultiConnector(DistributedOperations):
    """Connector that distributes objects over several others by policy.

    A connector made from a configuration leaves those dormant that cannot be
    used on this host: they are not opened, but stay in the configuration, so
    that it can be passed on to hosts where they can be used.

    Args:
        connectors: Connectors and their policies, by name.
        dormant_connectors: Configurations of connectors that cannot be used
            here, by name.
    """

    #: `put` takes a list of buffers as well as a single one.
    accepts_buffers: ClassVar[bool] = True
    #: `get` takes `copy`, and passes it on to connectors that take it.
    copies: ClassVar[bool] = True
    #: `config()` is made for `from_config()`, not for the constructor.
    config_is_arguments: ClassVar[bool] = False

    def __init__(
        self,
        connectors: dict[str, tuple[Connector[Any], Policy]],
        dormant_connectors: dict[str, ConnectorPolicyConfig] | None = None,
    ) -> None:
        self.connectors = {
            name: _ConnectorPolicy(connector, policy)
            for name, (connector, policy) in connectors.items()
        }
        self.dormant_connectors = dormant_connectors
        self.connectors_by_priority = sorted(
            self.connectors,
            key=lambda name: self.connectors[name].policy.priority,
            reverse=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.connectors})'

    @property
    def needs_deferred_checksums(self) -> bool:
        """Whether one of the connectors needs them for objects whose keys are made before."""
        connectors = (connector for connector, _ in self.connectors.values())
        return any(needs_checksums(connector, deferred=True) for connector in connectors)

    @property
    def needs_checksums(self) -> bool:
        """Whether an object may go where nobody else notices that it has changed."""
        return any(needs_checksums(connector) for connector, _ in self.connectors.values())

    def statistics(self) -> dict[str, Any]:
        """Return the statistics of each connector, by its name."""
        return {name: statistics(connector) for name, (connector, _) in self.connectors.items()}

    def close(self) -> None:
        """Close the connectors. Closing again does nothing."""
        for connector, _ in self.connectors.values():
            connector.close()

    def config(self) -> dict[str, ConnectorPolicyConfig]:
        """Options with which `from_config()` makes a connector on the same storage.

        Returns:
            The import path, the configuration and the policy of each
            connector, dormant ones included, by name.
        """
        return {
            **(self.dormant_connectors or {}),
            **{
                name: (get_object_path(type(connector)), connector.config(), policy.as_dict())
                for name, (connector, policy) in self.connectors.items()
            },
        }

    @classmethod
    def from_config(cls, config: dict[str, ConnectorPolicyConfig]) -> Self:
        """Make a connector.

        Args:
            config: Options, as `config()` returned them.

        Raises:
            ConnectorConfigError: If an entry is not an import path, options
                and a policy.
            ImportError: If the class of a connector cannot be imported.
        """
        connectors: dict[str, tuple[Connector[Any], Policy]] = {}
        dormant: dict[str, ConnectorPolicyConfig] = {}
        for name, entry in config.items():
            try:
                kind, options, fields = entry
                policy = Policy(**fields)
            except (TypeError, ValueError) as error:
                msg = (
                    f'The configuration of the connector "{name}" must be its import path, its '
                    f'options and its policy: {error}'
                )
                raise ConnectorConfigError(msg) from error
            if policy.is_valid_on_host():
                connector: type[Connector[Any]] = import_from_path(kind)
                connectors[name] = (connector.from_config(options), policy)
            else:
                dormant[name] = (kind, options, fields)
        return cls(connectors, dormant)

    def evict(self, key: MultiKey) -> None:
        """Remove an object.

        Args:
            key: Key of the object. Nothing happens if it is not there.

        Raises:
            ConnectorKeyError: If the key is not of this kind of connector.
            MultiConnectorError: If the connector of the key is dormant or
                not there.
        """
        self._connector(key).evict(key.connector_key)

    def exists(self, key: MultiKey) -> bool:
        """Tell whether an object is there.

        Args:
            key: Key of the object.

        Raises:
            ConnectorKeyError: If the key is not of this kind of connector.
            MultiConnectorError: If the connector of the key is dormant or
                not there.
        """
        return self._connector(key).exists(key.connector_key)

    def get(self, key: MultiKey, *, copy: bool = False) -> BytesLike | None:
        """Get an object.

        Args:
            key: Key of the object.
            copy: Ask its connector for memory that is cheap to write to all
                over, if it knows the difference.

        Returns:
            What its connector returns.

        Raises:
            ConnectorKeyError: If the key is not of this kind of connector.
            MultiConnectorError: If the connector of the key is dormant or
                not there.
        """
        connector: Any = self._connector(key)
        if copy and copies(connector):
            return connector.get(key.connector_key, copy=True)  # type: ignore[no-any-return]
        return connector.get(key.connector_key)  # type: ignore[no-any-return]

    def get_batch(self, keys: Sequence[MultiKey]) -> list[BytesLike | None]:
        """Get several objects.

        Args:
            keys: Keys of the objects.

        Returns:
            For each key in turn what `get()` would return.

        Raises:
            ConnectorKeyError: If a key is not of this kind of connector.
            MultiConnectorError: If the connector of a key is dormant or not
                there.
        """
        results: list[BytesLike | None] = [None] * len(keys)
        positions: dict[str, list[int]] = {}
        for position, key in enumerate(keys):
            self._connector(key)
            positions.setdefault(key.connector_name, []).append(position)
        for name, group in positions.items():
            connector = self.connectors[name].connector
            objs = connector.get_batch([keys[position].connector_key for position in group])
            for position, obj in zip(group, objs, strict=True):
                results[position] = obj
        return results

    def put(
        self,
        obj: BytesLike | Sequence[BytesLike],
        subset_tags: Iterable[str] = (),
        superset_tags: Iterable[str] = (),
    ) -> MultiKey:
        """Put an object into the first connector whose policy takes it.

        Args:
            obj: Bytes of the object, or a list of buffers that make it up.
            subset_tags: Tags that must be a subset of the policy's.
            superset_tags: Tags that must be a superset of the policy's.

        Returns:
            The object's key.

        Raises:
            MultiConnectorError: If no policy takes the object.
        """
        name, connector, data = self._place(obj, subset_tags, superset_tags)
        return MultiKey(name, connector.put(data))

    def put_batch(
        self,
        objs: Sequence[BytesLike | Sequence[BytesLike]],
        subset_tags: Iterable[str] = (),
        superset_tags: Iterable[str] = (),
    ) -> list[MultiKey]:
        """Put several objects, each into the first connector whose policy takes it.

        Args:
            objs: Bytes of the objects, or lists of buffers that make them up.
            subset_tags: Tags that must be a subset of the policy's.
            superset_tags: Tags that must be a superset of the policy's.

        Returns:
            Their keys, in order.

        Raises:
            MultiConnectorError: If no policy takes an object. None is put
                then.
        """
        subset_tags, superset_tags = tuple(subset_tags), tuple(superset_tags)
        positions: dict[str, list[int]] = {}
        for position, obj in enumerate(objs):
            name = self._choose(obj, subset_tags, superset_tags)
            positions.setdefault(name, []).append(position)
        keys: dict[int, MultiKey] = {}
        try:
            for name, group in positions.items():
                connector = self.connectors[name].connector
                batch = [_for_connector(connector, objs[position]) for position in group]
                for position, key in zip(group, connector.put_batch(batch), strict=True):
                    keys[position] = MultiKey(name, key)
        except BaseException:
            for key in keys.values():
                self.evict(key)
            raise
        return [keys[position] for position in range(len(objs))]

    def _choose(
        self,
        obj: BytesLike | Sequence[BytesLike],
        subset_tags: Iterable[str],
        superset_tags: Iterable[str],
    ) -> str:
        """Name of the connector that an object goes to."""
        size = sum(map(_size, obj)) if isinstance(obj, list | tuple) else _size(obj)
        for name in self.connectors_by_priority:
            policy = self.connectors[name].policy
            if policy.is_valid(
                size_bytes=size, subset_tags=subset_tags, superset_tags=superset_tags
            ):
                return name
        msg = (
            'No connector policy was suitable for the constraints: '
            f'subset_tags={subset_tags}, superset_tags={superset_tags}. '
            f'The object has {size} bytes; the connectors are {self.connectors_by_priority}.'
        )
        raise MultiConnectorError(msg)

    def _place(
        self,
        obj: BytesLike | Sequence[BytesLike],
        subset_tags: Iterable[str],
        superset_tags: Iterable[str],
    ) -> tuple[str, Connector[Any], Any]:
        name = self._choose(obj, subset_tags, superset_tags)
        connector = self.connectors[name].connector
        return name, connector, _for_connector(connector, obj)

    def _key(self, name: str, key: Any) -> MultiKey:
        return MultiKey(name, key)

    def _all(self) -> list[Connector[Any]]:
        return [connector for connector, _ in self.connectors.values()]

    def _connector(self, key: MultiKey) -> Connector[Any]:
        if not isinstance(key, MultiKey):  # pyright: ignore[reportUnnecessaryIsInstance]
            msg = f'{key!r} is not a key of a MultiConnector.'
            raise ConnectorKeyError(msg)
        found = self.connectors.get(key.connector_name)
        if found is not None:
            return found.connector
        if self.dormant_connectors is not None and key.connector_name in self.dormant_connectors:
            msg = (
                f'The connector associated with {key} is dormant. '
                f'Its policy does not allow its use on this host, {hostname()}: '
                'see its host_pattern.'
            )
        else:
            msg = (
                f'The connector which created {key} does not exist. '
                f'This MultiConnector has {self.connectors_by_priority}.'
            )
        raise MultiConnectorError(msg)


def _size(buffer: Any) -> int:
    return buffer.nbytes if isinstance(buffer, memoryview) else len(buffer)


def _for_connector(connector: Connector[Any], obj: BytesLike | Sequence[BytesLike]) -> Any:
    """Join buffers for a connector that takes only one."""
    if isinstance(obj, list | tuple) and not getattr(connector, 'accepts_buffers', False):
        return join_buffers(obj)
    return obj
