"""Configuration from which a store can be made again, here or elsewhere."""

from __future__ import annotations

import pathlib
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Self, cast

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from proxystore.connectors.protocols import Connector
from proxystore.store.types import DeserializerT, SerializerT
from proxystore.utils.config import dump, dumps, load
from proxystore.utils.imports import import_from_path
from proxystore.warnings import NewerFormatWarning

if TYPE_CHECKING:
    from collections.abc import Collection

    from pydantic_core import InitErrorDetails

    from proxystore.store._compact import Template

__all__ = [
    'Connector',
    'ConnectorConfig',
    'DeserializerT',
    'SerializerT',
    'StoreConfig',
    'dump',
    'import_from_path',
    'load',
]

#: Import paths of the connectors that have a short name.
_KNOWN_CONNECTORS = {
    'endpoint': 'proxystore.connectors.endpoint.EndpointConnector',
    'file': 'proxystore.connectors.file.FileConnector',
    'globus': 'proxystore.connectors.globus.GlobusConnector',
    'local': 'proxystore.connectors.local.LocalConnector',
    'multi': 'proxystore.connectors.multi.MultiConnector',
    'redis': 'proxystore.connectors.redis.RedisConnector',
}


class _Config(BaseModel):
    """Model whose pickles are read by, and written for, other versions."""

    model_config = ConfigDict(extra='forbid')

    __slots__ = ('_template',)

    #: Fields that upstream does not know, with their defaults. They are written
    #: only if they have other values.
    added_fields: ClassVar[dict[str, Any]] = {}

    def __getstate__(self) -> dict[Any, Any]:
        added = self.added_fields
        return {
            '__dict__': {
                name: value
                for name, value in self.__dict__.items()
                if name not in added or value is not added[name]
            },
            '__pydantic_extra__': None,
            '__pydantic_fields_set__': {*self.__pydantic_fields_set__},
            '__pydantic_private__': None,
        }

    def __setstate__(self, state: dict[Any, Any]) -> None:
        fields: dict[str, Any] = state['__dict__']
        fields_set: set[str] = state['__pydantic_fields_set__']
        fields = {**fields, **{n: v for n, v in self.added_fields.items() if n not in fields}}
        if fields.keys() != type(self).__pydantic_fields__.keys():
            fields, fields_set = _fit_fields(type(self), fields, fields_set)
        self._fill(fields, fields_set)

    def _fill(self, fields: dict[str, Any], fields_set: set[str]) -> None:
        """Set what an instance consists of, without validating it again."""
        set_ = object.__setattr__
        set_(self, '__dict__', fields)
        set_(self, '__pydantic_fields_set__', fields_set)
        set_(self, '__pydantic_extra__', None)
        set_(self, '__pydantic_private__', None)


class ConnectorConfig(_Config):
    """Configuration of a connector.

    Attributes:
        kind: Import path of the connector's class, or the short name of one
            of this package (`file` or `FileConnector`, in any case).
        options: What the connector is made from.
    """

    kind: str
    options: dict[str, Any] = Field(default_factory=dict)

    def get_connector_type(self) -> type[Connector[Any]]:
        """Import the class of the connector.

        Raises:
            ValueError: If there is no such class.
            ImportError: If a known connector cannot be imported.
        """
        name = self.kind.lower()
        path = _KNOWN_CONNECTORS.get(name.removesuffix('connector'))
        if path is not None:
            return import_from_path(path)
        try:
            return import_from_path(self.kind)
        except (ImportError, AttributeError) as error:
            known = ', '.join(sorted(_KNOWN_CONNECTORS))
            msg = (
                f'Unknown connector type "{self.kind}". It must be the import path of a '
                f'connector or one of {known}. ({error})'
            )
            raise ValueError(msg) from error

    def get_connector(self) -> Connector[Any]:
        """Make the connector.

        Raises:
            ValueError: If the kind is unknown, or an option is wrong.
            TypeError: If an option is unknown.
        """
        connector_type = self.get_connector_type()
        if getattr(connector_type, 'config_is_arguments', True):
            return connector_type(**self.options)
        return connector_type.from_config(self.options)


