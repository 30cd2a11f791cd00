"""``python -m nvid``."""

import sys

from nvid.client.main import main

sys.exit(main())
