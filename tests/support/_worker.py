"""The far side of `support.interpreter`: runs snippets, in whichever environment started it.

A frame is eight bytes of length, then that many bytes of `marshal`: plain data only, so that no
object of one environment can slip into the other except as pickled bytes that a test made on
purpose.

Runs with nothing but the standard library; frames travel over the descriptors named on the command
line.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import marshal
import os
import sys
import traceback
from typing import Any


def main() -> None:
    requests = os.fdopen(int(sys.argv[1]), 'rb')
    replies = os.fdopen(int(sys.argv[2]), 'wb')
    serial = 0
    while header := requests.read(8):
        code, inputs = marshal.loads(requests.read(int.from_bytes(header, 'little')))
        serial += 1
        reply = marshal.dumps(_run(code, inputs, f'<snippet {serial}>'))
        replies.write(len(reply).to_bytes(8, 'little') + reply)
        replies.flush()


def _run(code: str, inputs: dict[str, Any], filename: str) -> tuple[str, ...]:
    # Shows the snippet's lines in tracebacks.
    linecache.cache[filename] = (len(code), None, code.splitlines(keepends=True), filename)
    namespace = sys.modules['__main__'].__dict__
    before = dict(namespace)
    namespace.update(inputs)
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(code, filename, 'exec'), namespace)
        result = namespace.get('result')
        try:
            return ('ok', marshal.dumps(result), output.getvalue())
        except ValueError:
            return ('error', 'TypeError', f'not plain data: {type(result)}', '', output.getvalue())
    except BaseException as e:
        return ('error', type(e).__name__, str(e), traceback.format_exc(), output.getvalue())
    finally:
        namespace.clear()
        namespace.update(before)
        _forget_stores()


def _forget_stores() -> None:
    store = sys.modules.get('proxystore.store')
    if store is not None:
        # Not closed: closing may remove a directory that the test still looks at.
        store._stores.clear()


if __name__ == '__main__':
    main()
