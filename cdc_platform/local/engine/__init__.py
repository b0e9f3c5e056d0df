"""The replication engine of the local DMS: PostgreSQL's log into the files DMS leaves on S3.

``PostgresTaskEngine`` is all that others use, by :mod:`cdc_platform.local.contract`. Inside:

* ``rules``, ``mappings``, ``options``: what the task asks for, checked; what DMS would refuse is refused;
* ``source``, ``stream``, ``slots``, ``pgoutput``, ``lsn``: the database, its slots and its log;
* ``types``, ``shape``, ``csv_text``, ``output``, ``publish``: rows into files that look like DMS's;
* ``prepare``, ``load``, ``buffer``, ``capture``, ``run``, ``task``: the life of a run; ``state`` outlasts it.

Where it stands in for behaviour nobody has documented, it does what is least kind to the reader of the files:

* an update's unchanged TOAST value is NULL (unless the table has REPLICA IDENTITY FULL); a delete has its key
  only; a key change is one update whose before-image column alone tells the old key;
* tables without a key give inserts only; truncates are not captured; DDL shows only as other columns;
* a suspended table stays suspended until it is reloaded;
* ``AR_H_STREAM_POSITION`` is the LSN of the transaction's commit record, as PostgreSQL prints it
  (``0/16B3748``), so text order is not log order;
* ``AR_H_CHANGE_SEQ`` is the commit time (16 digits, never going back) and a counter of row changes
  (19 digits). Changes read again after a crash get the same sequence again.
"""

from __future__ import annotations

from cdc_platform.local.engine.task import PostgresTaskEngine

__all__ = ["PostgresTaskEngine"]
