"""Reconciliation: is the base table equal to the raw files, and to the source?

Three witnesses (source, raw, base) so that a fault is located: capture lost it, the merge lost it, or it was
written out of band. Values are compared typed and by one engine in one run, never as text.
"""
