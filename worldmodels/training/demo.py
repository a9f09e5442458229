"""`worldmodels demo`: the main job on a built-in world, with the story of the cliff.

A model learned from random data knows that higher is better, but not that ridges end. Its planner
walks over the edge. One round of executing plans and learning from what happened mends it.

Reference: Ross & Bagnell, 2012 (data aggregation for model learning).
"""

EPISODES = 20
CONTEXT, HORIZON = 5, 40
