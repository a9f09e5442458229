"""Environments: anything Gymnasium can make, as batches of uint8 pixels and scaled actions.

Importing this package registers the built-in worlds with Gymnasium (names only, nothing is built).
Elsewhere ``gymnasium.make("worldmodels.envs:worldmodels/CliffHill-v0")`` imports it on the way.
"""

from gymnasium.envs.registration import register

_WORLDS = {
    "CliffHill": "worldmodels.envs.cliff_hill:CliffHill",
    "CartSwing": "worldmodels.envs.cart_swing:CartSwing",
    "DetourMaze": "worldmodels.envs.detour_maze:DetourMaze",
    "ArmN": "worldmodels.envs.arm:ArmN",
    "GustRoad": "worldmodels.envs.gust_road:GustRoad",
    "GlitchBox": "worldmodels.envs.glitch_box:GlitchBox",
    "BaodingPix": "worldmodels.envs.baoding:BaodingPix",
    "CrossTraffic": "worldmodels.envs.cross_traffic:CrossTraffic",
    "TwoRooms": "worldmodels.envs.two_rooms:TwoRooms",
    "Counting": "worldmodels.envs.counting:Counting",
}

for _name, _path in _WORLDS.items():
    register(
        id=f"worldmodels/{_name}-v0",
        entry_point="worldmodels.envs.world_env:WorldEnv",
        vector_entry_point="worldmodels.envs.world_env:WorldVectorEnv",
        kwargs={"world": _path},
    )
