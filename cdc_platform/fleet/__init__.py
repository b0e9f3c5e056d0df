"""All tables of ``cdc.yaml`` at a glance: how far each is proven, as a page, as numbers, and table by table.

Nothing here compares anything. It reads small objects and the result tables, never a row of base.
"""
