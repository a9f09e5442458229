"""Environments: anything Gymnasium can make, as batches of uint8 pixels and scaled actions.

Importing this package registers the built-in worlds with Gymnasium (names only, nothing is built).
Elsewhere ``gymnasium.make("worldmodels.envs:worldmodels/CliffHill-v0")`` imports it on the way.
"""

from gymnasium.envs.registration import register

_WORLDS = {
    "CliffHill": "worldmodels.envs.worlds.cliff_hill:CliffHill",
    "CartSwing": "worldmodels.envs.worlds.cart_swing:CartSwing",
    "DetourMaze": "worldmodels.envs.worlds.detour_maze:DetourMaze",
    "ArmN": "worldmodels.envs.worlds.arm:ArmN",
    "GustRoad": "worldmodels.envs.worlds.gust_road:GustRoad",
    "GlitchBox": "worldmodels.envs.worlds.glitch_box:GlitchBox",
    "BaodingPix": "worldmodels.envs.worlds.baoding:BaodingPix",
    "CrossTraffic": "worldmodels.envs.worlds.cross_traffic:CrossTraffic",
    "TwoRooms": "worldmodels.envs.worlds.two_rooms:TwoRooms",
    "Counting": "worldmodels.envs.counting:Counting",
}

for _name, _path in _WORLDS.items():
    register(
        id=f"worldmodels/{_name}-v0",
        entry_point="worldmodels.envs.world_env:WorldEnv",
        vector_entry_point="worldmodels.envs.world_env:WorldVectorEnv",
        kwargs={"world": _path},
    )
