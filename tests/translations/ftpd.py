"""ftpd.py ADDRESS DIRECTORY: an anonymous FTP server.

It is pyftpdlib's, except that it takes the client's word for the address of the data connection:
pyftpdlib compares addresses as text, and the kernel's helper writes IPv6 ones with all their zeros.
"""

from __future__ import annotations

import sys

from pyftpdlib.authorizers import DummyAuthorizer  # type: ignore[import-untyped]
from pyftpdlib.handlers import FTPHandler  # type: ignore[import-untyped]
from pyftpdlib.servers import FTPServer  # type: ignore[import-untyped]

address, directory = sys.argv[1:]
authorizer = DummyAuthorizer()
authorizer.add_anonymous(directory)
FTPHandler.authorizer = authorizer
FTPHandler.permit_foreign_addresses = True
FTPServer((address, 21), FTPHandler).serve_forever()
