"""Cycles of the engine's fixed pipelines that more than one part counts on.

Every one is the property of a hardware component, which asserts that it has that many.
"""

READ_LATENCY = 6  # feature-map memory: address of a read to its words
WRITE_LATENCY = 3  # feature-map memory: a write step to the words being readable
EXIT_ADDRESS_LATENCY = 5  # exit path: a step to the addresses of its words
REQUANT_LATENCY = 10  # exit path: sums to stored values
LOOKUP_LATENCY = 3  # exit path: stored values to those of their tables, if the engine has tables
PACK_LATENCY = 3  # exit path: stored values to the write step
DRAIN_LATENCY = 4  # array and max-pool: request of the exit path to the results
STAGE_HOLD = 1  # array: a switch to the cycle in which it reads the weight stage
ARRAY_LEAD = 2  # array: the switch comes before its beat
MASK_LATENCY = 4  # lane masks: a beat's tap to its mask
MASK_STAGE = 1  # array feed: the register that holds the masked lanes
BEAT_LATENCY = 1 + READ_LATENCY + MASK_STAGE  # a slot begins to its first beat at the array
# Exit path: a step of a drain to its write step.
EXIT_LATENCY = max(EXIT_ADDRESS_LATENCY, DRAIN_LATENCY) + REQUANT_LATENCY + PACK_LATENCY
