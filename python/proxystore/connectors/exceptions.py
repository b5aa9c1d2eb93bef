"""Errors that connectors raise.

```
ConnectorError
├── ConnectorClosedError          (RuntimeError)         used after close()
├── ConnectorConfigError          (ValueError)           an option is unknown, missing or ill-typed
├── ConnectorKeyError             (ValueError)           a key that this connector cannot have made
├── ConnectorOSError              (OSError)              the operating system refused: errno, path
│   ├── ConnectorPathError        (FileNotFoundError)    the storage is not there
│   └── ConnectorPermissionError  (PermissionError)      this user may not
├── ConnectorTimeoutError         (TimeoutError)         the deadline passed
├── ConnectorUnavailableError     (ConnectionError)      the server or peer is gone
├── InternalError                                        a defect of proxystore: report it
├── MultiConnectorError           in the module `multi`  no connector accepts the object
├── ObjectCorruptedError                                 the bytes found are not the bytes put
└── UnsupportedOperationError     (NotImplementedError)  this connector cannot do that
```

Each also derives from the builtin named beside it, so that a program which
catches `OSError` or `ValueError` around a connector keeps working. All of
them survive pickling.
"""

from __future__ import annotations

__all__ = [
    'ConnectorClosedError',
    'ConnectorConfigError',
    'ConnectorError',
    'ConnectorKeyError',
    'ConnectorOSError',
    'ConnectorPathError',
    'ConnectorPermissionError',
    'ConnectorTimeoutError',
    'ConnectorUnavailableError',
    'InternalError',
    'ObjectCorruptedError',
    'UnsupportedOperationError',
]


class ConnectorError(Exception):
    """Base of every error that a connector raises."""


class ConnectorClosedError(ConnectorError, RuntimeError):
    """The connector was used after `close()`."""


class ConnectorConfigError(ConnectorError, ValueError):
    """An option of a connector is unknown, missing or has the wrong type."""


class ConnectorKeyError(ConnectorError, ValueError):
    """The key was not made by this connector: it is forged, foreign or malformed."""


class ConnectorOSError(ConnectorError, OSError):
    """The operating system refused an operation.

    Attributes:
        errno: Error number of the system call, as in the module `errno`.
        strerror: What happened, and to which object.
        filename: Path of the file or directory, if there is one.
    """


class ConnectorPathError(ConnectorOSError, FileNotFoundError):
    """The directory or file that the connector works in is not there, or no longer."""


class ConnectorPermissionError(ConnectorOSError, PermissionError):
    """This user may not read or write where the connector keeps its objects."""


class ConnectorTimeoutError(ConnectorError, TimeoutError):
    """The operation did not end by its deadline."""


class ConnectorUnavailableError(ConnectorError, ConnectionError):
    """The server or peer that holds the object cannot be reached."""


class InternalError(ConnectorError):
    """proxystore itself failed: a defect, to be reported with the message."""


class ObjectCorruptedError(ConnectorError):
    """The bytes that were found are not the bytes that were put."""


class ObjectTooLargeError(ConnectorError, ValueError):
    """The object is larger than the connector can take."""


class UnsupportedOperationError(ConnectorError, NotImplementedError):
    """The connector does not offer this operation."""
