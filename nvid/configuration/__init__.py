"""Files in, one typed, validated, immutable value out.

The way through: `source` reads and merges the files, `convert` turns tables into `types`, `checks`
looks at the whole, `loading` puts them in a row. Reading the files is the only thing here that
touches the outside world.
"""

from nvid.configuration.loading import Loaded, daemon_table, load
from nvid.configuration.places import Origins
from nvid.configuration.problems import Origin, Problem
from nvid.errors import ConfigurationError

__all__ = [
    "ConfigurationError",
    "Loaded",
    "Origin",
    "Origins",
    "Problem",
    "daemon_table",
    "load",
]