class StoreConfig(_Config):
    """Configuration of a store.

    Attributes:
        name: Name of the store.
        connector: Configuration of its connector.
        serializer: Its serializer. `None` is the default one.
        deserializer: Its deserializer. `None` is the default one.
        cache_size: Number of objects that it caches.
        metrics: Whether it measures its operations.
        populate_target: Whether its proxies hold the object from the start.
        auto_register: Whether it registers itself when it is made.
        verify: Whether it writes and compares checksums. `None` leaves it to
            the connector.
        compatible: Whether it writes only formats that upstream reads.
    """

    added_fields: ClassVar[dict[str, Any]] = {'verify': None, 'compatible': False}

    name: str
    connector: ConnectorConfig
    serializer: SerializerT | None = None
    deserializer: DeserializerT | None = None
    cache_size: int = 16
    metrics: bool = False
    populate_target: bool = True
    auto_register: bool = False
    verify: bool | None = None
    compatible: bool = False

    @model_serializer(mode='wrap')
    def _leave_out_added(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {
            name: value
            for name, value in fields.items()
            if name not in self.added_fields or value is not self.added_fields[name]
        }

    @property
    def template(self) -> Template | None:
        """Template of the pickles of the factories that have this configuration, if there is one.

        Kept here, but no part of the configuration.
        """
        return getattr(self, '_template', None)

    @template.setter
    def template(self, template: Template) -> None:
        object.__setattr__(self, '_template', template)

    def fresh(self) -> Self:
        """Copy the configuration, and with it that of the connector and its options."""
        connector = ConnectorConfig.__new__(ConnectorConfig)
        connector._fill(  # noqa: SLF001
            {'kind': self.connector.kind, 'options': {**self.connector.options}},
            {*self.connector.model_fields_set},
        )
        copied = type(self).__new__(type(self))
        copied._fill(  # noqa: SLF001
            {**self.__dict__, 'connector': connector}, {*self.model_fields_set}
        )
        return copied

    @classmethod
    def from_toml(cls, filepath: str | pathlib.Path) -> Self:
        """Read a configuration from a TOML file.

        Args:
            filepath: Path of the file.

        Raises:
            OSError: If the file cannot be read.
            ValueError: If the file is not TOML.
            pydantic.ValidationError: If a field is missing, unknown or
                ill-typed. It is a `ValueError`, and names the fields and, in
                a note, the file.
        """
        with pathlib.Path(filepath).open('rb') as file:
            try:
                return load(cls, file)
            except ValidationError as error:
                title = f'{cls.__name__} in {filepath}'
                raise ValidationError.from_exception_data(
                    title,
                    cast('list[InitErrorDetails]', error.errors(include_url=False)),
                ) from None
            except ValueError as error:
                msg = f'{filepath} is not a TOML file: {error}'
                raise ValueError(msg) from error

    def write_toml(self, filepath: str | pathlib.Path) -> None:
        """Write the configuration to a TOML file.

        Args:
            filepath: Path of the file. Directories that are missing are made.

        Raises:
            OSError: If the file cannot be written.
            TypeError: If a value, such as a serializer, cannot be expressed in
                TOML. The file is left as it was.
        """
        path = pathlib.Path(filepath)
        content = dumps(self)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def _fit_fields(
    kind: type[BaseModel], fields: dict[str, Any], fields_set: set[str]
) -> tuple[dict[str, Any], set[str]]:
    """Fit the fields of a model that another version has pickled."""
    known = kind.model_fields
    fields = without_unknown_fields(kind, fields, known)
    fitted = {
        name: fields[name] if name in fields else field.get_default(call_default_factory=True)
        for name, field in known.items()
    }
    return fitted, fields_set & known.keys()


def without_unknown_fields(
    kind: type, state: dict[str, Any], known: Collection[str]
) -> dict[str, Any]:
    """Leave out what only a newer version knows, with a warning.

    Args:
        kind: Class of the pickled object.
        state: Its state, as it was pickled.
        known: Names of the fields that this version knows.

    Returns:
        The state without the other fields.
    """
    unknown = sorted(state.keys() - set(known))
    if unknown:
        warnings.warn(
            f'This {kind.__name__} was pickled by a newer version of proxystore. What this '
            f'version does not know is ignored: {", ".join(unknown)}.',
            NewerFormatWarning,
            stacklevel=3,
        )
    return {name: value for name, value in state.items() if name in known}
