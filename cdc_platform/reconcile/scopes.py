"""What stands where a window's name does in runs that compare no window; none of these is in the index."""

from __future__ import annotations

FULL = "full"
#: Only keys and versions were compared; such a run proves nothing of values.
KEYS = "keys-and-versions"
INCREMENTAL = "incremental"
#: An export stood in the source's place: the run tells of a moment of the past.
EXPORT = "export"
#: Keys that earlier runs left open were looked at again.
SETTLING = "settling"

#: The whole table was compared.
WHOLE = (FULL, KEYS, INCREMENTAL, EXPORT)
#: Kinds of whole runs that prove rows equal to the source's, and not keys alone.
PROVING = (FULL, INCREMENTAL)

#: Keys left in flight are asked for by no greater age, in seconds: about 31 years.
LONGEST_AGE = 1e9
