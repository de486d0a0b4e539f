"""Dataset formats, one file each, to the byte: what a benchmark's own tools write and read.

In memory everything is in the engine's units (frames from 0, 0-based pixels, xyxy half-open); only these files know
that MOTChallenge counts from 1.
"""
