"""Random lives of a table: what the source did, how the files that tell of it are cut and delivered.

A *case* is plain data (``case.py``): the table's shape, what happened at the source, the files, the steps in
which they are merged. ``source.py`` plays it, ``oracle.py`` says in plain Python what the table must hold,
``run.py`` merges and compares, ``shrink.py`` makes a failing case small and ``show.py`` prints it. Nothing
here shares code with the merge.
"""
